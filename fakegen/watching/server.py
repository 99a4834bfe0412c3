"""The web server of `watch`: one page, its script, the state as JSON, and pictures of the run. It answers only this machine.

Other web sites cannot read it: a request must name a host of this machine (else DNS could point a foreign name at it),
no answer allows another origin, and the page loads nothing but what stands here.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fakecore.errors import UserError, explain_os_error
from fakecore.progress import say
from fakecore.report.pages import render_page
from fakegen.watching.state import Watcher

HOST = "127.0.0.1"
_OWN_NAMES = re.compile(r"(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?", re.IGNORECASE)
_SNAPSHOT = re.compile(r"/snapshots/epoch-([0-9]{1,9})\.png")
_LOOK_S = 0.3  # between two looks for a run that does not exist yet
_SCRIPT = Path(__file__).with_name("watch.js")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {style}; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def serve(run: Path | str, port: int = 0, *, open_browser: bool = False) -> None:
    """Serve the page of a run on 127.0.0.1 until Ctrl-C, and print its address; `port` 0 takes a free one. Waits for a run that
    does not exist yet.

    Raises UserError if `run` is another folder, or the port cannot be used.
    """
    with suppress(KeyboardInterrupt):
        wait_for_run(Path(run))
        with WatchServer(run, port) as server:
            _serve(server, run, open_browser=open_browser)


def wait_for_run(run: Path) -> None:
    """Return when the folder `run` has a run; at once for a folder with other content. `generate` writes run.json when it has
    read the images.
    """
    if run.is_file() or (run.is_dir() and not all(path.name.startswith(".") for path in run.iterdir())):
        return
    say(f"waiting until `generate` has read its images and started {run}  (Ctrl-C stops)")
    while not (run / "run.json").exists():
        time.sleep(_LOOK_S)


def _serve(server: WatchServer, run: Path | str, *, open_browser: bool) -> None:
    say(f"watching {run} at {server.address}  (Ctrl-C stops)")
    if open_browser:  # in a thread: a browser in the terminal returns only when it is closed
        threading.Thread(target=_open, args=(server.address,), daemon=True).start()
    server.serve_forever()


class WatchServer(ThreadingHTTPServer):
    """A server of the page of one run. It listens once it is made; `serve_forever` answers."""

    daemon_threads = True  # an open connection does not delay the end
    allow_reuse_port = False  # a port in use is an error

    def __init__(self, run: Path | str, port: int = 0):
        if not 0 <= port <= 65535:
            raise UserError("--port is out of range", got=port, expected="0 to 65535; 0 takes a free one")
        self.watcher = Watcher(run)
        self._reading = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            remedy = "Choose another --port; 0 takes a free one." if port else None
            what, expected = f"cannot listen on {HOST}:{port}", "a free port"
            raise UserError(what, got=error.strerror or error, expected=expected, remedy=remedy) from None

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def state(self) -> dict[str, Any]:
        """Return the state of the run; for several threads."""
        with self._reading:
            return self.watcher.state()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of an error, but not of a browser that closed its connection."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer
    timeout = 60  # seconds in which a request must arrive; each has a connection of its own, as in HTTP/1.0

    def do_GET(self) -> None:
        if not _OWN_NAMES.fullmatch(self.headers.get("Host", "")):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This server answers to 127.0.0.1 and localhost only.")
            return
        path = self.path.partition("?")[0]
        if path == "/":
            nonce = secrets.token_urlsafe(16)
            page = render_page(
                "fakegen.watching", "watch.html.j2", title=self.server.watcher.path.absolute().name, nonce=nonce
            )
            self._answer(page, "text/html; charset=utf-8", style=f"'nonce-{nonce}'")
        elif path == "/watch.js":
            self._answer(_SCRIPT.read_bytes(), "text/javascript; charset=utf-8")
        elif path == "/state.json":
            self._answer_state()
        elif match := _SNAPSHOT.fullmatch(path):  # a number, looked up in the list: no path from outside is opened
            self._answer_picture(self.server.watcher.snapshots().get(int(match[1])))
        elif path == "/nearest.png":
            self._answer_picture(self.server.watcher.nearest)
        elif path == "/favicon.ico":
            self._answer(b"", "image/x-icon", HTTPStatus.NO_CONTENT)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such page.")

    do_HEAD = do_GET

    def _refuse_method(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET and HEAD are allowed.")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse_method

    def _answer_state(self) -> None:
        try:
            state, status = self.server.state(), HTTPStatus.OK
        except UserError as error:
            state, status = {"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE
        except OSError as error:
            state, status = {"error": str(explain_os_error(error))}, HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(json.dumps(state, allow_nan=False).encode(), "application/json", status)

    def _answer_picture(self, path: Path | None) -> None:
        try:
            data = path.read_bytes() if path else None
        except OSError:
            data = None
        if data is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such picture.")
        else:
            self._answer(data, "image/png")

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._answer(f"{text}\n".encode(), "text/plain; charset=utf-8", status)

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, style: str = "'none'") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Security-Policy", _POLICY.format(style=style))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "fakelab"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the name that the base class gives it
        pass


def _open(address: str) -> None:
    if not webbrowser.open(address):
        say("note: no browser could be opened; open the address yourself")
