"""Makes fakes: trains GANs, and mass-produces image sets from their checkpoints."""

from fakegen.generate import Generated, resume, train
from fakegen.preset import Preset
from fakegen.presets import PRESETS, get_preset
from fakegen.production import sample
from fakegen.sampling import Generator, load_generator
from fakegen.verify import Verified, verify

__all__ = [
    "PRESETS",
    "Generated",
    "Generator",
    "Preset",
    "Verified",
    "get_preset",
    "load_generator",
    "resume",
    "sample",
    "train",
    "verify",
]
