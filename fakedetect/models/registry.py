"""Detector models by name: one `Model` says how a detector is described, built, trained and loaded.

Other packages add models through the entry-point group `fakelab.detectors`: an entry point's name is the model's name,
and it refers to a `Model`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from fakecore import efficientnet, imagenet
from fakecore.device import derive_seed
from fakecore.errors import UserError, unknown_name
from fakecore.schema import TEXT, Kind, check_fields, number, whole
from fakedetect.data.loading import LabelledImages
from fakedetect.data.overlap import read_seen
from fakedetect.models import adopted, lite
from fakedetect.models.backbones import RESNET50, load_pretrained, own_input_size
from fakedetect.models.calibration import Scaling
from fakedetect.models.heads import PROBES
from fakedetect.models.networks import (
    Ensemble,
    ScratchCNN,
    dct_network,
    lite_network,
    spectrum_network,
    timm_network,
)
from fakedetect.models.settings import DetectorSettings

if TYPE_CHECKING:
    from fakedetect.models.detector import Detector

GROUP = "fakelab.detectors"
Training = Literal["network", "features"]


@dataclass(frozen=True)
class Opened:
    """A network, before training or trained elsewhere; `model`, `arguments` and `facts` go into detector.json."""

    model: str
    arguments: dict[str, Any]
    network: Any  # nn.Module; a model on features has .features and .head too
    trained: bool = False  # only temperature and thresholds are chosen then
    facts: dict[str, Any] = field(default_factory=dict)
    # Of one that was trained elsewhere: hash lists of its training images, see fakedetect.data.overlap; None: unknown.
    seen: tuple[bytes | None, ...] = ()


@dataclass(frozen=True)
class Request:
    """The request `--model NAME:SUFFIX` for an already trained model.

    `place` is the set or run of the training images, or None; `load` loads a detector folder on the CPU.
    """

    suffix: str
    settings: DetectorSettings
    place: str | None
    load: Callable[[Path], Detector]


def _shape_only(settings: DetectorSettings, resolution: int) -> dict[str, Any]:
    return {}


def _no_facts(network: nn.Module, settings: DetectorSettings) -> dict[str, Any]:
    return {}


def _whole_network(settings: DetectorSettings) -> Training:
    return "network"


@dataclass(frozen=True)
class Model:
    """A kind of detector.

    build       keyword arguments -> a module that maps uint8 images (B, C, R, R) to logits (B,), high for fake. It always
                receives `resolution` and `channels`. A method `outputs`, images -> (logits, features (B, dims)), lets
                the detector notice images that are out of domain.
    kinds       the checks of its other arguments, applied when a detector is loaded
    describe    (settings, resolution of the images) -> its other arguments
    prepare     (network, settings) -> facts for detector.json; loads pretrained weights where it has any
    training    settings -> "network" (gradient descent on all of it) or "features" (a head on frozen features)
    open        for a model that was trained before: takes a Request; nothing is trained then
    suffix      what follows the colon of the name: an argument of `build`, or "" for what only `open` reads; None: nothing
    suffix_optional   the name may stand without a colon
    fields      the fields of DetectorSettings that only some models use, and this one does
    """

    summary: str
    build: Callable[..., nn.Module]
    kinds: dict[str, Kind] = field(default_factory=dict)
    describe: Callable[[DetectorSettings, int], dict[str, Any]] = _shape_only
    prepare: Callable[[nn.Module, DetectorSettings], dict[str, Any]] = _no_facts
    training: Callable[[DetectorSettings], Training] = _whole_network
    open: Callable[[Request], Opened] | None = None
    suffix: str | None = None
    suffix_example: str = ""
    suffix_optional: bool = False
    fields: tuple[str, ...] = ()


def model_names() -> list[str]:
    """Return the names of all models as typed, built-in ones first: "cnn", "timm:NAME" ..."""
    shown = [f"{name}:{model.suffix_example}" if model.suffix_example else name for name, model in MODELS.items()]
    return [*shown, *sorted(set(_entry_points()) - set(MODELS))]


def get_model(name: str) -> Model:
    """Return the model called `name`, such as "cnn" or "timm:vit_tiny_patch16_224".

    Raises UserError, listing the choices, for an unknown name, an unexpected or missing suffix, or an installed package that
    cannot provide its model.
    """
    stem, colon, suffix = name.partition(":")
    model = MODELS.get(stem) or _from_elsewhere(stem)
    if model is None:
        raise unknown_name("detector model", name, model_names())
    if bool(colon) and model.suffix is None:
        raise unknown_name("detector model", name, model_names())
    if model.suffix is not None and not suffix and (colon or not model.suffix_optional):
        expected = f"{stem}:{model.suffix_example}"
        raise UserError(f"the model {stem} needs a name after its colon", got=name, expected=expected)
    return model


def build_network(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the network of a detector from the `model` and `arguments` of detector.json.

    Raises UserError for an unknown name, or arguments that the model does not take.
    """
    stem, _, suffix = name.partition(":")
    model = _BUILT_ONLY.get(name) or get_model(name)
    build = functools.partial(model.build, **{model.suffix: suffix}) if model.suffix and suffix else model.build
    takes = [parameter for parameter in inspect.signature(model.build).parameters if parameter != model.suffix]
    if foreign := [argument for argument in arguments if argument not in takes]:
        raise UserError(f"the model {name} takes no argument {foreign[0]!r}", expected=f"only {', '.join(takes)}")
    check_fields(arguments, model.kinds, f"the arguments of {stem}", remedy="")
    return build(**arguments)


