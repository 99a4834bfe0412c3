"""What is computed once and kept in the cache: named tensors with their facts, under a key that says all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fakecore.errors import UserError
from fakecore.runs.cache import cache_home, limit_bytes, prune
from fakecore.runs.checkpoint import load_checkpoint, save_checkpoint


def keep(key: str, tensors: Mapping[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Keep tensors under `key`, and make room where the cache has outgrown its limit."""
    limit = limit_bytes()
    path = _place(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, tensors, facts)
    prune(path.with_name(path.name + ".safetensors"), limit)


def load_kept(key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """What was kept under `key`; None when it never was, was pruned, or is damaged: it can be made again."""
    path = _place(key)
    try:
        found = load_checkpoint(path)
    except UserError:
        return None
    path.with_name(path.name + ".json").touch()  # last used: what pruning goes by
    return found


def _place(key: str) -> Path:
    return cache_home() / "features" / key
