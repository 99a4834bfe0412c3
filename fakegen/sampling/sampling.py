"""Fakes from a checkpoint. Image i depends only on (checkpoint, seed, i): not on batch size, order or restarts.

Latents are drawn in fixed blocks of 64 images: image i is always at index i % 64 of block i // 64. On a CPU the network runs on
one block at a time, on one thread; on a GPU on a fixed number of blocks together, aligned in the same way. Rounding in a
network depends on the batch shape and on the division of sums among threads, so images are equal to the last bit on any number
of CPU cores, and on all GPUs of one kind.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fakecore.device import choose_device, keep_freed_memory, one_thread, to_device
from fakecore.errors import UserError, unknown_name
from fakecore.runs.checkpoint import load_checkpoint, load_into
from fakecore.schema import OBJECT, TEXT, Kind, check_fields, whole
from fakegen.architectures.registry import build_generator, get_architecture
from fakegen.sampling.ahead import Ahead
from fakegen.sampling.folding import for_inference

BLOCK = 64
_GPU_PIXELS, _GPU_BLOCKS = 2**22, 16  # in one call of a network on a GPU, at most
FIELDS = {
    "architecture": TEXT,
    "generator": {"resolution": whole(1), "channels": whole(1, 3), "z_dim": whole(1)},
    "value_range": Kind("two numbers", lambda value: isinstance(value, list) and len(value) == 2),
    "levels": whole(2, 256),
    "latent": TEXT,
    "classes": OBJECT,
    "precision": TEXT,
    "epoch": whole(0),
}
_REMEDY = "Copy it again from the original."


@dataclass(frozen=True)
class Generator:
    """A trained generator, ready for sampling, with the facts that the manifest states."""

    network: nn.Module
    facts: dict  # the checkpoint's own JSON
    device: torch.device
    dtype: torch.dtype  # bf16 for a run trained in bf16, so that fakes equal those of the snapshots
    together: int = 1  # blocks that the network makes in one call
    truncation: float = 1.0  # scale of the latents that `block` and `batch` draw
    _ahead: dict[tuple[int, str | None], Ahead[np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def resolution(self) -> int:
        return self.facts["generator"]["resolution"]

    @property
    def channels(self) -> int:
        return self.facts["generator"]["channels"]

    def blocks(self, start: int, count: int) -> Iterator[tuple[int, range]]:
        """Yield (block number, indices within `start` to `start + count`) for each block of these images."""
        for number in range(start // BLOCK, -(-(start + count) // BLOCK)):
            yield number, range(max(start, number * BLOCK), min(start + count, (number + 1) * BLOCK))

    @property
    def classes(self) -> list[str]:
        """The classes it can make, in the order of the class numbers; empty for an unconditional generator."""
        return list(self.facts["classes"])

    def block(self, seed: int, number: int, only: str | None = None) -> np.ndarray:
        """Return the 64 images of a block, uint8 (64, C, R, R), all of the class `only` if given. Thread-safe."""
        if self.together == 1:
            return self._render_blocks(seed, range(number, number + 1), only)
        if (seed, only) not in self._ahead:

            def groups(k: int) -> np.ndarray:
                return self._render_blocks(seed, range(k * self.together, (k + 1) * self.together), only)

            self._ahead.setdefault((seed, only), Ahead(groups))
        group, place = divmod(number, self.together)
        return self._ahead[seed, only](group)[place * BLOCK : (place + 1) * BLOCK]

    def _render_blocks(self, seed: int, numbers: range, only: str | None) -> np.ndarray:
        """Return the images of consecutive blocks, uint8 (64 n, C, R, R), made by one call of the network."""
        z = np.concatenate([self.latents(seed, number) for number in numbers])
        names = [name for number in numbers for name in self.block_classes(seed, number, only)]
        labels = [self.classes.index(name) for name in names if name is not None]
        with one_thread():
            on_device = torch.from_numpy(z).to(self.device)
            return self.render(on_device, torch.tensor(labels, device=self.device) if labels else None)

    def latents(self, seed: int, number: int) -> np.ndarray:
        """Return the latents of a block, float32 (64, z_dim)."""
        drawn = block_latents(seed, number, self.facts["generator"]["z_dim"], self.facts["latent"])
        return drawn * np.float32(self.truncation)

    def block_classes(self, seed: int, number: int, only: str | None = None) -> list[str | None]:
        """Return the class of each image of a block: drawn with the fractions of the training reals, or all `only`."""
        if not self.classes:
            return [None] * BLOCK
        if only is not None:
            return [only] * BLOCK
        fractions = np.array(list(self.facts["classes"].values()))
        drawn = np.random.default_rng([seed, number, 1]).choice(len(fractions), BLOCK, p=fractions / fractions.sum())
        return [self.classes[k] for k in drawn]

    def matrix(self, seed: int, columns: int) -> np.ndarray:
        """Return the same latents in every class, uint8 (classes x columns, C, R, R), a class after the other."""
        z = torch.from_numpy(self.latents(seed, 0)[:columns]).to(self.device)
        labels = torch.arange(len(self.classes), device=self.device).repeat_interleave(len(z))
        with one_thread():
            return self.render(z.repeat(len(self.classes), 1), labels)

    def check_class(self, name: str | None) -> None:
        """Raise UserError unless `name` is None or a class of the generator."""
        if name is None or name in self.classes:
            return
        if not self.classes:
            raise UserError(
                f"the generator is not conditional, so it has no class {name!r}", remedy="Train a conditional preset."
            )
        raise unknown_name("class", name, self.classes, where="in this generator")

    def truncated(self, truncation: float) -> Generator:
        """Return the same generator with its latents scaled by `truncation`: below 1, fakes are more alike and usually cleaner.

        Raises UserError outside 0 to 2, and for a generator that uses the direction of a latent alone.
        """
        if not 0 <= truncation <= 2:
            raise UserError("--truncation is out of range", got=truncation, expected="0 to 2")
        name = self.facts["architecture"]
        if truncation != 1 and not get_architecture(name).uses_length:
            raise UserError(
                "--truncation has no effect on this generator",
                got=f"the architecture {name}, which uses the direction of a latent and not its length",
                remedy="Leave the option out.",
            )
        return replace(self, truncation=truncation, _ahead={})

    def batch(self, seed: int, indices: range, only: str | None = None) -> np.ndarray:
        """Return the images of consecutive indices, uint8 (n, C, R, R). Every block they touch is computed completely."""
        parts = []
        for number, wanted in self.blocks(indices.start, len(indices)):
            first = number * BLOCK
            parts.append(self.block(seed, number, only)[wanted.start - first : wanted.stop - first])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def batch_classes(self, seed: int, indices: range, only: str | None = None) -> list[str | None]:
        """Return the classes of consecutive indices; see `block_classes`."""
        found = []
        for number, wanted in self.blocks(indices.start, len(indices)):
            first = number * BLOCK
            found += self.block_classes(seed, number, only)[wanted.start - first : wanted.stop - first]
        return found

    def images(self, seed: int, start: int, count: int) -> Iterator[np.ndarray]:
        """Yield images `start` to `start + count`, each uint8 (C, R, R)."""
        for _, indices in self.blocks(start, count):
            yield from self.batch(seed, indices)

    @torch.inference_mode()
    def render(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> np.ndarray:
        """Latents, float (B, z_dim), and class numbers, int64 (B,), if conditional -> images, uint8 (B, C, R, R)."""
        images = self.network(z.to(self.dtype), *(() if labels is None else (labels,)))
        return to_pixels(images, self.facts["value_range"], self.facts["levels"])


def load_generator(checkpoint: Path, device: str = "auto") -> Generator:
    """Load the generator of `checkpoint` (a path without suffix), with the averaged weights if it has them.

    Raises UserError for a checkpoint that is missing, damaged, or not of a GAN.
    """
    tensors, facts = load_checkpoint(checkpoint, "generator")
    _check_facts(facts, checkpoint.with_name(checkpoint.name + ".json"))
    averaged = {name.removeprefix("_ema."): t for name, t in tensors.items() if name.startswith("_ema.")}
    raw = {name.removeprefix("."): t for name, t in tensors.items() if name.startswith(".")}
    network = build_generator(facts["architecture"], facts["generator"])
    load_into(network, averaged or raw, str(checkpoint))
    place = choose_device(device)
    network = for_inference(network.eval())
    keep_freed_memory()
    dtype = torch.bfloat16 if facts["precision"] == "bf16" else torch.float32
    network = to_device(network, place, dtype).requires_grad_(False)
    together = 1
    if place.type == "cuda":
        torch.backends.cudnn.deterministic = True  # image i is the same in every call
        together = blocks_together(facts["generator"]["resolution"])
    return Generator(network, facts, place, dtype, together)


def blocks_together(resolution: int) -> int:
    """Return how many blocks a GPU makes in one call: a function of the resolution alone, because it decides the last bits."""
    return max(1, min(_GPU_BLOCKS, _GPU_PIXELS // (BLOCK * resolution**2)))


def _check_facts(facts: dict, where: Path) -> None:
    """Raise UserError unless the JSON of a checkpoint has all that is needed to build its generator and to sample."""
    check_fields(facts, {"kind": TEXT}, where, remedy=_REMEDY)
    if facts["kind"] != "gan":
        raise UserError(f"{where.with_suffix('')} is not a checkpoint of a GAN", got=f"kind {facts['kind']!r}")
    facts.setdefault("levels", 256)  # version 0.1.0 did not write it
    check_fields(facts, FIELDS, where, remedy=_REMEDY)
    given = facts["generator"]
    takes = inspect.signature(get_architecture(facts["architecture"]).generator).parameters
    for name, parameter in takes.items():
        if name not in given and parameter.default is parameter.empty:
            raise UserError(f"{where}: generator.{name} is missing", remedy=_REMEDY)
    if unknown := [name for name in given if name not in takes]:
        raise UserError(f"{where}: generator.{unknown[0]} is unknown", expected=", ".join(takes), remedy=_REMEDY)


def block_latents(seed: int, number: int, z_dim: int, latent: str = "normal") -> np.ndarray:
    """Return the latents of a block, float32 (64, z_dim), equal on any device: N(0, 1), or uniform in [-1, 1]."""
    random = np.random.default_rng([seed, number])
    if latent == "uniform":
        return random.random((BLOCK, z_dim), dtype=np.float32) * 2 - 1
    return random.standard_normal((BLOCK, z_dim), dtype=np.float32)


def to_pixels(images: torch.Tensor, value_range: tuple[float, float], levels: int = 256) -> np.ndarray:
    """A network's float images in `value_range` -> uint8 [0, 255], rounded to the nearest of `levels` grey levels."""
    low, high = value_range
    scaled = (
        images.to(torch.float32, copy=True).sub_(low).mul_((levels - 1) / (high - low)).round_().clamp_(0, levels - 1)
    )
    if levels < 256:
        scaled = scaled.mul_(255 / (levels - 1)).round_()
    pixels = scaled.to(torch.uint8).contiguous()
    if pixels.device.type == "cpu":
        return pixels.numpy()
    host = torch.empty(
        pixels.shape, dtype=torch.uint8, pin_memory=True
    )  # copies to pinned memory are several times as fast
    host.copy_(pixels, non_blocking=True)
    torch.cuda.current_stream(pixels.device).synchronize()
    return host.numpy()


def grey_levels(levels: int) -> np.ndarray:
    """Return `levels` equally spaced grey levels, uint8 (levels,), from 0 to 255."""
    return np.linspace(0, 255, levels).round().astype(np.uint8)


def from_pixels(images: torch.Tensor, value_range: tuple[float, float]) -> torch.Tensor:
    """uint8 [0, 255] -> float32 in `value_range`: the inverse of `to_pixels`."""
    low, high = value_range
    return images.float().mul_((high - low) / 255.0).add_(low)
