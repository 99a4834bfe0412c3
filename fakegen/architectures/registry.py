"""Architectures by name. A network is built from plain keyword arguments, which checkpoints store with its weights.

Other packages add architectures through the entry-point group `fakelab.generators`: an entry point's name is the
architecture's name, and it refers to an `Architecture`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import nn

from fakecore.errors import UserError, unknown_name
from fakegen.architectures.dcgan import DCGANDiscriminator, DCGANGenerator
from fakegen.architectures.dense import DenseDiscriminator, DenseGenerator
from fakegen.architectures.digit import DigitDiscriminator, DigitGenerator
from fakegen.architectures.projected import FastGenerator, ProjectedDiscriminator
from fakegen.architectures.residual import ResidualDiscriminator, ResidualGenerator
from fakegen.architectures.stack import StackDiscriminator, StackGenerator
from fakegen.architectures.upsampling import UpsamplingDiscriminator, UpsamplingGenerator
from fakegen.presets.preset import Preset

GROUP = "fakelab.generators"


@dataclass(frozen=True)
class Architecture:
    """A generator and a discriminator, and how to build them.

    `generator_fields` and `discriminator_fields` are the preset fields that become their arguments, besides resolution and
    z_dim. `value_range` holds the values of black and white in their images. `sides` tells whether they support a
    resolution; `sides_in_words` says which ones they support. `uses_length` tells whether the length of a latent changes the
    image, or its direction alone.
    """

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    generator_fields: tuple[str, ...] = ()
    discriminator_fields: tuple[str, ...] = ()
    value_range: tuple[float, float] = (-1.0, 1.0)
    sides: Callable[[int], bool] = lambda side: True
    sides_in_words: str = "any"
    takes_labels: bool = False
    uses_length: bool = True


ARCHITECTURES: dict[str, Architecture] = {
    "dcgan": Architecture(
        DCGANGenerator,
        DCGANDiscriminator,
        ("g_width", "activation", "g_upsampling"),
        ("d_width", "d_norm", "d_dropout"),
        sides=lambda side: side >= 8 and side & (side - 1) == 0,
        sides_in_words="a power of two, 8 or more",
        takes_labels=True,
    ),
    "digit": Architecture(
        DigitGenerator,
        DigitDiscriminator,
        value_range=(0.0, 1.0),
        sides=lambda side: side % 4 == 0,
        sides_in_words="a multiple of 4; 28 as published",
    ),
    "dense": Architecture(DenseGenerator, DenseDiscriminator, ("g_width", "activation"), ("d_width",)),
    "upsampling": Architecture(
        UpsamplingGenerator,
        UpsamplingDiscriminator,
        ("g_width", "activation"),
        ("d_width", "d_dropout"),
        sides=lambda side: side % 4 == 0,
        sides_in_words="a multiple of 4",
    ),
    "stack": Architecture(
        StackGenerator,
        StackDiscriminator,
        ("g_width",),
        ("d_width", "d_dropout"),
        sides=lambda side: side % 16 == 0,
        sides_in_words="a multiple of 16; 128 as published",
    ),
    "residual": Architecture(
        ResidualGenerator,
        ResidualDiscriminator,
        ("g_width", "g_blocks"),
        ("d_width", "d_blocks"),
        sides=lambda side: side >= 8 and side & (side - 1) == 0,
        sides_in_words="a power of two, 8 or more",
    ),
    "projected": Architecture(
        FastGenerator,
        ProjectedDiscriminator,
        ("g_width",),
        ("d_width",),
        sides=lambda side: side in (32, 64, 128, 256),
        sides_in_words="32, 64, 128 or 256",
        uses_length=False,
    ),
}
_OPTIONAL_FIELDS = {
    name for a in ARCHITECTURES.values() for name in (*a.generator_fields, *a.discriminator_fields)
}  # fields that only some architectures use


def check_architecture(preset: Preset, changed: set[str]) -> None:
    """Raise UserError if the preset's architecture does not support its resolution, or labels if it is conditional, or
    does not use one of the `changed` fields.
    """
    architecture = get_architecture(preset.architecture)
    if not architecture.sides(preset.resolution):
        raise UserError(
            f"{preset.name} cannot make this resolution", got=preset.resolution, expected=architecture.sides_in_words
        )
    if unused := sorted(changed & unused_fields(preset)):
        raise UserError(
            f"{preset.name} does not use the field {unused[0]}: its architecture is {preset.architecture}",
            expected=", ".join(sorted(_OPTIONAL_FIELDS - unused_fields(preset))) or "no such field",
        )
    if preset.conditional and not architecture.takes_labels:
        able = ", ".join(name for name, a in ARCHITECTURES.items() if a.takes_labels)
        raise UserError(f"architecture {preset.architecture} takes no labels", expected=able)


def unused_fields(preset: Preset) -> set[str]:
    """Return the preset fields that other architectures use and this preset's does not."""
    architecture = get_architecture(preset.architecture)
    return _OPTIONAL_FIELDS - {*architecture.generator_fields, *architecture.discriminator_fields}


