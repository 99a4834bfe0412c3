"""The fast path against torch's own convolutions, in both directions and for both gradients."""

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d

from fakegen.architectures.convolutions import Doubling, Halving, shuffling_weight

SHAPES = [(3, 64), (1, 8), (64, 128), (128, 16), (160, 1)]  # few, narrow and wide, on either side


def gradients(layer, images, forward):
    images = images.clone().requires_grad_(True)
    layer.weight.grad = None
    out = forward(images)
    (out.float() * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum().backward()
    return out.float(), images.grad.float(), layer.weight.grad.float()


@pytest.mark.parametrize(("c_in", "c_out"), SHAPES)
@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_the_fast_path_equals_torch(kind, c_in, c_out):
    torch.manual_seed(0)
    layer = kind(c_in, c_out).to(memory_format=torch.channels_last)
    images = torch.randn(4, c_in, 8, 12).to(memory_format=torch.channels_last)
    plain = conv2d if kind is Halving else conv_transpose2d
    exact = gradients(layer, images, lambda x: plain(x, layer.weight, stride=2, padding=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "Backward" in type(layer(images.requires_grad_(True)).grad_fn).__name__
        fast = gradients(layer, images.detach(), layer)
    for name, ours, theirs in zip(("output", "image gradient", "weight gradient"), fast, exact, strict=True):
        assert ours.shape == theirs.shape, name
        assert (ours - theirs).norm() / theirs.norm() < 0.01, name  # bf16 keeps 8 bits


@pytest.mark.parametrize("kind", [Halving, Doubling])
def test_without_autocast_the_layers_equal_torch_exactly(kind):
    layer, images = kind(5, 3), torch.randn(2, 5, 8, 8)
    plain = conv2d if kind is Halving else conv_transpose2d
    assert torch.equal(layer(images), plain(images, layer.weight, stride=2, padding=1))


def test_the_fast_path_is_used(monkeypatch):
    import fakegen.architectures.convolutions as module

    def refuse(*_):
        raise RuntimeError("taken")

    monkeypatch.setattr(module._Halve, "apply", refuse)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match="taken"):
        Halving(3, 8)(torch.randn(1, 3, 8, 8))


def test_a_shuffled_convolution_equals_the_doubling():
    weight, images = torch.randn(6, 3, 4, 4).double(), torch.randn(2, 6, 5, 7).double()
    shuffled = torch.nn.functional.pixel_shuffle(conv2d(images, shuffling_weight(weight), padding=1), 2)
    torch.testing.assert_close(shuffled, conv_transpose2d(images, weight, stride=2, padding=1), rtol=1e-12, atol=1e-12)
