import pytest
import torch

from fakecore.device import _bf16_outruns_fp32, autocast, choose_device, choose_precision, derive_seed, one_thread
from fakecore.errors import UserError


def test_seeds_are_pinned():
    """Another value here would make every old manifest give other images."""
    assert derive_seed(0, "latents", 7) == 4798400286599338838
    assert derive_seed(1) == 3874038210105081456


def test_seeds_are_63_bits_and_differ():
    seeds = {derive_seed(0, "latents", step) for step in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    torch.Generator().manual_seed(max(seeds))


def test_where_one_part_ends_matters():
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert derive_seed(12) != derive_seed(1, 2)


@pytest.mark.parametrize("name", ["nonsense", "", "cuda:99", "cuda:x", "meta", "mps", "cpu cpu"])
def test_a_missing_device_is_refused(name):
    with pytest.raises(UserError, match=r"no such|not supported|no GPU on this machine"):
        choose_device(name)


@pytest.mark.parametrize(
    ("gpus", "name", "says"),
    [
        (0, "cuda", "PyTorch finds no GPU on this machine (got 'cuda'; expected cpu). Use --device cpu, or auto"),
        (1, "cuda:1", "there is no such GPU (got 'cuda:1'; expected cuda:0 or cpu)"),
        (4, "cuda:4", "there is no such GPU (got 'cuda:4'; expected cuda:0 to cuda:3 or cpu)"),
    ],
)
def test_a_missing_gpu_error_lists_the_available_ones(monkeypatch, gpus, name, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError) as caught:
        choose_device(name)
    assert says in str(caught.value)


def test_the_cpu_is_always_available():
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_uses_the_available_device():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device() == choose_device("auto")


@pytest.mark.parametrize("wish", ["fp32", "bf16"])
def test_a_stated_precision_is_kept(wish):
    assert choose_precision(wish, torch.device("cpu")) == wish


def test_auto_precision_is_one_of_the_two():
    assert choose_precision("auto", torch.device("cpu")) in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("flags", "faster"),
    [
        ({"avx512_bf16"}, True),  # AMD from Zen 4 on
        ({"avx512_bf16", "intel"}, False),  # an Intel whose AMX is not passed through
        ({"avx512_bf16", "amx_bf16", "intel"}, True),
        ({"asimd", "bf16"}, True),
        ({"avx2", "avx512f"}, False),
        (set(), False),
    ],
)
def test_bf16_is_taken_only_where_it_is_faster(flags, faster):
    assert _bf16_outruns_fp32(flags) is faster


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_run_at_the_precision(precision, dtype):
    with autocast(torch.device("cpu"), precision):
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype


def test_one_thread_restores_the_others_even_after_an_error():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
