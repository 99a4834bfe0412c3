"""Crop faces from videos and photos: store the crops uncompressed on disk until their number and groups are known, then
write a set of images.
"""

from __future__ import annotations

import json
import sys
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.labels import Label, label_number
from fakecore.media.pixels import ImageError, decode_image, read_bytes
from fakecore.media.video import Frame, check_choice, frames
from fakecore.media.videofiles import named_video
from fakecore.media.videostream import VideoError
from fakecore.messages import counted
from fakecore.progress import Bar, progress_bar, say
from fakecore.runs.runfolder import refuse_used
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.splits import parse_split, split_groups
from fakecore.sets.units import Wanted
from fakedetect.faces.finder import BATCH, MARGIN, Face, FaceFinder, check_margin, crop, sharpness
from fakedetect.faces.tracks import Tracker

GROUPS = {"video": "input", "track": "person"}  # --group -> what the crops of a group have in common


@dataclass(frozen=True)
class Cut:
    """How to analyse videos and crop faces. At most one of `every`, `fps` and `count` is given."""

    every: int | None = None
    fps: float | None = None
    count: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    margin: float = MARGIN
    size: int = 128
    align: bool = False

    def __post_init__(self):
        check_choice(every=self.every, fps=self.fps, count=self.count, start_s=self.start_s, end_s=self.end_s)
        if not 16 <= self.size <= 1024:
            raise UserError("--size cannot be used", got=self.size, expected="16 to 1024 pixels")
        check_margin(self.margin)


@dataclass(frozen=True)
class FaceRecord(ImageRecord):
    """The line of a crop in metadata.jsonl: the fields of every image, and its position in which video or photo."""

    facts: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        return {**super().to_json(), **self.facts}


class Crops:
    """Crops of one size, in a temporary file of raw pixels next to the new set, and their lines in another: videos can be
    long. A context manager that removes both.
    """

    def __init__(self, beside: Path, size: int):
        self._shape = (size, size, 3)
        beside.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=beside, prefix=".crops-")  # noqa: SIM115
        self._lines = tempfile.TemporaryFile(dir=beside, prefix=".crops-")  # noqa: SIM115
        self._starts = array("Q")  # of each line
        self._reading = Lock()
        self._groups: dict[str, list[str]] = {name: [] for name in GROUPS.values()}

    def __enter__(self) -> Crops:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()
        self._lines.close()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, pixels: np.ndarray, facts: dict) -> None:
        """Store a crop, uint8 RGB (size, size, 3), with its line for metadata.jsonl, and its groups."""
        self._file.write(pixels.tobytes())
        self._starts.append(self._lines.tell())
        line = {name: value for name, value in facts.items() if name not in self._groups}
        self._lines.write(json.dumps(line).encode() + b"\n")
        for name, known in self._groups.items():
            known.append(sys.intern(facts[name]))

    def pixels(self, indices: range) -> np.ndarray:
        """Return crops as uint8 (n, 3, size, size), for the set writer."""
        stored = np.memmap(self._file, dtype=np.uint8, mode="r", shape=(len(self), *self._shape))
        return np.ascontiguousarray(stored[indices.start : indices.stop].transpose(0, 3, 1, 2))

    def write(self, root: Path, label: Label, group_by: str, shares: tuple[int, int, int], origin: dict) -> dict:
        """Write all crops as a set of one label at `root`; return imageset.json. Crops of equal `group_by` share a split."""
        self._file.flush()
        groups = self._groups[group_by]
        splits = self._splits(groups, shares)

        def records(indices: range, file_name: Callable) -> list[ImageRecord]:
            return [
                FaceRecord(file_name(splits[i], label, i), label, splits[i], i, group=groups[i], facts=self._facts(i))
                for i in indices
            ]

        wanted = {label: Wanted(len(groups), records, self.pixels)}
        writer = ImageSetWriter(root, wanted, resolution=self._shape[0], channels=3)
        try:
            with progress_bar("writing", writer.total, "faces") as bar:
                for listed in writer.write():
                    bar.advance(listed)
            return writer.finish(origin=origin)
        finally:
            writer.close()

    def _splits(self, groups: list[str], shares: tuple[int, int, int]) -> list:
        names = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        if len(names) < 3:
            found = counted(len(names), "group")
            say(
                f"note: all faces are in the train split: {found} (--group) cannot fill three splits. "
                "detect-train also needs three or more groups of each label: add videos, or use --group track"
            )
            return ["train"] * len(groups)
        return split_groups(np.array([names[name] for name in groups]), shares, seed=0).tolist()

    def _facts(self, index: int) -> dict:
        with self._reading:  # the threads of the writer share the file position
            self._lines.seek(self._starts[index])
            line = self._lines.readline()
        return json.loads(line)


