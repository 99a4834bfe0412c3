"""The settings of `serve`: detectors, where it listens and keeps its jobs, and its limits."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from fakecore.errors import UserError

MEBIBYTE = 1 << 20
_NAMES_OF_LOOPBACK = ("localhost",)


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
    workers: int = field(default_factory=lambda: max(2, os.cpu_count() or 1))  # processes that judge
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
        for name in ("workers", "max_mb", "max_files", "max_pixels", "max_queue", "memory_mb"):
            if getattr(self, name) < 1:
                raise UserError(f"{option(name)} is too small", got=getattr(self, name), expected="1 or more")
        for name in ("keep_h", "max_minutes", "max_s", "max_data_gb"):
            if not getattr(self, name) > 0:
                raise UserError(f"{option(name)} is too small", got=getattr(self, name), expected="more than 0")
        if not 0 <= self.port < 65536:
            raise UserError("--port is no port", got=self.port, expected="0 (any free one) to 65535")
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
