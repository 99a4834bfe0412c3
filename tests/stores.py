"""Servers that tests read from: S3, by moto, and a web server that misbehaves as real ones do."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import unquote

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "s3cr3t-key", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "photos"


@contextmanager
def s3_store() -> Iterator:
    """Yield an empty bucket of a real server on this machine, as fsspec's file system; the environment names the server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with mock.patch.dict(os.environ, {**KEYS, "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"}):
            from fakecore.storage import filesystem

            store, _ = filesystem(f"s3://{BUCKET}/")
            store.mkdir(BUCKET)
            yield store
            store.rm(BUCKET, recursive=True)  # all servers of a process share what moto holds
            store.clear_instance_cache()  # a later server has another address
    finally:
        server.stop()


class Web:
    """A web server in a thread: `files` are its good ones; `requests` counts those of each path. Its other paths misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.signed: set[str] = set()  # queries and credentials that it received
        self.cuts: Counter[str] = Counter()  # how often the connection is cut before a good file is sent
        self.is_gone = False  # it hangs up on everyone
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.web = self
        self.place = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.place}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web

    def handle_error(self, *_: object) -> None:  # clients that leave early are expected
        pass


class _Handler(BaseHTTPRequestHandler):
    """Sends good files, and misbehaves at the paths that its methods are named after."""

    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web = self.server.web
        if web.is_gone:
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        path = unquote(path)
        web.requests[path] += 1
        web.signed |= {query, self.headers.get("Authorization", "")} - {""}
        misbehave = getattr(self, f"_{path[1:].partition('.')[0].replace('-', '_')}", None)
        if path in web.files and web.cuts[path] and self.command == "GET":
            web.cuts[path] -= 1
            self._cut()
        elif path in web.files:
            self._send_part(web.files[path])
        elif misbehave:
            misbehave()
        else:
            self._send(b"", 404)

    def _send(self, data: bytes, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": len(data), "ETag": f'"{hash(data)}"'} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_part(self, data: bytes) -> None:
        start, _, last = self.headers.get("Range", "bytes=-").removeprefix("bytes=").partition("-")
        part = data[int(start) : int(last) + 1] if start else data
        self._send(part, 206 if start else 200, ETag=f'"{hash(data)}"')

    def _cut(self) -> None:
        self._send(b"x" * 500, Content_Length=1000)
        self.close_connection = True

    def _busy(self) -> None:
        self._send(b"", 503)

    def _busy_twice(self) -> None:
        web = self.server.web
        if web.requests["/busy-twice.png"] < 3:
            self._busy()
        else:
            self._send(web.files["/good.png"])

    def _throttled(self) -> None:
        self._send(b"", 429, Retry_After=7)

    def _forbidden(self) -> None:
        self._send(b"", 403)

    def _circle(self) -> None:
        self._send(b"", 302, Location="/circle.png")

    def _slow(self) -> None:
        self._send(b"x", Content_Length=1000)
        self.wfile.flush()
        time.sleep(0.4)
        self.close_connection = True

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(64):
            self.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _huge(self) -> None:
        self._send(b"x", Content_Length=1 << 40)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
