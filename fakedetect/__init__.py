"""Catches fakes: trains detectors, tests them fairly, and scores photos and folders."""

from fakedetect.audit import audit
from fakedetect.detector import Detector, Judgement
from fakedetect.findings import Audit
from fakedetect.matrix import Matrix, compare
from fakedetect.scoring import list_inputs, score_files
from fakedetect.settings import DetectorSettings
from fakedetect.train import Trained, evaluate, train

__all__ = [
    "Audit",
    "Detector",
    "DetectorSettings",
    "Judgement",
    "Matrix",
    "Trained",
    "audit",
    "compare",
    "evaluate",
    "list_inputs",
    "score_files",
    "train",
]
