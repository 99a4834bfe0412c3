"""Run training steps on a GPU as CUDA graphs: the launches of a whole step are recorded once and then replayed as one.

The first steps of each kind run one operation after another, as everywhere; then the step is recorded, and from then on
replayed. The random numbers of a replay follow from the state of torch's generator, as those of single operations do (the
seed and offset of CUDA's generator are inputs of the graph), so both give the same weights.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from fakecore.progress import say
from fakegen.training.step import Inputs, Kind, Step

WARM_UP = 3  # steps of a kind before it is recorded: cuDNN and the allocator choose what the recording needs
VARIABLE = "FAKELAB_GRAPHS"  # "0" in the environment: never record


@dataclass
class _Recorded:
    """A graph of one kind of step, the tensors that it reads, and the log's values that it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    row: torch.Tensor

    def replay(self, inputs: Inputs) -> torch.Tensor:
        _fill(self.inputs, inputs)
        self.graph.replay()
        return self.row.clone()


class GraphedStep:
    """A Step, replayed from a graph where it can be recorded. Falls back to single operations, and says so once."""

    def __init__(self, step: Step, device: torch.device, name: str):
        torch.cuda.set_device(device)
        self._step, self._name = step, name
        self._recorded: dict[Kind, _Recorded] = {}
        self._seen: dict[Kind, int] = {}
        self._possible = True
        self._side = torch.cuda.Stream()

    def __call__(self, inputs: Inputs, kind: Kind) -> torch.Tensor:
        """As Step: update both networks and return the values of the log."""
        if kind in self._recorded:
            return self._recorded[kind].replay(inputs)
        if self._possible and self._seen.get(kind, 0) >= WARM_UP:
            state = torch.cuda.get_rng_state()
            try:
                self._recorded[kind] = self._record(inputs, kind)
            except RuntimeError as error:  # an operation that a graph cannot hold
                self._possible = False
                torch.cuda.synchronize()
                _renew_generator(state)
                reason = str(error).splitlines()[0]
                say(
                    f"note: steps of {self._name} run one operation after another, for CUDA cannot record them: {reason}"
                )
            else:
                return self._recorded[kind].replay(inputs)  # an error of this is not one of recording
        self._seen[kind] = self._seen.get(kind, 0) + 1
        return self._on_side_stream(inputs, kind)

    def _on_side_stream(self, inputs: Inputs, kind: Kind) -> torch.Tensor:
        """Run a step on a stream of its own, as recording does: what it leaves is then no part of the main stream."""
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            row = self._step(inputs, kind)
        torch.cuda.current_stream().wait_stream(self._side)
        return row

    def _record(self, inputs: Inputs, kind: Kind) -> _Recorded:
        """Record a step without running it. Its random numbers are not drawn either."""
        held = _held(inputs)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            row = self._step(held, kind)
        return _Recorded(graph, held, row)


def _renew_generator(state: torch.Tensor) -> None:
    """Give CUDA's generator back the `state` it had: after a failed recording it still counts for the graph, and would refuse
    to draw numbers.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    with suppress(RuntimeError):
        generator.graphsafe_set_state(torch.Generator(device="cuda").graphsafe_get_state())
    with suppress(RuntimeError):
        torch.cuda.set_rng_state(state)


def graphed(step: Step, device: torch.device, name: str, *, alone: bool) -> Step | GraphedStep:
    """Return the step as it runs on `device`: from graphs on a GPU, unless several processes share the work."""
    if device.type != "cuda" or os.environ.get(VARIABLE) == "0":
        return step
    if not alone:
        say(f"note: steps of {name} run one operation after another, because several processes train together")
        return step
    return GraphedStep(step, device, name)


def _held(inputs: Inputs) -> Inputs:
    """Return copies of the inputs, whose memory a graph reads at every replay."""
    noise = torch.as_tensor(inputs.noise, dtype=torch.float32, device=inputs.z.device).clone()
    return replace(
        inputs,
        pixels=inputs.pixels.clone(),
        z=inputs.z.clone(),
        of_reals=tuple(one.clone() for one in inputs.of_reals),
        of_fakes=tuple(one.clone() for one in inputs.of_fakes),
        noise=noise,
    )


def _fill(held: Inputs, inputs: Inputs) -> None:
    held.pixels.copy_(inputs.pixels)
    held.z.copy_(inputs.z)
    for old, new in zip((*held.of_reals, *held.of_fakes), (*inputs.of_reals, *inputs.of_fakes), strict=True):
        old.copy_(new)
    assert isinstance(held.noise, torch.Tensor), "made by _held"
    held.noise.fill_(float(inputs.noise))
