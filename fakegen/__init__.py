"""Makes fakes: trains GANs, measures them, and mass-produces image sets from their checkpoints."""

from fakegen.generate import Generated, resume, train
from fakegen.measure import Measured, measure
from fakegen.presets import PRESETS, Preset, get_preset
from fakegen.production import sample
from fakegen.sampling import Generator, load_generator

__all__ = [
    "PRESETS",
    "Generated",
    "Generator",
    "Measured",
    "Preset",
    "get_preset",
    "load_generator",
    "measure",
    "resume",
    "sample",
    "train",
]
