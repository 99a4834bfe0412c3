from .adoption.adopt import Adopted, adopt
from .audits.audit import audit
from .audits.findings import Audit
from .blends.dataset import Blended, blend
from .evaluation.matrix import Matrix, compare
from .faces.dataset import Cut, crop_faces
from .faces.options import VideoOptions
from .models.detector import Detector, Judgement
from .models.registry import Model
from .models.settings import DetectorSettings
from .scoring.files import score_files
from .scoring.inputs import list_inputs
from .scoring.video import VideoJudge
from .training.sweep import Swept, sweep
from .training.testing import Trained, evaluate
from .training.train import train
from .web.client import Client

__all__ = [
    "Adopted",
    "Audit",
    "Blended",
    "Client",
    "Cut",
    "Detector",
    "DetectorSettings",
    "Judgement",
    "Matrix",
    "Model",
    "Swept",
    "Trained",
    "VideoJudge",
    "VideoOptions",
    "adopt",
    "audit",
    "blend",
    "compare",
    "crop_faces",
    "evaluate",
    "list_inputs",
    "score_files",
    "sweep",
    "train",
]
