"""Score photos in batches: read, decode, cut out faces where the detector is of faces, judge, and test the stability."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakecore.device import one_thread
from fakecore.media.pixels import ImageError, decode_image, image_bytes, pages, read_bytes, refuse_tiny
from fakecore.media.videofiles import named_video
from fakecore.messages import counted
from fakecore.sets.decoding import Decoded, Outcome, Refused
from fakedetect.faces.finder import Face
from fakedetect.models.detector import Detector, Judgement
from fakedetect.scoring.columns import COLUMNS
from fakedetect.scoring.inputs import Input
from fakedetect.scoring.photofaces import PhotoFaces, face_fields, suspicion
from fakedetect.scoring.provenance import provenance_of
from fakedetect.scoring.stability import RE_ENCODINGS, note_on_flip, re_encoded, settle

OUTSIDE_NOTE = "out of domain: unlike the training images, so p_fake is not reliable"


@dataclass(frozen=True)
class _View:
    """What is judged of a photo: an image, uint8 RGB, the photo itself or one of its faces; and who judges it."""

    image: np.ndarray
    detector: Detector
    face: Face | None = None


@dataclass
class _Photo:
    """A file on its way to its row: what is judged of it, nothing if it cannot be used."""

    row: dict
    views: list[_View] = field(default_factory=list)
    note: str | None = None  # on the file


@dataclass(frozen=True)
class _Settled:
    """The judgement of a view, and the fields of its test of stability, if there was one."""

    view: _View
    judgement: Judgement
    fields: dict


class PhotoJudge:
    """Judges photos as they are, or by their `faces`; with `stability`, also after light re-encodings.

    `of_photos`, if given, judges photos without a face, and photos with faces beside their faces: a face that looks real can be
    part of a picture that a generator made as a whole. There, only its verdict "fake" counts.
    """

    def __init__(
        self,
        detector: Detector,
        faces: PhotoFaces | None = None,
        stability: bool = False,
        of_photos: Detector | None = None,
    ):
        self._detector, self._faces, self._stability, self._of_photos = detector, faces, stability, of_photos

    @property
    def takes_whole_images(self) -> bool:
        """Whether `judge_decoded` cannot be used: what is judged is cut out of the image, or more than one version of it."""
        return self._faces is not None or self._of_photos is not None or self._stability

    def judge(self, inputs: list[Input]) -> list[dict]:
        """Return a row for each input. A video's row has the status None: it is scored elsewhere."""
        photos = [self._read(one) for one in inputs]
        judged = {id(one): self._judgements(photos, one) for one in (self._detector, self._of_photos) if one}
        return [self._row(photo, judged) if photo.views else photo.row for photo in photos]

    def judge_decoded(self, inputs: Sequence[Input], outcomes: Sequence[Outcome], images: np.ndarray) -> list[dict]:
        """Return the rows of `judge` for photos that were decoded already, to `images`, uint8 (N, C, R, R): for a detector of
        whole photos, without the test of stability.
        """
        detector = self._detector
        usable = [
            place
            for place, (one, outcome) in enumerate(zip(inputs, outcomes, strict=True))
            if one.problem is None and isinstance(outcome, Decoded)
        ]
        prepared = [detector.finish(images[place]) for place in usable]
        with one_thread():
            found = iter(detector.judge(*detector.outputs(np.stack(prepared))) if usable else ())
        rows = []
        for one, outcome in zip(inputs, outcomes, strict=True):
            row = self._new_row(one)
            if one.problem is not None:
                row |= _refusal(one.status, one.problem, _kind(one))
            elif isinstance(outcome, Refused):
                row |= {"sha256": outcome.sha256, "provenance": outcome.examined}
                row |= _refusal(outcome.status, outcome.error, outcome.kind)
            else:
                note = detector.note_on_shape(outcome.height, outcome.width, grey=outcome.grey)
                row |= {"sha256": outcome.sha256, "provenance": outcome.examined}
                row |= {"subject": "frame", "note": _joined(_page_note(outcome.pages), note)}
                row = with_judgement(row, next(found))
            rows.append(row)
        return rows

    def _new_row(self, one: Input) -> dict:
        row = {"path": one.path, "status": "ok", "kind": "image", **_judge_fields(self._detector)}
        return dict.fromkeys(COLUMNS) | row | ({"archive": one.archive} if one.archive else {})

    def _judgements(self, photos: list[_Photo], detector: Detector) -> Iterator[Judgement]:
        """Return the judgements of all versions of the views that are for `detector`, in order."""
        own = [(photo, view) for photo in photos for view in photo.views if view.detector is detector]
        prepared = [array for photo, view in own for array in self._versions(photo, view)]
        with one_thread():
            return iter(detector.judge(*detector.outputs(np.stack(prepared))) if prepared else ())

    def _read(self, one: Input) -> _Photo:
        detector = self._detector
        row = self._new_row(one)
        try:
            if one.problem is not None:
                raise ImageError(one.status, one.problem, _kind(one))
            if one.data is None and one.url is not None:
                raise ImageError("unsupported", "a large video at a URL", "video")
            data = read_bytes(Path(one.path)) if one.data is None else image_bytes(one.data, one.path)
            row["sha256"] = hashlib.sha256(data).hexdigest()
            row["provenance"] = provenance_of(one.path, data)
            image = decode_image(data)
            refuse_tiny(image, "judge")
            note = _page_note(pages(data))
            return _Photo(row, [_View(image, detector)] if self._faces is None else self._views(image), note)
        except ImageError as error:
            return _Photo(row | _refusal(error.status, str(error), error.kind))

    def _views(self, image: np.ndarray) -> list[_View]:
        """Return the faces of a photo and, with `of_photos`, the photo itself. Raises ImageError if that leaves nothing."""
        whole = [] if self._of_photos is None else [_View(image, self._of_photos)]
        assert self._faces, "called for detectors of faces only"
        try:
            return [_View(crop, self._detector, face) for face, crop in self._faces.find(image)] + whole
        except ImageError:
            if not whole:
                raise
            return whole

    def _versions(self, photo: _Photo, view: _View) -> list[np.ndarray]:
        """Return the prepared image and, to test its stability, its re-encodings."""
        own = [view.detector.prepare(view.image)]
        return own + re_encoded(view.image, view.detector, photo.row["sha256"]) if self._stability else own

    def _row(self, photo: _Photo, judged: dict[int, Iterator[Judgement]]) -> dict:
        settled = []
        for view in photo.views:
            judgement = next(judged[id(view.detector)])
            fields: dict = {}
            if self._stability:
                judgement, fields = settle(judgement, [next(judged[id(view.detector)]) for _ in RE_ENCODINGS])
            settled.append(_Settled(view, judgement, fields))
        faces = [one for one in settled if one.view.face is not None]
        worst = max(faces, key=lambda one: suspicion(one.judgement), default=settled[-1])
        if settled[-1].judgement.verdict == "fake":  # the whole photo, or else a face
            worst = max(worst, settled[-1], key=lambda one: suspicion(one.judgement))
        row = photo.row | _judge_fields(worst.view.detector) | worst.fields
        if faces:
            row |= face_fields([one.view.face for one in faces if one.view.face], [one.judgement for one in faces])
        if worst.view.face is None:
            row |= {"subject": "frame", "note": worst.view.detector.note_on(worst.view.image)}
        else:
            many = len(faces) > 1
            row["note"] = f"the most suspicious of {counted(len(faces), 'face')}" if many else "one face"
        flipped = note_on_flip(worst.fields) if worst.fields else None
        row["note"] = _joined(flipped, photo.note, row["note"])
        return with_judgement(row, worst.judgement)


def _judge_fields(detector: Detector) -> dict:
    return {"detector": detector.id, "judged_by": detector.name}


def _kind(one: Input) -> str:
    """Return the kind of a file that cannot be read, by its name."""
    if one.path == one.archive:
        return "archive"
    return "video" if named_video(Path(one.path)) else "image"


def _page_note(count: int) -> str | None:
    return f"the first of {count:,} pages" if count > 1 else None


def _joined(*notes: str | None) -> str | None:
    return "; ".join(filter(None, notes)) or None


def _refusal(status: str, error: str, kind: str) -> dict:
    """Return the fields of a file that is no usable photo; the status of a video is None."""
    if kind == "video":
        return {"status": None, "kind": kind}
    return {"status": status, "kind": kind, "error": error}


def with_judgement(row: dict, judgement: Judgement) -> dict:
    """Return a row with the values of a judgement, and a note if it is out of domain."""
    row = row | vars(judgement)
    if judgement.outside_domain:
        row["note"] = _joined(OUTSIDE_NOTE, row["note"])
    return row
