"""torch, imported when it is first used: its import takes longer than an exported detector needs for a photo."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_loader.load("torch")


def is_loaded() -> bool:
    """Return whether something used torch already."""
    return type(sys.modules["torch"]).__name__ != "_LazyModule"
