"""The ceiling of a training step: DCGAN at 64x64 with all data on the device and nothing else to do, in images per second.

`python -m benchmarks.gpu.ceiling BATCH`; prints {"eager": ..., "graph": ...}; without a GPU, eager alone on a tiny batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch
from torch.nn.functional import softplus

from benchmarks.speed.plain import discriminator, generator

_SECONDS = 5.0


def main() -> None:
    """Measure both ways."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = int(sys.argv[1])
    step = make_step(device, batch)
    found = {"eager": _rate(step, batch, device), "graph": None}
    if device.type == "cuda":
        found["graph"] = _rate(as_graph(step), batch, device)
    print(json.dumps(found))


def make_step(device: torch.device, batch: int) -> Callable[[], None]:
    """Return one update of D and G: bf16 on a GPU, channels-last, fused Adam, reals gathered from memory of the device."""
    torch.manual_seed(0)
    reals = torch.randint(0, 256, (4096 if device.type == "cuda" else 64, 3, 64, 64), dtype=torch.uint8, device=device)
    g, d = (net.to(device, memory_format=torch.channels_last) for net in (generator(), discriminator()[:-1]))
    options = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True, "capturable": device.type == "cuda"}
    of_g, of_d = (torch.optim.Adam(net.parameters(), **options) for net in (g, d))
    in_bf16 = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")  # slow on most CPUs

    def step() -> None:
        rows = torch.randint(len(reals), (batch,), device=device)
        real = (reals[rows].float() / 127.5 - 1).to(memory_format=torch.channels_last)
        with in_bf16:
            fake = g(torch.randn(batch, 100, 1, 1, device=device))
            loss_d = softplus(-d(real)).mean() + softplus(d(fake.detach())).mean()
        of_d.zero_grad(set_to_none=True)
        loss_d.backward()
        of_d.step()
        with in_bf16:
            loss_g = softplus(-d(fake)).mean()
        of_g.zero_grad(set_to_none=True)
        loss_g.backward()
        of_g.step()

    return step


def as_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Return the step as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _rate(step: Callable[[], None], batch: int, device: torch.device) -> float:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds, least = (_SECONDS, 20) if device.type == "cuda" else (0.0, 1)
    for _ in range(least):
        step()
    wait()
    began, steps = time.perf_counter(), 0
    while steps < least or time.perf_counter() - began < seconds:
        for _ in range(least):
            step()
        wait()
        steps += least
    return steps * batch / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
