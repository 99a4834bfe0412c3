import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, interpolate

from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_checkpoint, load_into, save_checkpoint
from fakegen.architectures.layers import DoublingConv, GatedUnits, double_reproducibly
from fakegen.architectures.registry import (
    ARCHITECTURES,
    build_discriminator,
    build_generator,
    check_architecture,
    count_parameters,
    discriminator_arguments,
    generator_arguments,
)
from fakegen.presets.table import PRESETS, get_preset
from fakegen.sampling.folding import for_inference

SMALL = {"dcgan": 32, "digit": 28, "dense": 20, "upsampling": 20, "stack": 32, "residual": 16, "projected": 32}
CLASSES = 3


def networks(preset, channels=3):
    classes = CLASSES if preset.conditional else 0
    return (
        build_generator(preset.architecture, generator_arguments(preset, channels, classes)),
        build_discriminator(preset.architecture, discriminator_arguments(preset, channels, classes)),
        (torch.arange(4) % CLASSES,) if preset.conditional else (),
    )


def small(name):
    """Return a preset, made small where its architecture has a width."""
    architecture = PRESETS[name].architecture
    fields = {*ARCHITECTURES[architecture].generator_fields, *ARCHITECTURES[architecture].discriminator_fields}
    widths = {name: 8 for name in ("g_width", "d_width") if name in fields}
    return get_preset(name, {"resolution": SMALL[architecture], **widths})


def of_one_kind():
    """One preset of each kind of networks."""
    kinds = {}
    for name in sorted(PRESETS):
        preset, classes = small(name), CLASSES if PRESETS[name].conditional else 0
        built = generator_arguments(preset, 3, classes), discriminator_arguments(preset, 3, classes)
        kinds.setdefault((preset.architecture, str(built)), name)
    return list(kinds.values())


@pytest.fixture(params=of_one_kind())
def preset(request):
    return small(request.param)


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_makes_every_power_of_two(resolution, channels):
    generator = build_generator("dcgan", {"resolution": resolution, "channels": channels, "z_dim": 6, "width": 2})
    discriminator = build_discriminator("dcgan", {"resolution": resolution, "channels": channels, "width": 2})
    images = generator(torch.randn(3, 6))
    assert images.shape == (3, channels, resolution, resolution)
    assert images.dtype == torch.float32 and images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


