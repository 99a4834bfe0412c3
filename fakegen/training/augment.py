"""Augmentation of D's inputs, reals and fakes alike: noise and DiffAugment. Differentiable, so that G learns through it."""

from __future__ import annotations

import torch
from torch.nn.functional import pad

SHIFT = 1 / 8  # of the side
CUTOUT = 1 / 2  # of the side


def add_noise(images: torch.Tensor, deviation: float | torch.Tensor) -> torch.Tensor:
    """Add Gaussian noise of standard `deviation`, 0 for none or a tensor (), to images (B, C, R, R); Sonderby et al. 2017
    (arXiv 1610.04490), section 3.
    """
    if not isinstance(deviation, torch.Tensor) and deviation == 0:
        return images
    return images + deviation * torch.randn_like(images)


def diff_augment(images: torch.Tensor) -> torch.Tensor:
    """Change colour, translate and cut out, at random for every image: float (B, C, R, R) -> (B, C, R, R).

    Zhao et al. 2020 (arXiv 2006.10738), section 4: brightness within half the range, saturation 0 to 2, contrast 0.5 to
    1.5, a shift of up to an eighth of the side, and a zero square of half the side, which may extend over the edge.
    """
    return _cutout(_translate(_recolour(images)))


def _recolour(images: torch.Tensor) -> torch.Tensor:
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (saturation * 2)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    return level + (images - level) * (contrast + 0.5)


def _translate(images: torch.Tensor) -> torch.Tensor:
    """Shift each image; the uncovered margin is 0, the middle of [-1, 1]."""
    batch, _, side, _ = images.shape
    reach = round(side * SHIFT)
    rows, columns = _window(
        side, _draw(batch, -reach, reach, images.device), _draw(batch, -reach, reach, images.device)
    )
    padded = pad(images, [reach] * 4).permute(0, 2, 3, 1)  # (B, R + 2 reach, R + 2 reach, C)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return padded[which, rows + reach, columns + reach].permute(0, 3, 1, 2)


def _cutout(images: torch.Tensor) -> torch.Tensor:
    batch, _, side, _ = images.shape
    size = round(side * CUTOUT)
    places = torch.arange(side, device=images.device)
    top, left = (_draw(batch, -(size // 2), side - size // 2, images.device) for _ in range(2))
    in_rows = (places >= top[:, None]) & (places < top[:, None] + size)  # (B, R)
    in_columns = (places >= left[:, None]) & (places < left[:, None] + size)
    blanked = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (B, 1, R, R)
    return images * ~blanked


def _window(side: int, down: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row and column numbers of each image after a shift, (B, R, 1) and (B, 1, R)."""
    places = torch.arange(side, device=down.device)
    return (places + down[:, None])[:, :, None], (places + right[:, None])[:, None, :]


def _draw(count: int, low: int, high: int, device: torch.device) -> torch.Tensor:
    return torch.randint(low, high + 1, (count,), device=device)
