from .architectures.registry import Architecture
from .presets.preset import Preset
from .presets.table import PRESETS, get_preset
from .publishing.publish import publish
from .quality.compare import Compared, compare
from .quality.measure import Measured, measure
from .quality.similar import Similar, similar
from .sampling.production import sample
from .sampling.sampling import Generator, load_generator
from .sampling.verify import Verified, verify
from .sampling.walk import walk
from .sweeps.sweep import Swept, sweep
from .training.generate import Generated, resume, train
from .watching.state import watch_state

__all__ = [
    "PRESETS",
    "Architecture",
    "Compared",
    "Generated",
    "Generator",
    "Measured",
    "Preset",
    "Similar",
    "Swept",
    "Verified",
    "compare",
    "get_preset",
    "load_generator",
    "measure",
    "publish",
    "resume",
    "sample",
    "similar",
    "sweep",
    "train",
    "verify",
    "walk",
    "watch_state",
]
