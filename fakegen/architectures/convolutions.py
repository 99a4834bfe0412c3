"""The two convolutions of DCGANs, 4x4 with stride 2: `Halving` halves the side, `Doubling` doubles it.

They compute the same function as torch's layers. Two cases are slow in oneDNN on a CPU in bf16 and use a faster method:
the gradient of wide weights is one matrix product over unfolded inputs (a third faster), and a doubling to few channels
(images) is a 3x3 convolution and a pixel shuffle (twice as fast). `benchmarks/speed/speed.py` measures the gain.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d, conv_transpose2d, pad, pixel_shuffle

FEW = 4  # channels: grey, RGB, RGBA
WIDE = 128  # channels: from here on the matrix product is faster
# (a, d, k): kernel row k connects row p + d of the small image with row 2p + a of the doubled one.
_TAPS = ((0, -1, 3), (0, 0, 1), (1, 0, 2), (1, 1, 0))


class Halving(nn.Conv2d):
    """(B, c_in, 2H, 2W) -> (B, c_out, H, W). On the fast path it has no second derivative."""

    def __init__(self, c_in: int, c_out: int, bias: bool = False):
        super().__init__(c_in, c_out, 4, 2, 1, bias=bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.bias is None and _in_bf16_on_cpu(images):
            return _Halve.apply(images.bfloat16(), self.weight.bfloat16())
        return super().forward(images)


class Doubling(nn.ConvTranspose2d):
    """(B, c_in, H, W) -> (B, c_out, 2H, 2W). On the fast path it has no second derivative."""

    def __init__(self, c_in: int, c_out: int, bias: bool = False):
        super().__init__(c_in, c_out, 4, 2, 1, bias=bias)

    def forward(self, images: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        if self.bias is None and _in_bf16_on_cpu(images):
            return _Double.apply(images.bfloat16(), self.weight.bfloat16())
        return super().forward(images, output_size)


def shuffling_weight(weight: torch.Tensor) -> torch.Tensor:
    """Return the kernel (4 few, c, 3, 3) of the convolution that, before a pixel shuffle, equals a doubling by `weight`
    (c, few, 4, 4): each of the four output pixels is a 2x2 convolution of the neighbourhood (Shi et al. 2016, arXiv
    1609.07009).
    """
    c, few = weight.shape[:2]
    kernel = weight.new_zeros(few, 2, 2, c, 3, 3)
    for a, d, k in _TAPS:
        for b, e, m in _TAPS:
            kernel[:, a, b, :, d + 1, e + 1] = weight[:, :, k, m].T
    return kernel.reshape(few * 4, c, 3, 3).contiguous(memory_format=torch.channels_last)


def _in_bf16_on_cpu(images: torch.Tensor) -> bool:
    return (
        images.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


def _double(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if weight.shape[1] <= FEW:
        return pixel_shuffle(conv2d(images, shuffling_weight(weight), padding=1), 2)
    return conv_transpose2d(images, weight, stride=2, padding=1)


def _weight_gradient(small: torch.Tensor, large: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the kernel's gradient, of a halving or a doubling: the sum over (small pixel) x (its 4x4 patch of `large`).

    small (B, s, H, W), large (B, l, 2H, 2W) -> (s, l, 4, 4).
    """
    if large.shape[1] < WIDE:
        places = ([2, 2], [1, 1], [1, 1], False, [0, 0], 1)
        return torch.ops.aten.convolution_backward(small, large, weight, None, *places, [False, True, False])[1]
    batch, s, height, width = small.shape
    padded = pad(large.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()  # (B, 2H + 2, 2W + 2, l)
    b, y, x, c = padded.stride()
    patches = padded.as_strided((batch, height, width, 4, 4, large.shape[1]), (b, 2 * y, 2 * x, y, x, c))
    columns = patches.reshape(batch * height * width, -1)  # (B H W, 16 l)
    pixels = small.permute(0, 2, 3, 1).reshape(-1, s)  # (B H W, s)
    return (pixels.T @ columns).view(s, 4, 4, -1).permute(0, 3, 1, 2)


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, weight):
        ctx.save_for_backward(images, weight)
        return conv2d(images, weight, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        images, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_images = _double(gradient, weight) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(gradient, images, weight) if ctx.needs_input_grad[1] else None
        return to_images, to_weight


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, weight):
        ctx.save_for_backward(images, weight)
        return _double(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        images, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_images = conv2d(gradient, weight, stride=2, padding=1) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(images, gradient, weight) if ctx.needs_input_grad[1] else None
        return to_images, to_weight
