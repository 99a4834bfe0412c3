import pytest
import timm
import torch
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.optimization import fuse

from fakedetect.models.backbones import TimmFeatures
from fakedetect.models.fusion import _Joined, join_convolutions


def joined_in(network) -> list[_Joined]:
    return [module for module in network.modules() if isinstance(module, _Joined)]


@pytest.mark.parametrize("name", ["resnet18", "resnet26", "test_resnet"])
def test_a_resnet_computes_the_same_with_each_of_its_convolutions_joined(name):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm begins with blocks that add nothing
            nn.init.uniform_(module.weight, 0.5, 1.5)
    plain, joined = fuse(network), join_convolutions(fuse(network))
    images = torch.randn(3, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = plain(images)
        for _ in range(2):
            assert torch.allclose(joined(images), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    sums = [one for one in joined_in(joined) if one.in_place]
    assert len(joined_in(joined)) > len(sums) > 0 and not any(isinstance(m, nn.ReLU) for m in used(joined))


def used(network) -> list[nn.Module]:
    modules = dict(network.named_modules())
    return [modules[node.target] for node in network.graph.nodes if node.op == "call_module"]


class Block(nn.Module):
    """Two convolutions and a shortcut; `after` does something with the shortcut once the sum is made."""

    def __init__(self, after):
        super().__init__()
        self.first, self.second = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.act, self.same, self.after = nn.ReLU(), nn.Identity(), after

    def forward(self, x):
        shortcut = self.first(x)
        alias = self.same(shortcut)
        made = self.act(self.second(shortcut) + shortcut)
        return self.after(made, shortcut, alias)


@pytest.mark.parametrize(
    ("after", "in_place"),
    [
        (lambda made, shortcut, alias: made, True),
        (lambda made, shortcut, alias: made * shortcut, False),
        (lambda made, shortcut, alias: made * alias, False),
        (lambda made, shortcut, alias: (made, shortcut.flatten(1))[0] + shortcut.sum(), False),
    ],
)
def test_a_shortcut_is_written_over_only_where_nothing_needs_it_any_more(after, in_place):
    torch.manual_seed(0)
    block = Block(after).eval()
    traced = symbolic_trace(block)
    traced.graph.eliminate_dead_code()
    joined = join_convolutions(traced)
    images = torch.randn(2, 4, 9, 9)
    with torch.inference_mode():
        before = images.clone()
        assert torch.allclose(joined(images), block(images), atol=1e-5) and torch.equal(images, before)
    assert [one.in_place for one in joined_in(joined) if one.in_place] == [True] * in_place
    assert len(joined_in(joined)) == 1


def test_what_is_not_followed_by_relu_or_sum_stays_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU()).eval()
    assert not joined_in(join_convolutions(symbolic_trace(network)))


def test_fast_features_are_close_to_the_exact_ones_and_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    exact = TimmFeatures("resnet18", 64, 3, 64, "avg").eval()
    fast = TimmFeatures("resnet18", 64, 3, 64, "avg").eval()
    fast.load_state_dict(exact.state_dict())
    fast.make_fast(torch.bfloat16)
    # oneDNN joins convolutions in bf16 where the processor has AVX-512; elsewhere the plain network is kept.
    assert bool(joined_in(fast)) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    images = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        found, expected = fast(images), exact(images)
        alone = torch.cat([fast(image[None]) for image in images])
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.999
    assert torch.allclose(found, alone, atol=0.02 * float(found.abs().max()))


def test_a_network_that_overflows_is_not_joined_so_that_it_shows():
    torch.manual_seed(0)
    features = TimmFeatures("resnet18", 64, 3, 64, "avg").eval()
    with torch.no_grad():
        for module in features.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= 1e30
    features.make_fast(torch.bfloat16)
    assert not joined_in(features)
    with torch.inference_mode():
        assert not features(torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)).isfinite().all()
