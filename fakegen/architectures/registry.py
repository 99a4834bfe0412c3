"""Architectures by name. A network is built from plain keyword arguments, which travel with its weights.

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
from fakegen.architectures.stack import StackDiscriminator, StackGenerator
from fakegen.architectures.upsampling import UpsamplingDiscriminator, UpsamplingGenerator
from fakegen.presets.preset import Preset

GROUP = "fakelab.generators"


@dataclass(frozen=True)
class Architecture:
    """A pair of networks and what they need to know: `fields` are the preset's fields that they are built from
    (besides resolution and z_dim), `value_range` that of their images, `sides` the resolutions that they can make.
    """

    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    generator_fields: tuple[str, ...] = ()
    discriminator_fields: tuple[str, ...] = ()
    value_range: tuple[float, float] = (-1.0, 1.0)
    sides: Callable[[int], bool] = lambda side: True
    sides_in_words: str = "any"
    takes_labels: bool = False


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
}
_OPTIONAL_FIELDS = {
    name for a in ARCHITECTURES.values() for name in (*a.generator_fields, *a.discriminator_fields)
}  # fields that some architectures have and others not


def check_architecture(preset: Preset, changed: set[str]) -> None:
    """Raise UserError where the architecture cannot make the resolution, has no use for a field that was asked for, or
    takes no labels.
    """
    architecture = get_architecture(preset.architecture)
    if not architecture.sides(preset.resolution):
        raise UserError(
            f"{preset.name} cannot make this resolution", got=preset.resolution, expected=architecture.sides_in_words
        )
    if idle := sorted(changed & idle_fields(preset)):
        raise UserError(
            f"{preset.name} has no {idle[0]} to set: its architecture is {preset.architecture}",
            expected=", ".join(sorted(_OPTIONAL_FIELDS - idle_fields(preset))) or "no such field",
        )
    if preset.conditional and not architecture.takes_labels:
        able = ", ".join(name for name, a in ARCHITECTURES.items() if a.takes_labels)
        raise UserError(f"architecture {preset.architecture} takes no labels", expected=able)


def idle_fields(preset: Preset) -> set[str]:
    """Fields that other architectures have and this preset's has no use for."""
    architecture = get_architecture(preset.architecture)
    return _OPTIONAL_FIELDS - {*architecture.generator_fields, *architecture.discriminator_fields}


def generator_arguments(preset: Preset, channels: int, classes: int = 0) -> dict[str, Any]:
    own = get_architecture(preset.architecture).generator_fields
    return {**_shape(preset, channels, classes), "z_dim": preset.z_dim, **_chosen(preset, own)}


def discriminator_arguments(preset: Preset, channels: int, classes: int = 0) -> dict[str, Any]:
    own = get_architecture(preset.architecture).discriminator_fields
    return {**_shape(preset, channels, classes), **_chosen(preset, own)}


def build_generator(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """A generator by the name of its architecture. Raises UserError for a name that is not registered."""
    return get_architecture(architecture).generator(**arguments)


def build_discriminator(architecture: str, arguments: dict[str, Any]) -> nn.Module:
    """A discriminator by the name of its architecture. Raises UserError for a name that is not registered."""
    return get_architecture(architecture).discriminator(**arguments)


def get_architecture(name: str) -> Architecture:
    """Return an architecture by name, built in or of an installed package.

    Raises UserError, listing the choices, for an unknown name or a package that cannot provide what it announces.
    """
    found = ARCHITECTURES.get(name) or _from_elsewhere(name)
    if found is None:
        raise unknown_name("architecture", name, [*ARCHITECTURES, *sorted(_entry_points())])
    return found


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@functools.cache
def _from_elsewhere(name: str) -> Architecture | None:
    point = _entry_points().get(name)
    if point is None:
        return None
    source = f"the entry point {name} = {point.value} of {point.dist.name if point.dist else 'an installed package'}"
    try:
        found = point.load()
    except Exception as error:  # a stranger's package may fail in any way
        what = f"the architecture {name} cannot be imported: {source}"
        raise UserError(
            what, got=f"{type(error).__name__}: {error}", remedy="Repair or uninstall that package."
        ) from None
    if not isinstance(found, Architecture):
        what = f"{source} is not an architecture"
        raise UserError(what, got=type(found).__name__, expected=f"a {__name__}.Architecture")
    return found


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(all, trainable): all counts BN's running mean and variance too, as Keras does."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    running = sum(b.numel() for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var")))
    return sum(p.numel() for p in module.parameters()) + running, trainable


def _shape(preset: Preset, channels: int, classes: int) -> dict[str, int]:
    shape = {"resolution": preset.resolution, "channels": channels}
    return {**shape, "classes": classes} if classes else shape


def _chosen(preset: Preset, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name.removeprefix("g_").removeprefix("d_"): getattr(preset, name) for name in fields}
