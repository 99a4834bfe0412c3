"""A process that is alone; tests/fakegen/training/test_processes.py has those that are not."""

from contextlib import contextmanager

import pytest
import torch

from fakecore import distributed as world
from fakecore.distributed import World


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # some other program's
    monkeypatch.setenv("WORLD_SIZE", "9")
    assert (world.rank(), world.world_size(), world.local_rank(), world.local_size()) == (0, 1, 0, 1)


def test_under_torchrun_a_process_has_its_rank(monkeypatch):
    for name, value in (("RANK", 5), ("WORLD_SIZE", 8), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 4)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert (world.rank(), world.world_size(), world.local_rank(), world.local_size()) == (5, 8, 1, 4)


def test_a_single_process_does_not_wait():
    alone = World()
    assert alone.is_main and alone.alone and alone.share("x") == "x"
    assert torch.equal(alone.mean(torch.tensor([1.0, 2.0])), torch.tensor([1.0, 2.0]))
    alone.wait()


def test_a_single_process_raises_errors_and_releases_the_lock():
    steps = []

    @contextmanager
    def held():
        steps.append("taken")
        yield
        steps.append("let go")

    with World().first(held()):
        steps.append("work")
    assert steps == ["taken", "work", "let go"]
    with pytest.raises(ZeroDivisionError), World().together():
        raise ZeroDivisionError
