"""Shared foundation of fakegen and fakedetect: labels, errors, pixels, image sets, sources, devices, run folders."""

from fakecore.errors import Interrupted, UserError
from fakecore.labels import FAKE, REAL

__all__ = ["FAKE", "REAL", "Interrupted", "UserError"]
