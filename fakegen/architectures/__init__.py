"""Generator and discriminator networks, one file per architecture; registry.py lists them by name."""
