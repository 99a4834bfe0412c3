"""A network that others trained, as a detector: the pixels that it expects, its body, and the meaning of its outputs."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from fakecore.schema import OBJECT, TEXT, Kind, check_fields, number, whole
from fakedetect.models.bodies import build_body

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # Radford et al. 2021
_SMALLEST = 1e-7  # of a probability, before its logarithm


@dataclass(frozen=True)
class Pixels:
    """What a network expects: the central `side` x `side` pixels of an image of `resolution` x `resolution`, its channels in
    the order RGB or BGR, as (value / 255 - mean) / std.
    """

    side: int
    resolution: int  # of the image from the detector, at least `side`
    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __str__(self) -> str:
        crop = "" if self.resolution == self.side else f" of {self.resolution}"
        return f"{self.side} px{crop}, {self.order}, {_range_in_words(self.mean, self.std)}"

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the network, float32 (B, 3, side, side), for uint8 RGB (B, 1 or 3, resolution, resolution)."""
        start = (self.resolution - self.side) // 2
        x = images[:, :, start : start + self.side, start : start + self.side].float().expand(-1, 3, -1, -1)
        if self.order == "BGR":
            x = x.flip(1)
        mean, std = (255 * torch.tensor(own, device=x.device).view(1, 3, 1, 1) for own in (self.mean, self.std))
        return (x - mean) / std

    def to_json(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Reading:
    """The meaning of a network's outputs (B, K). `kind` is logit or probability (K = 1), logits or probabilities; output
    `index` is that of fakes if `of` is "fake", of reals if "real", and the others are the opposite.
    """

    kind: str
    index: int
    of: str

    def __str__(self) -> str:
        if self.kind in ("logit", "probability"):
            return f"one {self.kind}, high for {self.of}"
        return f"{self.kind}, the one at {self.index} for {self.of}"

    def logit(self, values: torch.Tensor) -> torch.Tensor:
        """Return logits (B,), high for fake, of outputs (B, K)."""
        if self.kind == "probability":
            found = torch.logit(values[:, 0], eps=_SMALLEST)
        elif self.kind == "logit":
            found = values[:, 0]
        else:  # of a softmax over all outputs; log of a probability differs from its logit by a constant
            logits = values.clamp_min(_SMALLEST).log() if self.kind == "probabilities" else values
            others = [i for i in range(values.shape[1]) if i != self.index]
            found = logits[:, self.index] - logits[:, others].logsumexp(1)
        return found if self.of == "fake" else -found

    def reversed(self) -> Reading:
        """Return the opposite meaning of one or two outputs."""
        if self.kind in ("logit", "probability"):
            return Reading(self.kind, self.index, "real" if self.of == "fake" else "fake")
        return Reading(self.kind, 1 - self.index, self.of)

    def to_json(self) -> dict:
        return asdict(self)


class AdoptedNetwork(nn.Module):
    """uint8 RGB (B, channels, R, R) -> logits (B,), high for fake, of the network described by `body` (see
    fakedetect.models.bodies), `pixels` and `reading`.
    """

    precision = "fp32"  # so that scores are those of the original

    def __init__(
        self, resolution: int, channels: int, body: dict[str, Any], pixels: dict[str, Any], reading: dict[str, Any]
    ):
        super().__init__()
        check_fields(pixels, _PIXELS, "arguments.pixels", remedy="")
        check_fields(reading, _READING, "arguments.reading", remedy="")
        self.body = build_body(body)
        self.pixels, self.reading = Pixels(**pixels), Reading(**reading)
        self.input_size = self.pixels.side
        self._seen = threading.local()  # the input of the last layer, in each thread
        if last := _last_linear(self.body):
            last.register_forward_pre_hook(self._keep)

    def values(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs (B, K) of the network for uint8 (B, channels, R, R)."""
        return self._run(images)[0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.reading.logit(self.values(images))

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B,) and the input of the last layer (B, dims); dims is 0 if the network doesn't show it."""
        values, features = self._run(images)
        logits = self.reading.logit(values)
        return logits, logits.new_empty(len(logits), 0) if features is None else features.flatten(1)

    def _run(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        self._seen.features = None
        made = self.body(self.pixels.of(images))
        values, features = made if isinstance(made, tuple) else (made, self._seen.features)
        return values.flatten(1), features

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._seen.features = inputs[0]


def _last_linear(body: nn.Module) -> nn.Linear | None:
    layers = [module for module in body.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


def _range_in_words(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    known = {
        (tuple(IMAGENET[0]), tuple(IMAGENET[1])): "normalised as for ImageNet",
        (tuple(CLIP[0]), tuple(CLIP[1])): "normalised as for CLIP",
        ((0.0,) * 3, (1.0,) * 3): "0 to 1",
        ((0.5,) * 3, (0.5,) * 3): "-1 to 1",
        ((0.0,) * 3, (1 / 255,) * 3): "0 to 255",
    }
    return known.get((tuple(mean), tuple(std)), f"mean {list(mean)}, deviation {list(std)}")


def _three(words: str, kind: Kind) -> Kind:
    return Kind(
        words, lambda value: isinstance(value, (list, tuple)) and len(value) == 3 and all(map(kind.fits, value))
    )


_KINDS = ("logit", "probability", "logits", "probabilities")
_PIXELS = {
    "side": whole(8, 1024),
    "resolution": whole(8, 1024),
    "order": Kind("RGB or BGR", lambda value: value in ("RGB", "BGR")),
    "mean": _three("three numbers", number(-1000, 1000)),
    "std": _three("three numbers above 0", number(1e-6, 1000)),
}
_READING = {
    "kind": Kind(", ".join(_KINDS), lambda value: value in _KINDS),
    "index": whole(0),
    "of": Kind("real or fake", lambda value: value in ("real", "fake")),
}
KINDS: dict[str, Any] = {"body": {"kind": TEXT}, "pixels": OBJECT, "reading": OBJECT}
