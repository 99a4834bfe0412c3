"""A trained detector: network, preprocessing, temperature and thresholds, in one folder that explains itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fakecore.device import autocast, choose_device, choose_precision, keep_freed_memory, to_device
from fakecore.errors import UserError
from fakecore.labels import decide
from fakecore.media.pixels import fit_square, is_grey, read_image, refuse_tiny
from fakecore.messages import command
from fakecore.runs.checkpoint import load_checkpoint, load_into, save_checkpoint, tensor_bytes
from fakedetect.data.equalise import equalised
from fakedetect.models.backbones import for_scoring
from fakedetect.models.calibration import Thresholds, probability, stated
from fakedetect.models.domain import Domain, split_tensors
from fakedetect.models.facts import REMEDY, check_facts
from fakedetect.models.onnx import KnownDistance, open_onnx
from fakedetect.models.registry import build_network

SCORE_BATCH = 64
# Larger images go into smaller batches: on a GPU so that they do not fill its memory, on a CPU so that every core has some
# to do, and what a layer makes of them is still near when the next one wants it.
_BATCH_PIXELS = 16 * 224 * 224
_BATCH_PIXELS_GPU = SCORE_BATCH * 256 * 256
MIN_SHARE = 0.5  # of an image: when the centre crop keeps less, that is noted


@dataclass(frozen=True)
class Judgement:
    """What a detector says of one image. `p_fake` is calibrated, [0, 1], to six decimals."""

    p_fake: float
    verdict: str  # "real" | "fake" | "unsure"
    threshold: float  # the p_fake from which the verdict is "fake"
    real_below: float  # the p_fake below which it is "real"; equal to `threshold` where nothing is "unsure"
    outside_domain: bool | None = None  # unlike anything in training, and so "unsure"; None where that is not known


@dataclass
class Detector:
    """`facts` is detector.json."""

    network: nn.Module
    facts: dict
    device: torch.device
    domain: Domain | KnownDistance | None = None  # what its training images are like; None where that is not known

    @staticmethod
    def load(path: Path | str, device: str = "auto") -> Detector:
        """Load a detector's folder, or an .onnx file that `export` made of one.

        Raises UserError when it is missing, damaged, or not a detector.
        """
        path = Path(path)
        if path.suffix.lower() == ".onnx":
            exported, facts, known = open_onnx(path, device)
            return Detector(exported, facts, torch.device("cpu"), known)
        if not (path / "detector.json").is_file():
            raise _no_detector(path)
        tensors, facts = load_checkpoint(path / "detector")
        check_facts(facts, path, where=path / "detector.json", remedy=REMEDY)
        try:
            network = build_network(facts["model"], facts["arguments"])
        except UserError as error:
            what = f"{path / 'detector.json'}: {error.what}"
            raise UserError(what, got=error.got, expected=error.expected, remedy=REMEDY) from None
        tensors, domain = split_tensors(tensors)
        load_into(network, tensors, str(path))
        place = choose_device(device)
        detector = Detector(to_device(network, place).eval(), facts, place, domain)
        _ = detector._scoring  # now, once: threads that begin to score together would each make their own
        return detector

    def save(self, path: Path) -> None:
        """Write detector.safetensors, then detector.json, whose presence says that the detector is whole."""
        self.facts["sha256"] = save_checkpoint(path / "detector", self._tensors(), self.facts)

    def _tensors(self) -> dict[str, torch.Tensor]:
        own = self.domain.tensors() if isinstance(self.domain, Domain) else {}
        return {**self.network.state_dict(), **own}

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
    def face_margin(self) -> float | None:
        """What the training images show around a face, as a share of its side, where `faces` cut them; else None."""
        return self.facts["preprocessing"].get("faces", {}).get("margin")

    @property
    def face_align(self) -> bool:
        """Whether the faces of the training images were turned upright."""
        return self.facts["preprocessing"].get("faces", {}).get("align", False)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(**{field.name: self.facts["thresholds"][field.name] for field in fields(Thresholds)})

    @property
    def id(self) -> str:
        """Twelve characters that stand for these weights in tables of results."""
        if "sha256" not in self.facts:
            self.facts["sha256"] = hashlib.sha256(tensor_bytes(self._tensors())).hexdigest()
        return self.facts["sha256"][:12]

    @cached_property
    def _scoring(self) -> nn.Module:
        return scoring_network(self.network, self.device)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> uint8 (C, R, R), the way the training images came.

        Raises ImageError for an image of which a side is shorter than 8 pixels: there is nothing in it to judge.
        """
        refuse_tiny(image, "judge")
        fitted = fit_square(image, self.resolution, self.channels)
        return fitted if self.equalise_jpeg is None else equalised(fitted, self.equalise_jpeg)

    def note_on(self, image: np.ndarray) -> str | None:
        """What to bear in mind of a judgement on this image, (H, W, 3): enlarged, mostly cropped away, or grey."""
        height, width = image.shape[:2]
        side, notes = min(height, width), []
        if side < self.resolution:
            notes.append(
                f"enlarged: its shorter side has {side} pixels, the detector looks at {self.resolution}x{self.resolution}"
            )
        if side < max(height, width) * MIN_SHARE:
            notes.append(f"only its middle {side / max(height, width):.0%} was judged")
        if self.channels == 3 and is_grey(image):
            notes.append("grey, where the detector was trained on images in colour")
        return "; ".join(notes) or None

    def logits(self, images: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Prepared uint8 (N, C, R, R), or some `rows` of it -> float64 logits (N,), high for fake."""
        return network_logits(self._scoring, images, self.device, rows)

    def outputs(self, images: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """As `logits`, with bool (N,) that say which images are unlike anything in training; None where not known."""
        if self.domain is None:
            return self.logits(images, rows), None
        logits, features = network_outputs(self._scoring, images, self.device, rows)
        return logits, self.domain.outside(features)

    def judge(self, logits: np.ndarray, outside: np.ndarray | None = None) -> list[Judgement]:
        """What `outputs` gave -> judgements, by the detector's own temperature and thresholds."""
        limits = self.thresholds
        p_fakes = stated(probability(logits, self.facts["temperature"]))
        found = []
        for place, p in enumerate(p_fakes):
            far = None if outside is None else bool(outside[place])
            verdict = "unsure" if far else decide(p, real_below=limits.real_below, fake_from=limits.fake_from)
            found.append(Judgement(float(p), verdict, limits.fake_from, limits.real_below, far))
        return found

    def score(self, images: Sequence[np.ndarray | Path | str]) -> list[Judgement]:
        """Judge images: uint8 RGB (H, W, 3) arrays, or paths. Raises ImageError for what cannot be read
        or is too small.

        For folders, unreadable files and results on disk, see fakedetect.scoring.files.
        """
        arrays = [image if isinstance(image, np.ndarray) else read_image(Path(image)) for image in images]
        if not arrays:
            return []
        return self.judge(*self.outputs(np.stack([self.prepare(array) for array in arrays])))


def _no_detector(path: Path) -> UserError:
    if (path / "training.json").is_file():
        remedy = f"Finish it: {command('detect-train', '--resume', '--out', path)}"
        return UserError(f"{path} holds a training that was stopped, and no detector yet", remedy=remedy)
    got = None if path.exists() else "no such folder"
    expected = "a folder with detector.json, made by `detect-train`"
    return UserError(f"{path} is not a detector", got=got, expected=expected)


def scoring_network(network: nn.Module, device: torch.device) -> nn.Module:
    """`network`, once it is trained, as it scores: large ones as fast as the device can, see `for_scoring`."""
    if device.type == "cpu":
        keep_freed_memory()
    return for_scoring(network, choose_precision(getattr(network, "precision", "fp32"), device))


def network_logits(
    network: nn.Module, images: np.ndarray, device: torch.device, rows: np.ndarray | None = None
) -> np.ndarray:
    """uint8 (N, C, R, R) -> float64 logits (N,), in batches: see `network_outputs`."""
    return np.concatenate(
        [logits for logits, _ in _in_batches(network, network, images, device, rows)] or [np.empty(0)]
    )


def network_outputs(
    network: nn.Module, images: np.ndarray, device: torch.device, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, C, R, R) -> float64 logits (N,), and the features that decide them, float32 (N, dims).

    `rows` chooses some of the images and their order; each batch is copied only when its turn comes.
    """
    outputs: Any = network.outputs
    logits, features = zip(*_in_batches(network, outputs, images, device, rows), strict=True)
    return np.concatenate(logits), np.concatenate(features)


def batch_size(network: nn.Module, resolution: int, device: torch.device) -> int:
    """How many images of this resolution a network is given at once, at most SCORE_BATCH."""
    side = getattr(network, "input_size", resolution)
    return max(1, min(SCORE_BATCH, (_BATCH_PIXELS if device.type == "cpu" else _BATCH_PIXELS_GPU) // side**2))


@torch.inference_mode()
def _in_batches(network: nn.Module, compute: Callable, images: np.ndarray, device: torch.device, rows) -> list[tuple]:
    """What `compute` makes of each batch: (float64 logits (B,), float32 features (B, dims) or None)."""
    rows = np.arange(len(images)) if rows is None else rows
    size = batch_size(network, images.shape[2], device)
    # Small networks in fp32, since a score should not depend on its neighbours; large ones as fast as can be.
    precision = choose_precision(getattr(network, "precision", "fp32"), device)
    was_training = network.training
    network.eval()
    found = []
    for start in range(0, len(rows), size):
        batch = torch.from_numpy(images[rows[start : start + size]]).to(device)
        with autocast(device, precision):
            made = compute(batch.to(memory_format=torch.channels_last))
        logits, features = made if isinstance(made, tuple) else (made, None)
        found.append((logits.double().cpu().numpy(), None if features is None else features.float().cpu().numpy()))
    network.train(was_training)
    return found
