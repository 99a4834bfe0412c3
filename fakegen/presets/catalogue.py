"""Comparable facts of every preset. What building its networks tells is stored in networks.json, since that takes torch, and
seconds to import it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fakecore.files import read_json
from fakegen.presets.table import PRESETS
from fakegen.presets.times import seconds_of_1000_steps

FILE = Path(__file__).with_name("networks.json")  # `python -m fakegen.architectures.summary` writes it; a test compares


class Parameters(NamedTuple):
    """Numbers of parameters of the generator and the discriminator, for the preset's own source: all, and those trained."""

    g: int
    g_trainable: int
    d: int
    d_trainable: int


class Networks(NamedTuple):
    """The networks of a preset, for its own source. `layers`: (layer, output shape without the batch, parameters) per layer, in
    order, by "generator" and "discriminator". `unused`: fields that only other architectures use.
    """

    parameters: Parameters
    layers: dict[str, list[tuple[str, str, int]]]
    unused: list[str]


def networks(preset: str) -> Networks:
    """Return what is stored of a preset's networks."""
    parameters, layers, unused = _stored()[preset]
    return Networks(Parameters(*parameters), {side: [*map(tuple, rows)] for side, rows in layers.items()}, unused)


@cache
def _stored() -> dict[str, Any]:
    return read_json(FILE)


def catalogue() -> list[dict[str, Any]]:
    """Return one dict per preset."""
    found = []
    for preset in PRESETS.values():
        parameters = networks(preset.name).parameters
        found.append(
            {
                "name": preset.name,
                "summary": preset.summary,
                "system": preset.system,
                "published_on": preset.published_on,
                "real": preset.real,
                "resolution": preset.resolution,
                "z_dim": preset.z_dim,
                "params_g": parameters.g,
                "params_g_trainable": parameters.g_trainable,
                "params_d": parameters.d,
                "params_d_trainable": parameters.d_trainable,
                "optimiser": preset.optimiser,
                "rate": preset.lr,
                "batch": preset.batch,
                "epochs": preset.epochs if not preset.epoch_steps else None,
                "steps": preset.epochs * preset.epoch_steps if preset.epoch_steps else None,
                "s_per_1000_steps": seconds_of_1000_steps(preset.name),
            }
        )
    return found
