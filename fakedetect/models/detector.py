"""A trained detector: network, preprocessing, temperature and thresholds, in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fakecore.device import autocast, choose_device, choose_precision, keep_freed_memory, to_device
from fakecore.errors import UserError
from fakecore.labels import decide
from fakecore.lazytorch import torch
from fakecore.media.pixels import fit_square, is_grey, read_image, refuse_tiny
from fakecore.messages import command
from fakecore.sets.streaming import Pixels, in_batches
from fakedetect.data.equalise import equalised
from fakedetect.detectors import packaged
from fakedetect.models.calibration import Scaling, Thresholds, stated
from fakedetect.models.domain import Domain, split_tensors
from fakedetect.models.facts import REMEDY, check_facts
from fakedetect.models.onnx import KnownDistance, OnnxDevice, OnnxNetwork, open_onnx

if TYPE_CHECKING:
    from torch import nn

SCORE_BATCH = 64
# Batches are smaller for larger images: on a GPU to limit memory, on a CPU to use all cores and to keep activations in the
# cache.
_BATCH_PIXELS = 16 * 224 * 224
_BATCH_PIXELS_GPU = SCORE_BATCH * 256 * 256
_FEATURES = 8192  # images whose features are in memory at a time
MIN_SHARE = 0.5  # of an image: if the centre crop keeps less, a note says so


@dataclass(frozen=True)
class Judgement:
    """The result for one image. `p_fake` is calibrated, [0, 1], rounded to six decimals."""

    p_fake: float
    verdict: str  # "real" | "fake" | "unsure"
    threshold: float  # the p_fake from which the verdict is "fake"
    real_below: float  # the p_fake below which it is "real"; equal to `threshold` where nothing is "unsure"
    outside_domain: bool | None = None  # unlike the training images, hence "unsure"; None if unknown


@dataclass
class Detector:
    """A trained detector. `facts` is the content of detector.json."""

    network: Any  # nn.Module; of an .onnx file an OnnxNetwork
    facts: dict
    device: torch.device
    domain: Domain | KnownDistance | None = None  # model of the training images; None if unknown
    name: str = ""  # of its folder or file

    @staticmethod
    def load(path: Path | str, device: str = "auto") -> Detector:
        """Load a detector from its folder, from an .onnx file made by `export`, or one that comes with the package by its name:
        "faces" or "photos".

        Raises UserError if it is missing, damaged, or not a detector.
        """
        path = Path(path)
        name = path.stem if path.suffix.lower() == ".onnx" else path.name
        if not path.exists():
            path = packaged(str(path)) or path
        if path.suffix.lower() == ".onnx":
            exported, facts, known = open_onnx(path, device)
            return Detector(exported, facts, cast("torch.device", OnnxDevice()), known, name)
        from fakecore.runs.checkpoint import load_checkpoint, load_into  # with torch, which an .onnx file does not need
        from fakedetect.models.registry import build_network

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
        detector = Detector(to_device(network, place).eval(), facts, place, domain, name)
        _ = detector._scoring  # now: threads that start together would each create it
        return detector

    def save(self, path: Path) -> None:
        """Write detector.safetensors, then detector.json, which marks the detector as complete."""
        from fakecore.runs.checkpoint import save_checkpoint

        self.facts["sha256"] = save_checkpoint(path / "detector", self.tensors(), self.facts)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what detector.safetensors holds: weights, and the model of the training images."""
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
        """JPEG quality for compressing every image before scoring; None: no compression."""
        return self.facts["preprocessing"].get("equalise_jpeg")

    @property
    def face_margin(self) -> float | None:
        """Margin around faces in the training images, as a fraction of the side, if `faces` cropped them; else None."""
        return self.facts["preprocessing"].get("faces", {}).get("margin")

    @property
    def face_align(self) -> bool:
        """Whether the faces of the training images were aligned."""
        return self.facts["preprocessing"].get("faces", {}).get("align", False)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(**{field.name: self.facts["thresholds"][field.name] for field in fields(Thresholds)})

    @property
    def track_thresholds(self) -> Thresholds:
        """Thresholds for the median over the faces of a track; those of single images if none were chosen for tracks."""
        found = self.facts.get("track_thresholds")
        return self.thresholds if found is None else Thresholds(**{f.name: found[f.name] for f in fields(Thresholds)})

    @property
    def id(self) -> str:
        """Twelve characters that identify these weights in tables of results."""
        if "sha256" not in self.facts:
            from fakecore.runs.checkpoint import tensor_bytes

            self.facts["sha256"] = hashlib.sha256(tensor_bytes(self.tensors())).hexdigest()
        return self.facts["sha256"][:12]

    @cached_property
    def _scoring(self) -> Any:
        return self.network if isinstance(self.network, OnnxNetwork) else scoring_network(self.network, self.device)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Preprocess uint8 RGB (H, W, 3) like the training images: uint8 (C, R, R).

        Raises ImageError for an image with a side shorter than 8 pixels.
        """
        refuse_tiny(image, "judge")
        return self.finish(fit_square(image, self.resolution, self.channels))

    def finish(self, fitted: np.ndarray) -> np.ndarray:
        """Do the last step of `prepare`, on an image at the detector's size, uint8 (C, R, R)."""
        return fitted if self.equalise_jpeg is None else equalised(fitted, self.equalise_jpeg)

    def note_on(self, image: np.ndarray) -> str | None:
        """Return a caution about the result for this image, (H, W, 3); see `note_on_shape`."""
        return self.note_on_shape(*image.shape[:2], grey=self.channels == 3 and is_grey(image))

    def note_on_shape(self, height: int, width: int, *, grey: bool) -> str | None:
        """Return a caution about the result for such an image: enlarged, mostly cropped, or grey; else None."""
        side, notes = min(height, width), []
        if side < self.resolution:
            notes.append(
                f"enlarged: its shorter side has {side} pixels, the detector input {self.resolution}x{self.resolution}"
            )
        if side < max(height, width) * MIN_SHARE:
            notes.append(f"only its middle {side / max(height, width):.0%} was scored")
        if self.channels == 3 and grey:
            notes.append("grey, but the detector was trained on colour images")
        return "; ".join(notes) or None

    def logits(self, images: Pixels, rows: np.ndarray | None = None) -> np.ndarray:
        """Return float64 logits (N,), high for fake, of preprocessed uint8 (N, C, R, R), or of some `rows` of it."""
        return network_logits(self._scoring, images, self.device, rows)

    def outputs(self, images: Pixels, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return `logits`, and bool (N,) for images that are out of domain; None if unknown."""
        if self.domain is None:
            return self.logits(images, rows), None
        rows = np.arange(len(images)) if rows is None else rows
        logits, outside = [], []
        for start in range(0, max(1, len(rows)), _FEATURES):  # the features of all images can be larger than memory
            found, features = network_outputs(self._scoring, images, self.device, rows[start : start + _FEATURES])
            logits.append(found)
            outside.append(self.domain.outside(features))
        return np.concatenate(logits), np.concatenate(outside)

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated p_fake of logits, float64 (N,) in [0, 1], not rounded."""
        return Scaling.of(self.facts).probability(logits)

    def judge(
        self, logits: np.ndarray, outside: np.ndarray | None = None, limits: Thresholds | None = None
    ) -> list[Judgement]:
        """Return the results for the values of `outputs`, with the scaling and thresholds (or `limits`) of the detector."""
        limits = limits or self.thresholds
        p_fakes = stated(self.probability(logits))
        found = []
        for place, p in enumerate(p_fakes):
            far = None if outside is None else bool(outside[place])
            verdict = "unsure" if far else decide(p, real_below=limits.real_below, fake_from=limits.fake_from)
            found.append(Judgement(float(p), verdict, limits.fake_from, limits.real_below, far))
        return found

    def judge_track(self, logits: Sequence[float], outside: bool | None) -> Judgement:
        """Return the result for a track of one face: that of the median logit, with the thresholds for tracks."""
        far = None if outside is None else np.array([outside])
        return self.judge(np.array([np.median(logits)]), far, self.track_thresholds)[0]

    def score(self, images: Sequence[np.ndarray | Path | str]) -> list[Judgement]:
        """Score images: uint8 RGB (H, W, 3) arrays, or paths. Raises ImageError for an unreadable or too small image.

        For folders, unreadable files and results on disk, see fakedetect.scoring.files.
        """
        arrays = [image if isinstance(image, np.ndarray) else read_image(Path(image)) for image in images]
        if not arrays:
            return []
        return self.judge(*self.outputs(np.stack([self.prepare(array) for array in arrays])))


def _no_detector(path: Path) -> UserError:
    if (path / "training.json").is_file():
        remedy = f"Finish it: {command('detect-train', '--resume', '--out', path)}"
        return UserError(f"{path} contains an unfinished training, not a detector", remedy=remedy)
    got = None if path.exists() else "no such folder"
    expected = "a folder with detector.json, made by `detect-train`"
    return UserError(f"{path} is not a detector", got=got, expected=expected)


def scoring_network(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a trained network prepared for scoring on the device, see `for_scoring`."""
    if device.type == "cpu":
        keep_freed_memory()
    from fakedetect.models.backbones import for_scoring

    return for_scoring(network, choose_precision(getattr(network, "precision", "fp32"), device))


def network_logits(
    network: nn.Module | OnnxNetwork, images: Pixels, device: torch.device, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the float64 logits (N,) of uint8 (N, C, R, R), in batches, see `network_outputs`."""
    parts = _in_batches(network, images, device, rows, features=False)
    return np.concatenate([logits for logits, _ in parts] or [np.empty(0)])


def network_outputs(
    network: nn.Module | OnnxNetwork, images: Pixels, device: torch.device, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the float64 logits (N,) of uint8 (N, C, R, R), and the features before the last layer, float32 (N, dims).

    `rows` selects images and their order; only one batch is copied at a time.
    """
    logits, features = zip(*_in_batches(network, images, device, rows, features=True), strict=True)
    return np.concatenate(logits), np.concatenate(features)


def batch_size(network: nn.Module | OnnxNetwork, resolution: int, device: torch.device) -> int:
    """Return the batch size for images of this resolution, at most SCORE_BATCH."""
    side = getattr(network, "input_size", resolution)
    return max(1, min(SCORE_BATCH, (_BATCH_PIXELS if device.type == "cpu" else _BATCH_PIXELS_GPU) // side**2))


def _in_batches(
    network: Any, images: Pixels, device: torch.device, rows: np.ndarray | None, *, features: bool
) -> list[tuple]:
    """Return (float64 logits (B,), float32 features (B, dims) or None) of each batch."""
    rows = np.arange(len(images)) if rows is None else rows
    size = batch_size(network, images.shape[2], device)
    batches = in_batches(images, rows, size)
    if isinstance(network, OnnxNetwork):
        return [network.outputs(batch) for batch in batches]
    # Small networks in fp32, so that a score does not depend on the batch; large ones in the fastest precision.
    precision = choose_precision(getattr(network, "precision", "fp32"), device)
    was_training = network.training
    network.eval()
    compute, found = network.outputs if features else network, []
    with torch.inference_mode():
        for batch in batches:
            with autocast(device, precision):
                made = compute(torch.from_numpy(batch).to(device).to(memory_format=torch.channels_last))
            logits, own = made if isinstance(made, tuple) else (made, None)
            found.append((logits.double().cpu().numpy(), None if own is None else own.float().cpu().numpy()))
    network.train(was_training)
    return found
