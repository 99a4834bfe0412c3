"""Features of the frequency domain, where the upsampling of generators leaves traces."""

from __future__ import annotations

import math

import torch
from torch import nn

# Grey levels added before the logarithm. Rounding to whole levels is noise of 1 / sqrt(12) = 0.29 in every coefficient:
# smaller coefficients carry no information, and their logarithm must not dominate.
_FLOOR = 0.1


class DCTFeatures(nn.Module):
    """log |DCT| of each channel: uint8 (B, C, R, R) -> (B, C * R * R), lowest frequency first in rows and columns.

    Frank et al. 2020 (arXiv 2003.08685), sections 3 and 4: type-II DCT in two dimensions, log-scaled.
    """

    basis: torch.Tensor

    precision = "fp32"

    def __init__(self, resolution: int, channels: int):
        super().__init__()
        places = torch.arange(resolution, dtype=torch.float64)
        basis = torch.cos(math.pi / resolution * (places + 0.5) * places[:, None]) * math.sqrt(2 / resolution)
        basis[0] /= math.sqrt(2)
        self.register_buffer("basis", basis.float(), persistent=False)  # (R frequencies, R places), orthonormal
        self.dims = channels * resolution**2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        coefficients = self.basis @ images.float() @ self.basis.T  # (B, C, R, R)
        return torch.log(coefficients.abs() + _FLOOR).flatten(1)


class SpectrumFeatures(nn.Module):
    """The power spectrum averaged over directions: uint8 (B, C, R, R) -> (B, bins), from the mean to the corners.

    Durall et al. 2020 (arXiv 2003.01826), section 2.1: of the grey image, one number per radius, log-scaled. The Fourier
    transform is two matrix products, so that exported networks need no special operator.
    """

    cosines: torch.Tensor
    sines: torch.Tensor
    share: torch.Tensor

    precision = "fp32"

    def __init__(self, resolution: int, channels: int):
        super().__init__()
        places = torch.arange(resolution, dtype=torch.float64)
        angles = 2 * math.pi / resolution * places[:, None] * places
        self.register_buffer("cosines", torch.cos(angles).float(), persistent=False)
        self.register_buffer("sines", torch.sin(angles).float(), persistent=False)
        frequencies = torch.fft.fftfreq(resolution, dtype=torch.float64) * resolution
        radii = torch.hypot(frequencies, frequencies[:, None]).round().long().flatten()
        self.dims = int(radii.max()) + 1
        share = torch.zeros(resolution**2, self.dims, dtype=torch.float64)
        share[torch.arange(resolution**2), radii] = 1
        self.register_buffer("share", (share / share.sum(dim=0)).float(), persistent=False)  # columns sum to 1
        self.scale = 1 / resolution**2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.float().mean(dim=1)  # (B, R, R)
        rows_real, rows_imaginary = grey @ self.cosines, grey @ self.sines
        real = self.cosines @ rows_real - self.sines @ rows_imaginary
        imaginary = self.cosines @ rows_imaginary + self.sines @ rows_real
        power = (real.square() + imaginary.square()) * self.scale  # (B, R, R), of noise of deviation 1: 1 on average
        return torch.log(power.flatten(1) @ self.share + _FLOOR**2)  # (B, bins)