def crop_faces(
    inputs: list[tuple[str, str | None]],
    out: Path,
    *,
    cut: Cut,
    label: Label = "real",
    min_face: float = 60,
    group: str = "video",
    split: str = "80,10,10",
    device: str = "auto",
) -> tuple[list[dict], dict | None, int]:
    """Crop the faces of videos and photos into a set at `out`. `inputs` are (path, problem), from `list_inputs`. Return
    a row of each, the counts of the set by split and label (None: no face, nothing was written), and the number of faces.
    Raises UserError or Interrupted.
    """
    label_number(label)
    if group not in GROUPS:
        raise UserError("--group cannot be used", got=repr(group), expected="video or track")
    shares = parse_split(split)
    refuse_used(out, made_by="a set", marker="imageset.json")
    finder = FaceFinder(min_face, device)
    rows: list[dict] = []
    try:
        with Crops(out, cut.size) as crops:
            with StopRequest() as stop, progress_bar("finding faces", None, "frames") as bar:
                for path, problem in inputs:
                    rows.append(crop_input(path, problem, finder, cut, crops, bar))
                    if stop.asked:
                        raise Interrupted("nothing was written; the same command starts over")
            counts = None
            if len(crops):
                choice = {name: value for name, value in vars(cut).items() if value is not None}
                origin = {"faces": {"min_face": min_face, **choice}, "split": list(shares)}
                counts = crops.write(out, label, GROUPS[group], shares, origin)["counts"]
    finally:
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return rows, counts, len(crops)


def crop_input(path: str, problem: str | None, finder: FaceFinder, cut: Cut, crops: Crops, bar: Bar) -> dict:
    """Add the faces of one video or photo to `crops`; return a row: path, status, kind, frames, faces ..."""
    row = {"path": path, "status": "ok", "kind": "image", "frames": 0, "faces": 0, "tracks": None, "duration_s": None}
    row |= {"note": None, "error": None}
    before = len(crops)
    try:
        try:
            if problem is not None:
                raise ImageError("unreadable", problem, "video" if named_video(Path(path)) else "image")
            pixels = decode_image(read_bytes(Path(path)))
        except ImageError as error:
            if error.kind != "video":
                raise
            row["kind"] = "video"
            row |= _crop_video(path, finder, cut, crops, bar)
        else:
            faces = finder.find([pixels])[0]
            _add_faces(
                crops, pixels, faces, cut, [{"photo": path, "person": f"{path}#{n}"} for n in range(1, len(faces) + 1)]
            )
            row["frames"] = 1
            bar.advance()
    except (ImageError, VideoError) as error:
        return row | {"status": error.status, "error": str(error)}
    row["faces"] = len(crops) - before
    if not row["faces"]:
        row |= {"status": "no_face", "error": "no face found" + _in_frames(row)}
    return row


def _in_frames(row: dict) -> str:
    return f" in {counted(row['frames'], 'frame')}" if row["kind"] == "video" else ""


def _crop_video(path: str, finder: FaceFinder, cut: Cut, crops: Crops, bar: Bar) -> dict:
    """Add the faces of a video, in batches of frames."""
    video = frames(Path(path), every=cut.every, fps=cut.fps, count=cut.count, start_s=cut.start_s, end_s=cut.end_s)
    bar.note(f"{Path(path).name}, {video.expected:,}")
    tracker, batch, seen = Tracker(), [], 0
    for frame in video:
        batch.append(frame)
        if len(batch) == BATCH:
            seen += _crop_batch(path, batch, finder, tracker, cut, crops, bar)
            batch = []
    seen += _crop_batch(path, batch, finder, tracker, cut, crops, bar)
    outcome = video.outcome
    assert outcome, "all frames were read"
    return {"frames": seen, "tracks": len(tracker.tracks), "duration_s": outcome.whole_s, "note": outcome.note}


def _crop_batch(path: str, batch: list[Frame], finder, tracker: Tracker, cut: Cut, crops: Crops, bar: Bar) -> int:
    for frame, faces in zip(batch, finder.find([frame.pixels for frame in batch]), strict=True):
        tracks = tracker.update(frame.index, frame.time_s, faces, frame.pixels)
        where = {"video": path, "frame": frame.index, "time_s": round(frame.time_s, 4)}
        lines = [{**where, "track": track, "person": f"{path}#{track}"} for track in tracks]
        _add_faces(crops, frame.pixels, faces, cut, lines)
        bar.advance()
    return len(batch)


def _add_faces(crops: Crops, pixels: np.ndarray, faces: list[Face], cut: Cut, lines: list[dict]) -> None:
    for face, line in zip(faces, lines, strict=True):
        facts = {
            "box": [round(float(value), 1) for value in face.box],
            "landmarks": [[round(float(value), 1) for value in point] for point in face.landmarks],
            "confidence": round(face.confidence, 4),
            "sharpness": round(sharpness(pixels, face), 1),
        }
        cropped = crop(pixels, face, margin=cut.margin, size=cut.size, align=cut.align)
        crops.add(cropped, {**line, "input": line.get("video") or line["photo"], **facts})
