"""Detectors at URLs: copied to the cache, and loaded from there like any other."""

from __future__ import annotations

from pathlib import Path

from fakecore.progress import say
from fakecore.runs.mirror import mirror_file, mirror_files
from fakecore.storage import base_name, is_url, shown

_FILES = ("detector.json", "detector.safetensors")  # of a folder, what judges


def local_detector(name: str) -> Path:
    """Return the path of a detector: of a copy of its folder or .onnx file, if `name` is a URL; else `name` itself. A copy is
    made again when the file at the URL changes. Raises StorageError.
    """
    if not is_url(name):
        return Path(name)
    path = mirror_file(name) if base_name(name).lower().endswith(".onnx") else mirror_files(name, _FILES)
    say(f"the detector {shown(name)} is copied to {path}")
    return path
