"""How often `inspect` is right about photos whose history is known, and how long it takes.

python -m benchmarks.inspection --photos DIR
python -m benchmarks.inspection --photos DIR --only speed --videos a.mp4 b.mp4

Photos are reduced to half their sides first, which removes the traces of earlier compressions.
"""

from __future__ import annotations

import argparse
import io
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from fakecore.report.tables import table
from fakedetect.inspection.compression import MIN_GAIN, MIN_TOTAL, earlier_compression
from fakedetect.inspection.inspect import inspect_file
from fakedetect.inspection.thumbnails import compare_thumbnail

_BANDS = ((30, 50), (50, 60), (60, 70), (70, 80), (80, 90), (90, 96), (96, 100))
_QUALITIES = (50, 60, 70, 80, 85, 90, 95)
_ONCE_EACH = 4  # qualities tried for a photo
_TWICE = 20  # photos
_REPEATS = 7

Change = Callable[[Image.Image], Image.Image]
_CHANGES: dict[str, Change] = {
    "enlarged twice": lambda one: one.resize((one.width * 2, one.height * 2), Image.Resampling.BICUBIC),
    "enlarged 8 to 5": lambda one: one.resize((one.width * 8 // 5, one.height * 8 // 5), Image.Resampling.BILINEAR),
    "sharpened": lambda one: ImageEnhance.Sharpness(one).enhance(3),
    "contrast doubled": lambda one: ImageEnhance.Contrast(one).enhance(2),
    "16 colours": lambda one: one.quantize(16).convert("RGB"),
    "JPEG 70, then shifted by 3 and 5": lambda one: _again(one, 70).crop((3, 5, one.width, one.height)),
}
_SAME: dict[str, Change] = {
    "as it is": lambda one: one,
    "JPEG of quality 30": lambda one: _again(one, 30),
    "half the sides": lambda one: one.resize((one.width // 2, one.height // 2)),
    "turned by 90 degrees": lambda one: one.transpose(Image.Transpose.ROTATE_90),
    "brightness times 1.4": lambda one: ImageEnhance.Brightness(one).enhance(1.4),
    "contrast times 1.5": lambda one: ImageEnhance.Contrast(one).enhance(1.5),
    "grey": lambda one: one.convert("L").convert("RGB"),
    "sharpness times 3": lambda one: ImageEnhance.Sharpness(one).enhance(3),
}
_OTHER: dict[str, Callable[[Image.Image, Image.Image], Image.Image]] = {
    "cropped by 5 % at two sides": lambda one, _: _cropped(one, 0.05),
    "cropped by 10 %": lambda one, _: _cropped(one, 0.1),
    "mirrored": lambda one, _: ImageOps.mirror(one),
    "a patch of 10 % of the longer side": lambda one, other: _patched(one, other, 0.1),
    "a patch of 15 %": lambda one, other: _patched(one, other, 0.15),
    "a patch of 25 %": lambda one, other: _patched(one, other, 0.25),
    "the middle (a face) of another photo": lambda one, other: _patched(one, other, 0.5),
    "another photo": lambda _, other: other,
}
_SHRINKS: dict[str, Change] = {
    "fitted": lambda one: ImageOps.contain(one, (160, 160)),
    "letterboxed": lambda one: ImageOps.pad(one, (160, 120)),
    "filled": lambda one: ImageOps.fit(one, (160, 120)),
}


def compression(photos: Sequence[Image.Image]) -> None:
    """Print false alarms on photos compressed once, and what is found of photos compressed twice."""
    random = np.random.default_rng(0)
    halves = [one.resize((one.width // 2, one.height // 2), Image.Resampling.LANCZOS) for one in photos]
    rows, done = [], []
    for half in halves:
        for quality in random.integers(30, 100, _ONCE_EACH):
            done.append((int(quality), _alarm(_jpeg(half, int(quality)))))
    for low, high in _BANDS:
        found = [alarm for quality, alarm in done if low <= quality < high and alarm is not None]
        rows.append([f"{low} to {high - 1}", len(found), sum(found)])
    for name, change in _CHANGES.items():
        qualities = random.integers(40, 100, len(halves))
        tried = [_alarm(_jpeg(change(half), int(q))) for half, q in zip(halves, qualities, strict=True)]
        found = [alarm for alarm in tried if alarm is not None]
        rows.append([name, len(found), sum(found)])
    print(table(("compressed once, quality", "photos", "false alarms"), rows))
    rows = []
    for first in _QUALITIES:
        tried = [[_alarm(_jpeg(_again(half, first), last)) for half in halves[:_TWICE]] for last in _QUALITIES]
        rows.append([first, *(f"{100 * sum(filter(None, each)) / max(1, len(each)):.0f}" for each in tried)])
    print(table(("first, then", *map(str, _QUALITIES)), rows))


def thumbnails(photos: Sequence[Image.Image]) -> None:
    """Print how often a thumbnail disagrees with its photo, changed in ways that do and do not make it another picture."""
    rows = []
    for name, change in _SAME.items():
        rows.append([f"same: {name}", *(_disagree([(change(one), one) for one in photos], each) for each in _SHRINKS)])
    others = [*photos[1:], photos[0]]
    for name, edit in _OTHER.items():
        pairs = [(edit(one, other), one) for one, other in zip(photos, others, strict=True)]
        rows.append([f"other: {name}", *(_disagree(pairs, each) for each in _SHRINKS)])
    print(table(("photo, thumbnails that disagree, %", *_SHRINKS), rows))


def speed(paths: Sequence[str], videos: Sequence[str]) -> None:
    """Print the time of `inspect_file` for a file, the best of several passes."""
    rows = []
    for name, chosen in (("photos", paths), ("videos", videos)):
        for deep in (False, True) if chosen else ():
            times = []
            for _ in range(_REPEATS):
                start, cpu = time.perf_counter(), time.process_time()
                for path in chosen:
                    inspect_file(path, deep=deep)
                times.append((time.perf_counter() - start, time.process_time() - cpu))
            wall, cpu = (1e3 * min(each) / len(chosen) for each in zip(*times, strict=True))
            rows.append([f"{name}, {'all' if deep else 'headers'}", len(chosen), f"{wall:.3f}", f"{cpu:.3f}"])
    tagged = [_jpeg(Image.open(path), 85, _exif(_jpeg(Image.open(path), 70))) for path in paths]
    start, cpu = time.perf_counter(), time.process_time()
    for data in tagged:
        inspect_file("a.jpg", data=data)
    wall, cpu = (1e3 * spent / len(tagged) for spent in (time.perf_counter() - start, time.process_time() - cpu))
    rows.append(["photos with EXIF data, headers, read before", len(tagged), f"{wall:.3f}", f"{cpu:.3f}"])
    print(table(("files", "number", "ms each", "ms of CPU each"), rows))


def _alarm(data: bytes) -> bool | None:
    """Return whether a file seems to have been compressed before, None if it is too small."""
    found = earlier_compression(data)
    return None if found is None else found.gain >= MIN_GAIN and found.total >= MIN_TOTAL


def _disagree(pairs: Sequence[tuple[Image.Image, Image.Image]], shrink: str) -> str:
    """Return the percentage of (photo, what its thumbnail shows) that disagree."""
    tried = [compare_thumbnail(_jpeg(one, 85, _exif(_jpeg(_SHRINKS[shrink](shown), 70)))) for one, shown in pairs]
    found = [one for one in tried if one]
    return f"{100 * sum(not one.same for one in found) / max(1, len(found)):.1f}"


def _jpeg(image: Image.Image, quality: int, exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def _again(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(_jpeg(image, quality))).convert("RGB")


def _exif(thumbnail: bytes) -> bytes:
    entries = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 44, 0x0202, 4, 1, len(thumbnail), 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + entries + thumbnail


def _cropped(image: Image.Image, part: float) -> Image.Image:
    return image.crop((int(image.width * part), int(image.height * part), image.width, image.height))


def _patched(image: Image.Image, other: Image.Image, part: float) -> Image.Image:
    side, image = int(max(image.size) * part), image.copy()
    patch = ImageOps.fit(other, (side, side))
    image.paste(patch, ((image.width - side) // 2, (image.height - side) // 3))
    return image


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG photos")
    parser.add_argument("--videos", nargs="*", default=[])
    parser.add_argument("--only", default="", help="compression, thumbnails or speed; default: all")
    parser.add_argument("--limit", type=int, default=500, help="photos")
    options = parser.parse_args()
    paths = [str(path) for path in sorted(options.photos.glob("*.jp*g"))]
    if not paths:
        parser.error(f"--photos {options.photos} has no JPEG files")
    if options.only in ("", "speed"):
        speed(paths[: options.limit], options.videos)
    for part in (compression, thumbnails):
        if options.only in ("", part.__name__):
            large = [one for one in map(Image.open, paths) if min(one.size) >= 210][: options.limit]
            part([one.convert("RGB") for one in large])


if __name__ == "__main__":
    main()
