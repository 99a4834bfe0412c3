"""Makes fakes: trains GANs, and mass-produces image sets from their checkpoints."""

from fakegen.generate import Generated, resume, train
from fakegen.measure import Measured, measure
from fakegen.preset import Preset
from fakegen.presets import PRESETS, get_preset
from fakegen.production import sample
from fakegen.sampling import Generator, load_generator
from fakegen.sweep import Swept, sweep
from fakegen.verify import Verified, verify

__all__ = [
    "PRESETS",
    "Generated",
    "Generator",
    "Measured",
    "Preset",
    "Swept",
    "Verified",
    "get_preset",
    "load_generator",
    "measure",
    "resume",
    "sample",
    "sweep",
    "train",
    "verify",
]
