"""The pairs of networks that presets are made of, one file each; fakegen/networks.py lists them by name."""
