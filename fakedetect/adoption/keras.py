"""Read the weights of MesoNet (Afchar et al. 2018, arXiv 1809.00888) from a file of Keras, without Keras."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fakecore.errors import UserError
from fakedetect.models.bodies import Meso4, MesoInception4

_REMEDY = "Install it: pip install 'fakelab[keras]'."
_SIDE = 8  # of the last feature maps, pixels


def read_mesonet(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the description and the tensors of the Meso-4 or MesoInception-4 in an .h5 file of weights.

    Raises UserError for another network, a damaged file, or without the package h5py.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("files of Keras are read with the package h5py", remedy=_REMEDY) from None
    layers: dict[str, dict[str, np.ndarray]] = {}

    def keep(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset) and "optimizer_weights" not in name:
            *_, layer, weight = name.split("/")
            layers.setdefault(layer, {})[weight.partition(":")[0]] = np.asarray(found, dtype=np.float32)

    try:
        with h5py.File(path) as file:
            file.visititems(keep)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is truncated or damaged, or is no file of Keras", got=str(error)[:120]) from None
    for kind, network in (("meso4", Meso4()), ("mesoinception4", MesoInception4())):
        tensors = _fill(network, layers)
        if tensors is not None:
            return {"kind": kind}, tensors
    got = ", ".join(sorted(layers)[:6]) or "no layers"
    raise UserError(f"{path} has the weights of another network", got=got, expected="Meso-4 or MesoInception-4")


def _fill(network: nn.Module, layers: dict[str, dict[str, np.ndarray]]) -> dict[str, torch.Tensor] | None:
    """Return the tensors of `network` from Keras' layers, each kind in the order of its numbers; None if they don't fit."""
    filled: dict[str, torch.Tensor] = {}
    for module_type, kind in ((nn.Conv2d, "conv2d"), (nn.BatchNorm2d, "batch_normalization"), (nn.Linear, "dense")):
        own = [(name, module) for name, module in network.named_modules() if isinstance(module, module_type)]
        theirs = [layers[name] for name in sorted(layers, key=_number) if name.rstrip("0123456789_") == kind]
        if len(own) != len(theirs):
            return None
        for (name, module), weights in zip(own, theirs, strict=True):
            filled |= {f"{name}.{key}": torch.from_numpy(value) for key, value in _translated(module, weights).items()}
            if isinstance(module, nn.BatchNorm2d):
                filled[f"{name}.num_batches_tracked"] = torch.tensor(0)
    wanted = network.state_dict()
    fits = set(filled) == set(wanted) and all(filled[name].shape == wanted[name].shape for name in wanted)
    return filled if fits else None


def _number(layer: str) -> int:
    found = re.search(r"\d+$", layer)
    return int(found.group()) if found else 0


def _translated(module: nn.Module, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights of a layer by torch's names, in its order of axes."""
    if isinstance(module, nn.BatchNorm2d):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        return {new: weights[old] for old, new in names.items() if old in weights}
    kernel = weights.get("kernel")
    if kernel is None or "bias" not in weights:
        return {}
    if isinstance(module, nn.Conv2d):
        kernel = kernel.transpose(3, 2, 0, 1)  # Keras: height, width, in, out
    elif len(kernel) % _SIDE**2 == 0:  # after Flatten, whose order in Keras is height, width, channels
        channels = len(kernel) // _SIDE**2
        kernel = kernel.reshape(_SIDE, _SIDE, channels, -1).transpose(3, 2, 0, 1).reshape(kernel.shape[1], -1)
    else:
        kernel = kernel.T
    return {"weight": np.ascontiguousarray(kernel), "bias": weights["bias"]}
