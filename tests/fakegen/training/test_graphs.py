"""Steps as CUDA graphs. What needs a GPU is marked `gpu`; the rest shows that training goes on where recording fails."""

import contextlib
from dataclasses import replace

import pytest
import torch

import fakegen
from fakegen.runs.run import open_run
from fakegen.training import graphs
from fakegen.training.graphs import VARIABLE, WARM_UP, GraphedStep, graphed
from fakegen.training.step import Inputs, Kind, kind_of

TINY = {"upscale": True, "resolution": 16, "g_width": 8, "d_width": 8, "batch": 16, "epochs": 3, "measure_every": 0}


class Counting:
    """A step that counts its calls, and notes what noise it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, inputs, kind):
        self.seen.append((kind, inputs.noise))
        return torch.zeros(7)


@pytest.fixture
def without_recording(monkeypatch):
    """torch.cuda as far as GraphedStep uses it, on a machine without a GPU; recording fails."""

    class Stream:
        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def refused(graph):
        yield
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    names = {"Stream": Stream, "current_stream": Stream, "CUDAGraph": object, "graph": refused}
    names |= {"stream": lambda stream: contextlib.nullcontext(), "synchronize": lambda: None}
    names |= {"get_rng_state": torch.get_rng_state, "set_device": lambda device: None}
    monkeypatch.setattr(graphs, "_renew_generator", torch.set_rng_state)
    for name, stand_in in names.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)


def test_a_step_that_cannot_be_recorded_runs_as_single_operations_and_says_so_once(without_recording, capsys):
    counting = Counting()
    step = GraphedStep(counting, torch.device("cuda"), "odd-32")
    inputs, kind = Inputs(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 8), noise=0.5), Kind(False, True)
    for _ in range(WARM_UP + 3):
        assert step(inputs, kind).shape == (7,)
    said = capsys.readouterr().err
    assert (
        said.count("odd-32") == 1 and "cannot record them: operation not permitted" in said and "and more" not in said
    )
    assert len(counting.seen) == WARM_UP + 3 + 1  # the attempt to record calls it too, which on a GPU runs nothing
    step(inputs, Kind(True, True))
    assert len(counting.seen) == WARM_UP + 5


def test_steps_on_a_cpu_and_of_several_processes_are_not_recorded(monkeypatch, capsys):
    counting = Counting()
    assert graphed(counting, torch.device("cpu"), "x", alone=True) is counting
    assert graphed(counting, torch.device("cuda"), "x", alone=False) is counting
    assert "several processes" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, "0")
    assert graphed(counting, torch.device("cuda"), "x", alone=True) is counting


def test_the_penalty_is_due_every_so_many_steps_and_noise_while_it_lasts():
    preset = replace(fakegen.get_preset("modern-64"), r1=1.0, r1_every=8)
    due = [kind_of(preset, step, 0.0).penalised for step in range(2 * preset.r1_every)]
    assert due.count(True) == 2 and due[0] and due[8]
    assert [kind_of(preset, 1, noise).noisy for noise in (0.0, 0.1)] == [False, True]


def test_held_inputs_follow_the_given_ones():
    given = Inputs(
        torch.ones(2, 3, 4, 4, dtype=torch.uint8),
        torch.ones(2, 8),
        (torch.tensor([1, 2]),),
        (torch.tensor([3, 4]),),
        0.5,
    )
    held = graphs._held(given)
    new = Inputs(given.pixels * 7, given.z * 7, (given.of_reals[0] * 7,), (given.of_fakes[0] * 7,), 0.25)
    addresses = [one.data_ptr() for one in (held.pixels, held.z, held.of_reals[0], held.of_fakes[0], held.noise)]
    graphs._fill(held, new)
    assert held.pixels.eq(7).all() and held.z.eq(7).all() and float(held.noise) == 0.25
    assert held.of_reals[0].tolist() == [7, 14] and held.of_fakes[0].tolist() == [21, 28]
    assert [
        one.data_ptr() for one in (held.pixels, held.z, held.of_reals[0], held.of_fakes[0], held.noise)
    ] == addresses


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("dcgan-64", {}),
        ("modern-32", {"r1": 1.0, "r1_every": 4}),
        ("conditional-32", {"noise": 0.1, "noise_epochs": 2}),
    ],
)
def test_recorded_steps_give_the_weights_of_single_operations(preset, changes, tmp_path, monkeypatch):
    made = {}
    for name, wish in (("graph", "1"), ("single", "0"), ("again", "1")):
        monkeypatch.setenv(VARIABLE, wish)
        fakegen.train(
            preset, out=tmp_path / name, real="digits", changes={**TINY, **changes}, count=8, seed=3, device="cuda"
        )
        run = open_run(tmp_path / name)
        made[name] = run.load_state()[1]
    for other in ("single", "again"):
        for key, tensor in made["graph"].items():
            assert torch.equal(tensor, made[other][key]), f"{key} differs, {other}"
