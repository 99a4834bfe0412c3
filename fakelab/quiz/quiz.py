"""`quiz`: a page on which a person chooses the real image of each pair, with the numbers of detectors for the same pairs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.media.pixels import ImageError
from fakecore.report.pages import data_uri, write_page
from fakecore.sets.imageset import is_imageset
from fakedetect.data.loading import place_name
from fakedetect.data.overlap import which_seen
from fakedetect.models.detector import Detector
from fakelab.quiz.numbers import against_chance, auroc, auroc_interval, pairs_right, wilson_interval
from fakelab.quiz.pairs import Pairs, draw_pairs

LIMITS = (10, 500)  # pairs
MIN_ANSWERS = 10  # of which the page shows a result: the interval is then some 50 percentage points wide
# Pixels of the page: smaller images are enlarged by a whole factor, at most to this, so that their pixels stay squares.
_WIDE, _WIDE_ON_PHONES, _WIDE_WHEN_WRONG = 256, 160, 128
_MAX_OUTSIDE = 0.5  # share of the images: a caution is given if more are out of a detector's domain


@dataclass(frozen=True)
class JudgedPairs:
    """A detector's results for the pairs of a quiz; the intervals are of 95 %."""

    detector: str
    name: str  # of its folder or file; the same as `detector` where two have one name
    pairs_right: float  # pairs with the higher score for the fake; a tie counts half
    share: float  # of all pairs: the AUROC of pairs
    share_interval: tuple[float, float]
    against_chance: str
    auroc: float  # over all images
    auroc_interval: tuple[float, float]
    both_verdicts_right: int  # pairs with the verdicts real and fake, at the detector's own thresholds
    outside_domain: int | None  # images; None: this detector does not assess it
    seen: int | None  # images that it was trained or tuned on; None: unknown


@dataclass(frozen=True)
class Quiz:
    """The result of `make_quiz`: the page, where its pairs come from, and the numbers of the detectors."""

    page: Path
    id: str
    pairs: int
    real_splits: dict[str, int]
    fakes_from: str
    same_class: bool
    detectors: list[JudgedPairs]
    caution: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts for `--json`."""
        return {**asdict(self), "page": str(self.page)}


def make_quiz(
    place: Path | str,
    out: Path | str,
    *,
    pairs: int = 40,
    seed: int = 0,
    epoch: int | None = None,
    detectors: Sequence[Path | str] = (),
    device: str = "auto",
) -> Quiz:
    """Write the page `out` (.html): pairs of a held-out real image and a fake of a run or a set, for a person to judge.

    `epoch` is that of the run, by default the best measured, else the last. `detectors` are judged on the same pairs.
    Raises UserError for too few held-out images, an existing or unusual `out`, or a run without checkpoint.
    """
    place, out = Path(place), Path(out)
    if out.suffix.lower() != ".html" or out.exists():
        what, got = "--out cannot be written", "an existing file" if out.exists() else out.suffix or "no suffix"
        raise UserError(what, got=got, expected="a new .html file")
    if not LIMITS[0] <= pairs <= LIMITS[1]:
        raise UserError("--pairs is out of range", got=pairs, expected=f"{LIMITS[0]} to {LIMITS[1]}")
    if len(set(map(str, detectors))) < len(detectors):
        raise UserError("a detector is given twice", got=", ".join(map(str, detectors)), expected="different detectors")
    drawn = draw_pairs(place, pairs, seed, epoch=epoch, device=device)
    names = [Path(path).name for path in detectors]
    judged = [
        _judge(str(path), name if names.count(name) == 1 else str(path), drawn, device)
        for path, name in zip(detectors, names, strict=True)
    ]
    found, rights = [one for one, _ in judged], [right.tolist() for _, right in judged]
    files = [_png(image) for image in _as_shown(drawn)]
    side, name = drawn.reals.shape[-1], place_name(place)
    quiz = Quiz(
        out,
        hashlib.sha256(b"".join(files)).hexdigest()[:16],
        len(drawn),
        drawn.real_splits,
        drawn.fakes_from,
        drawn.same_class,
        found,
        _caution(found, 2 * len(drawn)),
    )
    data = {
        "id": quiz.id,
        "name": name,
        "images": [data_uri(file) for file in files],
        "real_is_left": drawn.real_is_left.tolist(),
        "min_answers": MIN_ANSWERS,
        "detectors": [
            {**asdict(one), "detector": one.name, "rights": right} for one, right in zip(found, rights, strict=True)
        ],
    }
    write_page(
        out,
        "fakelab.quiz",
        "quiz.html.j2",
        title=f"{name}: which one is real?",
        quiz=quiz,
        data=data,
        width=_enlarged(side, _WIDE),
        width_on_phones=_enlarged(side, _WIDE_ON_PHONES),
        width_when_wrong=min(_enlarged(side, _WIDE_WHEN_WRONG), _WIDE),
        enlarged=side * 2 <= _WIDE,
    )
    return quiz


def find_detector(place: Path, *roots: Path) -> Path | None:
    """Return the newest detector in `roots` that `detect-train` named after the run or set `place` and trained on it."""
    root = place / "set" if is_imageset(place / "set") else place
    if not is_imageset(root):
        return None
    origin, found = read_json(root / "imageset.json")["origin"], []
    for path in (path for folder in roots for path in folder.glob(f"{escape(place_name(place))}-*/detector.json")):
        trained_on = read_json(path).get("training", {}).get("origin", {})
        if all(trained_on.get(key) == value for key, value in origin.items()):
            found.append(path)
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else None


def _judge(path: str, name: str, pairs: Pairs, device: str) -> tuple[JudgedPairs, np.ndarray]:
    """Return a detector's results, and which pairs it ranks right, (N,) of 1, 0.5 and 0."""
    detector, n = Detector.load(path, device), len(pairs)
    try:
        prepared = np.stack([detector.prepare(_as_rgb(image)) for image in pairs.images])
    except ImageError as error:
        raise UserError(f"{path} cannot judge these images", got=str(error)) from None
    logits, outside = detector.outputs(prepared)
    right, area = pairs_right(logits[:n], logits[n:]), auroc(logits[:n], logits[n:])
    interval = wilson_interval(float(right.mean()), n)
    verdicts = np.array([one.verdict for one in detector.judge(logits, outside)])
    seen = _seen(Path(path), detector, pairs)
    judged = JudgedPairs(
        detector=path,
        name=name,
        pairs_right=float(right.sum()),
        share=float(right.mean()),
        share_interval=interval,
        against_chance=against_chance(interval),
        auroc=area,
        auroc_interval=auroc_interval(area, n),
        both_verdicts_right=int(((verdicts[:n] == "real") & (verdicts[n:] == "fake")).sum()),
        outside_domain=None if outside is None else int(outside.sum()),
        seen=seen,
    )
    return judged, right


