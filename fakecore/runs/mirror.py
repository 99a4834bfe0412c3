"""Copies of what stands at URLs, in the cache: made again when the file at the URL changes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from fakecore import storage
from fakecore.errors import UserError
from fakecore.files import read_json, write_json
from fakecore.progress import progress_bar, say
from fakecore.runs.cache import cache_home
from fakecore.urls import is_url

FOLDER = "urls"  # in the cache
_LISTING = "copied.json"


def mirror_file(url: str) -> Path:
    """Return the path of a copy of a file, below a name made of its URL, and of its size, time and ETag: a file that changed is
    copied again. One of which the store says neither time nor ETag is copied each time. Raises StorageError.
    """
    facts = storage.facts(url)
    folder = _folder(url, str(facts))
    target = folder / storage.base_name(url)
    if facts.stamp is None or not target.is_file() or target.stat().st_size != facts.size:
        storage.download(url, target, size=facts.size)
    return target


def mirror_files(url: str, names: tuple[str, ...]) -> Path:
    """Return the path of a folder with copies of some files of a folder, as `mirror_file` does for one. Raises StorageError."""
    facts = {name: storage.facts(storage.join(url, name)) for name in names}
    folder = _folder(url, repr(facts)) / storage.base_name(url)
    for name, one in facts.items():
        target = folder / name
        if one.stamp is None or not target.is_file() or target.stat().st_size != one.size:
            storage.download(storage.join(url, name), target, size=one.size)
    return folder


def local_folder(name: str) -> Path:
    """Return the path of a folder; of a copy, if `name` is a URL. Raises StorageError; UserError for an empty folder."""
    return mirror_folder(name) if is_url(name) else Path(name)


def mirror_folder(url: str) -> Path:
    """Return the path of a copy of a whole folder. A copy that was interrupted is completed: files that have the size that the
    store says stay. Raises StorageError; UserError for an empty folder.
    """
    folder = _folder(url, "folder") / (storage.base_name(url) or "set")
    done = folder.parent / _LISTING
    found = [*storage.list_files(url, every=True)]
    if not found:
        raise UserError(
            f"{storage.shown(url)} has no files below it", remedy="Check the URL; that of a folder ends with /."
        )
    start = len(url.rstrip("/")) + 1
    before = read_json(done) if done.exists() else {}
    copied: dict[str, str] = {}
    todo = []
    for one in found:
        name = one.url[start:]
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{storage.shown(url)} has a file that would be written elsewhere", got=name)
        same = target.is_file() and target.stat().st_size == one.size and before.get(name, one.stamp) == one.stamp
        copied[name] = one.stamp or ""
        if not same:
            todo.append((one, target))
    if todo:
        megabytes = sum(one.size or 0 for one in found) / 1e6
        count = f"{len(todo):,} of {len(found):,} files ({megabytes:,.0f} MB in all)"
        say(f"copying {count} from {storage.shown(url)} to {folder}")
    with progress_bar("copying", len(todo), "files") as bar:
        for _ in _copied(todo):
            bar.advance()
    write_json(done, copied)
    return folder


def _copied(todo: list[tuple[storage.Listed, Path]]) -> Iterator[None]:
    """Copy files, several at a time; yield after each. What ends it, an error or Ctrl-C, ends the other transfers too."""
    is_ending = threading.Event()

    def check(_: int) -> None:
        if is_ending.is_set():
            raise storage.Stopped

    def pause(seconds: float) -> None:
        if is_ending.wait(seconds):
            raise storage.Stopped

    backoff = replace(storage.BACKOFF, sleep=pause)
    running: set[Future[int]] = set()
    rest = iter(todo)
    with ThreadPoolExecutor(storage.TRANSFERS, thread_name_prefix="copy") as pool:
        try:
            while True:
                for one, target in islice(rest, 2 * storage.TRANSFERS - len(running)):
                    transfer = partial(storage.download, size=one.size, backoff=backoff, on_bytes=check)
                    running.add(pool.submit(transfer, one.url, target))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for copied in done:
                    copied.result()
                    yield
        finally:
            is_ending.set()
            pool.shutdown(cancel_futures=True)


def _folder(url: str, version: str) -> Path:
    digests = [
        hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:20] for text in (storage.shown(url), version)
    ]
    return Path(cache_home(), FOLDER, *digests)
