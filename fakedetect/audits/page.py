"""The report of an audit: result, every cue with its AUROC, and the files concerned with thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fakecore.media.pixels import ImageError, encode_png, enlarge, fit_square
from fakecore.report.pages import data_uri, write_page
from fakedetect.audits.findings import Audit, describe_duplicates
from fakedetect.audits.leaks import CONFIDENCE, LEVEL

DUPLICATES_SHOWN = 24
_SIDE = 96  # pixels


def write_audit_page(path: Path, audit: Audit, pixels_of: Callable[[str], np.ndarray]) -> None:
    """Write the report; `pixels_of` returns the uint8 RGB (H, W, 3) pixels of a file by its name."""
    offending = sorted((t for t in audit.duplicates if t.leaks or t.warns), key=lambda one: not one.leaks)
    shown = [
        {
            "what": describe_duplicates(one),
            "count": one.count,
            "leaks": one.leaks,
            "files": [{"name": name, "picture": _thumbnail(pixels_of, name)} for name in one.files],
        }
        for one in offending[:DUPLICATES_SHOWN]
    ]
    title = audit.origin["set"] if "set" in audit.origin else f"{audit.origin['real']} and {audit.origin['fake']}"
    write_page(
        path,
        "fakedetect.audits",
        "audit.html.j2",
        title=f"Audit of {title}",
        audit=audit,
        level=LEVEL,
        confidence=f"{100 * CONFIDENCE:g} %",
        shown=shown,
        more=len(offending) - len(shown),
        harmless=sum(not (one.leaks or one.warns) for one in audit.duplicates if one.kind != "group"),
    )


def _thumbnail(pixels_of: Callable[[str], np.ndarray], name: str) -> str | None:
    try:
        image = pixels_of(name)
    except ImageError:  # removed since the audit
        return None
    side = min(_SIDE, *image.shape[:2])
    return data_uri(encode_png(enlarge(fit_square(image, side, 3), max(1, _SIDE // side)), "real"))
