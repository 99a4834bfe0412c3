"""The index of a streamed set: made in one pass over its shards, and kept in the cache until they change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore import storage
from fakecore.files import atomic_path, write_json
from fakecore.media.pixels import ImageError
from fakecore.progress import progress_bar
from fakecore.runs.cache import limit_bytes, prune
from fakecore.sets.imageset import ImageSet, in_shard
from fakecore.sets.pixelcache import cache_root
from fakecore.sets.shards import ShardError, read_shard, shard_facts
from fakecore.sets.streaming import REQUESTS, Finish, HexDigests, StreamedPixels, index_shards
from fakecore.urls import is_url, is_web, shown

_VERSION = 1  # increase it if decoding, cropping, resizing or the refusals change
_ENTRY = np.dtype(
    [("row", "i8"), ("shard", "i4"), ("offset", "i8"), ("size", "i8"), ("sha256", "u1", 32), ("pixels", "u1", 32)]
)


@dataclass(frozen=True)
class IndexedPixels:
    """The usable `images` of a set, whose `rows` (N,) are their record numbers; `unused` lists the others."""

    images: StreamedPixels
    rows: np.ndarray
    sha256: HexDigests  # of the files' bytes, parallel to `images`
    unused: list[dict]  # {"path", "status", "error"}


def streamed_pixels(
    found: ImageSet, *, resolution: int, channels: int, finish: Finish | None = None, finish_name: str = ""
) -> IndexedPixels:
    """Return the images of a set of shards, which are read when they are asked for; the first time, after a pass over all.

    `finish` is applied to each image, uint8 (C, R, R), last; `finish_name` must change whenever it does. Images that cannot be
    used, also those of a damaged or missing shard, are listed in `unused`. Raises UserError if a server fails.
    """
    members = _members(found)
    shards = list(members)
    facts = _facts(found, shards)
    about = [_VERSION, shown(found.place), members, sorted(facts.items()), resolution, channels, finish_name]
    key = hashlib.sha256(json.dumps(about).encode(errors="surrogateescape")).hexdigest()[:24]
    array_path, facts_path = cache_root() / f"index-{key}.npy", cache_root() / f"index-{key}.json"
    shape = (channels, resolution, resolution)
    if not all(stamp for _, stamp in facts.values()) or not (array_path.exists() and facts_path.exists()):
        _build(found, members, facts, shape, finish, array_path, facts_path)
    os.utime(facts_path)  # time of last use, for pruning
    entries = np.load(array_path, allow_pickle=False)
    said = json.loads(facts_path.read_text())
    places = list(map(found.shard, shards))
    pixels = StreamedPixels(places, entries, shape, finish)
    return IndexedPixels(pixels, entries["row"], HexDigests(entries["sha256"]), said["unused"])


class ShardFiles:
    """The files of a set of shards, read from the start of each shard to its end, and later one by one."""

    def __init__(self, found: ImageSet):
        self._found = found
        self._places = np.zeros(len(found.records), np.dtype([("offset", "i8"), ("size", "i8")]))

    def in_order(self) -> Iterator[tuple[int, bytes | ImageError]]:
        """Yield (record number, bytes of its file or why they cannot be read), shard after shard. Raises StorageError."""
        members = _members(self._found)
        facts = _facts(self._found, list(members))
        for shard, rows in members.items():
            why, left = f"there is no {shard}", dict(rows)
            try:
                size = facts[shard][0] if shard in facts else 0
                for name, offset, data in read_shard(self._found.shard(shard), size) if size else ():
                    if (row := left.pop(name, None)) is not None:
                        self._places[row] = offset, len(data)
                        yield row, data
                why = f"not found in {shard}" if size else why
            except ShardError as error:
                why = str(error)
            yield from ((row, ImageError("unreadable", why)) for row in left.values())

    def read(self, row: int) -> bytes:
        """Return the bytes of a file that `in_order` has read. Raises StorageError."""
        offset, size = self._places[row].tolist()
        shard = in_shard(self._found.records[row].file_name)[0]
        return storage.read_range(self._found.shard(shard), offset, offset + size)


def _members(found: ImageSet) -> dict[str, dict[str, int]]:
    """Return {shard: {name in it: record number}}, in the order of the shards' names."""
    members: dict[str, dict[str, int]] = {}
    for row, record in enumerate(found.records):
        shard, member = in_shard(record.file_name)
        members.setdefault(shard, {})[str(member)] = row
    return dict(sorted(members.items()))


def _facts(found: ImageSet, shards: Sequence[str]) -> dict[str, tuple[int, str | None]]:
    """Return {shard: (size in bytes, a stamp that changes with its content)} of the shards that exist. Raises StorageError."""
    place = found.place
    if not found.elsewhere and is_url(place) and not is_web(place):
        start, wanted = len(place.rstrip("/")) + 1, set(shards)
        listed = {one.url[start:]: one for one in storage.list_files(place, every=True)}
        return {name: (one.size or 0, one.stamp) for name, one in listed.items() if name in wanted}
    with ThreadPoolExecutor(REQUESTS) as pool:
        asked = zip(shards, pool.map(shard_facts, map(found.shard, shards)), strict=True)
        return {shard: facts for shard, facts in asked if facts is not None}


def _build(found: ImageSet, members, facts, shape, finish, array_path: Path, facts_path: Path) -> None:
    entries = np.zeros(len(found.records), _ENTRY)
    why: dict[int, tuple[str, str]] = {
        row: ("unreadable", f"there is no {shard}")
        for shard, rows in members.items()
        if shard not in facts
        for row in rows.values()
    }
    known = [shard for shard in members if shard in facts]
    parts = [{"url": found.shard(shard), "size": facts[shard][0], "members": members[shard]} for shard in known]
    number = {shard: place for place, shard in enumerate(members)}
    with progress_bar("indexing", len(entries), "images") as bar:
        for shard, lines in zip(known, index_shards(parts, shape, finish), strict=True):
            for row, *rest in lines:
                if len(rest) == 2:  # a status and an error
                    why[row] = rest[0], rest[1]
                    continue
                offset, size, *digests = rest
                own = [np.frombuffer(bytes.fromhex(text), np.uint8) for text in digests]
                entries[row] = row, number[shard], offset, size, *own
            bar.advance(len(lines))
    used = np.setdiff1d(np.arange(len(entries)), np.fromiter(why, np.int64, len(why)))
    unused = [
        {"path": found.records[row].file_name, "status": status, "error": error}
        for row, (status, error) in sorted(why.items())
    ]
    with atomic_path(array_path) as temporary:
        np.save(temporary, entries[used])
    write_json(facts_path, {"unused": unused})
    prune(array_path, limit_bytes())
