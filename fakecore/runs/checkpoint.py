"""Checkpoints: a safetensors file of weights and a .json file to rebuild the module. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from fakecore.errors import UserError
from fakecore.files import read_json, write_bytes, write_json
from fakecore.schema import TEXT, check_fields

CHECKPOINT_VERSION = 1  # of the .json file, unless its writer states another version


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> str:
    """Write `path`.safetensors, then `path`.json with `facts` and the weights' sha256, each atomically; return the sha256.

    Equal tensors and facts make equal bytes.
    """
    return write_checkpoint(path, tensor_bytes(tensors), facts)


def write_checkpoint(path: Path, data: bytes, facts: dict[str, Any]) -> str:
    """Like `save_checkpoint`, for tensors already serialised to bytes, so that another thread can write them."""
    digest = hashlib.sha256(data).hexdigest()
    write_bytes(_weights(path), data)
    write_json(_facts(path), {"version": CHECKPOINT_VERSION, **facts, "sha256": digest})
    return digest


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return tensors, on any device and in any memory layout, as the bytes of a safetensors file."""
    plain = torch.contiguous_format
    return to_bytes({name: t.detach().cpu().clone(memory_format=plain) for name, t in tensors.items()})


def load_checkpoint(path: Path, prefix: str = "") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors whose names start with `prefix` (names without it), on the CPU, and the facts.

    Raises UserError for a file that is missing, truncated, changed, or not a safetensors file.
    """
    weights = _weights(path)
    remedy = f"Copy {_facts(path).name} and {weights.name} again, both from the same training, or train again."
    facts = read_json(_facts(path), remedy=remedy)
    check_fields(facts, {"sha256": TEXT}, _facts(path), remedy=remedy)
    if not weights.is_file():
        raise UserError(f"{weights} is missing", remedy=remedy)
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    tensors = read_tensors(weights, prefix, remedy=remedy)  # first: its error explains a damaged file
    if found != facts["sha256"]:
        raise UserError(
            f"{weights} does not match {_facts(path).name}: one of the two was replaced or damaged",
            got=f"sha256 {found[:12]}",
            expected=facts["sha256"][:12],
            remedy=remedy,
        )
    return tensors, facts


def read_tensors(
    weights: Path, prefix: str = "", *, remedy: str = "Copy it again, or create it again."
) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file whose names start with `prefix` (names without it).

    Raises UserError, with the `remedy`, if it is not a safetensors file.
    """
    try:
        with safe_open(weights, framework="pt", device="cpu") as file:
            return {name[len(prefix) :]: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    except SafetensorError:
        with weights.open("rb") as file:
            start = file.read(4)
        if start.startswith((b"PK\x03\x04", b"\x80")):
            raise UserError(
                f"{weights} is a pickle, which is refused because it could run code",
                expected="a safetensors file written by fakelab",
                remedy=remedy,
            ) from None
        size = f"{weights.stat().st_size:,} bytes"
        what = f"{weights} is truncated or damaged"
        raise UserError(what, got=size, expected="a complete safetensors file", remedy=remedy) from None


_OF_TWO = "The weights and their .json file come from different trainings: copy both again."


def load_into(module: nn.Module, tensors: Mapping[str, torch.Tensor], what: str, remedy: str = _OF_TWO) -> None:
    """Load `tensors` into `module`. Raises UserError, naming the layers, if they have another architecture or contain NaN or
    infinity where the module does not.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors]
    foreign = [name for name in tensors if name not in own]
    resized = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if missing or foreign or resized:
        differences = [f"missing {name}" for name in missing] + [f"unknown {name}" for name in foreign] + resized
        raise UserError(f"{what} has weights of another architecture", got=_few(differences), remedy=remedy)
    broken = [name for name in own if not tensors[name].isfinite().all() and own[name].isfinite().all()]
    if broken:
        raise UserError(
            f"{what} has weights that are not finite",
            got=f"NaN or infinity in {_few(broken)}",
            remedy="The file is damaged, or the training diverged: use another checkpoint.",
        )
    module.load_state_dict(tensors)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """Return the state of an optimiser as named tensors: `prefix`INDEX.KEY."""
    state = optimiser.state_dict()["state"]
    return {f"{prefix}{i}.{key}": torch.as_tensor(value) for i, slot in state.items() for key, value in slot.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore the state from `optimiser_tensors` (names without the prefix); learning rates etc. stay as constructed."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # In the memory layout of the parameter: fused optimisers ignore strides.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        slots.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def _weights(path: Path) -> Path:
    return path.with_name(path.name + ".safetensors")


def _facts(path: Path) -> Path:
    return path.with_name(path.name + ".json")
