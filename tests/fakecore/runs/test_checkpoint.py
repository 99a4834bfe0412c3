import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fakecore.errors import UserError
from fakecore.runs.checkpoint import (
    load_checkpoint,
    load_into,
    optimiser_tensors,
    read_tensors,
    restore_optimiser,
    save_checkpoint,
    tensor_bytes,
)


def tensors():
    return {
        "g.weight": torch.arange(6.0).reshape(2, 3),
        "g.steps": torch.tensor(7, dtype=torch.int64),
        "d.weight": torch.full((2, 2), -0.5, dtype=torch.bfloat16),
    }


def same(left, right):
    assert set(left) == set(right)
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor, right[name])


def test_save_and_load_round_trip(tmp_path):
    digest = save_checkpoint(tmp_path / "epoch-0001.v2", tensors(), {"epoch": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.v2.json", "epoch-0001.v2.safetensors"]
    found, facts = load_checkpoint(tmp_path / "epoch-0001.v2")
    same(found, tensors())
    assert facts == {"version": 1, "epoch": 1, "sha256": digest}
    same(load_file(tmp_path / "epoch-0001.v2.safetensors"), tensors())


def test_equal_tensors_give_equal_bytes_in_any_order_and_layout(tmp_path):
    image = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    one = tensor_bytes({"a": image, "b": image[0]})
    other = tensor_bytes({"b": image[0].clone(), "a": image.to(memory_format=torch.channels_last)})
    assert one == other
    assert one != tensor_bytes({"a": image + 1, "b": image[0]})


def test_tied_weights_are_saved_twice():
    layer = nn.Linear(2, 2)
    assert len(tensor_bytes({"a": layer.weight, "b": layer.weight})) > 32


def test_a_prefix_selects_tensors_and_is_removed(tmp_path):
    save_checkpoint(tmp_path / "a", tensors(), {})
    found, _ = load_checkpoint(tmp_path / "a", prefix="g.")
    assert set(found) == {"weight", "steps"}


@pytest.mark.parametrize("first_bytes", [b"\x80", b"\x80\x02", b"PK"])
def test_a_header_length_is_never_mistaken_for_a_pickle(tmp_path, first_bytes):
    """A safetensors file starts with its header's length, which may be any multiple of 8."""
    wanted = int.from_bytes(first_bytes, "little")
    name = "x" * 8
    name += "x" * (wanted - int.from_bytes(tensor_bytes({name: torch.zeros(1)})[:8], "little"))
    assert tensor_bytes({name: torch.zeros(1)}).startswith(first_bytes)
    save_checkpoint(tmp_path / "a", {name: torch.zeros(1)}, {})
    assert set(load_checkpoint(tmp_path / "a")[0]) == {name}


@pytest.mark.parametrize("keep", [0, 3, 20, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    save_checkpoint(tmp_path / "a", tensors(), {})
    weights = tmp_path / "a.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"truncated.*bytes.*Copy a\.json and a\.safetensors again") as caught:
        load_checkpoint(tmp_path / "a")
    assert "deserializing" not in str(caught.value)  # no raw words of a library


def test_a_json_without_the_sum_of_its_weights_says_that_it_is_missing(tmp_path):
    save_checkpoint(tmp_path / "a", tensors(), {})
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UserError, match=r"a\.json: sha256 is missing\. Copy"):
        load_checkpoint(tmp_path / "a")


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 2, 4, "zip", "legacy"])
def test_a_disguised_pickle_is_refused_and_never_executed(tmp_path, protocol):
    marker = tmp_path / "it-ran"
    save_checkpoint(tmp_path / "a", tensors(), {})
    weights = tmp_path / "a.safetensors"
    if isinstance(protocol, int):
        weights.write_bytes(pickle.dumps(Trap(marker), protocol))
    else:
        torch.save({"w": torch.zeros(3), "t": Trap(marker)}, weights, _use_new_zipfile_serialization=protocol == "zip")
    with pytest.raises(UserError, match="safetensors"):
        load_checkpoint(tmp_path / "a")
    with pytest.raises(UserError, match="pickle" if protocol else "safetensors"):
        read_tensors(weights)
    assert not marker.exists()
    if isinstance(protocol, int):
        pickle.loads(weights.read_bytes())
        assert marker.exists(), "the trap itself must work, or this test shows nothing"


def test_weights_of_another_json_are_refused(tmp_path):
    save_checkpoint(tmp_path / "a", tensors(), {})
    save_checkpoint(tmp_path / "b", {"g.weight": torch.zeros(2, 3)}, {})
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"does not match a\.json"):
        load_checkpoint(tmp_path / "a")


