"""The features of `lite`: their weights, scale and statistics."""

import copy

import pytest
import torch

from fakecore import efficientnet, imagenet
from fakecore.errors import UserError
from fakedetect.models import lite


@pytest.fixture(scope="module")
def features():
    found = lite.LiteFeatures(96)
    imagenet.load_imagenet(found)
    return found


@pytest.mark.parametrize(("resolution", "shown_at"), [(8, 24), (32, 96), (64, 96), (96, 96), (128, 128), (256, 256)])
def test_small_images_are_enlarged_and_large_ones_shown_as_they_are(resolution, shown_at):
    assert lite.own_input_size(resolution) == shown_at


@pytest.mark.parametrize("side", [96, 97])
def test_features_are_those_of_timm_with_the_weights_of_the_package(side):
    import timm

    reference = timm.create_model(efficientnet.NAME, pretrained=False).eval()
    names = [name for name in reference.state_dict() if not name.endswith("num_batches_tracked")]
    tensors = torch.load(imagenet._weights_file(), weights_only=True)
    theirs = [tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")]
    reference.load_state_dict(dict(zip(names, theirs, strict=True)), strict=False)
    images = torch.randint(0, 256, (4, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    network = lite.LiteFeatures(side)
    imagenet.load_imagenet(network)
    with torch.inference_mode():
        x = reference.bn1(reference.conv_stem((images.float() - 127.5) / 127.5))
        for stage in reference.blocks[:6]:
            x = stage(x)
        found = network(images)
    assert found.shape == (4, 992)
    last = torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)], dim=1)
    torch.testing.assert_close(found[:, -384:], last, rtol=1e-3, atol=1e-4)


def test_grey_images_have_the_features_of_the_same_in_colour(features):
    grey = torch.randint(0, 256, (2, 1, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(features(grey), features(grey.expand(-1, 3, -1, -1)))


def test_a_damaged_weights_file_is_refused(features, monkeypatch, tmp_path):
    copy = tmp_path / "weights.pth"
    copy.write_bytes(imagenet._weights_file().read_bytes()[:-1] + b"x")
    monkeypatch.setattr(imagenet, "_weights_file", lambda: copy)
    with pytest.raises(UserError, match="is damaged"):
        imagenet.load_imagenet(features)


def test_inference_folds_batch_normalisation_and_follows_changes_of_weights(features):
    network = copy.deepcopy(features)
    images = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    for _ in range(2):
        with torch.no_grad():
            expected = network(images)
        with torch.inference_mode():
            found = network(images)
            assert not any(
                isinstance(one, torch.nn.BatchNorm2d) for layer in network._layers() for one in layer.modules()
            )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        with torch.no_grad():  # as an optimiser does
            network.stages[2][0].conv_pw.weight.mul_(1.5)
            network.stem[1].running_mean.add_(0.1)
    assert network.state_dict().keys() == features.state_dict().keys()
