"""The pairs of networks that presets are made of, one file each; fakegen/architectures/registry.py lists them by name."""
