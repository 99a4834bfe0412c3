"""Copy a set from a store that answers late, one file at a time and several."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from fakecore import storage
from fakecore.runs import mirror

# A server of S3 in a process of its own, each of whose answers comes so many seconds late.
_SERVER = """
import sys, time
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app = DomainDispatcherApplication(create_backend_app)
def late(environ, answer):
    time.sleep({late_s})
    return app(environ, answer)
server = make_server("127.0.0.1", 0, late, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""
_BUCKET = "s3://scale/set"


def seconds(count: int, size: int, late_s: float, transfers: int) -> float:
    """Return the seconds that it takes to copy `count` files of `size` bytes, `transfers` at a time."""
    with _store(late_s), tempfile.TemporaryDirectory(prefix="fakelab-scale-") as cache:
        store, _ = storage.filesystem(_BUCKET)
        store.mkdir("scale")
        for number in range(count):
            storage.write_bytes(f"{_BUCKET}/{number // 1000}/{number:06d}.jpg", os.urandom(size))
        with mock.patch.dict(os.environ, {"FAKELAB_CACHE": cache}), mock.patch.object(mirror, "_TRANSFERS", transfers):
            begin = time.perf_counter()
            copied = mirror.mirror_folder(f"{_BUCKET}/")
            passed = time.perf_counter() - begin
        assert sum(1 for _ in Path(copied).rglob("*.jpg")) == count
        store.clear_instance_cache()  # a later server has another address
    return passed


@contextmanager
def _store(late_s: float) -> Iterator[None]:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    words = [sys.executable, "-c", _SERVER.format(late_s=late_s)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            place = f"http://127.0.0.1:{int(server.stdout.readline())}"
            with mock.patch.dict(os.environ, {**keys, "AWS_ENDPOINT_URL_S3": place}):
                yield
        finally:
            server.kill()