def open_trained(settings: DetectorSettings, place: str | None, load: Callable[[Path], Detector]) -> Opened | None:
    """Return an already trained model, or None for a model to be trained. Raises UserError."""
    model = get_model(settings.model)
    suffix = settings.model.partition(":")[2]
    return model.open(Request(suffix, settings, place, load)) if model.open else None


def open_new(settings: DetectorSettings, data: LabelledImages, seed: int) -> Opened:
    """Return the untrained network for these images: random weights, determined by the seed, or pretrained ones.

    Raises UserError for an unknown backbone, unavailable weights, and contradictory settings.
    """
    model = get_model(settings.model)
    torch.manual_seed(derive_seed(seed, "weights"))
    arguments = {"resolution": data.resolution, "channels": data.channels, **model.describe(settings, data.resolution)}
    network = build_network(settings.model, arguments)
    return Opened(settings.model, arguments, network, facts=model.prepare(network, settings))


def trains_on_features(settings: DetectorSettings) -> bool:
    """Return whether only a head is trained, on fixed features."""
    return get_model(settings.model).training(settings) == "features"


def uses_field(settings: DetectorSettings, name: str) -> bool:
    """Return whether the field `name` of DetectorSettings has an effect on this model."""
    model = get_model(settings.model)
    return name not in OPTIONAL_FIELDS or name in model.fields


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@functools.cache
def _from_elsewhere(stem: str) -> Model | None:
    point = _entry_points().get(stem)
    if point is None:
        return None
    source = f"the entry point {stem} = {point.value} of {point.dist.name if point.dist else 'an installed package'}"
    try:
        found = point.load()
    except Exception as error:  # an installed package may fail in any way
        what = f"the detector model {stem} cannot be imported: {source}"
        raise UserError(
            what, got=f"{type(error).__name__}: {error}", remedy="Repair or uninstall that package."
        ) from None
    if not isinstance(found, Model):
        raise UserError(f"{source} is not a detector model", got=type(found).__name__, expected=f"a {__name__}.Model")
    return found


def _describe_cnn(settings: DetectorSettings, resolution: int) -> dict[str, Any]:
    return {"blocks": settings.blocks}


def _cnn(resolution: int, channels: int, blocks: int = 3, filters: int = 32, hidden: int = 256) -> nn.Module:
    return ScratchCNN(resolution, channels, blocks, filters, hidden)


def _describe_probe(settings: DetectorSettings, resolution: int) -> dict[str, Any]:
    return {"probe": settings.probe_in_use()}


def _on_features(settings: DetectorSettings) -> Training:
    return "features"


def _describe_lite(settings: DetectorSettings, resolution: int) -> dict[str, Any]:
    return {
        "input_size": settings.input_size or lite.own_input_size(resolution),
        **_describe_probe(settings, resolution),
    }


def _prepare_lite(network: Any, settings: DetectorSettings) -> dict[str, Any]:
    weights = imagenet.load_imagenet(network.features)
    network.features.requires_grad_(settings.trains_backbone)
    return {"backbone": {"name": efficientnet.NAME, "weights": weights}}


def _backbone_name(settings: DetectorSettings) -> str:
    return RESNET50 if settings.model == "resnet50" else settings.model.partition(":")[2]


def _describe_backbone(settings: DetectorSettings, resolution: int) -> dict[str, Any]:
    if settings.weights is not None and not settings.pretrained:
        raise UserError("--weights and pretrained=false contradict each other", remedy="Leave one of the two out.")
    if settings.trains_backbone and settings.probe in ("linear", "svm"):
        what = "a backbone cannot be finetuned with a linear probe or SVM"
        got = f"probe={settings.probe}, " + ("train=finetune" if settings.pretrained else "pretrained=false")
        other = "--set train=head" if settings.pretrained else "pretrained weights"
        raise UserError(what, got=got, remedy=f"Use {other}, or --set probe=mlp.")
    input_size = settings.input_size or own_input_size(_backbone_name(settings))
    return {"input_size": input_size, "pool": settings.pool, "probe": settings.probe_in_use()}


def _prepare_backbone(network: Any, settings: DetectorSettings) -> dict[str, Any]:
    name, weights = _backbone_name(settings), None
    if settings.pretrained:  # otherwise all layers are trained: random features are poor
        weights = load_pretrained(network.features, name, settings.weights)
        network.features.freeze(settings.frozen_layers if settings.trains_backbone else None)
    return {"backbone": {"name": name, "weights": weights}}


def _train_backbone(settings: DetectorSettings) -> Training:
    return "network" if settings.trains_backbone else "features"


