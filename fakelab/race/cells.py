"""What a race has worked out so far, on disk by content: a killed one goes on, and a larger one computes what is new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_checkpoint, save_checkpoint

CELLS_VERSION = 1  # raise it when what a cell holds, or how it is computed, changes: older cells are then made anew


def key_of(kind: str, **facts: Any) -> str:
    """A name for what follows from `facts` alone: the same facts, the same name. `kind` leads it, for people."""
    text = json.dumps({"version": CELLS_VERSION, **facts}, sort_keys=True, default=_plain)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def load_cell(folder: Path, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The tensors and facts kept under `key` in BENCH/cells; None where there are none, or they are damaged."""
    if not (folder / f"{key}.json").is_file():
        return None
    try:
        return load_checkpoint(folder / key)
    except UserError:
        return None


def save_cell(folder: Path, key: str, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Keep tensors and facts under `key`, each file whole or not at all."""
    save_checkpoint(folder / key, tensors, facts)


def digest_of(array: np.ndarray) -> str:
    """Changes when the array does, in values, shape or dtype."""
    head = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return digest_of(value)
    raise TypeError(f"{type(value).__name__} has no stable text")
