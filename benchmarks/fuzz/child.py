"""A process that reads damaged files, one path a line on its input, and answers with a line of JSON for each.

It reads as `score` and `inspect` do, up to the pixels. Any exception that these do not report as a row is a finding; so are
files that it opens to write, and connections.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

from fakecore.media.pixels import ImageError, decode_image, pages, read_bytes
from fakecore.media.video import frames
from fakecore.media.videostream import VideoError
from fakedetect.inspection.inspect import inspect_file

_FPS = 5.0  # frames analysed per second, as `score` does
_ADDRESSES = 4 << 30  # bytes above those at the start: protects the machine; the parent judges the memory that is used
_CPU_S = 30  # seconds a file
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = ("socket.connect", "os.remove", "os.rename", "os.mkdir", "subprocess.Popen", "os.system", "os.exec")


def read(path: Path) -> str:
    """Read a file as `score` does and return its status: "ok", or that of the error."""
    try:
        data = read_bytes(path)
        decode_image(data)
        pages(data)
        return "ok"
    except ImageError as error:
        if error.kind != "video":
            return error.status
    try:
        video = frames(path, fps=_FPS)
        return "ok" if sum(1 for _ in video) else "unreadable"
    except (VideoError, ImageError) as error:
        return error.status


def main() -> None:
    """Read the files that the input names, the first of which is whole, to load what is needed."""
    faulthandler.enable()
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    first = sys.stdin.readline().strip()
    read(Path(first)), inspect_file(first, deep=True)
    _limit(resource.RLIMIT_AS, _memory("VmSize") + _ADDRESSES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    suspicious: list[str] = []
    _watch(suspicious)
    folder, base = Path.cwd(), _memory("VmRSS")
    answers.write("{}\n")
    for line in sys.stdin:
        suspicious.clear()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        suspicious.clear()
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + _CPU_S)
        start, error = time.perf_counter(), ""
        path = line.strip()
        status = "exception"
        try:
            status = read(Path(path))
            inspect_file(path, deep=True).to_json()
        except BaseException:  # those of Rust derive from no other
            status, error = "exception", traceback.format_exc()
        written = [*suspicious, *(f"file {one.name}" for one in folder.iterdir())]
        answer = {
            "status": status,
            "error": error,
            "seconds": time.perf_counter() - start,
            "bytes": max(0, _memory("VmHWM") - base),
            "writes": written,
        }
        answers.write(json.dumps(answer) + "\n")


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _memory(name: str) -> int:
    """Return a figure of /proc/self/status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def _watch(suspicious: list[str]) -> None:
    """Append to `suspicious` what Python code writes, starts or connects to."""

    def hook(event: str, values: tuple) -> None:
        if event == "open":
            path, mode, flags = values
            if (mode and set(str(mode)) & set("wax+")) or (flags or 0) & _WRITES:
                suspicious.append(f"open {path}")
        elif event in _EVENTS:
            suspicious.append(event)

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
