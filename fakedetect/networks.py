"""Detector networks. uint8 images in; one logit out, high for fake (fake = 1); the sigmoid happens at scoring."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import interpolate

from fakecore.errors import UserError, unknown_name
from fakecore.fields import TEXT, Kind, check_fields, number, whole
from fakedetect.backbones import RESNET50, TimmFeatures
from fakedetect.frequency import DCTFeatures, SpectrumFeatures
from fakedetect.heads import HEADS, PROBES


class ScratchCNN(nn.Module):
    """DeepRecognition's CNN (system E): 1 to 4 blocks of 3x3 convolution, ReLU and 2x2 max-pool, then 256 units.

    images uint8 (B, channels, R, R) -> logits (B,), or (B, outputs) of several. Pixels are divided by 255, as published.
    """

    def __init__(
        self, resolution: int, channels: int, blocks: int = 3, filters: int = 32, hidden: int = 256, outputs: int = 1
    ):
        super().__init__()
        side = resolution // 2**blocks
        if side < 1:
            raise UserError(
                "the images are too small for so many blocks",
                got=f"{blocks} blocks at {resolution}x{resolution}",
                expected=f"at most {max(resolution.bit_length() - 1, 1)} blocks",
                remedy="Use --set blocks=1, or a larger --set resolution.",
            )
        layers: list[nn.Module] = []
        for block in range(blocks):
            after = filters * 2**block
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            channels = after
        self.blocks = nn.Sequential(*layers)
        self.fully_connected = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, hidden), nn.ReLU(inplace=True))
        self.head = nn.Linear(hidden, outputs)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer weighs, (B, 256)."""
        return self.fully_connected(self.blocks(images.float() / 255))

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,) or (B, outputs), and the features (B, 256) that decide them."""
        features = self.features(images)
        return self.head(features).squeeze(1), features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


class Probed(nn.Module):
    """An extractor of features, uint8 (B, channels, R, R) -> (B, dims), and a head on them -> logits (B,), or (B, outputs)."""

    def __init__(self, extractor: nn.Module, probe: str, resolution: int, outputs: int = 1):
        super().__init__()
        self.features = extractor
        self.head = HEADS[probe](extractor.dims, outputs)
        self.precision = extractor.precision
        self.input_size = getattr(extractor, "input_size", None) or resolution

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,) or (B, outputs), and the features (B, dims) that decide them."""
        features = self.features(images).float()
        return self.head(features).squeeze(1), features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


class LinearDCT(Probed):
    """A linear probe on the DCT, whose weights say which frequencies it goes by."""

    def frequency_weights(self) -> torch.Tensor:
        """(R, R), the coarsest frequency first: the mean absolute weight over channels."""
        side = self.input_size
        return self.head.linear.weight.detach().abs().view(-1, side, side).mean(dim=0)


