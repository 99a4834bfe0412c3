"""Judge a photo by its faces, for detectors of faces: all of them are scored, and the most suspicious one decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakecore.media.pixels import ImageError
from fakedetect.faces.finder import MARGIN, Face, FaceFinder, crop
from fakedetect.models.detector import Detector, Judgement

_RANK = {"real": 0, "unsure": 1, "fake": 2}
_LEAST = 32  # pixels: a smaller face shows too little
_SHARE = 0.4  # of a photo's shorter side: a face of this size is found even if it is smaller than min_face


@dataclass(frozen=True)
class PhotoFaces:
    """Finds the faces of photos and crops them as in the training of `detector`."""

    detector: Detector
    finder: FaceFinder
    min_face: float  # pixels
    margin: float | None  # around a face, as a fraction of its side; None: as in training

    def find(self, image: np.ndarray) -> list[tuple[Face, np.ndarray]]:
        """Return the faces of a photo, uint8 RGB (H, W, 3), each with its crop, uint8 RGB (R, R, 3).

        Raises ImageError with status "no_face" if there is none.
        """
        least = max(_LEAST, min(self.min_face, _SHARE * min(image.shape[:2])))
        (faces,) = self.finder.find([image], least)
        if not faces:
            why = f"no face of at least {least:.0f} pixels; --whole-frame scores the photo as it is"
            raise ImageError("no_face", why)
        margin = self.margin if self.margin is not None else self.detector.face_margin or MARGIN
        side, align = self.detector.resolution, self.detector.face_align
        return [(face, crop(image, face, margin=margin, size=side, align=align)) for face in faces]


def suspicion(judgement: Judgement) -> tuple[int, float]:
    """Return a sort key, higher for more suspicious. Out-of-domain images are "unsure", whatever their p_fake."""
    return _RANK[judgement.verdict], judgement.p_fake


def face_fields(faces: list[Face], judgements: list[Judgement]) -> dict:
    """Return the fields of a photo's row: `subject`, and `faces` with box (xyxy, pixels), p_fake and verdict."""
    return {
        "subject": "face",
        "faces": [
            {"box": [round(float(edge), 1) for edge in face.box], "p_fake": one.p_fake, "verdict": one.verdict}
            for face, one in zip(faces, judgements, strict=True)
        ],
    }
