"""The page of an audit: verdict, every cue with its AUROC, and the offending files with their pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fakecore.media.pixels import ImageError, encode_png, enlarge, fit_square
from fakecore.report.pages import picture, write_page
from fakedetect.audits.findings import Audit, told_twins
from fakedetect.audits.leaks import CONFIDENCE, LEVEL

TWINS_SHOWN = 24
_SIDE = 96  # pixels


def write_audit_page(path: Path, audit: Audit, pixels_of: Callable[[str], np.ndarray]) -> None:
    """Write the page; `pixels_of` gives the uint8 RGB (H, W, 3) pixels of a file by its name."""
    offending = sorted((t for t in audit.twins if t.leaks or t.warns), key=lambda twins: not twins.leaks)
    shown = [
        {
            "what": told_twins(twins),
            "count": twins.count,
            "leaks": twins.leaks,
            "files": [{"name": name, "picture": _thumbnail(pixels_of, name)} for name in twins.files],
        }
        for twins in offending[:TWINS_SHOWN]
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
        harmless=sum(not (twins.leaks or twins.warns) for twins in audit.twins if twins.kind != "group"),
    )


def _thumbnail(pixels_of: Callable[[str], np.ndarray], name: str) -> str | None:
    try:
        image = pixels_of(name)
    except ImageError:  # it went away since
        return None
    side = min(_SIDE, *image.shape[:2])
    return picture(encode_png(enlarge(fit_square(image, side, 3), max(1, _SIDE // side)), "real"))
