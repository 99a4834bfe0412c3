import pytest
import torch

from fakecore.checkpoint import load_checkpoint, load_into, save_checkpoint
from fakecore.errors import UserError
from fakegen.inference import for_inference
from fakegen.networks import (
    DISCRIMINATORS,
    GENERATORS,
    build,
    count_parameters,
    discriminator_arguments,
    generator_arguments,
)
from fakegen.presets import PRESETS, get_preset


@pytest.fixture(params=sorted(PRESETS))
def preset(request):
    return get_preset(request.param, {"g_width": 8, "d_width": 8})


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_power_of_two_comes_out_at_its_resolution(resolution, channels):
    generator = GENERATORS["dcgan"](resolution=resolution, channels=channels, z_dim=6, width=2)
    discriminator = DISCRIMINATORS["dcgan"](resolution=resolution, channels=channels, width=2)
    images = generator(torch.randn(3, 6))
    assert images.shape == (3, channels, resolution, resolution)
    assert images.dtype == torch.float32 and images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


def test_the_published_64x64_networks_have_their_published_sizes():
    # PyTorch's DCGAN tutorial, ngf = ndf = 64, nz = 100: 3,576,704 and 2,765,568 trainable parameters.
    preset = get_preset("dcgan-64")
    generator = build(GENERATORS, "dcgan", generator_arguments(preset, 3))
    discriminator = build(DISCRIMINATORS, "dcgan", discriminator_arguments(preset, 3))
    assert count_parameters(generator) == (3_576_704 + 2 * (512 + 256 + 128 + 64), 3_576_704)
    assert count_parameters(discriminator)[1] == 2_765_568


def test_weights_start_as_published():
    torch.manual_seed(0)
    generator = GENERATORS["dcgan"](resolution=64, channels=3, z_dim=100, width=64)
    convolution, norm = generator.layers[3], generator.layers[4]
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_every_preset_has_a_gradient_for_every_parameter(preset):
    generator = build(GENERATORS, preset.architecture, generator_arguments(preset, 3))
    discriminator = build(DISCRIMINATORS, preset.architecture, discriminator_arguments(preset, 3))
    discriminator(generator(torch.randn(4, preset.z_dim))).sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_every_preset_saves_and_reloads(preset, tmp_path):
    arguments = generator_arguments(preset, 1)
    generator = build(GENERATORS, preset.architecture, arguments).eval()
    save_checkpoint(tmp_path / "g", generator.state_dict(), {"arguments": arguments})
    tensors, facts = load_checkpoint(tmp_path / "g")
    again = build(GENERATORS, preset.architecture, facts["arguments"]).eval()
    load_into(again, tensors, "g")
    z = torch.randn(2, preset.z_dim)
    assert torch.equal(generator(z), again(z))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_rewritten_generator_computes_the_same(channels):
    torch.manual_seed(1)
    generator = GENERATORS["dcgan"](resolution=32, channels=channels, z_dim=16, width=8)
    for _ in range(20):  # move BN's running statistics and weights away from where they start
        generator(torch.randn(32, 16) * 2)
    for parameter in generator.parameters():
        parameter.data.mul_(3)
    z = torch.randn(8, 16)
    with torch.no_grad():
        before = generator.eval()(z)
        after = for_inference(generator)(z)
    assert before.std() > 0.1  # or there would be nothing to compare
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in generator.modules())
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UserError, match="dcgan"):
        build(GENERATORS, "dcgun", {})
