"""The settings of `serve`: detectors, where it listens and keeps its jobs, and its limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from fakecore.cpus import usable_cpus
from fakecore.errors import UserError

MEBIBYTE = 1 << 20
_NAMES_OF_LOOPBACK = ("localhost",)
_RANGES: dict[
    str, tuple[float, float]
] = {  # both ends are allowed; the upper ones keep typing errors from becoming overflows
    "port": (0, 65535),
    "workers": (1, 1024),
    "keep_h": (0.001, 1_000_000),
    "max_mb": (1, 1_000_000),
    "max_files": (1, 1_000_000),
    "max_pixels": (1, 10**12),
    "max_minutes": (0.001, 1_000_000),
    "max_queue": (1, 10**9),
    "max_data_gb": (0.001, 1_000_000),
    "max_per_minute": (0, 1_000_000),
    "max_s": (0.1, 1_000_000),
    "memory_mb": (1, 100_000_000),
}


@dataclass(frozen=True)
class ServeSettings:
    """Settings of one server. Raises UserError for values that make no sense, and for an address beyond loopback without
    access control.
    """

    data: Path  # the jobs: a database and, beside it, uploads and results
    detectors: tuple[str, ...] = ()  # folders, .onnx files or names; none: those of the package
    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    no_auth: bool = False  # beyond loopback, anyone may use it
    hosts: tuple[str, ...] = ()  # further names that requests may call this server by
    proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed
    workers: int = field(default_factory=lambda: max(2, usable_cpus()))  # processes that judge
    device: str = "auto"
    keep_h: float = 24.0  # hours until a finished job is deleted
    keep_uploads: bool = False  # until then; else each is deleted when it is judged
    max_mb: int = 200  # of one request, 2**20 bytes
    max_files: int = 100  # of one request
    max_pixels: int = 100_000_000  # of one photo or frame
    max_minutes: float = 10.0  # of one video
    max_queue: int = 500  # files that wait
    max_data_gb: float = 20.0  # of the data folder, 2**30 bytes
    max_per_minute: int = 0  # requests with files of one client; 0: no limit
    max_s: float = 600.0  # that one file may take
    memory_mb: int = 6000  # of one worker, beyond its detectors, 2**20 bytes

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:  # neither is "not a number"
                expected = f"{least:,} to {most:,}" + (" hours" if name == "keep_h" else "")
                raise UserError(f"{option(name)} is out of range", got=f"{getattr(self, name):g}", expected=expected)
        for address in self.proxies:
            try:
                ipaddress.ip_network(address)
            except ValueError:
                raise UserError(
                    "--proxy is no address", got=repr(address), expected="such as 127.0.0.1 or 10.0.0.0/8"
                ) from None
        if self.token_file and self.no_auth:
            raise UserError("--token-file and --no-auth exclude each other", remedy="Give one of them.")
        if not (self.is_local or self.token_file or self.no_auth):
            raise UserError(
                f"{self.host} can be reached from other machines, and no token is required",
                expected="--token-file FILE, or 127.0.0.1 as --host",
                remedy="--no-auth lets anyone in who reaches the port.",
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.host in _NAMES_OF_LOOPBACK:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_bytes(self) -> int:
        """The most bytes of one request."""
        return self.max_mb * MEBIBYTE


def option(name: str) -> str:
    """Return the option of a setting: max_mb -> --max-mb."""
    return {"keep_h": "--keep"}.get(name, "--" + name.replace("_", "-"))
