import numpy as np
import pytest
import torch
from torch import nn

from fakecore.errors import UserError
from fakedetect.explain.explain import Heat, heat_maps, overlay
from fakedetect.models.onnx import read_graph
from fakedetect.models.registry import build_network

CPU = torch.device("cpu")


def patched(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, uint8 (N, 3, 32, 32); every second image is a fake, with a bright patch in its upper left corner, or by turns
    in its lower right one.
    """
    images = np.random.default_rng(seed).integers(0, 120, (count, 3, 32, 32), dtype=np.uint8)
    labels = np.arange(count) % 2
    images[1::4, :, 2:10, 2:10] = 250
    images[3::4, :, 22:30, 22:30] = 250
    return images, labels


@pytest.fixture(scope="module")
def finds_patch():
    """A cnn that learned to find the patch."""
    torch.manual_seed(0)
    network = build_network("cnn", {"resolution": 32, "channels": 3, "blocks": 2, "filters": 8, "hidden": 32})
    images, labels = (torch.from_numpy(array) for array in patched(128, 0))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.001)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(network(images), labels.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    return network.eval()


def share_on_patch(maps: np.ndarray) -> float:
    """Of the heat, what lies in the upper left corner of 12 x 12, an area of 14 %."""
    return float(maps[:, :12, :12].sum() / maps.sum())


def test_the_heat_follows_the_planted_patch(finds_patch):
    images, _ = patched(40, 1)
    heat = heat_maps(finds_patch, images, np.ones(40, dtype=bool), CPU)
    assert heat.method == "hirescam" and heat.has_places
    assert heat.maps.shape == (40, 32, 32) and heat.maps.min() >= 0 and heat.maps.max() == 1
    left, right = heat.maps[1::4], heat.maps[3::4]
    assert share_on_patch(left) > 0.6 and share_on_patch(right[:, ::-1, ::-1]) > 0.6
    assert share_on_patch(right) < 0.2 and share_on_patch(left[:, ::-1, ::-1]) < 0.2


def test_the_heat_is_for_the_answer_given(finds_patch):
    images, _ = patched(40, 2)
    for_fake, for_real = (heat_maps(finds_patch, images[1::4], np.full(10, says), CPU).maps for says in (True, False))
    assert share_on_patch(for_fake) > 0.6 and share_on_patch(for_real) < 0.2


def test_layers_that_training_froze_are_explained_too_and_the_network_is_left_as_it_was(finds_patch):
    images, _ = patched(4, 3)
    expected = heat_maps(finds_patch, images, np.ones(4, dtype=bool), CPU).maps
    finds_patch.requires_grad_(False)
    finds_patch.train()
    found = heat_maps(finds_patch, images, np.ones(4, dtype=bool), CPU).maps
    assert np.array_equal(found, expected)
    assert finds_patch.training and all(p.grad is None or not p.requires_grad for p in finds_patch.parameters())
    finds_patch.requires_grad_(True).eval()


class Flat(nn.Module):
    """No convolution: the logit is the mean of the upper left corner."""

    def forward(self, images):
        return images[:, :, :8, :8].float().mean(dim=(1, 2, 3)) - 128


class Attention(nn.Module):
    def forward(self, x):
        return x


class Transformer(Flat):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, 4)
        self.block = Attention()


class Spectrum(Flat):
    def frequency_weights(self):
        return -torch.arange(32.0 * 32).reshape(32, 32)


class Rounded(Flat):
    def forward(self, images):
        return images.to(torch.uint8).float().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("network", [Flat(), Transformer()])
def test_without_a_telling_convolution_input_gradients_are_used(network):
    images, _ = patched(5, 4)
    heat = heat_maps(network, images, np.ones(5, dtype=bool), CPU)
    assert heat.method == "gradient" and heat.has_places and share_on_patch(heat.maps) > 0.9


def test_a_convolution_that_no_longer_knows_places_is_passed_over():
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.places, self.squeeze = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 1)

        def forward(self, images):
            return self.squeeze(self.places(images.float() / 255).mean(dim=(2, 3), keepdim=True)).flatten()

    torch.manual_seed(1)
    images, _ = patched(2, 5)
    heat = heat_maps(Squeezed(), images, np.ones(2, dtype=bool), CPU)
    assert heat.method == "hirescam" and heat.maps.std() > 0


def test_a_network_may_say_which_frequencies_it_weighs():
    heat = heat_maps(Spectrum(), patched(2, 6)[0], np.ones(2, dtype=bool), CPU)
    assert heat.method == "frequency" and not heat.has_places
    assert heat.maps.shape == (2, 32, 32) and heat.maps[1, 31, 31] == 1 and heat.maps[0, 0, 0] == 0


def test_what_lets_no_gradient_through_is_an_error_in_one_line(exported):
    images = np.zeros((1, 3, 16, 16), dtype=np.uint8)
    for network, why in ((Rounded(), "has no gradients"), (read_graph(exported.onnx), "an .onnx file")):
        with pytest.raises(UserError, match=why) as caught:
            heat_maps(network, images, np.ones(1, dtype=bool), CPU)
        assert "\n" not in str(caught.value)


def test_more_images_than_one_batch_and_none_at_all(finds_patch):
    images, _ = patched(40, 7)
    says = np.ones(40, dtype=bool)
    maps = heat_maps(finds_patch, images, says, CPU).maps
    assert maps[33:35] == pytest.approx(heat_maps(finds_patch, images[33:35], says[:2], CPU).maps, abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_is_the_dimmed_picture_where_it_is_cold(channels):
    image = np.full((channels, 4, 4), 200, dtype=np.uint8)
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 0] = 1
    laid = overlay(image, heat)
    assert laid.shape == (3, 4, 4) and laid.dtype == np.uint8
    assert (laid[:, 1:, 1:] == 120).all() and laid[0, 0, 0] > 200  # inferno ends in a pale yellow


def test_heat_of_frequencies_lies_over_no_image():
    assert not Heat("frequency", np.zeros((1, 2, 2))).has_places and Heat("hirescam", np.zeros((1, 2, 2))).has_places
