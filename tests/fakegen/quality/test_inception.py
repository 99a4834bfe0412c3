"""Inception-v3 with random weights, compared with torch-fidelity where it is installed. Nothing is downloaded."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fakecore.errors import UserError
from fakegen.quality.features import open_features
from fakegen.quality.inception import InceptionFeatures, open_inception, resize_like_tensorflow
from fakegen.quality.inceptionweights import FILES, find_weights
from fakegen.runs.reals import load_reals


def made_up(classes: int) -> dict[str, torch.Tensor]:
    """A state dict of Inception-v3 as in its files, with weights that keep signals finite and nonzero through 94 layers."""
    torch.manual_seed(0)
    network = InceptionFeatures(tensorflow=classes == 1008)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.1, 0.3)
    state = {name: tensor.clone() for name, tensor in network.inner.state_dict().items()}
    return {**state, "fc.weight": torch.zeros(classes, 2048), "fc.bias": torch.zeros(classes)}


@pytest.fixture(scope="module")
def of_2015(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(made_up(1008), path)
    return path


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_features_equal_those_of_torch_fidelity(of_2015):
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = fidelity.FeatureExtractorInceptionV3("inception", ["2048"], str(of_2015))(images)[0]
    ours = open_inception(of_2015).network(images)
    assert theirs.std() > 0.01  # or there would be nothing to compare
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max().item())


def test_tensorflow_resizes_from_the_corner():
    row = torch.tensor([0.0, 10.0, 20.0, 30.0]).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert resize_like_tensorflow(row, 8)[0, 0, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 30]
    assert resize_like_tensorflow(row.mT, 8)[0, 0, :, 0].tolist() == [0, 5, 10, 15, 20, 25, 30, 30]


def test_only_the_weights_of_2015_are_called_comparable(of_2015, tmp_path):
    found = open_inception(of_2015)
    assert found.published and found.comparable.startswith("Comparable with published FID")
    other = tmp_path / "other.safetensors"
    save_file(made_up(1000), other)
    found = open_inception(other)
    assert not found.published and "Not comparable with published FID" in found.comparable
    assert "other.safetensors" in found.comparable


def test_the_two_networks_are_not_the_same(of_2015, tmp_path):
    """Pooling, resizing and scaling differ: weights of one kind must not be run as the other."""
    state = made_up(1008)
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 2048), torch.zeros(1000)
    torch.save(state, tmp_path / "same.pth")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    ours, theirs = open_inception(of_2015).network(images), open_inception(tmp_path / "same.pth").network(images)
    assert (ours - theirs).abs().max() > 0.01 * ours.abs().max()


def test_weights_from_a_file_give_2048_features(of_2015):
    reals = load_reals("digits:3", resolution=16, shares=(80, 10, 10), seed=0)
    space = open_features("auto", reals, device="cpu", weights=of_2015)
    features = space(np.array(reals.images[:2]))
    assert (space.name, space.dims, features.shape) == ("inception", 2048, (2, 2048))


def test_the_best_weights_in_the_cache_are_used(hub):
    assert find_weights() is None
    (hub / FILES[2]).touch()
    assert find_weights() == hub / FILES[2]
    (hub / FILES[0]).touch()
    assert find_weights() == hub / FILES[0]


def test_a_failed_download_says_which_file_to_put_where(hub, monkeypatch):
    def no_network(url, *_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError) as caught:
        open_inception()
    line = str(caught.value)
    assert "\n" not in line and "Network is unreachable" in line and str(hub) in line
    assert FILES[0] in line and "--weights" in line and "--features classes" in line


class _Evil:
    def __reduce__(self):
        return (print, ("run by unpickling",))


@pytest.mark.parametrize("content", ["pickle", "rubbish", "list", "other network", "missing"])
def test_a_file_that_is_not_inception_is_refused_and_runs_nothing(content, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    if content == "pickle":
        torch.save({"fc.weight": _Evil()}, path)
    elif content == "rubbish":
        path.write_bytes(b"not weights at all")
    elif content == "list":
        torch.save([torch.zeros(3)], path)
    elif content == "other network":
        torch.save({"layers.0.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError) as caught:
        open_inception(path)
    assert "weights" in str(caught.value) and "\n" not in str(caught.value)
    assert "run by unpickling" not in capsys.readouterr().out
