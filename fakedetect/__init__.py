"""Catches fakes: trains detectors, tests them fairly, and scores photos and folders."""

from fakedetect.detector import Detector, Judgement
from fakedetect.matrix import Matrix, compare
from fakedetect.scoring import list_inputs, score_files
from fakedetect.settings import DetectorSettings
from fakedetect.train import Trained, evaluate, train

__all__ = [
    "Detector",
    "DetectorSettings",
    "Judgement",
    "Matrix",
    "Trained",
    "compare",
    "evaluate",
    "list_inputs",
    "score_files",
    "train",
]