class Ensemble(nn.Module):
    """The mean of its members' calibrated logits, (B,): each sees the images at its own size and in its own channels.

    `members` are {"model", "arguments", "temperature"}, as detector.json has them. Calibrated logits are natural
    logarithms of odds, so their mean is the geometric mean of the members' odds.
    """

    def __init__(self, resolution: int, channels: int, members: list[dict]):
        super().__init__()
        self.members = nn.ModuleList(build_network(one["model"], one["arguments"]) for one in members)
        self.shapes = [(one["arguments"]["channels"], one["arguments"]["resolution"]) for one in members]
        self.temperatures = [float(one["temperature"]) for one in members]
        wishes = {getattr(member, "precision", "fp32") for member in self.members}
        self.precision = "auto" if "auto" in wishes else "fp32"

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B,), and the features of all members that have some, side by side: (B, sum of dims)."""
        logits, features = [], [images.new_zeros((len(images), 0), dtype=torch.float32)]
        for member, shape, temperature in zip(self.members, self.shapes, self.temperatures, strict=True):
            seen = _reshaped(images, *shape)
            found, own = member.outputs(seen) if hasattr(member, "outputs") else (member(seen), None)
            logits.append(found.float() / temperature)
            features += [] if own is None else [own.float()]
        return torch.stack(logits).mean(dim=0), torch.cat(features, dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.outputs(images)[0]


_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as images are read in grey


def _reshaped(images: torch.Tensor, channels: int, resolution: int) -> torch.Tensor:
    """uint8 (B, C, R, R) -> uint8 (B, channels, resolution, resolution)."""
    if images.shape[1:] == (channels, resolution, resolution):
        return images
    x = images.float()
    if resolution != x.shape[-1]:
        x = interpolate(x, (resolution, resolution), mode="bicubic", antialias=True, align_corners=False)
    if channels < x.shape[1]:
        x = (x * torch.tensor(_LUMA, device=x.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return x.expand(-1, channels, -1, -1).round().clamp(0, 255).to(torch.uint8)


def _cnn(resolution: int, channels: int, blocks: int = 3, filters: int = 32, hidden: int = 256) -> nn.Module:
    return ScratchCNN(resolution, channels, blocks, filters, hidden)


def _timm(
    backbone: str, resolution: int, channels: int, input_size: int, pool: str = "avg", probe: str = "mlp"
) -> nn.Module:
    return Probed(TimmFeatures(backbone, resolution, channels, input_size, pool), probe, resolution)


def _resnet50(resolution: int, channels: int, input_size: int, pool: str = "avg", probe: str = "mlp") -> nn.Module:
    return _timm(RESNET50, resolution, channels, input_size, pool, probe)


def _dct(resolution: int, channels: int, probe: str = "linear") -> nn.Module:
    kind = Probed if probe == "mlp" else LinearDCT
    return kind(DCTFeatures(resolution, channels), probe, resolution)


def _spectrum(resolution: int, channels: int, probe: str = "linear") -> nn.Module:
    return Probed(SpectrumFeatures(resolution, channels), probe, resolution)


# The network of a detector by the name of its model; `discriminator` comes from outside, see `register`.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn": _cnn,
    "resnet50": _resnet50,
    "dct": _dct,
    "spectrum": _spectrum,
    "ensemble": Ensemble,
}
TIMM = "timm:"
_PROBE = {"probe": Kind(" or ".join(PROBES), lambda value: value in PROBES)}
_POOL = Kind("avg or flatten", lambda value: value in ("avg", "flatten"))
_MEMBER = {"model": TEXT, "temperature": number(0.001, 1000)}
ARGUMENTS: dict[str, dict] = {
    "cnn": {"blocks": whole(1)},
    "resnet50": {"input_size": whole(8, 2048), "pool": _POOL, **_PROBE},
    "dct": _PROBE,
    "spectrum": _PROBE,
    "ensemble": {"members": Kind("a list of members", lambda value: isinstance(value, list) and len(value) > 1)},
}
OUTSIDE = {"discriminator": "benchmarks.discriminators"}  # models that other packages register, and where


def register(model: str, build: Callable[..., nn.Module], arguments: dict) -> None:
    """Make `model` known: how its network is built, and the fields that its arguments must have."""
    NETWORKS[model], ARGUMENTS[model] = build, arguments


def require_model(model: str) -> None:
    """Raise UserError, listing the choices, unless `model` is the name of one."""
    name, colon, rest = model.partition(":")
    takes_more = {"ensemble": (True,), "discriminator": (True, False)}  # behind a colon
    if name in NETWORKS and bool(colon) in takes_more.get(name, (False,)):
        return
    if model.startswith(TIMM) and rest:
        return
    if name == "ensemble":
        raise UserError("an ensemble needs members", got=model, expected="ensemble:DETECTOR,DETECTOR")
    raise unknown_name("detector model", model, [*NETWORKS, f"{TIMM}NAME"])


def build_network(model: str, arguments: dict) -> nn.Module:
    """Build a detector's network by name. Raises UserError for a name that is not registered, or arguments it has not."""
    build, kinds = NETWORKS.get(model), ARGUMENTS.get(model)
    if model.startswith(TIMM):
        build, kinds = functools.partial(_timm, model.removeprefix(TIMM)), ARGUMENTS["resnet50"]
    if build is None:
        if model in OUTSIDE:
            raise UserError(f"{model} detectors are known once {OUTSIDE[model]} is imported")
        raise unknown_name("detector model", model, [*NETWORKS, f"{TIMM}NAME"])
    takes = list(inspect.signature(build).parameters)
    if foreign := [name for name in arguments if name not in takes]:
        raise UserError(f"the model {model} takes no argument {foreign[0]!r}", expected=f"only {', '.join(takes)}")
    check_fields(arguments, kinds, f"the arguments of {model}", remedy="")
    for member in arguments.get("members", ()):
        check_fields(member, _MEMBER, "a member of the ensemble", remedy="")
    return build(**arguments)
