"""Open a set where it is: a folder, or a URL, from which it is copied to the cache, or streamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakecore import storage
from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.messages import command
from fakecore.progress import say
from fakecore.runs.cache import limit_bytes
from fakecore.runs.mirror import mirror_files, mirror_folder
from fakecore.sets.imageset import ImageSet, in_shard, is_imageset, read_imageset
from fakecore.urls import is_url, is_web, join, shown

_LISTS = ("imageset.json", "metadata.jsonl")


def open_set(place: Path | str, stream: bool | None = None) -> ImageSet:
    """Open the set or run at a path or URL.

    `stream`: whether its shards are read where they are, again in each epoch, rather than copied and decoded into the cache;
    None: if its pixels would take more than the limit of the cache, or if it is on a web server. Raises UserError.
    """
    if not is_url(str(place)):
        return _streamed_or_not(read_imageset(_find_set(Path(place))), stream)
    url = _find_at_url(str(place))
    found = _streamed_or_not(read_imageset(mirror_files(url, _LISTS), at=url), stream)
    return found if found.streamed else read_imageset(_find_set(mirror_folder(str(place))))


def _streamed_or_not(found: ImageSet, stream: bool | None) -> ImageSet:
    sharded = all(in_shard(record.file_name)[1] for record in found.records)
    if stream and not sharded:
        what = f"{shown(found.place)} cannot be streamed: its images are single files"
        remedy = "Write it with --format webdataset, or leave out --stream."
        raise UserError(what, expected="WebDataset shards", remedy=remedy)
    if stream is None:
        channels, side = found.info["channels"], found.info["resolution"]
        stream = sharded and (len(found.records) * channels * side**2 > limit_bytes() or is_web(found.place))
    return replace(found, streamed=stream)


def _find_at_url(place: str) -> str:
    """Return the URL of the set of a run, or of the set itself. Raises UserError if there is none."""
    for url in (place, join(place, "set")):
        if storage.exists(join(url, _LISTS[0])):
            return url
    raise UserError(
        f"{shown(place)} is not a set of images",
        expected=f"the URL of a folder with {' and '.join(_LISTS)}, or of a run",
        remedy="Give the URL of a set or run. Two plain folders go to --real and --fake, if the command has them.",
    )


def _find_set(place: Path) -> Path:
    if (place / "run.json").is_file():
        if not (place / "set" / "imageset.json").is_file():
            remedy = f"Finish it: {command('generate', '--resume', '--out', place)}"
            raise UserError(f"the run {place} has no finished set yet", remedy=remedy)
        try:
            read_json(place / "run.json")
        except UserError as error:
            say(f"note: {error.what}; only the set of this run is used")
    return place / "set" if is_imageset(place / "set") else place
