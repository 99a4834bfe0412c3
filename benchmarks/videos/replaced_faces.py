"""Make a video with known fakes: paste generated faces over the faces of some tracks of a real video.

    python -m benchmarks.videos.replaced_faces VIDEO RUN|SET|DIR --out FAKED.mp4 [--tracks 2 | --which 1,3] [--seed 0]

The faces are new fakes of RUN (a GAN's run), the fakes of a set, or the images of a folder. FAKED.json, beside FAKED.mp4, is
the truth, frame by frame; `benchmarks.videos.track_truth` compares a detector's scores with it.

Each chosen track gets one face. In every frame the face is matched to the original one in size and colour (mean and deviation
in Lab, within an ellipse), then pasted in an ellipse with a soft border. `cv2.seamlessClone` is not used: it solves each frame
separately from the pixels at the border, so the result flickers, and it changes the generated pixels, which the detector is to
be tested on. All frames are re-encoded, including untouched faces.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from fakecore.errors import UserError
from fakecore.files import read_json, write_json
from fakecore.media.pixels import ImageError, decode_image
from fakecore.media.provenance import COMPOSITE_SENTENCE
from fakecore.media.video import frames
from fakecore.media.videostream import VideoError
from fakecore.media.videowriter import video_writer
from fakecore.messages import counted
from fakecore.progress import progress_bar, say
from fakecore.sets.sources import open_source
from fakedetect.faces.finder import BATCH, FaceFinder
from fakedetect.faces.tracks import Tracker, box_at
from fakedetect.scoring.trackscores import MIN_TRACK_S

TRUTH_VERSION = 1
_SOFT_BORDER = 0.35  # width of the soft border, fraction of the ellipse's radius
_SMOOTHING = 1.5  # frames, standard deviation: detected boxes jitter by a tenth, and a pasted face should not
_MAX_CONTRAST = 2.0  # largest change of contrast (smallest: its inverse); a larger one shows mainly the face's noise


@dataclass
class TrueTrack:
    """Track of a face: index, time in seconds and box (4,) xyxy in pixels of each frame; and whether it was replaced."""

    number: int
    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    replaced: bool = False
    face: str | None = None  # name of the pasted face

    @property
    def duration_s(self) -> float:
        return self.times[-1] - self.times[0]

    def to_json(self) -> dict:
        rows = zip(self.frames, self.times, self.boxes, strict=True)
        boxes = [[n, round(t, 4), *(round(float(v), 1) for v in box)] for n, t, box in rows]
        return {"track": self.number, "replaced": self.replaced, "face": self.face, "boxes": boxes}


def main() -> None:
    """Write the video and its truth, and print the tracks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("faces", help="a GAN's run, a set with fakes, or a folder of images")
    parser.add_argument("--out", type=Path, required=True, help="the new video, .mp4")
    parser.add_argument("--tracks", type=int, help="number of tracks to replace, chosen by the seed; default: half")
    parser.add_argument("--which", help="numbers of the tracks to replace, such as 1,3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--margin",
        type=float,
        default=0.0,
        help="margin that the generated images have around a face's box, fraction of its longer side",
    )
    parser.add_argument("--min-face", type=float, default=60, help="pixels")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    try:
        which = None if options.which is None else [int(word) for word in options.which.split(",")]
    except ValueError:
        parser.error(f"--which cannot be used (got {options.which!r}; expected numbers such as 1,3)")
    try:
        truth = replace_faces(
            options.video,
            options.faces,
            options.out,
            finder=FaceFinder(options.min_face, options.device),
            count=options.tracks,
            which=which,
            seed=options.seed,
            margin=options.margin,
        )
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    except VideoError as error:
        parser.exit(2, f"error: {options.video}: {error}\n")
    for track in truth["tracks"]:
        (first, start, *_), (last, end, *_) = track["boxes"][0], track["boxes"][-1]
        text = f"replaced by {track['face']}" if track["replaced"] else "original"
        print(f"track {track['track']}: frames {first} to {last}, {start:.1f} to {end:.1f} s, {text}")
    print(f"truth     {options.out.with_suffix('.json')}")


