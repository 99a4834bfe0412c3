"""A real server: the rows of `score`, jobs that survive kill -9, limits, and files that end their worker."""

import json
import resource
import select
import socket
import struct
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from fakedetect import Client
from tests.stores import Web

ROOT = Path(__file__).parents[3]
LIMITS = ("--max-mb", 20, "--max-queue", 8, "--max-pixels", 40_000_000, "--max-minutes", 0.05, "--memory-mb", 2000)


class Server:
    """`fakelab serve` in a process of its own, to be killed and started again."""

    def __init__(self, data: Path):
        self.data = data
        self.start()

    def start(self) -> None:
        words = [sys.executable, str(ROOT / "cli.py"), "serve", "--detector", "photos", "--detector", "faces"]
        options = ("--data", self.data, "--port", 0, "--workers", 1, *LIMITS)
        self.process = subprocess.Popen([*words, *map(str, options)], stderr=subprocess.PIPE, text=True)
        said = ""
        while "serving at " not in said:
            said = self.process.stderr.readline()
            assert said, "it ended"
        self.url = said.split()[2]
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def kill(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def post(self, path: str, *files: Path, **fields) -> httpx.Response:
        with ExitStack() as opened:
            parts = [("files", (file.name, opened.enter_context(file.open("rb")))) for file in files]
            return self.http.post(path, files=parts, data=fields)

    def done(self, job: str) -> dict:
        """Wait for a job and return it."""
        for _ in range(600):
            found = self.http.get(f"/v1/jobs/{job}").json()
            if found["state"] == "done":
                return found
            time.sleep(0.1)
        raise AssertionError(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("serve") / "data")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Five photos, one grey, one damaged, and a text."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    found = []
    for number in range(5):
        image = cv2.resize(random.integers(0, 256, (8, 8, 3), np.uint8), (200, 160), interpolation=cv2.INTER_CUBIC)
        found.append(folder / f"photo {number}.jpg")
        cv2.imwrite(str(found[-1]), image if number else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    found[3].write_bytes(found[3].read_bytes()[:700])
    found.append(folder / "notes.txt")
    found[-1].write_text("no photo")
    return found


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", [lambda number: (160, 120, 110)], count=20)


def test_rows_are_those_of_score_to_the_digit(server, photos, video, fakelab):
    files = [*photos, video]
    printed = fakelab("score", *files, "--detector", "photos", "--no-stability", "--json").stdout
    expected = [json.loads(line) | {"path": Path(json.loads(line)["path"]).name} for line in printed.splitlines()]
    assert server.post("/v1/score", *files, stability="false").json()["results"] == expected
    job = server.post("/v1/jobs", *files, stability="false").json()["id"]
    assert [file["result"] for file in server.done(job)["files"]] == expected


def test_the_server_fetches_no_url_that_a_client_sends(server, photos):
    web = Web()
    url = f"{web.url}/a.jpg"
    web.files["/a.jpg"] = data = photos[0].read_bytes()
    names = [url, f"{url}.zip/a.jpg", url.replace("/", "\\"), f"{web.url}/v.mp4"]
    parts = [("files", (name, data if name != names[-1] else b"no video")) for name in names]
    fields = {"stability": "false", "url": url, "path": url, "archive": f"{url}.zip", "files_from": url}
    job = server.http.post("/v1/jobs", files=parts, data=fields).json()["id"]
    assert [file["result"]["status"] for file in server.done(job)["files"]][:3] == ["ok"] * 3
    assert server.http.get(f"/v1/jobs/{job}/report.html").status_code == 200
    for refused in (url, f"{web.url}/det/", "s3://bucket/det/"):
        assert server.http.post("/v1/score", files=parts[:1], data={"detector": refused}).status_code in (400, 404, 422)
    assert not web.requests
    web.close()


def test_the_client_gives_the_rows_of_score(server, photos, fakelab, tmp_path):
    files, before = [photos[0], tmp_path / "missing.jpg", photos[1]], len(list((server.data / "jobs").iterdir()))
    with Client(server.url) as client:
        rows = list(client.score(files))
        assert [one["name"] for one in client.detectors()] == ["photos", "faces"]
    assert [row["path"] for row in rows] == list(map(str, files))
    assert [row["status"] for row in rows] == ["ok", "unreadable", "ok"]
    printed = fakelab("score", photos[0], photos[1], "--detector", "photos", "--json").stdout.splitlines()
    assert [rows[0], rows[2]] == [json.loads(line) for line in printed]
    remote = fakelab(
        "score", "--server", server.url, *files, "--json", "--only", "real", "--only", "unsure", "--only", "fake"
    )
    assert (remote.returncode, remote.stdout.splitlines()) == (1, printed)
    assert "--out" in fakelab("score", "--server", server.url, files[0], "--out", "rows.csv").stderr
    assert len(list((server.data / "jobs").iterdir())) == before, "the client deletes its jobs"


def test_a_job_is_followed_fetched_and_deleted(server, photos, video):
    job = server.post("/v1/jobs", photos[1], video, detector="faces", marked="true").json()
    links = job["links"]
    early = server.http.get(links["result"])
    with server.http.stream("GET", links["events"]) as events:
        said = [line.partition(": ")[2] for line in events.iter_lines() if line.startswith("event")]
    assert "progress" in said[: said.index("done")] and said[-1] == "marked", "verdicts do not wait for the drawing"
    assert early.status_code in (200, 409)
    rows = server.http.get(links["result"]).json()["results"]
    assert [row["path"] for row in rows] == ["photo 1.jpg", "clip.mp4"]
    lines = server.http.get(links["result"], params={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = server.http.get(links["result"], params={"format": "csv"}).text.splitlines()
    assert len(table) == 3 and table[0].startswith('"path"')
    folder = server.data / "jobs" / job["id"]
    assert not list(folder.glob("upload-*")), "uploads are deleted when they are judged"
    kinds = {"picture.jpg": b"\xff\xd8", "report.html": b"<!doctype", "marked.mp4": b"ftyp"}
    for name, sign in kinds.items():
        answer = server.http.get(f"{links['self']}/files/1/{name}")
        assert answer.status_code == 200 and sign in answer.content[:20].lower() + answer.content[4:8]
    assert server.http.delete(links["self"]).status_code == 204
    assert not folder.exists()
    plain = server.post("/v1/jobs", video, detector="faces").json()["id"]
    assert server.done(plain)["files"][0]["marked"] is None
    assert "marked=true" in server.http.get(f"/v1/jobs/{plain}/files/0/marked.mp4").json()["detail"]
    assert server.http.get(links["self"]).status_code == 404


def test_a_job_that_is_deleted_while_it_is_judged_leaves_nothing(server, video):
    job = server.post("/v1/jobs", video).json()["id"]
    while "fakelab_files_running 0.0" in server.http.get("/metrics").text:
        time.sleep(0.01)
    assert server.http.delete(f"/v1/jobs/{job}").status_code == 204
    server.post("/v1/score", video)  # after it, the worker has finished or was replaced
    assert not (server.data / "jobs" / job).exists()


def test_heat_maps_and_reports_on_demand(server, photos, video):
    job = server.done(server.post("/v1/jobs", photos[1], photos[5], video, photos[1]).json()["id"])
    base = job["links"]["self"]
    answer = server.http.get(f"{base}/files/0/heat.jpg")
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).shape == (384, 384, 3)
    assert server.http.get(f"{base}/files/1/heat.jpg").status_code == 404
    for _ in range(2):  # made, and kept
        report = server.http.get(f"{base}/report.html").text
        words = ("Scores of 4 files", f"{photos[1].name} (2)", "One face was tracked", "Not scored")
        assert all(one in report for one in words) and report.count("data:image/jpeg") >= 3 and "upload-" not in report
    assert "Not scored" in server.http.get(f"{base}/files/1/report.html").text


def test_a_killed_server_goes_on_with_what_it_accepted(server, photos, video, fakelab):
    jobs = [server.post("/v1/jobs", video, photos[1]).json()["id"] for _ in range(3)]
    server.kill()
    sound = fakelab("serve", "--check", "--data", server.data)
    assert sound.returncode == 0 and "sound" in sound.stderr
    server.start()
    for job in jobs:
        rows = [file["result"] for file in server.done(job)["files"]]
        assert [(row["path"], row["status"]) for row in rows] == [("clip.mp4", "ok"), ("photo 1.jpg", "ok")]


def test_a_request_that_is_sent_again_makes_no_second_job(server, photos):
    def send(file: Path) -> httpx.Response:
        with file.open("rb") as opened:
            return server.http.post("/v1/jobs", files={"files": opened}, headers={"Idempotency-Key": "once"})

    first, again, other = send(photos[1]), send(photos[1]), send(photos[2])
    assert first.json()["id"] == again.json()["id"]
    assert other.status_code == 422


def test_limits(server, photos, tmp_path, write_video):
    def refused(answer: httpx.Response) -> int:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code and str(server.data) not in answer.text
        return answer.status_code

    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8" + bytes(21 * 2**20))
    assert refused(server.post("/v1/score", large)) == 413
    full = server.post("/v1/jobs", *[photos[1]] * 9)
    assert refused(full) == 429 and int(full.headers["Retry-After"]) >= 1
    assert refused(server.post("/v1/score", photos[1], detector="nobody")) == 422
    assert refused(server.post("/v1/jobs", photos[1], stability="perhaps")) == 422
    assert refused(server.http.get("/v1/jobs/no-such-job")) == 404
    assert refused(server.http.post("/v1/score", content=b"x")) == 415
    assert list((server.data / "incoming").iterdir()) == []
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), np.zeros((7000, 6000), np.uint8))
    long = write_video(tmp_path / "long.mp4", [lambda number: None], count=40)
    bomb = tmp_path / "bomb.png"
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT")
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 90, 180)]
    frames[0].save(tmp_path / "slow.gif", save_all=True, append_images=frames[1:], duration=2000)
    rows = server.post("/v1/score", wide, long, bomb, tmp_path / "slow.gif").json()["results"]
    assert [row["status"] for row in rows] == ["too_large"] * 4
    assert rows[3]["error"] == "it lasts 6 s; the limit of this server is 3 s" and rows[3]["kind"] == "video"
    assert rows[2]["error"] == "over 100,000,000 pixels; the limit of this server is 40,000,000"
    assert rows[0]["error"] == "6000x7000 pixels; the limit of this server is 40,000,000"
    assert rows[1]["error"] == "it lasts 4 s; the limit of this server is 3 s" and rows[1]["kind"] == "video"


