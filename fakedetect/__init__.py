"""Catches fakes: trains detectors, tests them fairly, and scores photos, videos and folders."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
