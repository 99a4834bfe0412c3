"""Score photos, videos and folders. Rows are yielded when ready, and a bad file costs one row."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from fakecore.sets.decoding import MANY
from fakedetect.models.detector import Detector, batch_size
from fakedetect.scoring.inputs import Input
from fakedetect.scoring.many import judge_many
from fakedetect.scoring.photofaces import PhotoFaces
from fakedetect.scoring.photos import PhotoJudge, with_judgement
from fakedetect.scoring.results import file_digest
from fakedetect.scoring.video import VideoJudge


def score_files(
    inputs: Iterable[Input | tuple[str, str | None]],
    detector: Detector,
    videos: VideoJudge | None = None,
    *,
    stability: bool = False,
    of_photos: Detector | None = None,
) -> Iterator[list[dict]]:
    """Yield result rows in batches, in the order of `inputs`, which are taken when they are needed; an input may also be
    (path, problem), from `list_inputs`. Each thread reads, decodes and scores its own batch of photos; many whole photos are
    read and decoded by processes. The number of pending batches is limited, so memory use does not grow with the number of
    files. `videos` scores videos one by one on the calling thread; their rows also have `frames`, `duration_s`, `tracks` and
    `timeline`.

    A detector of faces judges a photo by its faces: its row has `subject` "face" and `faces`, each with box, p_fake and
    verdict, and the values of the most suspicious one; `status` is "no_face" if there is none. The detector `of_photos`, if
    given, judges photos without a face, and the others beside their faces, where only its verdict "fake" counts; `judged_by`
    names the detector that decided. With `stability`, photos are also judged after five light re-encodings: rows have
    `stable` and `p_fake_range`, and a verdict that flips becomes "unsure".
    """
    items: Iterator[Input] = map(_as_input, inputs)
    videos = videos or VideoJudge(detector)
    faces = None
    if detector.face_margin is not None and not videos.options.whole_frame:
        faces = PhotoFaces(detector, videos.finder, videos.options.min_face, videos.options.margin)
    photos = PhotoJudge(detector, faces, stability, of_photos)
    if faces is None and of_photos is None and not stability:
        first = list(islice(items, MANY))
        items = chain(first, items)
        if len(first) == MANY:
            for rows in judge_many(items, photos, detector):
                yield from _with_videos(rows, videos)
            return
    yield from _judge_in_threads(items, photos, detector, videos)


def _as_input(one: Input | tuple[str, str | None]) -> Input:
    return one if isinstance(one, Input) else Input(*one)


def _judge_in_threads(
    inputs: Iterator[Input], photos: PhotoJudge, detector: Detector, videos: VideoJudge
) -> Iterator[list[dict]]:
    """Judge batches of photos in threads, each of which reads, decodes and judges its own."""
    threads = os.cpu_count() or 1
    size = batch_size(detector.network, detector.resolution, detector.device)
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting: deque[Future] = deque()
            while True:
                while len(waiting) < 2 * threads and (batch := list(islice(inputs, size))):
                    waiting.append(pool.submit(photos.judge, batch))
                if not waiting:
                    return
                yield from _with_videos(waiting.popleft().result(), videos)
        finally:
            pool.shutdown(cancel_futures=True)


def _with_videos(rows: list[dict], videos: VideoJudge) -> Iterator[list[dict]]:
    """Yield the rows of a batch; rows before a video do not wait for it."""
    ready: list[dict] = []
    for row in rows:
        if row["status"] is None:
            if ready:
                yield ready
            ready = []
            yield [_judge_video(row, videos)]
        else:
            ready.append(row)
    if ready:
        yield ready


def _judge_video(row: dict, videos: VideoJudge) -> dict:
    with suppress(OSError):  # `judge` below reports unreadable files
        row["sha256"] = file_digest(Path(row["path"]))
    facts, judgement = videos.judge(row["path"])
    return row | facts if judgement is None else with_judgement(row | facts, judgement)
