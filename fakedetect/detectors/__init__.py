"""The detectors that come with the package: `faces` for faces in videos and photos, `photos` for photos without a face.

Each is a detector folder with half-precision weights and a model card. `python -m fakedetect.export.pack` makes one of a
trained detector; see docs/how-to/detectors.md.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("faces", "photos")


def packaged(name: str) -> Path | None:
    """Return the folder of the packaged detector called `name`, or None if there is none."""
    folder = Path(__file__).parent / name
    return folder if name in NAMES and (folder / "detector.json").is_file() else None
