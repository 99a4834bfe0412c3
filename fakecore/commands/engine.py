"""The options with which a command spreads its work over a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from fakecore.errors import UserError, unknown_name

if TYPE_CHECKING:
    from fakecore.cluster import Cluster

ENGINES = ("ray",)

Engine = Annotated[
    str | None, typer.Option(help="ray: work in many processes, or on many machines that share the folders.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Engine: the Ray cluster, as HOST:PORT, or auto for that of this machine. Default: start one here."
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Engine: number of workers. Default: as many as there are processors.")
]
WorkerCpus = Annotated[int, typer.Option(help="Engine: processors of each worker.")]
WorkerGpus = Annotated[float, typer.Option(help="Engine: GPUs of each worker; 0.5 lets two share one.")]


@dataclass(frozen=True)
class EngineOptions:
    """Where the work is done. Raises UserError for values that are out of range, and for any of them without an engine."""

    engine: str | None = None
    address: str | None = None
    workers: int | None = None
    worker_cpus: int = 1
    worker_gpus: float = 0.0

    LEAST: ClassVar[dict[str, float]] = {"workers": 1, "worker_cpus": 1, "worker_gpus": 0}

    def __post_init__(self) -> None:
        if self.engine is None:
            given = next((name for name, value in vars(self).items() if value != getattr(type(self), name)), None)
            if given is not None:
                raise UserError(f"{_option(given)} applies only to --engine", remedy="Add --engine ray.")
            return
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        for name, least in self.LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{_option(name)} is too small", got=value, expected=f"{least} or more")

    def refuse_others(self, given: dict[str, object], remedy: str | None = None) -> None:
        """Raise UserError if options are given that an engine does not have: option -> value, None or False if not given."""
        if self.engine and (others := [name for name, value in given.items() if value not in (None, False)]):
            raise UserError(f"--engine cannot be combined with {', '.join(others)}", remedy=remedy)

    def cluster(self) -> Cluster | None:
        """Return the cluster, or None without an engine."""
        from fakecore.cluster import Cluster

        return Cluster(self.address, self.workers, self.worker_cpus, self.worker_gpus) if self.engine else None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
