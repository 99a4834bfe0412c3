"""The trained attribute classifier: network, preprocessing and temperatures, saved in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from torch import nn

from fakecore.device import choose_device, derive_seed, to_device
from fakecore.errors import UserError, unknown_name
from fakecore.media.pixels import fit_square
from fakecore.runs.checkpoint import load_checkpoint, load_into, save_checkpoint
from fakecore.schema import OBJECT, TEXT, TEXT_OR_NONE, Kind, check_fields, number, one_of, whole
from fakedetect.attributes.labels import Target
from fakedetect.attributes.settings import TIMM, AttributeSettings, require_model
from fakedetect.models.backbones import RESNET50, TimmFeatures, load_pretrained, own_input_size
from fakedetect.models.detector import network_logits
from fakedetect.models.networks import Probed, ScratchCNN

VERSION = 1
_REMEDY = "Copy attributes.json again, or train again."
_TARGET = {"name": TEXT, "column": TEXT, "yes": TEXT_OR_NONE, "no": TEXT_OR_NONE}
_FIELDS = {
    "model": TEXT,
    "arguments": {"resolution": whole(1, 1024), "channels": one_of(1, 3), "outputs": whole(1)},
    "targets": Kind("a list of targets", lambda value: isinstance(value, list) and bool(value)),
    "head": Kind("sigmoid or softmax", lambda value: value in ("sigmoid", "softmax")),
    "temperatures": Kind("a list of numbers", lambda value: isinstance(value, list)),
    "training": {"fingerprint": TEXT, "counts": OBJECT, "origin": OBJECT},
    "settings": OBJECT,
    "test_metrics": OBJECT,
    "best_epoch": whole(1),
}


@dataclass
class AttributeModel:
    """A trained attribute classifier; `facts` is the content of attributes.json."""

    network: nn.Module
    facts: dict
    device: torch.device

    @staticmethod
    def load(path: Path | str, device: str = "auto") -> AttributeModel:
        """Load a classifier from its folder. Raises UserError if the folder is missing, damaged or not a classifier."""
        path = Path(path)
        require_folder(path)
        tensors, facts = load_checkpoint(path / "attributes")
        check_facts(facts, path)
        try:
            network = build(facts["model"], facts["arguments"])
        except TypeError as error:  # an argument that the network does not take, or lacks
            what = f"{path / 'attributes.json'}: arguments cannot be used"
            raise UserError(what, got=str(error), remedy=_REMEDY) from None
        load_into(network, tensors, str(path))
        place = choose_device(device)
        return AttributeModel(to_device(network, place).eval(), facts, place)

    def save(self, path: Path) -> None:
        """Write attributes.safetensors, then attributes.json, whose presence marks the classifier as complete."""
        self.facts["sha256"] = save_checkpoint(path / "attributes", self.network.state_dict(), self.facts)

    @property
    def names(self) -> list[str]:
        """The names of the columns of `probabilities`."""
        return [target["name"] for target in self.facts["targets"]]

    def place_of(self, attribute: str | None) -> int:
        """Return the column of an attribute by name; None: the only attribute. Raises UserError if unknown or ambiguous."""
        if attribute is None and len(self.names) == 1:
            return 0
        if attribute is None:
            raise UserError("--attribute is missing", expected=f"one of {', '.join(self.names)}")
        for place, target in enumerate(self.facts["targets"]):
            if attribute in (target["name"], Target(**target).words, f"{target['column']}={target['yes']}"):
                return place
        raise unknown_name("attribute", attribute, self.names, where="of this model")

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) as uint8 (C, R, R), resized like the training images."""
        return fit_square(image, self.facts["arguments"]["resolution"], self.facts["arguments"]["channels"])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of yes (N, T), in [0, 1], of prepared uint8 images (N, C, R, R)."""
        logits = all_logits(self.network, images, self.device)
        return probabilities(logits, self.facts["head"], np.array(self.facts["temperatures"]))


def all_logits(network: nn.Module, images: np.ndarray, device, rows: np.ndarray | None = None) -> np.ndarray:
    """Return float64 logits (N, T) of uint8 images (N, C, R, R), or (len(rows), T) of the given `rows`."""
    logits = network_logits(network, images, device, rows)
    return logits.reshape(len(logits), -1)


def probabilities(logits: np.ndarray, head: str, temperatures: np.ndarray) -> np.ndarray:
    """Return probabilities (N, T) of logits (N, T): sigmoid with temperatures, or softmax over the targets."""
    return softmax(logits, axis=1) if head == "softmax" else expit(logits / temperatures)


def open_network(settings: AttributeSettings, resolution: int, channels: int, outputs: int, seed: int):
    """Return (network, arguments, facts) for a new training, with weights from the seed or pretrained; layers that are not
    trained are frozen. Raises UserError for an unknown backbone or unavailable weights.
    """
    require_model(settings.model)
    torch.manual_seed(derive_seed(seed, "weights"))
    arguments: dict[str, Any] = {"resolution": resolution, "channels": channels, "outputs": outputs}
    if not settings.is_backbone:
        arguments["blocks"] = settings.blocks
        return build(settings.model, arguments), arguments, {}
    name = _backbone(settings.model)
    arguments |= {"input_size": settings.input_size or own_input_size(name), "pool": settings.pool}
    network: Any = build(settings.model, arguments)
    weights = load_pretrained(network.features, name, settings.weights) if settings.pretrained else None
    if settings.pretrained:
        network.features.freeze(None if settings.on_features else settings.frozen_layers)
    return network, arguments, {"backbone": {"name": name, "weights": weights}}


def build(model: str, arguments: dict) -> nn.Module:
    """Return the network of `model`: it maps uint8 images (B, C, R, R) to logits (B,) for one attribute, (B, T) for several."""
    require_model(model)
    if model == "cnn":
        return ScratchCNN(**arguments)
    return _transfer(_backbone(model), **arguments)


def _transfer(backbone: str, resolution: int, channels: int, outputs: int, input_size: int, pool: str) -> nn.Module:
    return Probed(TimmFeatures(backbone, resolution, channels, input_size, pool), "mlp", resolution, outputs)


def _backbone(model: str) -> str:
    return RESNET50 if model == "resnet50" else model.removeprefix(TIMM)


def require_folder(path: Path) -> None:
    """Raise UserError unless `path` is the folder of a finished classifier."""
    if not (path / "attributes.json").is_file():
        got = None if path.exists() else "no such folder"
        expected = "a folder with attributes.json, made by `attributes train`"
        raise UserError(f"{path} is not an attribute classifier", got=got, expected=expected)


def check_facts(facts: dict, path: Path) -> None:
    """Raise UserError unless attributes.json has all required fields with valid values."""
    where = path / "attributes.json"
    if facts.get("kind") != "attributes" or facts.get("version") != VERSION:
        got = f"kind {facts.get('kind')!r}, version {facts.get('version')!r}"
        raise UserError(f"{path} cannot be used as an attribute classifier", got=got, expected=f"version {VERSION}")
    check_fields(facts, _FIELDS, where, remedy=_REMEDY)
    for target in facts["targets"]:
        check_fields(target, _TARGET, where, remedy=_REMEDY, inside="targets.")
    outputs, positive = facts["arguments"]["outputs"], number(0.001, 1000)
    if len(facts["targets"]) != outputs or len(facts["temperatures"]) != outputs:
        got = f"{len(facts['targets'])} and {len(facts['temperatures'])}"
        raise UserError(
            f"{where}: the number of targets or temperatures differs from the number of outputs",
            got=got,
            expected=outputs,
        )
    if not all(positive.fits(value) for value in facts["temperatures"]):
        raise UserError(f"{where}: temperatures cannot be used", expected="positive numbers", remedy=_REMEDY)
