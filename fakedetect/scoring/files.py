"""Score photos, videos and folders. Rows are yielded when ready, and a bad file costs one row."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, groupby, islice
from pathlib import Path

from fakecore.cpus import usable_cpus
from fakecore.media.memoryfile import memory_file
from fakecore.sets.processes import MANY
from fakecore.storage import StorageError, local_copy
from fakedetect.models.detector import Detector, batch_size
from fakedetect.scoring.inputs import Input
from fakedetect.scoring.many import judge_many
from fakedetect.scoring.photofaces import PhotoFaces
from fakedetect.scoring.photos import PhotoJudge, with_judgement
from fakedetect.scoring.provenance import provenance_of
from fakedetect.scoring.results import file_digest
from fakedetect.scoring.video import NO_VIDEO, VideoJudge

_FIRST = 2  # files in the first batch of each thread
_BATCH_BYTES = 2 << 20  # of files in a batch
_HELD_BYTES = 256 << 20  # of contents of files in archives and at URLs in all pending batches


def score_files(
    inputs: Iterable[Input | tuple[str, str | None]],
    detector: Detector,
    videos: VideoJudge | None = None,
    *,
    stability: bool = False,
    of_photos: Detector | None = None,
) -> Iterator[list[dict]]:
    """Yield result rows in batches, in the order of `inputs`, which are taken when they are needed; an input may also be
    (path, problem), from `list_inputs`. Archives and URLs are read if `expand` puts their contents in their place. Each thread
    reads, decodes and scores its own batch of photos; many whole photos are read and decoded by processes. The number of
    pending batches is limited, so memory use does not grow with the number of files. `videos` scores videos one by one on
    the calling thread; their rows also have `frames`, `duration_s`, `tracks` and `timeline`.

    A detector of faces judges a photo by its faces: its row has `subject` "face" and `faces`, each with box, p_fake and
    verdict, and the values of the most suspicious one; `status` is "no_face" if there is none. The detector `of_photos`, if
    given, judges photos without a face, and the others beside their faces, where only its verdict "fake" counts; `judged_by`
    names the detector that decided. With `stability`, photos are also judged after five light re-encodings: rows have
    `stable` and `p_fake_range`, and a verdict that flips becomes "unsure".
    """
    items: Iterator[Input] = map(_as_input, inputs)
    videos = videos or VideoJudge(detector)
    photos = photo_judge(detector, videos, stability, of_photos)
    if photos.takes_whole_images:
        yield from _judge_in_threads(items, photos, detector, videos)
        return
    for is_elsewhere, run in groupby(items, key=lambda one: one.is_elsewhere):
        first = [] if is_elsewhere else list(islice(run, MANY))
        every = chain(first, run)  # noqa: B031  what `first` took is put back
        if len(first) == MANY:
            for batch, rows in judge_many(every, photos, detector):
                yield from _with_videos(batch, rows, videos)
        else:
            yield from _judge_in_threads(every, photos, detector, videos)


def photo_judge(
    detector: Detector, videos: VideoJudge, stability: bool = False, of_photos: Detector | None = None
) -> PhotoJudge:
    """Return the judge of photos that `score_files` uses beside `videos`."""
    faces = None
    if detector.face_margin is not None and not videos.options.whole_frame:
        faces = PhotoFaces(detector, videos.finder, videos.options.min_face, videos.options.margin)
    return PhotoJudge(detector, faces, stability, of_photos)


def judge_batch(batch: list[Input], photos: PhotoJudge, videos: VideoJudge) -> Iterator[list[dict]]:
    """Yield the rows of a few files, in their order, judged on the calling thread."""
    yield from _with_videos(batch, photos.judge(batch), videos)


def _as_input(one: Input | tuple[str, str | None]) -> Input:
    return one if isinstance(one, Input) else Input(*one)


def _judge_in_threads(
    inputs: Iterator[Input], photos: PhotoJudge, detector: Detector, videos: VideoJudge
) -> Iterator[list[dict]]:
    """Judge batches of photos in threads, each of which reads, decodes and judges its own."""
    threads = usable_cpus()
    size = batch_size(detector.network, detector.resolution, detector.device)
    ahead = batches(inputs, size, threads=threads)
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting: deque[tuple[list[Input], Future]] = deque()
            while True:
                while len(waiting) < 2 * threads and sum(_held(batch) for batch, _ in waiting) < _HELD_BYTES:
                    if not (batch := next(ahead, [])):
                        break
                    waiting.append((batch, pool.submit(photos.judge, batch)))
                if not waiting:
                    return
                batch, judged = waiting.popleft()
                yield from _with_videos(batch, judged.result(), videos)
        finally:
            pool.shutdown(cancel_futures=True)


def batches(
    inputs: Iterator[Input], size: int, most_bytes: int = _BATCH_BYTES, threads: int | None = None
) -> Iterator[list[Input]]:
    """Yield batches of `size` inputs; fewer if their files have `most_bytes` together. With `threads`, the first batches are
    small, and double for each round of the threads. So the first rows are soon there, all threads share even a few photos that
    take long to decode, and the contents of archives take little memory.
    """
    batch: list[Input] = []
    total = count = 0
    for one in inputs:
        batch.append(one)
        total += _bytes_of(one)
        limit = size if threads is None else min(size, _FIRST << (count // threads))
        if len(batch) >= limit or total >= most_bytes:
            yield batch
            batch, total, count = [], 0, count + 1
    if batch:
        yield batch


def _bytes_of(one: Input) -> int:
    if one.data is not None:
        return len(one.data)
    with suppress(OSError, ValueError):
        return os.stat(one.path).st_size  # noqa: PTH116  a Path takes longer than the call
    return 0


def _held(batch: list[Input]) -> int:
    """Return the bytes of content that a batch holds."""
    return sum(len(one.data) for one in batch if one.data)


def _with_videos(batch: list[Input], rows: list[dict], videos: VideoJudge) -> Iterator[list[dict]]:
    """Yield the rows of a batch; rows before a video do not wait for it."""
    ready: list[dict] = []
    for one, row in zip(batch, rows, strict=True):
        if row["status"] is None:
            if ready:
                yield ready
            ready = []
            yield [_judge_video(one, row, videos)]
        else:
            ready.append(row)
    if ready:
        yield ready


def _judge_video(one: Input, row: dict, videos: VideoJudge) -> dict:
    if one.problem is not None and one.is_elsewhere:
        return row | NO_VIDEO | {"status": one.status, "error": one.problem}
    if one.url is not None and one.data is None:
        return _judge_large(one.url, one, row, videos)
    if one.data is not None:
        row["sha256"] = hashlib.sha256(one.data).hexdigest()
        try:
            with memory_file(one.data) as content:
                row["provenance"] = row["provenance"] or provenance_of(str(content))
                facts, judgement = videos.judge(one.path, content)
        except OSError as error:
            why = f"a video in an archive or at a URL: {error}; copy it to this machine, and score the copy"
            return row | NO_VIDEO | {"status": "unsupported", "error": why}
    else:
        with suppress(OSError):  # `judge` below reports unreadable files
            row["sha256"] = file_digest(Path(one.path))
            row["provenance"] = row["provenance"] or provenance_of(one.path)
        facts, judgement = videos.judge(one.path)
    return row | facts if judgement is None else with_judgement(row | facts, judgement)


def _judge_large(url: str, one: Input, row: dict, videos: VideoJudge) -> dict:
    """Judge a video at a URL that is too large for the memory: a copy of it in a temporary file."""
    try:
        with local_copy(url, on_bytes=videos.on_bytes) as content:
            row["sha256"] = file_digest(content)
            row["provenance"] = row["provenance"] or provenance_of(str(content))
            facts, judgement = videos.judge(one.path, content)
    except StorageError as error:
        return row | NO_VIDEO | {"status": error.status, "error": error.reason}
    return row | facts if judgement is None else with_judgement(row | facts, judgement)
