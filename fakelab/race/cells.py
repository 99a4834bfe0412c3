"""Results of a race on disk, named by what they depend on: a stopped race resumes, a larger one computes only what is new."""

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

CELLS_VERSION = (
    1  # increase it when the content of a cell or its computation changes: older cells are then computed again
)


def key_of(kind: str, **facts: Any) -> str:
    """Return the name of a result that depends on `facts` alone: `kind`, then a hash of the facts."""
    text = json.dumps({"version": CELLS_VERSION, **facts}, sort_keys=True, default=_plain)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def load_cell(folder: Path, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the tensors and facts stored under `key`; None if there are none or they are damaged."""
    if not (folder / f"{key}.json").is_file():
        return None
    try:
        return load_checkpoint(folder / key)
    except UserError:
        return None


def save_cell(folder: Path, key: str, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Store tensors and facts under `key`. Each file is written atomically."""
    save_checkpoint(folder / key, tensors, facts)


def digest_of(array: np.ndarray) -> str:
    """Return a hash of an array's values, shape and dtype."""
    head = f"{array.dtype}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return digest_of(value)
    raise TypeError(f"{type(value).__name__} has no stable text")
