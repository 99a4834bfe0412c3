"""`watch`: the server answers only this machine, only GET and HEAD, and opens no path from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from fakecore.errors import UserError
from fakegen.watching import server
from fakegen.watching.server import WatchServer


@pytest.fixture
def served(run, tmp_path):
    """A server of a copy of the run, in a thread."""
    server = WatchServer(shutil.copytree(run, tmp_path / "copied"))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(server, path: str = "/", method: str = "GET", host: str | None = None):
    """Send a request as it stands, without tidying the path; return (response, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_page_script_state_and_pictures_are_served(served):
    page, html = ask(served)
    assert page.status == 200 and b"copied" in html
    nonce = re.search(rb'<style nonce="([^"]+)">', html)[1].decode()
    policy = page.getheader("Content-Security-Policy")
    assert f"style-src 'nonce-{nonce}'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
    assert nonce.encode() not in ask(served)[1]
    assert b"http:" not in html and b"https:" not in html
    assert ask(served, "/watch.js")[0].getheader("Content-Type").startswith("text/javascript")
    state = json.loads(ask(served, "/state.json")[1])
    assert state["status"] == "finished"
    picture, png = ask(served, f"/snapshots/epoch-0001.png?v={state['snapshots'][1]['version']}")
    assert picture.getheader("Content-Type") == "image/png"
    assert png == (served.watcher.path / "snapshots" / "epoch-0001.png").read_bytes()
    head, body = ask(served, method="HEAD")
    assert head.status == 200 and body == b"" and int(head.getheader("Content-Length")) > 1000


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("localhost:9000", 200),
        ("LOCALHOST", 200),
    ],
)
def test_foreign_host_names_are_refused(served, host, status):
    for path in ("/", "/state.json", "/snapshots/epoch-0001.png"):
        assert ask(served, path, host=host)[0].status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(served, method):
    response, _ = ask(served, "/state.json", method)
    assert response.status == 405 and response.getheader("Allow") == "GET, HEAD"
    assert response.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    "path",
    [
        "/run.json",
        "/snapshots/",
        "/snapshots/../run.json",
        "/snapshots/..%2frun.json",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/snapshots/epoch-0099.png",
        "/snapshots/epoch-0001.png/../../run.json",
        "/nearest.png",
        "http://evil.example/state.json",
    ],
)
def test_nothing_else_is_served(served, path):
    response, body = ask(served, path)
    assert response.status in (404, 421) and b"fingerprint" not in body


def test_a_run_that_was_deleted_is_named(served):
    assert ask(served, "/state.json")[0].status == 200
    shutil.rmtree(served.watcher.path)
    response, body = ask(served, "/state.json")
    assert response.status == 503 and "there is no run in" in json.loads(body)["error"]


def test_a_port_that_cannot_be_used_gives_a_one_line_error(run):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match=r"free port.*Choose another"):
        WatchServer(run, taken.getsockname()[1])
    with pytest.raises(UserError, match="--port is out of range"):
        WatchServer(run, 70_000)


def test_the_command_prints_the_state(fakelab, run, tmp_path):
    done = fakelab("watch", run, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "finished"
    (tmp_path / "mine.txt").touch()
    refused = fakelab("watch", tmp_path)
    assert refused.returncode == 2 and refused.stderr.startswith(f"error: {tmp_path} is not a run (expected ")


@pytest.mark.parametrize("starts_later", [False, True])
def test_ctrl_c_stops_the_page_quietly(fakelab, run, tmp_path, monkeypatch, starts_later):
    waited, watched = "", run
    if starts_later:
        ready, watched = shutil.copytree(run, tmp_path / "ready"), tmp_path / "later"
        monkeypatch.setattr(server, "time", SimpleNamespace(sleep=lambda _: ready.rename(watched)))
        waited = f"waiting until `generate` has read its images and started {watched}  (Ctrl-C stops)\n"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def press() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:  # it answers once it has printed its address
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(100):
                    os.kill(os.getpid(), signal.SIGINT)
                    return
            time.sleep(0.02)

    threading.Thread(target=press, daemon=True).start()
    done = fakelab("watch", watched, "--port", port)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{waited}watching {watched} at http://127.0.0.1:{port}/  (Ctrl-C stops)\n"
