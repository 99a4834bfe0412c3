"""A trained detector: network, preprocessing, temperature and thresholds, in one folder that explains itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fakecore.checkpoint import load_checkpoint, load_into, save_checkpoint, tensor_bytes
from fakecore.device import autocast, choose_device
from fakecore.errors import UserError
from fakecore.fields import OBJECT, TEXT, Kind, check_fields, number, one_of, whole
from fakecore.labels import LABEL_NUMBERS, decide
from fakecore.pixels import ImageError, fit_square, read_image
from fakedetect.calibration import Thresholds, probability, stated
from fakedetect.equalise import equalised
from fakedetect.networks import build_network

DETECTOR_VERSION = 1
SCORE_BATCH = 64
_BATCH_PIXELS = SCORE_BATCH * 256 * 256  # larger images go into smaller batches, or they fill the memory
MIN_SIDE = 8  # pixels; no detector looks at fewer
MIN_SHARE = 0.5  # of an image: when the centre crop keeps less, that is noted
_SHAPE = {"resolution": whole(1, 1024), "channels": one_of(1, 3)}
_COUNTS = {"real": whole(0), "fake": whole(0)}
FIELDS = {
    "model": TEXT,
    "arguments": {**_SHAPE, "blocks": whole(1, 4)},
    "preprocessing": _SHAPE,
    "label_convention": OBJECT,
    "temperature": number(0.001, 1000),
    "thresholds": {
        "fake_from": number(0, 1.000001),  # just above 1 where even a certain `fake` would accuse too many reals
        "real_below": number(0, 1),
        "name": TEXT,
        "max_fpr": number(0, 1),
        "max_fnr": number(0, 1),
        "chosen_on": TEXT,
    },
    "training": {"fingerprint": TEXT, "domain": TEXT, "counts": {"train": _COUNTS}},
    "settings": OBJECT,
    "seed": whole(),
    "versions": OBJECT,
}
_QUALITY = whole(1, 100)
_JPEG_OR_NONE = Kind(f"{_QUALITY.words}, or null", lambda value: value is None or _QUALITY.fits(value))
_REMEDY = "Copy detector.json again, or train anew."


@dataclass(frozen=True)
class Judgement:
    """What a detector says of one image. `p_fake` is calibrated, [0, 1], to six decimals."""

    p_fake: float
    verdict: str  # "real" | "fake" | "unsure"
    threshold: float  # the p_fake from which the verdict is "fake"
    real_below: float  # the p_fake below which it is "real"; equal to `threshold` where nothing is "unsure"


@dataclass
class Detector:
    """`facts` is detector.json."""

    network: nn.Module
    facts: dict
    device: torch.device

    @staticmethod
    def load(path: Path | str, device: str = "auto") -> Detector:
        """Load a detector's folder. Raises UserError when it is missing, damaged, or not a detector."""
        path = Path(path)
        if not (path / "detector.json").is_file():
            raise _no_detector(path)
        tensors, facts = load_checkpoint(path / "detector")
        _check(facts, path)
        try:
            network = build_network(facts["model"], facts["arguments"])
        except UserError as error:
            what = f"{path / 'detector.json'}: {error.what}"
            raise UserError(what, got=error.got, expected=error.expected, remedy=_REMEDY) from None
        load_into(network, tensors, str(path))
        place = choose_device(device)
        return Detector(network.to(place, memory_format=torch.channels_last).eval(), facts, place)

    def save(self, path: Path) -> None:
        """Write detector.safetensors, then detector.json, whose presence says that the detector is whole."""
        self.facts["sha256"] = save_checkpoint(path / "detector", self.network.state_dict(), self.facts)

    @property
    def resolution(self) -> int:
        return self.facts["preprocessing"]["resolution"]

    @property
    def channels(self) -> int:
        return self.facts["preprocessing"]["channels"]

    @property
    def equalise_jpeg(self) -> int | None:
        """The JPEG quality at which every image is saved once more before it is judged; None: it is not."""
        return self.facts["preprocessing"].get("equalise_jpeg")

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(**{field.name: self.facts["thresholds"][field.name] for field in fields(Thresholds)})

    @property
    def id(self) -> str:
        """Twelve characters that stand for these weights in tables of results."""
        if "sha256" not in self.facts:
            self.facts["sha256"] = hashlib.sha256(tensor_bytes(self.network.state_dict())).hexdigest()
        return self.facts["sha256"][:12]

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (C, R, R), the way the training images came.

        Raises ImageError for an image of which a side is shorter than MIN_SIDE: there is nothing in it to judge.
        """
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            needed = f"at least {MIN_SIDE}x{MIN_SIDE} are needed"
            raise ImageError("unsupported", f"{width}x{height} pixels: too small to judge; {needed}")
        fitted = fit_square(image, self.resolution, self.channels)
        return fitted if self.equalise_jpeg is None else equalised(fitted, self.equalise_jpeg)

    def note_on(self, image: np.ndarray) -> str | None:
        """What to bear in mind of a judgement on this image, (H, W, 3): that it was enlarged, or is mostly cropped away."""
        height, width = image.shape[:2]
        side, notes = min(height, width), []
        if side < self.resolution:
            notes.append(
                f"enlarged: its shorter side has {side} pixels, the detector looks at {self.resolution}x{self.resolution}"
            )
        if side < max(height, width) * MIN_SHARE:
            notes.append(f"only its middle {side / max(height, width):.0%} was judged")
        return "; ".join(notes) or None

    def logits(self, images: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Prepared uint8 (N, C, R, R), or some `rows` of it -> float64 logits (N,), high for fake."""
        return network_logits(self.network, images, self.device, rows)

    def judge(self, logits: np.ndarray) -> list[Judgement]:
        """Logits (N,) -> judgements, by the detector's own temperature and thresholds."""
        limits = self.thresholds
        p_fakes = stated(probability(logits, self.facts["temperature"]))
        verdicts = [decide(p, real_below=limits.real_below, fake_from=limits.fake_from) for p in p_fakes]
        return [
            Judgement(float(p), verdict, limits.fake_from, limits.real_below)
            for p, verdict in zip(p_fakes, verdicts, strict=True)
        ]

    def score(self, images: Sequence[np.ndarray | Path | str]) -> list[Judgement]:
        """Judge images: uint8 RGB (H, W, 3) arrays, or paths. Raises ImageError for what cannot be read
        or is too small.

        For folders, unreadable files and results on disk, see fakedetect.scoring.
        """
        arrays = [image if isinstance(image, np.ndarray) else read_image(Path(image)) for image in images]
        if not arrays:
            return []
        return self.judge(self.logits(np.stack([self.prepare(array) for array in arrays])))


