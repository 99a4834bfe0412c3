"""Faces for videos, and a finder that knows where they are."""

import pytest

from fakedetect.scoring import pipeline
from fakedetect.scoring import video as videoscore
from tests.fakedetect.scoring.drawnvideos import KnownFaces


@pytest.fixture
def faces_of(pictures):
    """A real and a fake image as in the detector's training, uint8 RGB (16, 16, 3)."""
    return {label: pictures(1, label, 90)[0].transpose(1, 2, 0) for label in ("real", "fake")}


@pytest.fixture
def known_faces(monkeypatch):
    """Known boxes, and crops without margin, so that the detector input is what the test draws."""
    monkeypatch.setattr(videoscore, "FaceFinder", KnownFaces)
    bare = pipeline.crop
    monkeypatch.setattr(pipeline, "crop", lambda frame, face, **cut: bare(frame, face, **{**cut, "margin": 0}))
