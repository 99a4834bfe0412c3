"""What each --model means: the network it builds, the size at which it looks, and how it is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from fakecore.device import derive_seed
from fakecore.errors import UserError
from fakedetect.backbones import RESNET50, load_pretrained, own_input_size
from fakedetect.data import LabelledImages
from fakedetect.detector import Detector
from fakedetect.networks import TIMM, build_network, require_model
from fakedetect.seen import read_seen
from fakedetect.settings import DetectorSettings


@dataclass(frozen=True)
class Opened:
    """A network, before fitting or `fitted` elsewhere: `model`, `arguments` and `facts` are what detector.json says of it."""

    model: str
    arguments: dict
    network: nn.Module
    fitted: bool = False  # all that is left to choose are its temperature and thresholds
    facts: dict = field(default_factory=dict)
    seen: tuple[
        bytes | None, ...
    ] = ()  # of one fitted elsewhere: lists of the images that it met there; None is unknown


# Models that are not trained here, by name: (what stands behind the colon, settings, place of the images) -> Opened.
FINISHED: dict[str, Callable[[str, DetectorSettings, str | None], Opened]] = {}


def finished_model(settings: DetectorSettings, place: str | None) -> Opened | None:
    """The model, where it is one that was trained before; None for one that is trained here. Raises UserError."""
    require_model(settings.model)
    name, _, rest = settings.model.partition(":")
    return FINISHED[name](rest, settings, place) if name in FINISHED else None


def open_model(settings: DetectorSettings, data: LabelledImages, seed: int) -> Opened:
    """The network of a model that is trained here, for these images; its weights are a function of the seed, or
    pretrained. Raises UserError for a backbone that is not known, or weights that cannot be had.
    """
    torch.manual_seed(derive_seed(seed, "weights"))
    arguments = {"resolution": data.resolution, "channels": data.channels}
    if settings.model == "cnn":
        arguments["blocks"] = settings.blocks
    elif not settings.is_backbone:
        arguments["probe"] = settings.probe_in_use()
    if not settings.is_backbone:
        return Opened(settings.model, arguments, build_network(settings.model, arguments))
    name = RESNET50 if settings.model == "resnet50" else settings.model.removeprefix(TIMM)
    if settings.weights is not None and not settings.pretrained:
        raise UserError("--weights and pretrained=false contradict each other", remedy="Leave one of the two out.")
    if settings.trains_backbone and settings.probe in ("linear", "svm"):
        what = "a backbone cannot be trained under a probe that is solved for at once"
        got = f"probe={settings.probe}, " + ("train=finetune" if settings.pretrained else "pretrained=false")
        other = "--set train=head" if settings.pretrained else "pretrained weights"
        raise UserError(what, got=got, remedy=f"Use {other}, or --set probe=mlp.")
    arguments |= {
        "input_size": settings.input_size or own_input_size(name),
        "pool": settings.pool,
        "probe": settings.probe_in_use(),
    }
    network = build_network(settings.model, arguments)
    weights = load_pretrained(network.features, name, settings.weights) if settings.pretrained else None
    if settings.pretrained:  # else nothing stays as it is: random features teach little
        network.features.freeze(settings.frozen_layers if settings.trains_backbone else None)
    return Opened(settings.model, arguments, network, facts={"backbone": {"name": name, "weights": weights}})


def open_ensemble(names: str, settings: DetectorSettings, place: str | None) -> Opened:
    """`ensemble:A,B`: trained detectors, each with its own temperature. Raises UserError for fewer than two."""
    paths = [Path(name) for name in names.split(",") if name]
    if len(paths) < 2:
        raise UserError("an ensemble needs two detectors or more", got=names, expected="ensemble:DETECTOR,DETECTOR")
    if exported := [path for path in paths if path.suffix.lower() == ".onnx"]:
        what = "the members of an ensemble are detectors' folders: their networks are saved anew"
        raise UserError(what, got=exported[0])
    members = [Detector.load(path, "cpu") for path in paths]
    listed = [
        {"model": one.facts["model"], "arguments": one.facts["arguments"], "temperature": one.facts["temperature"]}
        for one in members
    ]
    arguments = {
        "resolution": max(one.resolution for one in members),
        "channels": max(one.channels for one in members),
        "members": listed,
    }
    network = build_network("ensemble", arguments)
    for own, one in zip(network.members, members, strict=True):
        own.load_state_dict(one.network.state_dict())
    about = [{"path": str(path), "id": one.id} for path, one in zip(paths, members, strict=True)]
    seen = tuple(read_seen(path, one.facts) for path, one in zip(paths, members, strict=True))
    return Opened("ensemble", arguments, network, fitted=True, facts={"members": about}, seen=seen)


FINISHED["ensemble"] = open_ensemble
