"""One step of the adversarial training, in the order of the algorithm: first D learns, then G."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fakecore.device import Execution
from fakegen.presets.preset import Preset
from fakegen.sampling.sampling import from_pixels
from fakegen.training.augment import add_noise, diff_augment
from fakegen.training.log import row_of
from fakegen.training.losses import discriminator_loss, generator_loss, gradient_penalty
from fakegen.training.pair import Pair


@dataclass(frozen=True)
class Inputs:
    """What a step is given, all on the device: reals, uint8 (B, C, R, R), and latents, float32 (B, z_dim); for conditional
    networks the classes of both, int64 (B,), else (); the standard deviation of D's noise, a number or a tensor ().
    """

    pixels: torch.Tensor
    z: torch.Tensor
    of_reals: tuple[torch.Tensor, ...] = ()
    of_fakes: tuple[torch.Tensor, ...] = ()
    noise: float | torch.Tensor = 0.0


@dataclass(frozen=True)
class Kind:
    """What a step does besides the update: whether the penalties R1 and R2 are due, and whether D sees noise."""

    penalised: bool
    noisy: bool


class Step:
    """Updates D and G once. `execution` runs the networks."""

    def __init__(self, pair: Pair, preset: Preset, execution: Execution, value_range: tuple[float, float]):
        self._pair, self._preset, self._range = pair, preset, value_range
        self._in_bf16 = execution.precision == "bf16"
        self._generator, self._discriminator = execution.setup(pair.generator), execution.setup(pair.discriminator)

    def __call__(self, inputs: Inputs, kind: Kind) -> torch.Tensor:
        """Update both networks; return the values of the log, see `row_of`. Random numbers are those of torch's state."""
        preset, pair, of_reals, of_fakes = self._preset, self._pair, inputs.of_reals, inputs.of_fakes
        real = _mirrored(from_pixels(inputs.pixels.to(memory_format=torch.channels_last), self._range), preset)
        fake = self._generator(inputs.z, *of_fakes)  # (B, C, R, R)
        noise = inputs.noise if kind.noisy else 0.0

        # Update D: tell reals from fakes.
        pair.discriminator.requires_grad_(True)
        seen_real, seen_fake = _augmented(real, preset, noise), _augmented(fake.detach(), preset, noise)
        seen_real.requires_grad_(kind.penalised and preset.r1 > 0)
        seen_fake.requires_grad_(kind.penalised and preset.r2 > 0)
        if preset.mixed_batch:
            of_both = tuple(torch.cat(pieces) for pieces in zip(of_reals, of_fakes, strict=True))
            real_logits, fake_logits = self._discriminator(torch.cat([seen_real, seen_fake]), *of_both).chunk(2)
        else:
            real_logits = self._discriminator(seen_real, *of_reals)
            fake_logits = self._discriminator(seen_fake, *of_fakes)
        flipped = _flips(preset, real_logits)
        loss_d = discriminator_loss(real_logits, fake_logits, preset.loss, preset.label_smoothing, flipped)
        penalty = self._penalty(preset.r1, seen_real, real_logits, of_reals)
        penalty = penalty + self._penalty(preset.r2, seen_fake, fake_logits, of_fakes)
        pair.optimiser_d.zero_grad()
        (loss_d + penalty).backward()
        _clip(pair.discriminator, preset)
        pair.optimiser_d.step()

        # Update G: be classified as real. D's weights need no gradients, which saves a third of D's backward pass.
        pair.discriminator.requires_grad_(False)
        fake_logits_2 = self._discriminator(_augmented(fake, preset, noise), *of_fakes)
        loss_g = generator_loss(fake_logits_2, preset.loss, self._logits_to_compare(seen_real, of_reals))
        pair.optimiser_g.zero_grad()
        loss_g.backward()
        _clip(pair.generator, preset)
        pair.optimiser_g.step()
        return row_of(loss_d, loss_g, real_logits, fake_logits, fake_logits_2)

    def _penalty(
        self, weight: float, images: torch.Tensor, logits: torch.Tensor, labels: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """Return the weighted gradient penalty at the images, 0 if they require no gradient. In fp32, by running D again if its
        `logits` are of bf16: that path has no second derivative.
        """
        if not images.requires_grad:
            return logits.new_zeros(())
        if self._in_bf16:
            images = images.detach().requires_grad_(True)
            with torch.autocast(images.device.type, enabled=False):
                logits = self._pair.discriminator(images, *labels)
        return weight / 2 * self._preset.r1_every * gradient_penalty(logits, images)

    @torch.no_grad()
    def _logits_to_compare(self, seen: torch.Tensor, labels: tuple[torch.Tensor, ...]) -> torch.Tensor | None:
        """Return the updated D's logits of the reals, which the relativistic loss of G needs."""
        return self._discriminator(seen, *labels) if self._preset.loss == "relativistic" else None


def kind_of(preset: Preset, step: int, noise: float) -> Kind:
    """Return what `step`, counted from 0, does. `noise` is the standard deviation of D's noise."""
    return Kind(penalised=preset.r1 + preset.r2 > 0 and step % preset.r1_every == 0, noisy=noise > 0)


def _mirrored(images: torch.Tensor, preset: Preset) -> torch.Tensor:
    if not preset.mirror:
        return images
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def _augmented(images: torch.Tensor, preset: Preset, noise: float | torch.Tensor) -> torch.Tensor:
    """Return D's inputs. Reals and fakes need the same augmentation, or D would learn the difference."""
    images = add_noise(images, noise)
    return diff_augment(images) if preset.augment else images


def _flips(preset: Preset, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not preset.label_flip:
        return None
    reals, fakes = torch.rand(2, *logits.shape, device=logits.device) < preset.label_flip
    return reals, fakes


def _clip(network: nn.Module, preset: Preset) -> None:
    if preset.clip:
        nn.utils.clip_grad_value_(network.parameters(), preset.clip)
