"""Recognise a checkpoint by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fakecore.errors import UserError
from fakedetect.models.adopted import CLIP, IMAGENET, Pixels
from fakedetect.models.backbones import read_weights
from fakedetect.models.bodies import build_body

_USUAL_SIDES = (224, 256, 299)  # pixels; FaceForensics++ gives its Xception 299, DeepfakeBench 256
_CLIP_ENCODER = "vit_large_patch14_clip_224.openai"  # of UniversalFakeDetect
_PREFIXES = ("module.", "backbone.", "model.", "net.", "network.", "encoder.")
_LAST = ("fc", "classifier", "head", "last_linear", "last_layer", "heads")
# Networks that detectors are often made of, tried where no architecture is given.
_TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2"),
    *(f"efficientnet_b{n}" for n in range(8)),
    *("efficientnet_v2_s", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "densenet121", "densenet161"),
    *("convnext_tiny", "convnext_small", "convnext_base", "vit_b_16", "vit_b_32", "vit_l_16", "swin_t", "swin_s"),
    *("vgg16", "vgg19", "inception_v3", "googlenet"),
)
_TIMM = (
    *("legacy_xception", "xception41", "tf_efficientnet_lite0", "mobilenetv3_large_100", "resnet26d", "resnet50d"),
    *(f"tf_efficientnet_b{n}" for n in range(8)),
    *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch32_224"),
    *("deit_tiny_patch16_224", "deit3_small_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny"),
    *("convnext_small", "convnext_base", "convnextv2_tiny", "vit_base_patch16_clip_224", "vit_large_patch14_clip_224"),
)


@dataclass(frozen=True)
class Checkpoint:
    """A recognised checkpoint: the description of its body, its tensors by the names of the body, and what its input may
    measure, pixels; its `pixels` if its project always uses the same, and the name of what it is.
    """

    body: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    sides: tuple[int, ...]
    pixels: Pixels | None
    name: str


def recognise(
    tensors: dict[str, torch.Tensor], architecture: str | None = None, clip_weights: Path | None = None
) -> Checkpoint:
    """Find out which network has these tensors. Raises UserError, asking for the architecture, for an unknown one."""
    if architecture is not None:
        return _as_said(tensors, architecture)
    if set(tensors) == {"weight", "bias"} and tensors["weight"].ndim == 2 and len(tensors["weight"]) == 1:
        return _clip_probe(tensors, clip_weights)
    for own in _spellings(tensors):
        if any(name.startswith("efficientnet._") for name in own):
            return _deepfakebench_efficientnet(own)
        for body in _candidates(own):
            network = _on_meta(body)
            renamed = _renamed(own, network)
            if _same_shapes(network, renamed):
                return _named(body, _complete(renamed, network))
    some = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:3])
    raise UserError(
        "the network of this checkpoint is not recognised",
        got=f"{len(tensors):,} tensors: {some} ...",
        remedy="Name it: --arch timm:NAME or --arch torchvision:NAME.",
    )


def _as_said(tensors: dict[str, torch.Tensor], architecture: str) -> Checkpoint:
    kind, _, name = architecture.partition(":")
    if kind not in ("timm", "torchvision") or not name:
        raise UserError("--arch cannot be used", got=architecture, expected="timm:NAME or torchvision:NAME")
    problems: list[str] = []
    for own in _spellings(tensors):
        body = {"kind": kind, "name": name, "classes": _classes(own) or 1}
        network = _on_meta(body)
        renamed = _renamed(own, network)
        if _same_shapes(network, renamed):
            return _named(body, _complete(renamed, network))
        wanted = network.state_dict()
        problems += [key for key in wanted if key not in renamed or renamed[key].shape != wanted[key].shape]
    got = ", ".join(problems[:3]) + " missing or of another shape"
    raise UserError(f"the checkpoint has weights of another architecture than {architecture}", got=got)


def _spellings(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the tensors as they are named, and without each prefix that all, or all but a few, have."""
    yield tensors
    own = tensors
    while True:
        prefix = next((p for p in _PREFIXES if sum(name.startswith(p) for name in own) > 0.9 * len(own)), None)
        if prefix is None:
            return
        own = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
        yield own


def _classes(tensors: dict[str, torch.Tensor]) -> int | None:
    """Return the number of outputs: the rows of the last matrix whose name is that of a classifier."""
    found = [
        t for name, t in tensors.items() if t.ndim == 2 and name.split(".")[0] in _LAST and name.endswith("weight")
    ]
    return len(found[-1]) if found else None


