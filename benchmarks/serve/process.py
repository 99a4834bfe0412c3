"""A server in a process of its own, and the shortest client that can keep it busy."""

from __future__ import annotations

import asyncio
import resource
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_START_S = 120.0


@dataclass(frozen=True)
class Footprint:
    """What the server and its workers hold: MiB of memory of each, the server first, open files of all, and threads of all."""

    rss_mib: tuple[int, ...]
    files: int
    threads: int


class Serving:
    """`fakelab serve` on a port of loopback; a context manager that kills it at its end."""

    def __init__(self, words: Sequence[str], port: int, log: Path):
        self.port = port
        self._words = [sys.executable, *words]
        self._log = log.open("ab")
        self._process: subprocess.Popen | None = None

    def start(self) -> float:
        """Start it, wait until it is ready, and return the seconds that took."""
        begin = time.monotonic()
        self._process = subprocess.Popen(self._words, stdout=self._log, stderr=self._log)
        while time.monotonic() - begin < _START_S:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                    return time.monotonic() - begin
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the server did not start; see {self._log.name}")

    def footprint(self) -> Footprint:
        """Return what it and its workers hold now (Linux)."""
        assert self._process
        own = Path(f"/proc/{self._process.pid}")
        folders = [own, *(Path(f"/proc/{pid}") for pid in (own / "task" / own.name / "children").read_text().split())]
        pages = [int((folder / "statm").read_text().split()[1]) for folder in folders]
        return Footprint(
            tuple(count * resource.getpagesize() >> 20 for count in pages),
            sum(len(list((folder / "fd").iterdir())) for folder in folders),
            sum(len(list((folder / "task").iterdir())) for folder in folders),
        )

    def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Serving:
        self.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self.kill()
        self._log.close()


def upload_request(path: str, port: int, file: Path, field: str = "files") -> bytes:
    """Return an HTTP/1.1 request that uploads a file as multipart/form-data."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{file.name}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    lines = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
    lines += f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
    return lines.encode() + body


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, bytes]:
    """Send a request over an open connection; return status and body of the answer, which states its length."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
