"""The list of training images of a detector: seen.npy in its folder identifies training and validation images by content. An
.onnx file carries the same list in its metadata.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fakecore.errors import UserError
from fakecore.files import write_bytes

CARRIED = "seen"  # the list in the metadata of an .onnx file, as base64


def pack_hashes(hashes: Iterable[str]) -> bytes:
    """Return the bytes of a seen.npy for images with these SHA-256s (of their bytes)."""
    buffer = io.BytesIO()
    np.save(buffer, np.unique(_short_names(hashes)), allow_pickle=False)
    return buffer.getvalue()


def remember(folder: Path, hashes: Iterable[str], others: Sequence[bytes | None] = ()) -> str | None:
    """Write seen.npy for images with these SHA-256s (of their bytes) and for those of the lists `others`, from `read_seen`;
    return the SHA-256 of the file. Write nothing and return None if one of `others` is None: then the list is unknown.
    """
    lists = [data for data in others if data is not None]
    if len(lists) < len(others):
        return None
    known = [np.load(io.BytesIO(data), allow_pickle=False) for data in lists]
    buffer = io.BytesIO()
    np.save(buffer, np.unique(np.concatenate([_short_names(hashes), *known])), allow_pickle=False)
    write_bytes(folder / "seen.npy", buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def count_seen(folder: Path, facts: dict, hashes: Iterable[str]) -> int | None:
    """Return how many of these images a detector was trained or tuned on; None if unknown. `folder` is that of the detector, or
    its .onnx file, and `facts` is its detector.json.

    Raises UserError if the list is not the recorded one.
    """
    seen = which_seen(folder, facts, hashes)
    return None if seen is None else int(seen.sum())


def which_seen(folder: Path, facts: dict, hashes: Iterable[str]) -> np.ndarray | None:
    """Like `count_seen`, for each image: bool (N,)."""
    data = read_seen(folder, facts)
    return None if data is None else np.isin(_short_names(hashes), np.load(io.BytesIO(data), allow_pickle=False))


def read_seen(folder: Path, facts: dict) -> bytes | None:
    """Return the bytes of seen.npy, as used by `count_seen`; None if it is missing or its checksum was not recorded."""
    path, recorded, carried = folder / "seen.npy", facts["training"].get("seen_sha256"), facts.get(CARRIED)
    if recorded is None or (carried is None and not path.is_file()):
        return None
    data = path.read_bytes() if carried is None else _decoded(carried)
    found = hashlib.sha256(data).hexdigest()
    if found != recorded:
        where = path if carried is None else f"{folder}: its metadata {CARRIED}"
        what = f"{where}, the list of its training images, is truncated or was replaced"
        remedy = "Copy it again, or delete it: the report then cannot state which test images are new."
        raise UserError(what, got=f"sha256 {found[:12]}", expected=recorded[:12], remedy=remedy)
    return data


def carried_with(data: bytes) -> dict[str, str]:
    """Return the metadata of an .onnx file for the bytes of `read_seen`."""
    return {CARRIED: base64.b64encode(data).decode()}


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error:
        return b""  # differs from the recorded sha256


def _short_names(hashes: Iterable[str]) -> np.ndarray:
    """Return the first 64 bits of each SHA-256, uint64 (N,)."""
    return np.array([int(digest[:16], 16) for digest in hashes], dtype=np.uint64)
