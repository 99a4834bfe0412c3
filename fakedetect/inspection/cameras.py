"""Make and model of the camera in EXIF data, and whether the maker's own notes (MakerNote) fit the make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import ExifTags, Image

from fakedetect.inspection.findings import Finding, shown

_MAKER_NOTE = 0x927C
# Makers whose cameras write notes, by the start of the field Make, and how the notes begin. b"" stands for a directory of
# tags without a signature. From ExifTool (MakerNotes.pm) and Exiv2 (makernote_int.cpp), which recognise the notes by this.
# That every model of a maker writes them is stated nowhere, so their absence is a weak hint at most. Samsung is left out:
# many of its phones write none.
_NOTES: dict[str, tuple[bytes, ...]] = {
    "apple": (b"Apple iOS\0",),
    "canon": (b"",),
    "casio": (b"QVC\0", b""),
    "fujifilm": (b"FUJIFILM",),
    "nikon": (b"Nikon\0", b""),
    "olympus": (b"OLYMP\0", b"OLYMPUS\0", b"OM SYSTEM\0"),
    "om digital": (b"OM SYSTEM\0",),
    "panasonic": (b"Panasonic\0", b"MKE"),
    "pentax": (b"AOC\0", b"PENTAX \0", b""),
    "sigma": (b"SIGMA\0", b"FOVEON\0"),
    "sony": (b"SONY", b""),
}
_MOST_TAGS = 512  # of a directory without a signature
_COPIED = "a text: anyone can write it, or copy all EXIF data of a real photo"


def findings_of_camera(exif: Image.Exif) -> Iterator[Finding]:
    """Yield make and model, and how plausible the notes of the maker are."""
    make, model = (
        shown(str(exif.get(tag) or "").strip("\0 "), 60) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
    )
    if not make and not model:
        return
    note = exif.get_ifd(ExifTags.IFD.Exif).get(_MAKER_NOTE)
    said, strength = _notes(make, note)
    camera = " ".join(part for part in (make, model) if part)
    yield Finding(f"{camera}, {said}", "EXIF camera", "camera", strength, _COPIED)


def _notes(make: str, note: Any) -> tuple[str, str]:
    """Return what the notes of a maker say of the file, and how strong that makes the evidence of a camera."""
    starts = next((known for name, known in _NOTES.items() if make.lower().startswith(name)), None)
    if not note:
        return f"without the maker's notes{', which cameras of this make write' if starts else ''}", "weak"
    if starts is None:
        return "with notes of a maker whose form is not known", "weak"
    if isinstance(note, bytes) and any(_begins(note, start) for start in starts):
        return "with notes in the form of this maker", "medium"
    return "with notes that do not have the form of this maker", "weak"


def _begins(note: bytes, start: bytes) -> bool:
    """Return whether notes begin with a signature, or with the number of tags of a directory if it is empty."""
    if start:
        return note.startswith(start)
    return any(0 < int.from_bytes(note[:2], order) <= _MOST_TAGS for order in ("big", "little")) and len(note) >= 14
