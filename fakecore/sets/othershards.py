"""Shards that others wrote, WebDataset's tar files: the images in them become a set, which is streamed.

WebDataset (https://github.com/webdataset/webdataset) has no manifest: which images there are is found in a first pass over the
shards, and kept in the cache. The extension of a file begins at the first dot of its name: of `000123.jpg`, `000123.json` and
`000123.mask.png`, only the first is taken as an image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice, product
from pathlib import Path, PurePosixPath

from fakecore import storage
from fakecore.cpus import usable_cpus
from fakecore.errors import UserError
from fakecore.files import is_left_out, write_json
from fakecore.labels import Label
from fakecore.messages import counted
from fakecore.progress import progress_bar, say
from fakecore.runs.cache import limit_bytes, prune
from fakecore.sets.imageset import ImageRecord, ImageSet, count_images
from fakecore.sets.pixelcache import cache_root, default_side, source_channels
from fakecore.sets.shards import ShardError, member_places, read_shard, shard_facts
from fakecore.sets.splits import DEFAULT_SPLIT, split_of_index
from fakecore.sets.streaming import REQUESTS
from fakecore.urls import is_url, is_web, join, shown

_VERSION = 1  # increase it if other members count as images
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".ppm")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_EXAMPLE = "tar files: a folder or its URL, one file, or a pattern such as s3://bucket/{00000..00099}.tar"
_LOOKED_AT = 64  # images of each source, whose sizes and colours decide the shape of all


def names_shards(spec: str) -> bool:
    """Return whether a source is a shard or a pattern of shards by its name."""
    return shown(spec).endswith(".tar") or _BRACES.search(spec) is not None


def open_shards(real: str, fake: str) -> ImageSet:
    """Return the images in the shards of two sources, each a folder or its URL, a shard, or a pattern `{000..099}.tar`, as a
    set that is streamed. The images of a source are numbered, and image i is in the split of fake i of a run.

    Raises UserError if a source has no shards, or no images in them, or if both have a shard in common.
    """
    shards = {"real": shards_of(real, "real"), "fake": shards_of(fake, "fake")}
    if both := set(shards["real"]) & set(shards["fake"]):
        what = "--real and --fake overlap: the same shards cannot be both"
        raise UserError(what, got=f"{shown(min(both))} and {len(both) - 1:,} others", expected="different shards")
    labels: tuple[Label, Label] = ("real", "fake")
    records: list[ImageRecord] = []
    elsewhere = {shown(shard): shard for own in shards.values() for shard in own}
    members = _members([*elsewhere.values()])
    for label in labels:
        names = [f"{shown(shard)}/{name}" for shard in shards[label] for name in members[shard]]
        if not names:
            what = f"there are no images in the shards of --{label}"
            got = f"{counted(len(shards[label]), 'shard')}, the first {shown(shards[label][0])}"
            raise UserError(what, got=got, expected=f"files that end with {', '.join(_IMAGES)}")
        records += [ImageRecord(name, label, split_of_index(i, DEFAULT_SPLIT), i) for i, name in enumerate(names)]
    info = {
        **_shape([next(filter(members.get, own)) for own in shards.values()], members),
        "counts": count_images(records),
        "origin": {"real": shown(real), "fake": shown(fake)},
    }
    return ImageSet(Path(), records, info, streamed=True, elsewhere=elsewhere)


def shards_of(spec: str, label: Label) -> list[str]:
    """Return the shards of a source, paths or URLs, sorted; of a set that fakelab wrote, those of `label`. Raises UserError."""
    if names_shards(spec):
        return list(_expanded(spec))
    if not is_url(spec):
        root = Path(spec)
        if not root.is_dir():
            raise UserError(f"--{label}: there is no folder {spec!r}", expected=_EXAMPLE)
        found = sorted(str(path) for path in root.rglob("*.tar") if not is_left_out(path.name))
        is_set = (root / "imageset.json").is_file()
    else:
        if is_web(spec):
            what = f"--{label}: a folder on a web server cannot be listed"
            raise UserError(what, got=shown(spec), expected="a pattern such as https://host/folder/{00000..00099}.tar")
        found = sorted(one.url for one in storage.list_files(spec) if one.url.endswith(".tar"))
        is_set = storage.exists(join(spec, "imageset.json"))
    if is_set:
        found = [one for one in found if PurePosixPath(one).name.startswith(f"{label}-")]
    if not found:
        raise UserError(f"--{label}: there are no shards in {shown(spec)}", expected=_EXAMPLE)
    return found


def _expanded(spec: str) -> Iterator[str]:
    """Yield what a pattern stands for: each `{000..099}` counts up, with as many digits."""
    parts = _BRACES.split(spec)  # text, first, last, text, first, last, text ...
    texts, spans = parts[::3], list(zip(parts[1::3], parts[2::3], strict=True))
    counts = [[f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)] for first, last in spans]
    for numbers in product(*counts):
        yield texts[0] + "".join(number + text for number, text in zip(numbers, texts[1:], strict=True))


def _members(shards: Sequence[str]) -> dict[str, list[str]]:
    """Return {shard: names of the images in it}, from the cache if no shard has changed. Raises UserError if one is
    missing, StorageError if a server fails.
    """
    with ThreadPoolExecutor(REQUESTS if is_url(shards[0]) else usable_cpus()) as pool:
        facts = list(pool.map(_facts_of, shards))
        about = json.dumps([_VERSION, [[shown(shard), *own] for shard, own in zip(shards, facts, strict=True)]])
        path = cache_root() / f"members-{hashlib.sha256(about.encode(errors='surrogateescape')).hexdigest()[:24]}.json"
        if path.exists() and all(stamp for _, stamp in facts):
            os.utime(path)  # time of last use, for pruning
            return dict(zip(shards, json.loads(path.read_text()), strict=True))
        found = []
        with progress_bar("listing", len(shards), "shards") as bar:
            for names in pool.map(_listed, shards, [size for size, _ in facts]):
                found.append(names)
                bar.advance(1)
    write_json(path, found)
    prune(path, limit_bytes())
    return dict(zip(shards, found, strict=True))


def _facts_of(shard: str) -> tuple[int, str | None]:
    """Return what `shard_facts` does. Raises UserError if there is no such shard."""
    if facts := shard_facts(shard):
        return facts
    raise UserError(f"there is no shard {shown(shard)}", expected=_EXAMPLE)


def _listed(shard: str, size: int) -> list[str]:
    """Return the names of the images in a shard; of a damaged one, those before the damage."""
    if not is_url(shard):
        with suppress(tarfile.TarError):
            return list(filter(_is_image, member_places(Path(shard))))
    names: list[str] = []
    try:
        for name, _, _ in read_shard(shard, size):
            if _is_image(name):
                names.append(name)
    except ShardError:
        first = "its first image is used" if len(names) == 1 else f"its first {len(names):,} images are used"
        say(f"note: {shown(shard)} is truncated or damaged; {first}")
    return names


def _is_image(name: str) -> bool:
    base = PurePosixPath(name).name
    return not is_left_out(base) and f".{base.partition('.')[2].lower()}" in _IMAGES


def _shape(shards: Sequence[str], members: dict[str, list[str]]) -> dict[str, int]:
    """Return the resolution and channels of images like the first ones of these shards."""
    looked_at: list[bytes] = []
    for shard in shards:
        wanted = set(members[shard])
        files = (data for name, _, data in read_shard(shard, _facts_of(shard)[0]) if name in wanted)
        with suppress(ShardError):
            looked_at += islice(files, _LOOKED_AT)
    names = list(map(str, range(len(looked_at))))
    read = looked_at.__getitem__
    return {"resolution": default_side(names, read), "channels": source_channels(names, read)}
