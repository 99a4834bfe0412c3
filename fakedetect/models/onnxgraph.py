"""A detector as one graph, from RGB pixels of any size to p_fake, including crop, resize and temperature."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fakedetect.models.calibration import Scaling
from fakedetect.models.domain import NEIGHBOURS, TINY, Domain

_CUBIC = -0.5  # the parameter of Pillow's bicubic filter
_FIXED_POINT = 2.0**22  # precision of Pillow's weights; each of its two passes rounds to whole pixels
_GREY = (9798, 19235, 3735)  # OpenCV's weights of R, G and B, which sum to 2**15


class DetectorGraph(nn.Module):
    """images uint8 (N, 3, H, W) RGB, [0, 255], of any height and width -> logit (N,), high for fake, p_fake (N,), and, if the
    detector has a domain, the distance (N,) from it.

    Reproduces `Detector.prepare` (fakecore.media.pixels.fit_square: integer arithmetic of Pillow and OpenCV) with ONNX
    operators, in float64, where sums of the fixed-point products are exact: a single pixel rounded differently changed the
    logit of a frequency detector by 0.03.
    """

    grey: torch.Tensor

    def __init__(self, network: Any, resolution: int, channels: int, scaling: Scaling, domain: Domain | None = None):
        super().__init__()
        self.distance = _Distance(domain) if domain is not None else None
        self.network, self.resolution, self.channels, self.scaling = network, resolution, channels, scaling
        self.tall_first = _pillow_resizes_tall_images_rows_first()
        self.register_buffer("grey", torch.tensor(_GREY, dtype=torch.float64)[:, None, None], persistent=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        prepared = self.prepare(images).to(torch.uint8)
        if self.distance is None:
            logit = self.network(prepared)
            return logit, self.p_fake(logit)
        logit, features = self.network.outputs(prepared)
        return logit, self.p_fake(logit), self.distance(features.float())

    def p_fake(self, logit: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(logit / self.scaling.temperature + self.scaling.bias)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 (N, 3, H, W) as whole numbers in float64 (N, channels, R, R): centre square, bicubic, antialiased."""
        height, width, side = images.shape[2], images.shape[3], self.resolution
        x = images.double()
        rows = _resize_weights(height, width, side)  # (R, H)
        columns = _resize_weights(width, height, side).T  # (W, R)
        if self.tall_first:
            tall, wide = torch.full((), height), torch.full((), width)
            rows_first = (tall > side) & (tall - side > 2 * (wide - side))
            x = torch.cond(rows_first, _rows_first, _columns_first, (x, rows, columns))
        else:
            x = _columns_first(x, rows, columns)
        if self.channels == 1:
            x = _to_pixels((x * self.grey).sum(dim=1, keepdim=True) / 2**15)  # (N, 1, R, R)
        return x


class _Distance(nn.Module):
    """features (N, dims) -> distances (N,), as `Domain.distances`."""

    points: torch.Tensor
    mean: torch.Tensor
    axes: torch.Tensor
    lengths: torch.Tensor

    def __init__(self, domain: Domain):
        super().__init__()
        self.nth, self.rest_deviation = min(NEIGHBOURS, len(domain.points)), 0.0  # 0: unit length
        arrays: dict[str, np.ndarray] = {"points": domain.points}
        if domain.whitening is not None:
            own, self.rest_deviation = domain.whitening, domain.whitening.rest_deviation
            arrays |= {"mean": own.mean, "axes": own.axes, "lengths": (own.axes**2).sum(axis=0)}
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.asarray(values, dtype=np.float32)), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        places = self._of_unit_length(features) if not self.rest_deviation else self._whitened(features)
        apart = (places[:, None] - self.points).square().sum(dim=2).sqrt()  # (N, points)
        return apart.topk(self.nth, dim=1, largest=False).values[:, -1]

    def _of_unit_length(self, features: torch.Tensor) -> torch.Tensor:
        return features / features.square().sum(dim=1, keepdim=True).sqrt().clamp(min=TINY)

    def _whitened(self, features: torch.Tensor) -> torch.Tensor:
        centred = features - self.mean
        along = centred @ self.axes  # (N, k)
        rest = (centred.square().sum(dim=1) - (along.square() / self.lengths).sum(dim=1)).clamp(min=0).sqrt()
        return torch.cat([along, rest[:, None] / self.rest_deviation], dim=1)  # (N, k + 1)


def _columns_first(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return _to_pixels(rows @ _to_pixels(x @ columns))


def _rows_first(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return _to_pixels(_to_pixels(rows @ x) @ columns)


@cache
def _pillow_resizes_tall_images_rows_first() -> bool:
    """Return whether Pillow resizes rows first in tall images, as since version 13: this changes the rounding."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 8), dtype=np.uint8)
    image, size, filtered = Image.fromarray(noise), 4, Image.Resampling.BICUBIC
    columns_first = image.resize((size, 64), filtered).resize((size, size), filtered)
    return columns_first.tobytes() != image.resize((size, size), filtered).tobytes()


def _to_pixels(x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x + 0.5).clamp(0, 255)


def _resize_weights(length: int, other: int, resolution: int) -> torch.Tensor:
    """Return the weights of `length` pixels for each of `resolution` new ones, float64 (resolution, length); rows sum to 1.

    The side of the centre square is the smaller of `length` and `other`. As in Pillow, pixels just outside the crop
    contribute to its edge.
    """
    own = torch.full((), length, dtype=torch.float64)
    side = torch.minimum(own, torch.full((), other, dtype=torch.float64))
    scale = side / resolution
    new = torch.arange(resolution, dtype=torch.float64) + 0.5
    old = torch.arange(length, dtype=torch.float64) + 0.5
    centre = (own - side) / 2 + new * scale  # (resolution,)
    x = ((old[None, :] - centre[:, None]) / scale.clamp(min=1)).abs()  # wider where it shrinks: the antialiasing
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    weights = weights * (1 / weights.sum(dim=1, keepdim=True))
    return torch.floor(weights * _FIXED_POINT + 0.5) / _FIXED_POINT
