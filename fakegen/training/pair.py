"""The two networks, the averaged generator and the optimisers: the content of checkpoints and training states."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fakecore.device import derive_seed, to_device
from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_checkpoint, load_into, optimiser_tensors, restore_optimiser
from fakegen.architectures.registry import (
    build_discriminator,
    build_generator,
    discriminator_arguments,
    generator_arguments,
)
from fakegen.presets.preset import Preset
from fakegen.runs.run import open_run


@dataclass
class Pair:
    """G and D in training, the moving average of G (None if ema is 0), and an optimiser for each."""

    generator: nn.Module
    discriminator: nn.Module
    averaged: nn.Module | None
    optimiser_g: torch.optim.Optimizer
    optimiser_d: torch.optim.Optimizer

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the tensors of a checkpoint, named generator.*, discriminator.* and generator_ema.*."""
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        if self.averaged is not None:
            parts["generator_ema"] = self.averaged
        return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors of a training state: the weights, optimiser_g.* and optimiser_d.*."""
        return {
            **self.weights(),
            **optimiser_tensors(self.optimiser_g, "optimiser_g."),
            **optimiser_tensors(self.optimiser_d, "optimiser_d."),
        }

    def restore(self, state: dict[str, torch.Tensor], what: str) -> None:
        """Load the tensors of a training state. Raises UserError that names `what` if they do not fit."""
        load_into(self.generator, _part(state, "generator."), what)
        load_into(self.discriminator, _part(state, "discriminator."), what)
        if self.averaged is not None:
            load_into(self.averaged, _part(state, "generator_ema."), what)
        restore_optimiser(self.optimiser_g, _part(state, "optimiser_g."))
        restore_optimiser(self.optimiser_d, _part(state, "optimiser_d."))

    def sampler(self) -> nn.Module:
        """Return the generator to sample from: the averaged one if there is one."""
        return self.averaged if self.averaged is not None else self.generator


def build_pair(preset: Preset, channels: int, classes: int, device: torch.device, seed: int) -> Pair:
    """Build networks and optimisers, with weights that depend on the seed, or those of `init_g` and `init_d`.

    Raises UserError if `init_g` or `init_d` name weights that are missing or of another architecture.
    """
    torch.manual_seed(derive_seed(seed, "weights"))
    of_g, of_d = generator_arguments(preset, channels, classes), discriminator_arguments(preset, channels, classes)
    generator = build_generator(preset.architecture, of_g)
    discriminator = build_discriminator(preset.architecture, of_d)
    for network, part, source, arguments in (
        (generator, "generator", preset.init_g, of_g),
        (discriminator, "discriminator", preset.init_d, of_d),
    ):
        if source:
            _transfer(network, part, Path(source), {"architecture": preset.architecture, **arguments})
    averaged = None
    if preset.ema > 0:
        averaged = build_generator(preset.architecture, of_g)
        averaged.load_state_dict(generator.state_dict())
        to_device(averaged, device).eval().requires_grad_(False)
    for network in (generator, discriminator):
        to_device(network, device).train()
    return Pair(
        generator,
        discriminator,
        averaged,
        _optimiser(preset, generator, preset.lr, device),
        _optimiser(preset, discriminator, preset.lr * preset.d_lr_ratio, device),
    )


def _optimiser(preset: Preset, network: nn.Module, lr: float, device: torch.device) -> torch.optim.Optimizer:
    own: dict[str, Any] = {"lr": lr, "capturable": device.type == "cuda"}  # so that a CUDA graph can hold its step
    warnings.filterwarnings("ignore", message=".*capturable=True.*")  # some steps run outside a graph
    if preset.optimiser == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), alpha=0.9, eps=1e-7, **own)  # alpha and eps as in Keras
    return torch.optim.Adam(network.parameters(), betas=(preset.beta1, preset.beta2), fused=True, **own)


def _transfer(network: nn.Module, part: str, source: Path, wanted: dict[str, Any]) -> None:
    """Load the weights of `part` of a run or checkpoint into a network, which was built with the arguments `wanted`."""
    checkpoint = source.with_suffix("") if source.suffix in (".safetensors", ".json") else source
    if source.is_dir():
        run = open_run(source)
        checkpoint = run.checkpoint(max(run.epochs_on_disk(), default=0))
    elif not checkpoint.with_name(checkpoint.name + ".json").is_file():
        expected = "a run folder, or a checkpoint in it, such as RUN/checkpoints/epoch-0005"
        raise UserError(f"there is no run or checkpoint {source}", expected=expected)
    tensors, facts = load_checkpoint(checkpoint, f"{part}.")
    if facts.get("kind") != "gan" or not tensors:
        raise UserError(f"{checkpoint} contains no {part}", expected="a run, or a checkpoint of a run")
    built = {"architecture": facts.get("architecture"), **facts.get(part, {})}
    changed = [f"{name}={built[name]}, here {wanted.get(name)}" for name in built if built[name] != wanted.get(name)]
    difference = f"It was built with {'; '.join(changed)}. " if changed else ""
    remedy = (
        f"{difference}Start from a run with the same preset and sizes, or set this run's fields to match with --set."
    )
    load_into(network, tensors, str(checkpoint), remedy)


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
