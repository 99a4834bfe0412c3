"""Small autoencoders that render faces anew: what they cannot keep is lost as in faces that a network made.

Each enlarges in another way, because the way leaves traces (Odena et al. 2016; Durall et al. 2020, arXiv 2003.01826).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import l1_loss

from fakecore.device import derive_seed, one_thread
from fakecore.errors import Interrupted
from fakecore.interrupt import StopRequest
from fakecore.progress import progress_bar

STEPS = 500  # about a minute each on two CPU cores
_SIDE, _BATCH, _RATE = 96, 12, 2e-3
_WIDTH = 24  # channels at full resolution, doubled at each halving


@dataclass(frozen=True)
class RenderKind:
    """How an autoencoder halves and enlarges: `halvings` times, to `code` channels."""

    enlarging: str  # transposed, nearest, shuffle or bilinear
    halvings: int
    code: int


KINDS = (
    RenderKind("transposed", 2, 12),
    RenderKind("nearest", 3, 48),
    RenderKind("shuffle", 2, 8),
    RenderKind("bilinear", 3, 64),
)


class Renderer(nn.Module):
    """float32 (B, 3, S, S) in [-1, 1] -> the same, S a multiple of 8."""

    def __init__(self, kind: RenderKind):
        super().__init__()
        widths = [_WIDTH * 2**level for level in range(kind.halvings + 1)]
        down: list[nn.Module] = [nn.Conv2d(3, _WIDTH, 3, padding=1), nn.SiLU()]
        for width, wider in itertools.pairwise(widths):
            down += [nn.Conv2d(width, wider, 4, stride=2, padding=1), nn.SiLU()]
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], kind.code, 3, padding=1))
        up: list[nn.Module] = [nn.Conv2d(kind.code, widths[-1], 3, padding=1), nn.SiLU()]
        for wider, width in zip(widths[::-1], widths[-2::-1], strict=False):
            up += [*_enlarge(kind.enlarging, wider, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU()]
        self.decoder = nn.Sequential(*up, nn.Conv2d(_WIDTH, 3, 3, padding=1), nn.Tanh())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images))

    @torch.inference_mode()
    def render(self, image: np.ndarray) -> np.ndarray:
        """Return an image, uint8 (S, S, 3), as this network renders it."""
        side = len(image)
        padding = -side % 8
        padded = np.pad(image, ((0, padding), (0, padding), (0, 0)), mode="edge")
        x = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1))).float()[None] / 127.5 - 1
        with one_thread():
            y = self(x)[0, :, :side, :side]
        return ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _enlarge(how: str, before: int, after: int) -> list[nn.Module]:
    if how == "transposed":
        return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
    if how == "shuffle":
        return [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2, mode=how), nn.Conv2d(before, after, 3, padding=1)]


def train_renderers(crops: list[np.ndarray], seed: int, steps: int | None = None) -> list[Renderer]:
    """Train an autoencoder of each kind on face crops, uint8 (S, S, 3) each, by the L1 distance of pixels and of differences of
    neighbours; `steps` defaults to STEPS. Raises Interrupted when stopped.
    """
    steps = steps or STEPS
    renderers = []
    with StopRequest() as stop, progress_bar("training renderers", len(KINDS) * steps, "steps") as bar:
        for number, kind in enumerate(KINDS):
            torch.manual_seed(derive_seed(seed, "renderer", number))
            random = np.random.default_rng(derive_seed(seed, "renderer crops", number))
            network = Renderer(kind).to(memory_format=torch.channels_last)
            optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = _RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
                images = _batch(crops, random)
                made = network(images)
                loss = l1_loss(made, images) + sum(l1_loss(made.diff(dim=d), images.diff(dim=d)) for d in (2, 3))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                bar.advance()
                if stop.asked:
                    raise Interrupted("nothing was written; the same command starts over")
            renderers.append(network.eval().requires_grad_(False))
    return renderers


def _batch(crops: list[np.ndarray], random: np.random.Generator) -> torch.Tensor:
    """Return random parts of random crops, float32 (_BATCH, 3, _SIDE, _SIDE) in [-1, 1]."""
    parts = []
    for place in random.integers(len(crops), size=_BATCH):
        crop = crops[place]
        top, left = random.integers(max(len(crop) - _SIDE, 0) + 1, size=2)
        part = crop[top : top + _SIDE, left : left + _SIDE]
        short = _SIDE - len(part)
        parts.append(np.pad(part, ((0, short), (0, short), (0, 0)), mode="reflect") if short > 0 else part)
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 127.5 - 1
