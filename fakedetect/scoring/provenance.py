"""What a file says of its own origin, beside its score: evidence that never changes p_fake or a verdict."""

from __future__ import annotations

from typing import Any

from fakecore.media.pngchunks import PNG, chunks
from fakedetect.inspection.findings import POINTS_TO, STRENGTHS
from fakedetect.inspection.inspect import inspect_file

# PNG 1.2, chapter 4: chunks of pixels and their description; a text, EXIF data or a C2PA manifest is none of them.
_BARE = {b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"bKGD", b"pHYs", b"tIME"}


def provenance_of(path: str, data: bytes | None = None) -> dict[str, Any] | None:
    """Return what the file points to and the findings, strongest first, from its header only; None if it carries no evidence.
    `data`: the content of a photo, if it was read already.
    """
    if data is not None and _is_bare_png(data):
        return None
    findings = [one for one in inspect_file(path, data=data).findings if one.points_to != "nothing"]
    if not findings:
        return None
    findings.sort(key=lambda one: (STRENGTHS.index(one.strength), POINTS_TO.index(one.points_to)))
    return {"points_to": findings[0].points_to, "findings": [one.to_json() for one in findings]}


def _is_bare_png(data: bytes) -> bool:
    """Return whether a file is a PNG that has pixels and their description only, up to its end."""
    if not data.startswith(PNG):
        return False
    for kind, start, length in chunks(data):
        if kind == b"IEND":
            return start + length + 4 == len(data)  # its CRC
        if kind not in _BARE:
            return False
    return False


def evidence_rank(row: dict) -> tuple[int, int]:
    """Return a sort key of rows with provenance: the strongest evidence first, then what points to a generator."""
    strongest = row["provenance"]["findings"][0]
    return STRENGTHS.index(strongest["strength"]), POINTS_TO.index(strongest["points_to"])
