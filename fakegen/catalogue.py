"""Every preset with the facts that people compare them by."""

from __future__ import annotations

import torch

from fakegen.networks import (
    DISCRIMINATORS,
    GENERATORS,
    build,
    count_parameters,
    discriminator_arguments,
    generator_arguments,
)
from fakegen.presets import PRESETS

_GREY_SOURCES = ("digits", "mnist")


def catalogue() -> list[dict]:
    """One dict per preset; parameters are counted on networks built for the preset's own source."""
    rows = []
    for preset in PRESETS.values():
        channels = 1 if preset.real.partition(":")[0] in _GREY_SOURCES else 3
        with torch.device("meta"):  # shapes without memory
            generator = build(GENERATORS, preset.architecture, generator_arguments(preset, channels))
            discriminator = build(DISCRIMINATORS, preset.architecture, discriminator_arguments(preset, channels))
        params_g, trainable_g = count_parameters(generator)
        params_d, trainable_d = count_parameters(discriminator)
        rows.append(
            {
                "name": preset.name,
                "summary": preset.summary,
                "real": preset.real,
                "resolution": preset.resolution,
                "z_dim": preset.z_dim,
                "params_g": params_g,
                "params_g_trainable": trainable_g,
                "params_d": params_d,
                "params_d_trainable": trainable_d,
                "optimiser": "adam",
                "lr": preset.lr,
                "batch": preset.batch,
                "epochs": preset.epochs,
            }
        )
    return rows
