"""Pretrained networks as feature extractors, through timm; input size, mean and range are part of the module."""

from __future__ import annotations

import copy
import difflib
import hashlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from fakecore.device import to_device
from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_into, read_tensors
from fakedetect.models.fusion import join_convolutions

RESNET50 = "resnet50.tv_in1k"  # torchvision's first ImageNet weights, trained like those of Keras in system E
_HEAD = ("fc.", "head.", "classifier.", "head_dist.")  # the last layer of a classifier, not used


class TimmFeatures(nn.Module):
    """uint8 (B, channels, R, R) -> features (B, dims) of the backbone called `backbone`, without its classifier.

    Images are resized to `input_size` (bicubic, antialiased) and normalised as in the training of the backbone. `pool` avg
    uses the pooling of the backbone; flatten keeps all positions, as in system E.
    """

    mean: torch.Tensor
    std: torch.Tensor
    network: Any  # a timm model

    precision = "auto"  # large matrix products: bf16 where it is faster

    def __init__(self, backbone: str, resolution: int, channels: int, input_size: int, pool: str):
        super().__init__()
        self.network = _create(backbone, input_size)
        facts = self.network.default_cfg
        self.input_size, self.pool = input_size, pool
        for name in ("mean", "std"):
            self.register_buffer(name, 255 * torch.tensor(facts[name]).view(1, 3, 1, 1), persistent=False)
        self._still: list[nn.Module] = []
        self._fast: nn.Module | None = None
        self.network.eval()
        with torch.no_grad():
            self.dims = self._features(torch.zeros(1, 3, input_size, input_size)).shape[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float()
        if x.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            x = interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        return self._features(x) if self._fast is None else self._fast(x.to(self._dtype)).float()

    def make_fast(self, dtype: torch.dtype) -> None:
        """Switch to inference in `dtype`, with BN folded into convolutions and, on a CPU, ReLU and sums too. For scoring only.
        The first reduced the time of resnet50 to 0.71 of autocast's, the second by another 9 % (docs/lab/measurements.md).
        """
        from torch.fx import GraphModule
        from torch.fx.experimental.optimization import fuse
        from torch.fx.proxy import TraceError

        whole: nn.Module = _Features(self).eval()
        try:
            whole = fuse(whole)
        except (TraceError, RuntimeError, TypeError, AttributeError, KeyError):  # some networks cannot be traced
            whole = copy.deepcopy(whole)
        whole = to_device(whole, self.mean.device, dtype)
        self._fast, self._dtype = whole, dtype
        if isinstance(whole, GraphModule) and self.mean.device.type == "cpu":
            joined = join_convolutions(copy.deepcopy(whole))
            if self._alike(whole, joined):
                self._fast = joined

    @torch.inference_mode()
    def _alike(self, one: nn.Module, other: nn.Module) -> bool:
        """Return whether both compute equal, finite features of noise: the joined kernels turn NaN into 0 and would hide it."""
        noise = torch.randn(2, 3, self.input_size, self.input_size, generator=torch.Generator().manual_seed(0))
        noise = noise.to(dtype=self._dtype, memory_format=torch.channels_last)
        try:
            expected, found = one(noise).float(), other(noise).float()
        except RuntimeError:  # oneDNN has no such bf16 kernel for this processor
            return False
        return bool(expected.isfinite().all()) and torch.allclose(
            found, expected, 0.05, 0.05 * float(expected.abs().max())
        )

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        return _features_of(self.network, self.pool, x)

    def freeze(self, layers: int | None) -> None:
        """Freeze the first `layers` that have parameters, from the input on; all for None. Their BN keeps its statistics."""
        own = [m for m in self.network.modules() if next(m.parameters(recurse=False), None) is not None]
        self._still = own if layers is None else own[:layers]
        for module in self._still:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> TimmFeatures:
        super().train(mode)
        for module in self._still:
            module.eval()
        return self


def _features_of(network: Any, pool: str, x: torch.Tensor) -> torch.Tensor:
    found = network.forward_features(x)
    return found.flatten(1) if pool == "flatten" else network.forward_head(found, pre_logits=True)


class _Features(nn.Module):
    """The features of a backbone as a forward pass of its own, so that it can be traced."""

    def __init__(self, features: TimmFeatures):
        super().__init__()
        self.network, self.pool = features.network, features.pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _features_of(self.network, self.pool, x)


def for_scoring(network: nn.Module, precision: str) -> nn.Module:
    """Return `network`, or a faster copy for inference if it contains backbones; the copy cannot be trained or saved."""
    if precision != "bf16" or not any(isinstance(module, TimmFeatures) for module in network.modules()):
        return network
    faster = copy.deepcopy(network).eval()
    for module in faster.modules():
        if isinstance(module, TimmFeatures):
            module.make_fast(torch.bfloat16)
    return faster


def own_input_size(backbone: str) -> int:
    """Return the input size, pixels, that a backbone was trained with. Raises UserError for a name unknown to timm."""
    import timm

    _require_known(backbone)
    facts: Any = timm.get_pretrained_cfg(backbone)
    return facts.input_size[-1]


def load_pretrained(features: TimmFeatures, backbone: str, weights: str | None) -> str:
    """Load `weights` (safetensors, or a torch file with tensors only) into a backbone, by default timm's from its cache or the
    hub. Return a description of the weights.

    Raises UserError if they are not available or have another architecture.
    """
    if weights is not None:
        path = Path(weights)
        _fill(features.network, read_weights(path), path)
        return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    tag = features.network.default_cfg.get("hf_hub_id") or features.network.default_cfg.get("url")
    if not tag:
        raise UserError(f"there are no pretrained weights of {backbone}", remedy=_REMEDY)
    try:
        from huggingface_hub import try_to_load_from_cache
        from timm.models import load_pretrained as fetch

        hub = features.network.default_cfg.get("hf_hub_id")
        cached = hub and any(
            isinstance(try_to_load_from_cache(hub, name), str) for name in ("model.safetensors", "pytorch_model.bin")
        )
        if not cached:
            _require_hub(backbone)
        logging.getLogger("timm").setLevel(logging.ERROR)
        fetch(features.network, num_classes=0, pretrained_cfg=features.network.default_cfg)
    except (OSError, RuntimeError, ValueError) as error:
        raise _cannot_be_had(backbone, error) from None
    return f"timm's {tag}"


_REMEDY = (
    "Give --weights FILE (safetensors, or a torch file of tensors), or --set pretrained=false to train from scratch."
)


def _cannot_be_had(backbone: str, error: Exception) -> UserError:
    first = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(
        f"the pretrained weights of {backbone} are not on this machine and could not be fetched",
        got=first[:160],
        expected="a network, or the weights in the Hugging Face cache (HF_HOME says where)",
        remedy=_REMEDY,
    )


def _require_hub(backbone: str) -> None:
    """Raise UserError within seconds if the hub does not answer: its own client retries for a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # errors of httpx or requests, depending on the version
        raise _cannot_be_had(backbone, error) from None


def _create(backbone: str, input_size: int) -> nn.Module:
    import timm

    _require_known(backbone)
    facts: Any = timm.get_pretrained_cfg(backbone)
    fixed: dict[str, Any] = (
        {"img_size": input_size} if facts.fixed_input_size and input_size != facts.input_size[-1] else {}
    )
    try:
        return timm.create_model(backbone, pretrained=False, num_classes=0, **fixed)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        what = f"timm:{backbone} cannot be built for images of {input_size}x{input_size}"
        remedy = f"Its own size is {facts.input_size[-1]}: leave input_size out."
        raise UserError(what, got=str(error).splitlines()[0][:120], remedy=remedy) from None


def _require_known(backbone: str) -> None:
    import timm

    name, _, tag = backbone.partition(".")
    known = timm.is_model(name) and (not tag or backbone in timm.list_pretrained(f"{name}.*"))
    if not known:
        near = difflib.get_close_matches(name, timm.list_models(), 3, 0.5)
        if timm.is_model(name):
            near = timm.list_pretrained(f"{name}.*")
        expected = "one of timm.list_models()" + (f", such as {', '.join(near[:5])}" if near else "")
        raise UserError(f"timm has no backbone {backbone!r}", expected=expected)


_WANTED = "a complete safetensors file, or a torch file with tensors only"
_STATES = ("state_dict", "model", "model_state_dict", "net", "network")  # where a training's file keeps the weights
_BY_SEVERAL = "module."  # prefix of every name after training with DataParallel


def read_weights(path: Path, option: str = "--weights") -> dict[str, torch.Tensor]:
    """Return the named tensors of a safetensors file, or of a torch file, in which nothing else is unpickled.

    Raises UserError, which names the `option`, if it is missing, damaged, or contains anything else.
    """
    what = f"{option} {path} could not be read"
    if not path.is_file():
        raise UserError(f"{option}: there is {'a folder' if path.is_dir() else 'no file'} {path}", expected="a file")
    if path.suffix == ".safetensors":
        try:
            return read_tensors(path, remedy="Copy them again, or use others.")
        except UserError as error:
            raise UserError(f"{option}: {error.what}", got=error.got, expected=_WANTED, remedy=error.remedy) from None
    with path.open("rb") as file:
        start = file.read(4)
    if not start.startswith((b"PK\x03\x04", b"\x80")):  # a zip, as torch writes, or a pickle, as it used to write
        got = f"not a file written by torch, {path.stat().st_size:,} bytes"
        raise UserError(what, got=got, expected=_WANTED)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for damaged files
        runs_code = type(error).__name__ == "UnpicklingError"
        got = (
            "a pickle of more than tensors, which could run code; it was not opened" if runs_code else "a damaged file"
        )
        remedy = "Where it was made, save its state_dict() with safetensors.torch.save_file." if runs_code else None
        raise UserError(what, got=got, expected=_WANTED, remedy=remedy) from None
    if isinstance(found, dict):
        found = next((found[key] for key in _STATES if isinstance(found.get(key), dict)), found)
    tensors = isinstance(found, dict) and all(isinstance(value, torch.Tensor) for value in found.values())
    if not tensors or not found:
        raise UserError(what, got="no table of named tensors", expected=_WANTED)
    prefix = _BY_SEVERAL if all(name.startswith(_BY_SEVERAL) for name in found) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _fill(network: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    own = network.state_dict()
    tensors = {name: tensor for name, tensor in tensors.items() if name in own or not name.startswith(_HEAD)}
    for name, tensor in own.items():  # older files lack the batch counter of BN
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, tensor)
    load_into(network, tensors, f"--weights {path}", remedy="Give the weights of the backbone that --model names.")