def test_a_flipped_bit_is_detected(tmp_path):
    save_checkpoint(tmp_path / "a", tensors(), {})
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_missing_half_is_named(tmp_path, suffix):
    save_checkpoint(tmp_path / "a", tensors(), {})
    (tmp_path / f"a{suffix}").unlink()
    with pytest.raises(UserError, match=rf"a\{suffix} is missing"):
        load_checkpoint(tmp_path / "a")


def test_facts_that_are_not_an_object_are_refused(tmp_path):
    save_checkpoint(tmp_path / "a", tensors(), {})
    (tmp_path / "a.json").write_text(json.dumps([1, 2]))
    with pytest.raises(UserError):
        load_checkpoint(tmp_path / "a")


def test_non_finite_weights_are_refused_where_the_modules_are_finite():
    module = nn.Linear(2, 1)
    module.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    state = {"weight": torch.ones(1, 2), "bias": torch.ones(1), "mask": torch.tensor([0.0, -torch.inf])}
    load_into(module, state, "file")
    for bad in (torch.nan, torch.inf):
        with pytest.raises(UserError, match=r"file has weights that are not finite .got NaN or infinity in weight"):
            load_into(module, state | {"weight": torch.tensor([[2.0, bad]])}, "file")
    assert torch.equal(module.weight, torch.ones(1, 2))


def test_another_architecture_is_refused_by_the_names_of_its_layers():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {
        "0.weight": torch.zeros(3, 2),
        "0.bias": torch.zeros(4),
        "1.weight": torch.zeros(1, 3),
        "2.bias": torch.zeros(1),
    }
    with pytest.raises(UserError) as caught:
        load_into(module, state, "epoch-0003")
    text = str(caught.value)
    assert text.startswith("epoch-0003 has weights of another architecture")
    for words in ("missing 1.bias", "unknown 2.bias", "0.bias (4,) instead of (3,)"):
        assert words in text
    assert module[0].bias.shape == (3,)


def test_a_long_list_of_differences_is_shortened():
    with pytest.raises(UserError, match="and 3 more"):
        load_into(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)), {}, "x")


def test_matching_weights_are_loaded():
    module, other = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    load_into(module, other.state_dict(), "x")
    same(dict(module.state_dict()), dict(other.state_dict()))


def network():
    torch.manual_seed(5)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.Conv2d(4, 2, 3))
    return layers.to(memory_format=torch.channels_last)


def update(module, optimiser, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = torch.randn(2, 3, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
        optimiser.zero_grad()
        (module(batch) ** 2).mean().backward()
        optimiser.step()


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}, {"amsgrad": True}])
def test_adam_restored_from_disk_continues_identically(tmp_path, options):
    def adam(module):
        return torch.optim.Adam(module.parameters(), lr=1e-2, betas=(0.5, 0.999), **options)

    straight = network()
    optimiser = adam(straight)
    update(straight, optimiser, 3, seed=1)
    state = {f"m.{name}": tensor for name, tensor in straight.state_dict().items()}
    save_checkpoint(tmp_path / "state", {**state, **optimiser_tensors(optimiser, "o.")}, {})
    update(straight, optimiser, 3, seed=2)

    resumed = network()
    optimiser = adam(resumed)
    load_into(resumed, load_checkpoint(tmp_path / "state", prefix="m.")[0], "state")
    restore_optimiser(optimiser, load_checkpoint(tmp_path / "state", prefix="o.")[0])
    update(resumed, optimiser, 3, seed=2)
    same(dict(resumed.state_dict()), dict(straight.state_dict()))


def test_without_its_optimiser_the_update_would_differ(tmp_path):
    straight, forgetful = network(), network()
    optimiser = torch.optim.Adam(straight.parameters(), lr=1e-2)
    update(straight, optimiser, 3, seed=1)
    forgetful.load_state_dict(straight.state_dict())
    update(straight, optimiser, 1, seed=2)
    update(forgetful, torch.optim.Adam(forgetful.parameters(), lr=1e-2), 1, seed=2)
    assert not torch.equal(straight[0].weight, forgetful[0].weight)
