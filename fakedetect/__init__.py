"""Catches fakes: trains detectors, tests them fairly, and scores photos, films and folders."""

from fakedetect.audit import audit
from fakedetect.detector import Detector, Judgement
from fakedetect.findings import Audit
from fakedetect.look import Look
from fakedetect.matrix import Matrix, compare
from fakedetect.scoring import list_inputs, score_files
from fakedetect.settings import DetectorSettings
from fakedetect.sweep import Swept, sweep
from fakedetect.train import Trained, evaluate, train
from fakedetect.videoscore import FilmJudge

__all__ = [
    "Audit",
    "Detector",
    "DetectorSettings",
    "FilmJudge",
    "Judgement",
    "Look",
    "Matrix",
    "Swept",
    "Trained",
    "audit",
    "compare",
    "evaluate",
    "list_inputs",
    "score_files",
    "sweep",
    "train",
]
