"""A cache of named tensors with their facts, under a key that identifies how they were computed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fakecore.errors import UserError
from fakecore.runs.cache import cache_home, limit_bytes, prune
from fakecore.runs.checkpoint import load_checkpoint, save_checkpoint


def save_tensors(key: str, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Store tensors under `key`, and prune the cache if it exceeds its limit."""
    limit = limit_bytes()
    path = _place(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, tensors, facts)
    prune(path.with_name(path.name + ".safetensors"), limit)


def load_tensors(key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the tensors and facts stored under `key`; None if they are missing, pruned or damaged."""
    path = _place(key)
    try:
        found = load_checkpoint(path)
    except UserError:
        return None
    path.with_name(path.name + ".json").touch()  # time of last use, for pruning
    return found


def _place(key: str) -> Path:
    return cache_home() / "features" / key