def replace_faces(
    video: Path,
    faces: str,
    out: Path,
    *,
    finder: FaceFinder,
    count: int | None = None,
    which: Sequence[int] | None = None,
    seed: int = 0,
    margin: float = 0.0,
) -> dict:
    """Write `video` to `out` with the faces of some tracks replaced, and the truth as JSON beside it; return the truth.

    `which` gives the numbers of the tracks. Otherwise `seed` chooses `count` of those that last MIN_TRACK_S or more, by
    default half of them. `margin` is the margin that the generated images have around a face's box, as a fraction of its
    longer side. Raises UserError for unusable arguments, and VideoError for the video.
    """
    if out.suffix.lower() != ".mp4":
        raise UserError("--out has an unknown suffix", got=repr(out.name), expected=".mp4")
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            raise UserError(f"{path} already exists and is not overwritten", remedy="Choose another --out.")
    tracks = follow_faces(video, finder)
    chosen = _choose(tracks, count, which, seed, video)
    pasted = {}
    for track, (name, face) in zip(chosen, load_faces(faces, len(chosen), seed), strict=True):
        track.replaced, track.face = True, name
        pasted[track.number] = face
    shown = frames(video)
    with (
        video_writer(out, (shown.info.width, shown.info.height), shown.info.fps, comment=COMPOSITE_SENTENCE) as add,
        progress_bar("replacing faces", shown.expected, "frames") as bar,
    ):
        for frame in shown:
            pixels = np.ascontiguousarray(frame.pixels)
            for track in chosen:
                box = box_at(track.times, track.boxes, frame.time_s, around_s=0.0)
                if box is not None:
                    paste(pixels, box, pasted[track.number], margin)
            add(pixels, frame.time_s)
            bar.advance()
    truth = {"version": TRUTH_VERSION, "film": out.name, "source": str(video), "faces": faces, "seed": seed}
    truth |= {"margin": margin, "tracks": [track.to_json() for track in tracks]}
    write_json(out.with_suffix(".json"), truth)
    return truth


def read_truth(path: Path) -> list[TrueTrack]:
    """Read the tracks from the JSON file of `replace_faces`. Raises UserError for another file."""
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("version") != TRUTH_VERSION or "tracks" not in facts:
        raise UserError(
            f"{path} is not the truth of a video", expected="a JSON file of benchmarks.videos.replaced_faces"
        )
    tracks = []
    for line in facts["tracks"]:
        rows = line["boxes"]
        boxes = [np.array(row[2:], np.float32) for row in rows]
        indices, times = [row[0] for row in rows], [row[1] for row in rows]
        tracks.append(TrueTrack(line["track"], indices, times, boxes, line["replaced"], line["face"]))
    return tracks


def follow_faces(video: Path, finder: FaceFinder) -> list[TrueTrack]:
    """Find faces in every frame of a video and return their tracks. Missing boxes between a track's first and last frame are
    interpolated, and all boxes are smoothed over time. Raises VideoError.
    """
    tracker, batch, tracks, times = Tracker(), [], {}, []
    shown = frames(video)

    def track_batch() -> None:
        for frame, faces in zip(batch, finder.find([frame.pixels for frame in batch]), strict=True):
            for number, face in zip(tracker.update(frame.index, frame.time_s, faces, frame.pixels), faces, strict=True):
                track = tracks.setdefault(number, TrueTrack(number))
                track.frames.append(frame.index)
                track.times.append(frame.time_s)
                track.boxes.append(np.asarray(face.box, np.float32))
        batch.clear()

    with progress_bar("finding faces", shown.expected, "frames") as bar:
        for frame in shown:
            batch.append(frame)
            times.append((frame.index, frame.time_s))
            if len(batch) == BATCH:
                track_batch()
            bar.advance()
        track_batch()
    return [_fill_and_smooth(track, times) for track in tracks.values()]


def load_faces(spec: str, count: int, seed: int) -> list[tuple[str, np.ndarray]]:
    """Return `count` faces as (name, uint8 RGB (H, W, 3)): new fakes of a run's last checkpoint, or fakes of a set or images
    of a folder, chosen by `seed`. Raises UserError for too few faces or an unreadable image.
    """
    if (Path(spec) / "run.json").is_file():
        from fakegen.runs.run import open_run
        from fakegen.sampling.requests import choose_epoch, load_epoch

        run = open_run(Path(spec), writes=False)
        epoch = choose_epoch(run, None)
        made = load_epoch(run, epoch, "cpu").batch(seed, range(count)).transpose(0, 2, 3, 1)
        made = made.repeat(3, axis=3) if made.shape[3] == 1 else made
        names = [f"{run.path.name}, epoch {epoch}, seed {seed}, image {number}" for number in range(count)]
        return list(zip(names, made, strict=True))
    source = open_source(spec, label="fake")
    if len(source) < count:
        raise UserError(f"{spec} has too few faces", got=len(source), expected=f"{count} or more")
    rows = np.random.default_rng(seed).choice(len(source), count, replace=False)
    faces = []
    for row in rows.tolist():
        try:
            found = source.read(row)
            image = decode_image(found) if isinstance(found, bytes) else found
        except ImageError as error:
            raise UserError(f"{source.paths[row]} cannot be pasted", got=str(error), expected="an image") from None
        faces.append((source.names[row], image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)))
    return faces