def _no_detector(path: Path) -> UserError:
    if (path / "training.json").is_file():
        remedy = f"Finish it: fakelab detect-train --resume --out {path}"
        return UserError(f"{path} holds a training that was stopped, and no detector yet", remedy=remedy)
    got = None if path.exists() else "no such folder"
    expected = "a folder with detector.json, made by `detect-train`"
    return UserError(f"{path} is not a detector", got=got, expected=expected)


def _check(facts: dict, path: Path) -> None:
    """Raise UserError unless detector.json says, in values that can be, all that judging and reporting rely on."""
    where = path / "detector.json"
    if facts.get("kind") != "detector" or facts.get("version") != DETECTOR_VERSION:
        got = f"kind {facts.get('kind')!r}, version {facts.get('version')!r}"
        raise UserError(f"{path} cannot be used as a detector", got=got, expected=f"version {DETECTOR_VERSION}")
    check_fields(facts, FIELDS, where, remedy=_REMEDY)
    if facts["label_convention"] != LABEL_NUMBERS:
        raise UserError(
            f"{path} follows another label convention", got=facts["label_convention"], expected=LABEL_NUMBERS
        )
    optional = {"equalise_jpeg": None, **facts["preprocessing"]}
    check_fields(optional, {"equalise_jpeg": _JPEG_OR_NONE}, where, remedy=_REMEDY, inside="preprocessing.")
    for name in _SHAPE:
        takes, says = facts["arguments"][name], facts["preprocessing"][name]
        if takes != says:
            what = f"{where}: preprocessing.{name} and arguments.{name} differ"
            raise UserError(what, got=f"{says} and {takes}", remedy=_REMEDY)
    limits = facts["thresholds"]
    if limits["real_below"] > limits["fake_from"]:
        what = f"{where}: thresholds.real_below cannot be used"
        expected = f"at most fake_from, {limits['fake_from']}"
        raise UserError(what, got=limits["real_below"], expected=expected, remedy=_REMEDY)


@torch.inference_mode()
def network_logits(
    network: nn.Module, images: np.ndarray, device: torch.device, rows: np.ndarray | None = None
) -> np.ndarray:
    """uint8 (N, C, R, R) -> float64 logits (N,), in batches, in fp32: a score should not depend on its neighbours.

    `rows` chooses some of the images and their order; each batch is copied only when its turn comes.
    """
    rows = np.arange(len(images)) if rows is None else rows
    size = max(1, min(SCORE_BATCH, _BATCH_PIXELS // images.shape[2] ** 2))
    was_training = network.training
    network.eval()
    found = []
    for start in range(0, len(rows), size):
        batch = torch.from_numpy(images[rows[start : start + size]]).to(device)
        with autocast(device, "fp32"):
            found.append(network(batch.to(memory_format=torch.channels_last)).double().cpu().numpy())
    network.train(was_training)
    return np.concatenate(found) if found else np.empty(0)
