"""Device, precision, seeds and memory: chosen once, from what the machine reports, and written into every run."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from fakecore.cpus import usable_cpus
from fakecore.distributed import PATIENCE, World, local_rank, local_size, rank, world_size
from fakecore.errors import UserError
from fakecore.lazytorch import is_loaded, torch

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["fp32", "bf16"]
N = TypeVar("N", bound="nn.Module")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called `name`. "auto" is a CUDA GPU if there is one, else the CPU; each of several processes on a
    machine gets its own GPU.

    Raises UserError if the machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world_size() > 1:
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError("there is no such device", got=repr(name), expected="auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError("this device is not supported", got=repr(name), expected="auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        gpus = ["cuda:0"] if count == 1 else [f"cuda:0 to cuda:{count - 1}"] if count else []
        raise UserError(
            "there is no such GPU" if count else "PyTorch finds no GPU on this machine",
            got=repr(name),
            expected=" or ".join([*gpus, "cpu"]),
            remedy="Use --device cpu, or auto to use what the machine has.",
        )
    return device


def device_name(device: torch.device) -> str:
    """Return the kind of device and the model, which decide the last bits of a result: "cpu, AVX512" or "cuda, NVIDIA H200"."""
    if device.type == "cuda":
        return f"cuda, {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.backends.cpu.get_cpu_capability()}"


def to_device(network: N, device: torch.device, dtype: torch.dtype | None = None) -> N:
    """Move a network to a device, and to a dtype if one is given; its weights lie channels-last, which convolutions prefer."""
    return network.to(device=device, dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def choose_precision(wish: str, device: torch.device) -> Precision:
    """Return the precision called `wish`. "auto" is bf16 on hardware where bf16 is faster than fp32, else fp32."""
    if wish != "auto":
        return cast(Precision, wish)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _bf16_outruns_fp32(_cpu_flags()) else "fp32"


def _cpu_flags() -> set[str]:
    """Return the CPU feature flags, plus "intel" on Intel CPUs; empty if the system does not report them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    facts = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    flags = set(facts.get("flags", facts.get("Features", "")).split())  # x86 and ARM call it differently
    return flags | ({"intel"} if "GenuineIntel" in facts.get("vendor_id", "") else set())


def _bf16_outruns_fp32(flags: set[str]) -> bool:
    """AMX and ARM's bf16 do, and so does AVX-512 bf16 on AMD. On an Intel without AMX (as rented ones often are), the
    bf16 product has no more throughput than fp32's, and oneDNN's gradient of weights ran 20 times slower: see
    docs/lab/measurements.md.
    """
    return "amx_bf16" in flags or "bf16" in flags or ("avx512_bf16" in flags and "intel" not in flags)


def default_threads() -> int:
    """Return the number of CPU threads for networks: torch's default, or this process's share of the cores if several
    processes run on the machine (torchrun sets one thread each).
    """
    return torch.get_num_threads() if local_size() == 1 else max(1, usable_cpus() // local_size())


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context manager that runs networks in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


class Execution:
    """How networks run: on a device, in a precision, and with gradients that all processes of the job average (torch's
    DistributedDataParallel; gloo on CPUs, NCCL on GPUs). In a job of one process nothing is put between the operations that a
    CUDA graph records.
    """

    def __init__(self, device: torch.device, precision: Precision):
        self.device, self.precision = device, precision

    def setup(self, network: nn.Module) -> Callable[..., torch.Tensor]:
        """Return the network as a function in this precision, whose outputs are float32."""
        called: Callable = network
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            from torch.nn.parallel import DistributedDataParallel

            # A step of a GAN sends two batches through D before one backward pass, which broadcasting BN's statistics
            # between them would break.
            gpus = [self.device] if self.device.type == "cuda" else None
            called = DistributedDataParallel(network, device_ids=gpus, broadcast_buffers=False)

        def run(*inputs: torch.Tensor) -> torch.Tensor:
            with autocast(self.device, self.precision):
                return called(*inputs).float()

        return run


def join_world(device: torch.device) -> World:
    """Connect the processes of this job and return them as a World; a single process has no overhead."""
    if world_size() > 1 and not torch.distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return World(rank(), world_size())


def check_seed(seed: int) -> None:
    """Raise UserError for a negative seed, which numpy's generators do not accept."""
    if seed < 0:
        raise UserError("--seed is out of range", got=seed, expected="0 or more")


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed derived from parts such as (seed, "latents", step): the same parts give the same seed anywhere."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_device(seed: int, device: torch.device) -> None:
    """Seed torch's random numbers on the CPU and on `device`: what `torch.manual_seed` does, without its half a millisecond for
    kinds of devices that are not there, whose queues it lets grow with every call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run networks on `count` CPU threads in the block; restore the number after it."""
    if not is_loaded():  # no network of torch runs
        yield
        return
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Run networks on the calling thread alone. Work that is split over threads as whole batches, one batch a thread,
    is faster than every batch split over all threads, and its rounding does not depend on how many there are.
    """
    return threads(1)


def keep_freed_memory() -> None:
    """Stop glibc's malloc from returning large buffers to the system after each step, which causes page faults in the next.

    Networks on a CPU allocate the same megabytes every batch; measured in `benchmarks/speed/speed.py`. Does nothing elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # not glibc
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    mallopt(m_mmap_max, 0)  # large blocks come from the heap,
    mallopt(m_trim_threshold, 2**31 - 1)  # the heap's free end is kept,
    mallopt(m_arena_max, 1)  # and threads share that heap, for their own ones are too small for this
