"""Makes fakes: trains GANs, and mass-produces image sets from their checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