def paste(pixels: np.ndarray, box: np.ndarray, face: np.ndarray, margin: float = 0.0) -> None:
    """Paste `face`, uint8 RGB (H, W, 3), into `box` (4,) xyxy of `pixels`, uint8 RGB, in place: in an ellipse with a soft
    border, matched to the colours of the original. Parts outside the frame are cut off. `margin`: see `replace_faces`.
    """
    half = (box[2:] - box[:2]) / 2  # semi-axes of the ellipse
    side = max(2, round(float(half.max()) * 2 * (1 + 2 * margin)))
    left, top = (round(float(value) - side / 2) for value in (box[:2] + box[2:]) / 2)
    rows = slice(max(top, 0), max(0, min(top + side, pixels.shape[0])))
    columns = slice(max(left, 0), max(0, min(left + side, pixels.shape[1])))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return
    shrinks = side < min(face.shape[:2])
    square = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    out = np.hypot(across / max(half[0], 1), down / max(half[1], 1))  # 1 on the ellipse's border
    weight = np.clip((1 - out) / _SOFT_BORDER, 0, 1).astype(np.float32)
    inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    square, weight, original = square[inner], weight[inner][..., None], pixels[rows, columns]
    if weight.sum() < 1:
        return
    coloured = _match_colours(square, original, weight)
    mixed = weight * coloured + (1 - weight) * original
    pixels[rows, columns] = np.where(weight > 0, mixed.round().clip(0, 255), original).astype(np.uint8)


def _match_colours(face: np.ndarray, original: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return `face` with the mean and deviation of `original` in Lab, weighted by `weight` (H, W, 1); float32 RGB, [0, 255]."""
    new, old = (cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in (face, original))
    (new_mean, new_deviation), (mean, deviation) = (_moments(image, weight) for image in (new, old))
    contrast = np.clip(deviation / np.maximum(new_deviation, 1e-3), 1 / _MAX_CONTRAST, _MAX_CONTRAST)
    moved = ((new - new_mean) * contrast + mean).astype(np.float32)
    return cv2.cvtColor(moved, cv2.COLOR_LAB2RGB).clip(0, 1) * 255


def _moments(image: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = (image * weight).sum(axis=(0, 1)) / weight.sum()
    return mean, np.sqrt((np.square(image - mean) * weight).sum(axis=(0, 1)) / weight.sum())


def _fill_and_smooth(track: TrueTrack, times: list[tuple[int, float]]) -> TrueTrack:
    from scipy.ndimage import gaussian_filter1d

    filled = TrueTrack(track.number)
    for index, time_s in times:
        box = box_at(track.times, track.boxes, time_s, around_s=0.0)
        if box is not None:
            filled.frames.append(index)
            filled.times.append(time_s)
            filled.boxes.append(box)
    filled.boxes = list(gaussian_filter1d(np.stack(filled.boxes), _SMOOTHING, axis=0, mode="nearest"))
    return filled


def _choose(
    tracks: list[TrueTrack], count: int | None, which: Sequence[int] | None, seed: int, video: Path
) -> list[TrueTrack]:
    long_enough = [track for track in tracks if track.duration_s >= MIN_TRACK_S]
    text = f"{counted(len(long_enough), 'track')} of {MIN_TRACK_S:g} s or more: {', '.join(str(t.number) for t in long_enough)}"
    if which is not None:
        if unknown := set(which) - {track.number for track in tracks}:
            raise UserError(f"{video} has no track {min(unknown)}", expected=text)
        return [track for track in tracks if track.number in which]
    count = max(1, len(long_enough) // 2) if count is None else count
    if not 1 <= count <= len(long_enough):
        raise UserError(f"--tracks cannot be used with {video}", got=count, expected=f"1 or more, of {text}")
    if count == len(long_enough):
        say(f"note: all tracks of {MIN_TRACK_S:g} s or more are replaced, so none is left to compare with")
    rows = np.random.default_rng(seed).choice(len(long_enough), count, replace=False)
    return [long_enough[row] for row in sorted(rows.tolist())]


if __name__ == "__main__":
    main()
