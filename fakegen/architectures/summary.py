"""The layers of the networks of a preset, and their numbers of parameters.

`python -m fakegen.architectures.summary` writes those of all presets to fakegen/presets/networks.json.
"""

from __future__ import annotations

import json

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from fakegen.architectures.registry import (
    build_discriminator,
    build_generator,
    count_parameters,
    discriminator_arguments,
    generator_arguments,
    unused_fields,
)
from fakegen.presets.catalogue import FILE, Networks, Parameters
from fakegen.presets.preset import Preset
from fakegen.presets.table import PRESETS, source_channels_of

CLASSES = 10  # for the parameter count of conditional presets: as in CIFAR-10


def main() -> None:
    """Write networks.json, with a line for each layer."""
    texts = []
    for name, preset in PRESETS.items():
        parameters, found, unused = summarise(preset)
        sides = [
            f'  "{side}": [\n' + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]"
            for side, rows in found.items()
        ]
        texts.append(
            f' "{name}": [{json.dumps(parameters)}, {{\n' + ",\n".join(sides) + f"\n }}, {json.dumps(unused)}]"
        )
    FILE.write_text("{\n" + ",\n".join(texts) + "\n}\n")


def summarise(preset: Preset) -> Networks:
    """Return what networks.json has of a preset."""
    return Networks(parameters(preset), layers(preset), sorted(unused_fields(preset)))


def layers(preset: Preset) -> dict[str, list[tuple[str, str, int]]]:
    """Return (layer, output shape without the batch, parameters) per layer, in order, by "generator" and "discriminator"."""
    generator, discriminator = _networks(preset, "meta")
    images = torch.zeros(2, source_channels_of(preset), preset.resolution, preset.resolution, device="meta")
    labels = (torch.zeros(2, dtype=torch.int64, device="meta"),) if preset.conditional else ()
    return {
        "generator": _trace(generator, torch.zeros(2, preset.z_dim, device="meta"), *labels),
        "discriminator": _trace(discriminator, images, *labels),
    }


def parameters(preset: Preset) -> Parameters:
    """Return the numbers of parameters of the networks, built for the preset's own source."""
    generator, discriminator = _networks(preset, "cpu")
    return Parameters(*count_parameters(generator), *count_parameters(discriminator))


def _networks(preset: Preset, device: str) -> tuple[nn.Module, nn.Module]:
    channels, classes = source_channels_of(preset), CLASSES if preset.conditional else 0
    with torch.device(device), _Uninitialised():
        generator = build_generator(preset.architecture, generator_arguments(preset, channels, classes))
        discriminator = build_discriminator(preset.architecture, discriminator_arguments(preset, channels, classes))
    return generator, discriminator


class _Uninitialised(TorchFunctionMode):
    """Skip weight initialisation: networks that are only counted need no values, and no time or memory for them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _trace(network: nn.Module, *inputs: torch.Tensor) -> list[tuple[str, str, int]]:
    rows: list[tuple[str, str, int]] = []

    def note(module: nn.Module, _, output: torch.Tensor) -> None:
        shape = " x ".join(str(side) for side in output.shape[1:])
        rows.append((_describe_layer(module), shape or "1", count_parameters(module)[0]))

    for path, module in network.named_modules():
        # The parametrization modules of spectral norm are not layers.
        is_leaf = all(name == "parametrizations" for name, _ in module.named_children())
        has_weights = any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        is_layer = (is_leaf or has_weights) and not isinstance(module, nn.Identity)
        if is_layer and "parametrizations" not in path:
            module.register_forward_hook(note)
    network(*inputs)
    return rows


def _describe_layer(module: nn.Module) -> str:
    kind = type(module).__name__.removeprefix("Parametrized")
    norm = ", spectral norm" if is_parametrized(module) else ""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        (kernel, _), (stride, _) = module.kernel_size, module.stride
        return f"{kind} {kernel}x{kernel}" + (f", stride {stride}" if stride > 1 else "") + norm
    if norm:
        return kind + norm
    if isinstance(module, nn.LeakyReLU):
        return f"{kind} {module.negative_slope:g}"
    return f"{kind} {module.p:g}" if isinstance(module, nn.Dropout) else kind


if __name__ == "__main__":
    main()