def generator_arguments(preset: Preset, channels: int, classes: int = 0) -> dict[str, Any]:
    """Return the arguments that build a preset's generator. `classes` is 0 for a generator without labels."""
    own = get_architecture(preset.architecture).generator_fields
    return {**_shape(preset, channels, classes), "z_dim": preset.z_dim, **_chosen(preset, own)}


def discriminator_arguments(preset: Preset, channels: int, classes: int = 0) -> dict[str, Any]:
    """Return the arguments that build a preset's discriminator. `classes` is 0 for a discriminator without labels."""
    own = get_architecture(preset.architecture).discriminator_fields
    return {**_shape(preset, channels, classes), **_chosen(preset, own)}


def build_generator(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the generator of an architecture. Raises UserError for an unknown name."""
    return get_architecture(architecture).generator(**arguments)


def build_discriminator(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the discriminator of an architecture. Raises UserError for an unknown name."""
    return get_architecture(architecture).discriminator(**arguments)


def get_architecture(name: str) -> Architecture:
    """Return an architecture by name, built in or from an installed package.

    Raises UserError, listing the choices, for an unknown name, or a package whose entry point does not load.
    """
    found = ARCHITECTURES.get(name) or _load_entry_point(name)
    if found is None:
        raise unknown_name("architecture", name, [*ARCHITECTURES, *sorted(_entry_points())])
    return found


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@functools.cache
def _load_entry_point(name: str) -> Architecture | None:
    point = _entry_points().get(name)
    if point is None:
        return None
    source = f"the entry point {name} = {point.value} of {point.dist.name if point.dist else 'an installed package'}"
    try:
        found = point.load()
    except Exception as error:  # another package may fail in any way
        what = f"the architecture {name} cannot be imported: {source}"
        raise UserError(
            what, got=f"{type(error).__name__}: {error}", remedy="Repair or uninstall that package."
        ) from None
    if not isinstance(found, Architecture):
        what = f"{source} is not an architecture"
        raise UserError(what, got=type(found).__name__, expected=f"a {__name__}.Architecture")
    return found


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Return (all, trainable). All includes frozen weights and, as in Keras, the running mean and variance of BN."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    kept = ("running_mean", "running_var", "weight", "bias")
    fixed = sum(b.numel() for name, b in module.named_buffers() if name.endswith(kept))
    return sum(p.numel() for p in module.parameters()) + fixed, trainable


def _shape(preset: Preset, channels: int, classes: int) -> dict[str, int]:
    shape = {"resolution": preset.resolution, "channels": channels}
    return {**shape, "classes": classes} if classes else shape


def _chosen(preset: Preset, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name.removeprefix("g_").removeprefix("d_"): getattr(preset, name) for name in fields}