@pytest.mark.parametrize(
    ("architecture", "resolution"),
    [("dense", 17), ("dense", 64), ("upsampling", 36), ("stack", 48), ("digit", 28), ("digit", 32), ("digit", 40)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_other_architectures_make_their_supported_resolutions(architecture, resolution, channels):
    preset = get_preset(
        {"dense": "dense-1", "upsampling": "upsample-faces", "stack": "celeba-128", "digit": "mnist-digit"}[
            architecture
        ],
        {"resolution": resolution, **({} if architecture == "digit" else {"g_width": 8, "d_width": 8})},
    )
    check_architecture(preset, set())
    generator, discriminator, _ = networks(preset, channels)
    images = generator(torch.randn(2, preset.z_dim))
    assert images.shape == (2, channels, resolution, resolution)
    assert discriminator(images).shape == (2,)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("digits-32", {"resolution": 48}, "power of two"),
        ("mnist-digit", {"resolution": 30}, "multiple of 4"),
        ("celeba-128", {"resolution": 40}, "multiple of 16"),
        ("dense-1", {"g_upsampling": "nearest"}, "dense-1 does not use the field g_upsampling"),
        ("mnist-digit", {"g_width": 3}, "no such field"),
        ("projected-64", {"resolution": 16}, "32, 64, 128 or 256"),
        ("dense-1", {"conditional": True}, "takes no labels"),
    ],
)
def test_unsupported_fields_are_refused(name, changes, words):
    with pytest.raises(UserError) as caught:
        check_architecture(get_preset(name, changes), set(changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_published_64x64_networks_have_their_published_sizes():
    # PyTorch's DCGAN tutorial, ngf = ndf = 64, nz = 100: 3,576,704 and 2,765,568 trainable parameters.
    generator, discriminator, _ = networks(get_preset("dcgan-64"))
    assert count_parameters(generator) == (3_576_704 + 2 * (512 + 256 + 128 + 64), 3_576_704)
    assert count_parameters(discriminator)[1] == 2_765_568


def test_the_digit_networks_have_their_published_sizes():
    # SEEDS.md, system B: Keras counts BN's running means and variances as parameters that are not trained.
    generator, discriminator, _ = networks(get_preset("mnist-digit"), channels=1)
    assert count_parameters(generator) == (7_017_729, 7_015_809)
    assert count_parameters(discriminator) == (6_952_257, 6_950_337)


def test_the_dense_networks_end_in_120000_values():
    with torch.device("meta"):
        generator, discriminator, _ = networks(get_preset("dense-1"))
    assert generator.layers[-1].out_features == 120_000
    widths = [layer.out_features for layer in generator.layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [256, 512, 1024, 2048, 120_000]
    assert [layer.out_features for layer in discriminator.layers if isinstance(layer, torch.nn.Linear)] == [
        1024,
        512,
        256,
        1,
    ]


def test_the_stacks_of_system_e_have_16_and_13_layers():
    with torch.device("meta"):
        generator, discriminator, _ = networks(get_preset("celeba-128"))
    assert len(generator.layers) == 16
    assert len(discriminator.layers) == 13


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_projected_discriminators_see_four_maps_and_never_change_the_pretrained_network(resolution):
    discriminator = build_discriminator("projected", {"resolution": resolution, "channels": 1, "width": 8}).train()
    images = torch.rand(2, 1, resolution, resolution, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in discriminator.backbone.state_dict().items()}
    discriminator.requires_grad_(True)
    logits = discriminator(images)
    logits.sum().backward()
    assert logits.shape == (2, 4) and images.grad.abs().sum() > 0
    assert all(tensor.equal(before[name]) for name, tensor in discriminator.backbone.state_dict().items())
    trained = {name.partition(".")[0] for name, _ in discriminator.named_parameters()}
    assert trained == {"heads"}


def test_smooth_doubling_is_bilinear_interpolation():
    images = torch.randn(2, 3, 5, 7)
    expected = torch.nn.functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(double_reproducibly(images), expected)


@pytest.mark.parametrize(
    "ours, plain",
    [
        (DoublingConv(4, 6), lambda x, layer: conv2d(interpolate(x, scale_factor=2), layer.weight, padding=1)),
        (GatedUnits(), lambda x, layer: nn.GLU(1)(x)),
    ],
    ids=["doubling and convolution", "gated units"],
)
def test_faster_layers_and_their_gradients_equal_the_plain_ones(ours, plain):
    ours = ours.double()
    images = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    results = [ours(images), plain(images, ours)]
    learned = [images, *ours.parameters()]
    gradients = [torch.autograd.grad(result.square().sum(), learned) for result in results]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_same_padding_equals_keras():
    """Where an odd total must be split, Keras puts the larger part at the bottom and the right."""
    from fakegen.architectures.layers import SamePadding

    assert SamePadding(4, 2)(torch.ones(1, 1, 7, 7)).shape == (1, 1, 10, 10)  # to 4x4: 3 zeros, 1 before and 2 after
    assert SamePadding(4, 2)(torch.ones(1, 1, 7, 7))[0, 0, :, 5].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert SamePadding(4, 2)(torch.ones(1, 1, 28, 28)).shape == (1, 1, 30, 30)


def test_weights_start_as_published():
    torch.manual_seed(0)
    generator, _, _ = networks(get_preset("dcgan-64"))
    convolution, norm = generator.layers[3], generator.layers[4]
    assert convolution.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_every_preset_has_a_gradient_for_every_parameter(preset):
    torch.manual_seed(0)
    generator, discriminator, labels = networks(preset)
    for parameter in (*generator.parameters(), *discriminator.parameters()):
        if not parameter.any():  # residual branches start at zero, and then nothing behind them has a gradient
            torch.nn.init.normal_(parameter, std=0.1)
    discriminator(generator(torch.randn(4, preset.z_dim), *labels), *labels).sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def test_every_preset_saves_and_reloads(preset, tmp_path):
    generator, _, labels = networks(preset, channels=1)
    arguments = generator_arguments(preset, 1, CLASSES if preset.conditional else 0)
    save_checkpoint(tmp_path / "g", generator.eval().state_dict(), {"arguments": arguments})
    tensors, facts = load_checkpoint(tmp_path / "g")
    again = build_generator(preset.architecture, facts["arguments"]).eval()
    load_into(again, tensors, "g")
    z = torch.randn(4, preset.z_dim)
    assert torch.equal(generator(z, *labels), again(z, *labels))


def test_every_preset_can_be_differentiated_twice(preset):
    """R1 needs it; in fp32, outside of the fast bf16 path."""
    from fakegen.training.losses import gradient_penalty

    _, discriminator, labels = networks(preset)
    images = torch.rand(4, 3, preset.resolution, preset.resolution).requires_grad_(True)
    gradient_penalty(discriminator(images, *labels), images).backward()
    gradients = [p.grad for p in discriminator.parameters() if p.dim() > 1]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert gradients[0].abs().sum() > 0


def test_labels_change_the_outputs_of_both_networks():
    generator, discriminator, _ = networks(get_preset("conditional-32", {"g_width": 8, "d_width": 8}))
    z, images = torch.randn(1, 100).repeat(3, 1), torch.rand(1, 3, 32, 32).repeat(3, 1, 1, 1)
    labels = torch.arange(3)
    made, said = generator.eval()(z, labels), discriminator.eval()(images, labels)
    assert not torch.equal(made[0], made[1]) and len(set(said.tolist())) == 3


@pytest.mark.parametrize("channels", [1, 3])
def test_the_folded_generator_makes_the_same_images(preset, channels):
    torch.manual_seed(1)
    generator, _, _ = networks(preset, channels)
    labels = (torch.arange(32) % CLASSES,) if preset.conditional else ()
    for _ in range(6):  # move BN's running statistics and weights away from where they start
        generator(torch.randn(32, preset.z_dim) * 2, *labels)
    for parameter in generator.parameters():
        parameter.data.mul_(1.5)
    z = torch.randn(32, preset.z_dim)
    with torch.no_grad():
        before = generator.eval()(z, *labels)
        after = for_inference(generator)(z, *labels)
    assert before.std() > 0.005  # or there would be nothing to compare
    if preset.architecture == "dcgan":
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in generator.modules())
    # The gated layers of FastGAN amplify rounding; a grey level is 8e-3.
    atol = 5e-4 if preset.architecture == "projected" else 1e-5
    torch.testing.assert_close(after, before, atol=atol, rtol=1e-4)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UserError, match="dcgan"):
        build_generator("dcgun", {})
