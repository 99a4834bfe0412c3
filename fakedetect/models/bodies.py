"""The architectures of networks that others trained.

A body is described by a small JSON object, from which it is built again. It maps float images (B, 3, side, side) to outputs
(B, K), or to these and features (B, dims).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fakecore.errors import UserError, unknown_name
from fakecore.schema import OBJECT, TEXT, Kind, check_fields, whole

TRANSFORMERS_EXTRA = "Install it: pip install 'fakelab[transformers]'."


def build_body(described: dict[str, Any]) -> nn.Module:
    """Build a body, in evaluation mode with arbitrary weights, from its description. Raises UserError for an unknown one."""
    check_fields(described, {"kind": TEXT}, "arguments.body", remedy="")
    kind = described["kind"]
    if kind not in BODIES:
        raise unknown_name("kind of network", kind, list(BODIES), where="in arguments.body")
    build, fields = BODIES[kind]
    check_fields(described, fields, "arguments.body", remedy="")
    return build(**{name: described[name] for name in fields}).eval()


def _timm(name: str, classes: int) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=False, num_classes=classes)
    except RuntimeError:
        raise UserError("timm has no such network", got=name, expected="one of timm.list_models()") from None


def _torchvision(name: str, classes: int) -> nn.Module:
    from torchvision.models import get_model

    # These two draw their weights slowly, and warn of it.
    options: dict[str, Any] = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    try:
        return get_model(name, weights=None, num_classes=classes, **options)
    except ValueError:
        raise UserError(
            "torchvision has no such network", got=name, expected="one of torchvision.models.list_models()"
        ) from None


def _efficientnet_b4(classes: int) -> nn.Module:
    """EfficientNet-B4 with a stem without padding, as in DeepfakeBench."""
    network: Any = _timm("tf_efficientnet_b4", classes)
    network.conv_stem = nn.Conv2d(3, 48, 3, stride=2, bias=False)
    return network


def _transformers(config: dict[str, Any]) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError:
        raise UserError("this detector needs the package transformers", remedy=TRANSFORMERS_EXTRA) from None
    own = {name: value for name, value in config.items() if name != "model_type"}
    return _Logits(AutoModelForImageClassification.from_config(AutoConfig.for_model(config["model_type"], **own)))


class _Logits(nn.Module):
    """A transformers model, of whose results only the logits are returned."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=x).logits


class ClipProbe(nn.Module):
    """A linear layer on the embedding of a CLIP image encoder (Ojha et al. 2023, arXiv 2302.10174)."""

    def __init__(self, name: str, dims: int):
        super().__init__()
        self.encoder = _timm(name, dims)
        self.fc = nn.Linear(dims, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.encoder(x))


class Meso4(nn.Module):
    """Meso-4 (Afchar et al. 2018, arXiv 1809.00888, figure 1): (B, 3, 256, 256), 0 to 1 -> a probability (B, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.features_of = nn.Sequential(
            *_block(nn.Conv2d(3, 8, 3, padding=1), 8, 2),
            *_block(nn.Conv2d(8, 8, 5, padding=2), 8, 2),
            *_block(nn.Conv2d(8, 16, 5, padding=2), 16, 2),
            *_block(nn.Conv2d(16, 16, 5, padding=2), 16, 4),
        )
        self.head = _meso_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features_of(x))


class MesoInception4(nn.Module):
    """MesoInception-4 (Afchar et al. 2018, arXiv 1809.00888, figure 2): (B, 3, 256, 256), 0 to 1 -> a probability (B, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.features_of = nn.Sequential(
            _Inception(3, (1, 4, 4, 2)),
            nn.BatchNorm2d(11, eps=_KERAS_EPS),
            nn.MaxPool2d(2),
            _Inception(11, (2, 4, 4, 2)),
            nn.BatchNorm2d(12, eps=_KERAS_EPS),
            nn.MaxPool2d(2),
            *_block(nn.Conv2d(12, 16, 5, padding=2), 16, 2),
            *_block(nn.Conv2d(16, 16, 5, padding=2), 16, 4),
        )
        self.head = _meso_head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features_of(x))


_KERAS_EPS = 1e-3  # of batch normalisation in Keras


def _block(conv: nn.Conv2d, width: int, pool: int) -> tuple[nn.Module, ...]:
    return conv, nn.ReLU(), nn.BatchNorm2d(width, eps=_KERAS_EPS), nn.MaxPool2d(pool)


def _meso_head() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), nn.LeakyReLU(0.1), nn.Linear(16, 1), nn.Sigmoid())


class _Inception(nn.Module):
    """Four branches: 1x1; 1x1 then 3x3; the same with dilation 2; with dilation 3. Each convolution is followed by ReLU."""

    def __init__(self, into: int, widths: tuple[int, int, int, int]):
        super().__init__()
        first, *others = widths
        self.branches = nn.ModuleList([nn.Sequential(nn.Conv2d(into, first, 1), nn.ReLU())])
        for dilation, width in enumerate(others, 1):
            deep = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            self.branches.append(nn.Sequential(nn.Conv2d(into, width, 1), nn.ReLU(), deep, nn.ReLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class OnnxBody(nn.Module):
    """An ONNX graph, which onnxruntime runs on the CPU. Its bytes are the tensor `graph`, so that they are saved with the
    detector. Its first output is (B, K); a second one, if there is, the features (B, dims).
    """

    graph: torch.Tensor

    def __init__(self, size: int, channels_last: bool):
        super().__init__()
        self.register_buffer("graph", torch.zeros(size, dtype=torch.uint8))
        self.channels_last = channels_last
        self._session: Any = None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self._session is None:
            self._session = _session(self.graph.cpu().numpy().tobytes())
        images = x.permute(0, 2, 3, 1) if self.channels_last else x
        given = self._session.get_inputs()[0]
        fixed = given.shape[0] if isinstance(given.shape[0], int) and given.shape[0] > 0 else len(images)
        found: list[list[np.ndarray]] = []
        for start in range(0, len(images), fixed):
            part = images[start : start + fixed]
            short = fixed - len(part)  # a graph with a fixed number of images
            part = torch.cat([part, part[:1].expand(short, -1, -1, -1)]) if short else part
            try:
                made = self._session.run(None, {given.name: part.cpu().contiguous().numpy()})
            except Exception as error:  # onnxruntime's own kinds share no other base
                raise RuntimeError(f"onnxruntime cannot run the graph: {error}") from None
            found.append([one[: fixed - short] for one in made])
        values, *features = (torch.from_numpy(np.concatenate(one)).to(x.device) for one in zip(*found, strict=True))
        return values.float().reshape(len(x), -1), features[0] if features else None


def _session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # damage is also reported by exceptions
    # Bytes instead of a path: a graph in memory cannot refer to other files.
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


_FLAG = Kind("true or false", lambda value: isinstance(value, bool))
# For each kind: how it's built, and the checks of what describes it.
BODIES: dict[str, tuple[Callable[..., nn.Module], dict[str, Kind]]] = {
    "timm": (_timm, {"name": TEXT, "classes": whole(1, 10_000)}),
    "torchvision": (_torchvision, {"name": TEXT, "classes": whole(1, 10_000)}),
    "deepfakebench-efficientnetb4": (_efficientnet_b4, {"classes": whole(1, 10_000)}),
    "clip-probe": (ClipProbe, {"name": TEXT, "dims": whole(1, 10_000)}),
    "meso4": (Meso4, {}),
    "mesoinception4": (MesoInception4, {}),
    "transformers": (_transformers, {"config": OBJECT}),
    "onnx": (OnnxBody, {"size": whole(1), "channels_last": _FLAG}),
}
