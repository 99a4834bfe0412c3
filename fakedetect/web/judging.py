"""Judge uploaded files, in a worker: their rows, and the pictures that a page shows of them."""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.files import write_bytes
from fakecore.media.pixels import ANIMATED, MAX_PIXELS, ImageError, read_image
from fakecore.media.video import frames
from fakecore.media.videostream import VideoError
from fakedetect.explain.explain import heat_maps, overlay
from fakedetect.faces.finder import MARGIN, Face, crop
from fakedetect.faces.options import VideoOptions
from fakedetect.models.detector import Detector
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.files import batches, judge_batch, photo_judge
from fakedetect.scoring.inputs import Input
from fakedetect.scoring.page import Kept, picture, video_section, write_score_page
from fakedetect.scoring.photos import PhotoJudge
from fakedetect.scoring.trackscores import VideoShown
from fakedetect.scoring.video import VideoJudge
from fakedetect.web.choices import Panel
from fakedetect.web.drawing import write_tracks
from fakedetect.web.tasks import HEAT, JUDGED, PICTURE, SECTION, TRACKS, Limits, Task

_HEAT_SIDE = 384  # pixels
_BATCH = 32  # photos judged at once
_BATCH_TESTED = 4  # where each has several versions: the first rows come sooner


class Judge:
    """Judges tasks with the detectors of a panel, and keeps what is slow to load between calls."""

    def __init__(self, panel: Panel, limits: Limits, on_progress: Callable[[str, int, int], None]):
        """`on_progress` is called with (id, frames analysed, frames expected) of each video."""
        self._panel, self._limits, self._on_progress = panel, limits, on_progress
        self._judges: dict[tuple, tuple[PhotoJudge, VideoJudge]] = {}
        self._by_path: dict[str, Task] = {}

    def judge(self, tasks: list[Task]) -> Iterator[tuple[str, dict]]:
        """Yield (id, row) of tasks of one kind, as soon as each is known."""
        detectors = self._panel.chosen(tasks[0].choice)
        photos, videos = self._judges_of(tasks)
        self._by_path = {task.path: task for task in tasks}
        inputs = []
        for task in tasks:
            if exceeded := _exceeded(Path(task.path), self._limits):
                yield task.id, _refused(task, *exceeded)
            else:
                inputs.append(Input(task.path))
        for batch in batches(iter(inputs), _BATCH_TESTED if tasks[0].stability else _BATCH):
            for row in chain.from_iterable(judge_batch(batch, photos, videos)):
                task = self._by_path[row["path"]]
                if task.results:
                    try:
                        _write_pictures(task, row, videos, detectors)
                    except Exception:  # a page without a picture is better than no verdict
                        traceback.print_exc()
                yield task.id, row | {"path": task.name}
            videos.shown.clear()

    def _judges_of(self, tasks: list[Task]) -> tuple[PhotoJudge, VideoJudge]:
        keep = any(task.results for task in tasks)
        choice, stability, whole_frame = tasks[0].kind
        if (choice, stability, whole_frame, keep) not in self._judges:
            detector, of_photos = self._panel.chosen(choice)
            options = VideoOptions(whole_frame=whole_frame)
            videos = VideoJudge(detector, options, on_progress=self._progress, keep=keep)
            photos = photo_judge(detector, videos, stability, of_photos)
            self._judges[choice, stability, whole_frame, keep] = photos, videos
        return self._judges[choice, stability, whole_frame, keep]

    def _progress(self, path: str, analysed: int, expected: int) -> None:
        self._on_progress(self._by_path[path].id, analysed, expected)


def _exceeded(path: Path, limits: Limits) -> tuple[str, str] | None:
    """Return which limit a file exceeds by what it declares, and its kind; None for none, and for files that cannot be read:
    `judge_batch` says what is wrong with those.
    """
    from PIL import Image

    allowed = f"the limit of this server is {limits.max_pixels:,}"
    try:
        with Image.open(path) as image:
            kind, width, height, seconds = "image", *image.size, None
            moves = image.format in ANIMATED and getattr(image, "is_animated", False)
        if moves and width * height <= limits.max_pixels:
            kind, seconds = "video", frames(path).info.duration_s
    except Image.DecompressionBombError:
        return f"over {MAX_PIXELS:,} pixels; {allowed}", "image"
    except Exception:  # no photo, or a damaged one
        try:
            info = frames(path).info
        except (VideoError, ImageError, UserError) as error:
            is_large = getattr(error, "status", None) == "too_large"
            return (f"{str(error).partition(';')[0]}; {allowed}", "video") if is_large else None
        kind, width, height, seconds = "video", info.width, info.height, info.duration_s
    if width * height > limits.max_pixels:
        return f"{width}x{height} pixels; {allowed}", kind
    most_s = 60 * limits.max_minutes
    if seconds is not None and seconds > most_s:
        return f"it lasts {_duration(seconds)}; the limit of this server is {_duration(most_s)}", kind
    return None


