import numpy as np
import pytest
import torch

from fakecore.errors import UserError
from fakecore.runs.checkpoint import load_checkpoint, load_into, save_checkpoint
from fakedetect.models.registry import build_network


def build(blocks: int, channels: int, seed: int = 0, resolution: int = 16) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("cnn", {"resolution": resolution, "channels": channels, "blocks": blocks})


def batch(channels: int, side: int = 16) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, channels, side, side), dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_cnn_gives_one_finite_logit_per_image_and_a_gradient_to_every_parameter(blocks, channels):
    network = build(blocks, channels)
    logits = network(batch(channels))
    assert logits.shape == (6,) and logits.dtype == torch.float32
    assert torch.isfinite(logits).all() and len(set(logits.tolist())) > 1
    (logits**2).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules()) == blocks


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_cnn_saved_and_reloaded_gives_the_same_logits(blocks, tmp_path):
    network, other = build(blocks, 3), build(blocks, 3, seed=1)
    save_checkpoint(tmp_path / "net", network.state_dict(), {})
    with torch.no_grad():
        before = network(batch(3))
        assert not torch.equal(other(batch(3)), before)
        load_into(other, load_checkpoint(tmp_path / "net")[0], "net")
        assert torch.equal(other(batch(3)), before)


def test_logits_are_not_probabilities():
    network = build(1, 3)
    with torch.no_grad():
        network.head.bias.fill_(50.0)
        assert (network(batch(3)) > 10).all()


@pytest.mark.parametrize("resolution", [8, 15, 33])
def test_odd_and_small_resolutions_work_up_to_the_most_blocks_that_the_error_names(resolution):
    most = resolution.bit_length() - 1
    assert build(min(most, 4), 1, resolution=resolution)(batch(1, resolution)).shape == (6,)
    with pytest.raises(UserError, match=f"at most {most} blocks.*blocks=1"):
        build(most + 1, 1, resolution=resolution)


def test_an_unknown_model_is_named_with_the_choices():
    with pytest.raises(UserError, match=r"'cnm'.*one of .*cnn.*Did you mean 'cnn'"):
        build_network("cnm", {})