def _ensemble(resolution: int, channels: int, members: list[dict]) -> Ensemble:
    for one in members:
        check_fields({"bias": 0.0, **one}, _MEMBER, "a member of the ensemble", remedy="")
    networks = [build_network(one["model"], one["arguments"]) for one in members]
    shapes = [(one["arguments"]["channels"], one["arguments"]["resolution"]) for one in members]
    return Ensemble(networks, shapes, [Scaling.of(one) for one in members])


def _open_ensemble(request: Request) -> Opened:
    """`ensemble:A,B`: trained detectors, each with its own scaling. Raises UserError for fewer than two."""
    paths = [Path(name) for name in request.suffix.split(",") if name]
    if len(paths) < 2:
        what = "an ensemble needs two detectors or more"
        raise UserError(what, got=request.suffix, expected="ensemble:DETECTOR,DETECTOR")
    if exported := [path for path in paths if path.suffix.lower() == ".onnx"]:
        what = "members of an ensemble must be detector folders, because their networks are saved again"
        raise UserError(what, got=exported[0])
    members = [request.load(path) for path in paths]
    listed = [
        {"model": one.facts["model"], "arguments": one.facts["arguments"], **Scaling.of(one.facts).to_json()}
        for one in members
    ]
    arguments: dict[str, Any] = {
        "resolution": max(one.resolution for one in members),
        "channels": max(one.channels for one in members),
        "members": listed,
    }
    network = _ensemble(**arguments)
    for own, one in zip(network.members, members, strict=True):
        own.load_state_dict(one.network.state_dict())
    about = [{"path": str(path), "id": one.id} for path, one in zip(paths, members, strict=True)]
    seen = tuple(read_seen(path, one.facts) for path, one in zip(paths, members, strict=True))
    return Opened("ensemble", arguments, network, trained=True, facts={"members": about}, seen=seen)


_PROBE = {"probe": Kind(" or ".join(PROBES), lambda value: value in PROBES)}
_POOL = Kind("avg or flatten", lambda value: value in ("avg", "flatten"))
_MEMBER = {"model": TEXT, "temperature": number(0.001, 1000), "bias": number(-1000, 1000)}
_BACKBONE = {"input_size": whole(8, 2048), "pool": _POOL, **_PROBE}
OPTIONAL_FIELDS = {
    *(
        "blocks",
        "probe",
        "copies",
        "train",
        "frozen_layers",
        "pretrained",
        "weights",
        "input_size",
        "pool",
        "checkpoint",
    )
}
_PROBED_FIELDS = ("probe", "copies")
_BACKBONE_FIELDS = (*_PROBED_FIELDS, "train", "frozen_layers", "pretrained", "weights", "input_size", "pool")

MODELS: dict[str, Model] = {
    "cnn": Model(
        "1 to 4 blocks of convolution, ReLU and max-pool, trained from scratch (system E)",
        _cnn,
        kinds={"blocks": whole(1)},
        describe=_describe_cnn,
        fields=("blocks",),
    ),
    "lite": Model(
        "logistic regression on a pretrained EfficientNet-Lite0's features of several depths; its weights come with fakelab",
        lite_network,
        kinds={"input_size": whole(8, 2048), **_PROBE},
        describe=_describe_lite,
        prepare=_prepare_lite,
        training=_train_backbone,
        fields=(*_PROBED_FIELDS, "input_size", "train"),
    ),
    "resnet50": Model(
        "ResNet50 pretrained on ImageNet, with a head of three layers (system E)",
        functools.partial(timm_network, backbone=RESNET50),
        kinds=_BACKBONE,
        describe=_describe_backbone,
        prepare=_prepare_backbone,
        training=_train_backbone,
        fields=_BACKBONE_FIELDS,
    ),
    "timm": Model(
        "any backbone of the timm library, pretrained, with a head",
        timm_network,
        kinds=_BACKBONE,
        describe=_describe_backbone,
        prepare=_prepare_backbone,
        training=_train_backbone,
        suffix="backbone",
        suffix_example="NAME",
        fields=_BACKBONE_FIELDS,
    ),
    "dct": Model(
        "logistic regression on the log of the 2-D DCT (Frank et al. 2020, arXiv 2003.08685)",
        dct_network,
        kinds=_PROBE,
        describe=_describe_probe,
        training=_on_features,
        fields=_PROBED_FIELDS,
    ),
    "spectrum": Model(
        "logistic regression on the azimuthally averaged power spectrum (Durall et al. 2020, arXiv 2003.01826)",
        spectrum_network,
        kinds=_PROBE,
        describe=_describe_probe,
        training=_on_features,
        fields=_PROBED_FIELDS,
    ),
    "ensemble": Model(
        "the mean of trained detectors' calibrated logits",
        _ensemble,
        kinds={"members": Kind("a list of members", lambda value: isinstance(value, list) and len(value) > 1)},
        open=_open_ensemble,
        suffix="",
        suffix_example="DETECTOR,DETECTOR",
    ),
}
# Built when a detector is loaded, under names that `--model` does not take as they are.
_BUILT_ONLY = {
    "ensemble": MODELS["ensemble"],
    "adopted": Model(
        "a network that others trained, see fakedetect.adoption", adopted.AdoptedNetwork, kinds=adopted.KINDS
    ),
}
