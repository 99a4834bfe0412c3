"""Score photos in batches: read, decode, cut out faces where the detector is of faces, judge, and test the stability."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakecore.device import one_thread
from fakecore.media.pixels import ImageError, decode_image, read_bytes
from fakecore.media.videofiles import named_video
from fakecore.messages import counted
from fakedetect.faces.finder import Face
from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.photofaces import PhotoFaces, face_fields, suspicion
from fakedetect.scoring.stability import RE_ENCODINGS, note_on_flip, re_encoded, settle

COLUMNS = (
    *("path", "status", "kind", "p_fake", "verdict", "threshold", "real_below", "outside_domain", "error", "note"),
    *("sha256", "detector"),
)  # of the file's bytes; of the detector's weights (first digits)
OUTSIDE_NOTE = "out of domain: unlike the training images, so p_fake is not reliable"


@dataclass
class _Photo:
    """A file on its way to its row: the images to judge (uint8 RGB, the photo or its faces), or none if it cannot be used; and
    who judges them.
    """

    row: dict
    detector: Detector
    images: list[np.ndarray] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)


class PhotoJudge:
    """Judges photos as they are, or by their `faces`; with `stability`, also after light re-encodings. Photos without a face
    are judged by `without_face`, if given.
    """

    def __init__(
        self,
        detector: Detector,
        faces: PhotoFaces | None = None,
        stability: bool = False,
        without_face: Detector | None = None,
    ):
        self._detector, self._faces, self._stability, self._without_face = detector, faces, stability, without_face

    def judge(self, items: list[tuple[str, str | None]]) -> list[dict]:
        """Return a row for each (path, problem). A video's row has the status None: it is scored elsewhere."""
        photos = [self._read(path, problem) for path, problem in items]
        judged = {id(one): self._judgements(photos, one) for one in (self._detector, self._without_face) if one}
        return [self._row(photo, judged[id(photo.detector)]) if photo.images else photo.row for photo in photos]

    def _judgements(self, photos: list[_Photo], detector: Detector) -> Iterator[Judgement]:
        """Return the judgements of all versions of the images that are for `detector`, in order."""
        own = [photo for photo in photos if photo.detector is detector]
        prepared = [array for photo in own for image in photo.images for array in self._versions(photo, image)]
        with one_thread():
            return iter(detector.judge(*detector.outputs(np.stack(prepared))) if prepared else ())

    def _read(self, path: str, problem: str | None) -> _Photo:
        detector = self._detector
        row = dict.fromkeys(COLUMNS) | {"path": path, "status": "ok", "kind": "image", **_judge_fields(detector)}
        try:
            if problem is not None:
                raise ImageError("unreadable", problem, "video" if named_video(Path(path)) else "image")
            data = read_bytes(Path(path))
            row["sha256"] = hashlib.sha256(data).hexdigest()
            image = decode_image(data)
            detector.prepare(image)  # raises for an image that is too small
            if self._faces is None:
                return _whole(row, image, detector)
            try:
                faces, crops = zip(*self._faces.find(image), strict=True)
            except ImageError:
                if self._without_face is None:
                    raise
                return _whole(row | _judge_fields(self._without_face), image, self._without_face)
            return _Photo(row, detector, list(crops), list(faces))
        except ImageError as error:
            if error.kind == "video":
                return _Photo(row | {"status": None, "kind": "video"}, detector)
            return _Photo(row | {"status": error.status, "error": str(error)}, detector)

    def _versions(self, photo: _Photo, image: np.ndarray) -> list[np.ndarray]:
        """Return the prepared image and, to test its stability, its re-encodings."""
        own = [photo.detector.prepare(image)]
        return own + re_encoded(image, photo.detector, photo.row["sha256"]) if self._stability else own

    def _row(self, photo: _Photo, judgements: Iterator[Judgement]) -> dict:
        settled = []
        for _ in photo.images:
            judgement = next(judgements)
            fields: dict = {}
            if self._stability:
                judgement, fields = settle(judgement, [next(judgements) for _ in RE_ENCODINGS])
            settled.append((judgement, fields))
        worst, fields = max(settled, key=lambda one: suspicion(one[0]))
        row = photo.row | fields
        if photo.faces:
            row |= face_fields(photo.faces, [judgement for judgement, _ in settled])
            many = len(photo.faces) > 1
            row["note"] = f"the most suspicious of {counted(len(photo.faces), 'face')}" if many else "one face"
        if fields:
            row["note"] = "; ".join(filter(None, [note_on_flip(fields), row["note"]])) or None
        return with_judgement(row, worst)


def _judge_fields(detector: Detector) -> dict:
    return {"detector": detector.id, "judged_by": detector.name}


def _whole(row: dict, image: np.ndarray, detector: Detector) -> _Photo:
    return _Photo(row | {"note": detector.note_on(image), "subject": "frame"}, detector, [image])


def with_judgement(row: dict, judgement: Judgement) -> dict:
    """Return a row with the values of a judgement, and a note if it is out of domain."""
    row = row | vars(judgement)
    if judgement.outside_domain:
        row["note"] = "; ".join(filter(None, [OUTSIDE_NOTE, row["note"]]))
    return row