def _candidates(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    classes = _classes(tensors)
    if classes is None:
        return
    for kind, names in (("torchvision", _TORCHVISION), ("timm", _TIMM)):
        for name in names:
            yield {"kind": kind, "name": name, "classes": classes}


def _on_meta(body: dict[str, Any]) -> nn.Module:
    """Build a body without memory for its weights."""
    with torch.device("meta"):
        return build_body(body)


def _renamed(tensors: dict[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Give the classifier of `tensors` the name that it has in `network`, and leave out what other projects add beside it."""
    wanted = network.state_dict()
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1:]
    found = {}
    for name, tensor in tensors.items():
        head, _, kind = name.rpartition(".")
        if last and name not in wanted and head.split(".")[0] in _LAST and kind in ("weight", "bias"):
            name = f"{last[0]}.{kind}"
        if name in wanted:
            found[name] = tensor
    return found


def _same_shapes(network: nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    wanted = {name: t.shape for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    return all(name in tensors and tensors[name].shape == shape for name, shape in wanted.items())


def _complete(tensors: dict[str, torch.Tensor], network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors with the batch counters of BN that older files lack."""
    counters = {name: torch.tensor(0) for name in network.state_dict() if name.endswith("num_batches_tracked")}
    return {**counters, **tensors}


def _named(body: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Checkpoint:
    if body == {"kind": "torchvision", "name": "resnet50", "classes": 1}:
        pixels = Pixels(224, 224, "RGB", *IMAGENET)
        return Checkpoint(body, tensors, (224, 256), pixels, "CNNDetection (Wang et al. 2020, arXiv 1912.11035)")
    sides = tuple(dict.fromkeys((_side(body), *_USUAL_SIDES)))
    return Checkpoint(body, tensors, sides, None, f"{body['kind']}:{body['name']}")


def _side(body: dict[str, Any]) -> int:
    if body["kind"] == "timm":
        import timm

        found: Any = timm.get_pretrained_cfg(body["name"])
        return found.input_size[-1] if found else 224
    return 299 if body["name"] == "inception_v3" else 224


def _clip_probe(tensors: dict[str, torch.Tensor], clip_weights: Path | None) -> Checkpoint:
    if clip_weights is None:
        raise UserError(
            "this is the linear layer of a probe on CLIP, such as UniversalFakeDetect's, without the encoder",
            remedy=f"Give timm's weights of {_CLIP_ENCODER}: --weights FILE.",
        )
    encoder = read_weights(clip_weights)
    name = _CLIP_ENCODER
    body = {"kind": "clip-probe", "name": name, "dims": tensors["weight"].shape[1]}
    own = {**{f"encoder.{key}": t for key, t in encoder.items()}, **{f"fc.{key}": t for key, t in tensors.items()}}
    if not _same_shapes(_on_meta(body), own):
        raise UserError(f"--weights {clip_weights} are not those of timm's {name}")
    pixels = Pixels(224, 224, "RGB", *CLIP)
    return Checkpoint(body, own, (224,), pixels, "UniversalFakeDetect (Ojha et al. 2023, arXiv 2302.10174)")


def _deepfakebench_efficientnet(tensors: dict[str, torch.Tensor]) -> Checkpoint:
    """Read DeepfakeBench's EfficientNet-B4, whose layers are named as in the package efficientnet_pytorch."""
    body = {"kind": "deepfakebench-efficientnetb4", "classes": len(tensors["last_layer.weight"])}
    network = _on_meta(body)
    blocks = [name for name, module in network.named_modules() if name.count(".") == 2 and name.startswith("blocks.")]
    own = {}
    for name, tensor in tensors.items():
        new = _timm_name(name.removeprefix("efficientnet."), blocks)
        if new is not None:
            own[new] = tensor
    if not _same_shapes(network, own):
        raise UserError("this looks like DeepfakeBench's EfficientNet-B4, but some of its layers have other shapes")
    own = {name: tensor for name, tensor in own.items() if name in network.state_dict()}
    pixels = Pixels(256, 256, "RGB", (0.5,) * 3, (0.5,) * 3)
    return Checkpoint(body, _complete(own, network), (256,), pixels, "DeepfakeBench")


_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_WITHOUT_EXPANSION = 2  # blocks of EfficientNet-B4's first stage


def _timm_name(name: str, blocks: list[str]) -> str | None:
    """Return timm's name of a layer of efficientnet_pytorch; None for one that timm doesn't have."""
    if name.startswith("last_layer."):
        return name.replace("last_layer", "classifier")
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([_STEM[parts[0]], *parts[1:]]) if parts[0] in _STEM else None
    number = int(parts[1])
    table = {**_SQUEEZE, **(_FIRST if number < _WITHOUT_EXPANSION else _LATER)}
    return ".".join([blocks[number], table[parts[2]], *parts[3:]]) if parts[2] in table else None