def _seen(path: Path, detector: Detector, pairs: Pairs) -> int | None:
    """Return how many images the detector was trained or tuned on, by the bytes of their files or of their sources."""
    owners = [row for row, names in enumerate(pairs.known_as) for _ in names]
    seen = which_seen(path, detector.facts, [name for names in pairs.known_as for name in names])
    return None if seen is None else len({owner for owner, known in zip(owners, seen, strict=True) if known})


def _caution(found: list[JudgedPairs], images: int) -> str | None:
    """Return which detectors know some of the images, or are not made for them."""
    lines = [
        f"{one.name} was trained or tuned on {one.seen} of these {images} images, so its numbers may be too high."
        for one in found
        if one.seen
    ]
    lines += [
        f"{one.name} calls {one.outside_domain} of these {images} images out of domain: they are unlike its training "
        "images, and its scores are not reliable."
        for one in found
        if (one.outside_domain or 0) > _MAX_OUTSIDE * images
    ]
    return " ".join(lines) or None


def _enlarged(side: int, most: int) -> int:
    return side * max(1, most // side)


def _as_shown(pairs: Pairs) -> list[np.ndarray]:
    """Return the images in the order of the page: of each pair the left, then the right."""
    return [
        image
        for real, fake, left in zip(pairs.reals, pairs.fakes, pairs.real_is_left, strict=True)
        for image in ((real, fake) if left else (fake, real))
    ]


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """(C, R, R), C 1 or 3 -> (R, R, 3)."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))


def _png(image: np.ndarray) -> bytes:
    """Return the PNG bytes of uint8 (C, R, R) without any text.

    All other images that fakelab writes state their origin in the file. Here this would give the answer away to anyone who
    saves an image or lets a browser extension read it; the page as a whole says that its images are half fake.
    """
    file = io.BytesIO()
    Image.fromarray(image[0] if image.shape[0] == 1 else _as_rgb(image)).save(file, "PNG", optimize=True)
    return file.getvalue()