def test_connections_that_send_nothing_or_rubbish_change_nothing(server, photos):
    host, port = server.url.removeprefix("http://").split(":")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2000:
        pytest.skip(f"THE TEST OF 1,000 SILENT CONNECTIONS DID NOT RUN: only {hard} files can be open here")
    with ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(1000):
            idle = opened.enter_context(socket.create_connection((host, int(port))))
            idle.sendall((b"", b"POST /v1/score HTTP/1.1\r\nHost: ", b"\x00\xff rubbish\r\n\r\n")[number % 3])
        rows = server.post("/v1/score", photos[1], stability="false").json()["results"]
        assert rows[0]["status"] == "ok"


GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=a\r\n"
CHUNKED += b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "more"),
    [
        pytest.param(GET, b"X-n: yyy\r\n", id="headers"),
        pytest.param(GET + b"X: ", b"y", id="one value"),
        pytest.param(b"GET /", b"y", id="path"),
        pytest.param(CHUNKED + b"0\r\n", b"X-n: yyy\r\n", id="trailers"),
        pytest.param(CHUNKED + b"0\r\nX: ", b"y", id="one trailer"),
        pytest.param(CHUNKED + b"1;", b"y", id="chunk extension"),
        pytest.param(GET + b"\r\n" + GET, b"X-n: yyy\r\n", id="second request"),
    ],
)
def test_headers_without_end_are_refused(server, head, more):
    host, port = server.url.removeprefix("http://").split(":")
    piece, answer = more * (20_000 // len(more)), b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head)
        sent = 0
        while sent < 50_000_000 and b" 431 " not in answer:
            try:
                connection.sendall(piece)
                sent += len(piece)
            except OSError:  # closed
                break
            if select.select([connection], [], [], 0.01)[0]:
                answer += connection.recv(65_536)
    assert sent < 1_000_000 and (b" 431 " in answer or sent > 60_000)


def test_operation(server, fakelab):
    assert server.http.get("/readyz").json() == {"status": "ready"}
    assert "fakelab_judged_total" in server.http.get("/metrics").text
    document = server.http.get("/openapi.json").json()
    assert {"/v1/score", "/v1/jobs", "/v1/jobs/{name}/events"} <= document["paths"].keys()
    taken = fakelab("serve", "--port", server.url.rpartition(":")[2], "--data", server.data.parent / "other")
    assert taken.returncode == 2 and "cannot listen" in taken.stderr
    busy = fakelab("serve", "--check", "--data", server.data)
    assert busy.returncode == 2 and "in use by another server" in busy.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--detector", "nowhere"), "nowhere is not a detector"),
        (("--certificate", "junk.pem", "--key", "junk.pem"), "--certificate junk.pem is no certificate"),
        (("--certificate", "nowhere.pem", "--key", "junk.pem"), "nowhere.pem cannot be read"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(fakelab, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    Path("junk.pem").write_text("junk")
    refused = fakelab("serve", "--port", 0, "--data", tmp_path / "data", *words)
    assert refused.returncode == 2 and said in refused.stderr and refused.stderr.count("\n") == 1