def _duration(seconds: float) -> str:
    """Return a time in words: "7.25 s", "10 min", "10 min 0.4 s"."""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds, 2), 60)
    return f"{minutes:.0f} min" + (f" {rest:.4g} s" if rest else "")


def _refused(task: Task, why: str, kind: str) -> dict:
    return dict.fromkeys(COLUMNS) | {"path": task.name, "status": "too_large", "kind": kind, "error": why}


def _write_pictures(task: Task, row: dict, videos: VideoJudge, detectors: tuple[Detector, Detector | None]) -> None:
    """Write what a page shows of a file. `row` still has the path of the upload."""
    assert task.results
    folder = Path(task.results)
    folder.mkdir(exist_ok=True)  # not its parent: the job may be deleted by now
    if row["status"] == "ok" and row["kind"] == "image":
        _of_photo(folder, row, detectors)
    elif task.path in videos.shown:
        section = video_section(row | {"path": task.name}, videos.shown[task.path])
        write_bytes(folder / SECTION, json.dumps(section).encode())
        _of_video(folder, task, videos.shown[task.path])


def _of_photo(folder: Path, row: dict, detectors: tuple[Detector, Detector | None]) -> None:
    """Write the photo with its faces marked, and the pixels that decided."""
    try:
        image = read_image(Path(row["path"]))
    except ImageError:
        return
    write_bytes(folder / PICTURE, picture(image, row.get("faces")))
    judged = _judged_pixels(image, row, detectors)
    encoded = cv2.imencode(".png", np.ascontiguousarray(judged.transpose(1, 2, 0)[..., ::-1]))[1].tobytes()
    write_bytes(folder / JUDGED, encoded)


def _judged_pixels(image: np.ndarray, row: dict, detectors: tuple[Detector, Detector | None]) -> np.ndarray:
    """Return the pixels that the deciding detector saw, uint8 (C, R, R): those of the most suspicious face, or of the photo."""
    detector = _judge_of(row, detectors)
    if row.get("subject") != "face":
        return detector.prepare(image)
    worst = max(row["faces"], key=lambda one: (one["verdict"] == row["verdict"], one["p_fake"]))
    # Without its landmarks: for a detector of aligned faces, this is the face, but not rotated as it was.
    face = Face(np.array(worst["box"], np.float32), np.zeros((5, 2), np.float32), 1.0)
    margin = detector.face_margin if detector.face_margin is not None else MARGIN
    return detector.prepare(crop(image, face, margin=margin, size=detector.resolution))


def _judge_of(row: dict, detectors: tuple[Detector, Detector | None]) -> Detector:
    return next((one for one in detectors if one and one.id == row["detector"]), detectors[0])


def _of_video(folder: Path, task: Task, shown: VideoShown) -> None:
    """Write the most suspicious face as a picture, and what a marked video is drawn from: drawing takes as long as judging, and
    the verdict does not wait for it.
    """
    track, _, p_fakes = shown.tracks[0]
    if track.thumbnails:
        _, worst = max(track.thumbnails, key=lambda one: p_fakes[one[0]])
        write_bytes(folder / PICTURE, worst)
    if task.marked:
        write_tracks(folder / TRACKS, shown)


def write_report(target: Path, files: list[tuple[dict, Path]], choice: str, panel: Panel) -> None:
    """Write one report of judged files, (row, folder of its results) each; files of one name get numbers."""
    rows, kept, names = [], {}, Counter[str]()
    for row, folder in files:
        names[row["path"]] += 1
        name = row["path"] if names[row["path"]] == 1 else f"{row['path']} ({names[row['path']]})"
        rows.append(row | {"path": name})
        kept[name] = Kept(_read(folder / PICTURE), json.loads(_read(folder / SECTION) or "null"))
    target.parent.mkdir(exist_ok=True)  # of a file that could not be judged
    partial = target.with_name(f"partial-{os.getpid()}-{target.name}")  # two workers may be asked for it at once
    partial.unlink(missing_ok=True)
    write_score_page(partial, rows, {}, *panel.chosen(choice), kept=kept)
    partial.replace(target)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def write_heat(results: Path, row: dict, choice: str, panel: Panel) -> None:
    """Write the heat map of the pixels that decided. Raises UserError for a detector without gradients."""
    detector = _judge_of(row, panel.chosen(choice))
    stored = cv2.imread(str(results / JUDGED), cv2.IMREAD_COLOR_RGB)
    if stored is None:
        raise UserError("there is no picture to explain", expected="a photo that was judged")
    pixels = stored.transpose(2, 0, 1) if detector.channels == 3 else stored[..., 0][None]
    heat = heat_maps(detector.network, pixels[None], np.array([row["verdict"] != "real"]), detector.device)
    mixed = overlay(pixels, heat.maps[0]).transpose(1, 2, 0)
    large = cv2.resize(mixed, (_HEAT_SIDE, _HEAT_SIDE), interpolation=cv2.INTER_CUBIC)
    write_bytes(results / HEAT, cv2.imencode(".jpg", np.ascontiguousarray(large[..., ::-1]))[1].tobytes())
