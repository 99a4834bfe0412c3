"""Files at paths and URLs alike: names, stores, servers that fail, and secrets that are not shown."""

import importlib.util

import pytest

from fakecore import filesystems, retrying, storage
from fakecore.errors import UserError
from fakecore.retrying import Backoff
from fakecore.storage import StorageError
from fakecore.urls import base_name, file_path, is_url, join, shown
from tests.stores import BUCKET, Web, s3_store


@pytest.fixture(scope="module")
def s3():
    with s3_store() as store:
        yield store


@pytest.fixture(scope="module")
def web():
    server = Web()
    yield server
    server.close()


@pytest.fixture
def waits(monkeypatch):
    """The waits between tries, in seconds, which nobody waits."""
    found: list[float] = []
    monkeypatch.setattr(storage, "BACKOFF", Backoff(sleep=found.append, chance=lambda: 1.0))
    return found


@pytest.mark.parametrize(
    ("name", "url", "visible"),
    [
        ("s3://b/a.jpg", True, "s3://b/a.jpg"),
        ("S3://b/A.jpg", True, "s3://b/A.jpg"),
        ("s3://key:PASS@b/a.jpg", True, "s3://b/a.jpg"),
        ("s3://b/a?b#c.jpg", True, "s3://b/a?b#c.jpg"),
        ("s3://b/a.jpg?X-Amz-Signature=PASS", True, "s3://b/a.jpg"),
        ("https://me:PASS@host:8080/a.jpg?id=3&sig=PASS&page=2#PASS", True, "https://host:8080/a.jpg?id=3&page=2"),
        ("https://host/a.jpg?PASS", True, "https://host/a.jpg"),
        ("https://host?token=PASS", True, "https://host"),
        ("hf://datasets/u/r@main/a.jpg", True, "hf://datasets/u/r@main/a.jpg"),
        ("c:/a.jpg", False, "c:/a.jpg"),
        ("c://a.jpg", False, "c://a.jpg"),
        ("a: b.jpg", False, "a: b.jpg"),
        ("ftp://host/a.jpg", False, "ftp://host/a.jpg"),
    ],
)
def test_urls_are_known_and_shown_without_secrets(name, url, visible):
    assert (is_url(name), shown(name)) == (url, visible)


def test_names_below_urls():
    assert join("s3://b/det/", "x y.json") == "s3://b/det/x y.json"
    assert join("https://h/det?sig=1", "x y.json") == "https://h/det/x%20y.json?sig=1"
    assert base_name("https://h/in/x%20y.zip?sig=1") == "x y.zip" and base_name("s3://b/in/") == "in"
    assert str(file_path("file:///a/b%20c.jpg")) == "/a/b c.jpg"
    with pytest.raises(UserError, match="this machine"):
        file_path("file://elsewhere/a.jpg")


@pytest.mark.parametrize("kind", ["s3", "memory", "path"])
def test_stores_are_read_written_and_listed_alike(kind, s3, tmp_path, monkeypatch):
    root = {"s3": f"s3://{BUCKET}/in", "memory": "memory://in", "path": str(tmp_path)}[kind]
    names = ["a/b [1].png", "a/é?#.png", "c.png"]
    for name in (*names, ".hidden/x.png", "a/.hidden.png", "metadata.csv"):
        storage.write_bytes(f"{root}/{name}", name.encode())
    found = list(storage.list_files(root))
    assert [one.url for one in found] == [f"{root}/{name}" for name in sorted(names)]
    assert [one.size for one in found] == [len(name.encode()) for name in sorted(names)]
    assert len(list(storage.list_files(f"{root}/", every=True))) == 6
    for name in names:
        assert storage.read_bytes(f"{root}/{name}") == name.encode()
        with storage.local_copy(f"{root}/{name}") as copy:
            assert copy.read_bytes() == name.encode() and copy.suffix == ".png"
    assert kind == "path" or not copy.exists()
    assert storage.exists(f"{root}/c.png") and not storage.exists(f"{root}/gone.png")
    before = storage.facts(f"{root}/c.png")
    storage.write_bytes(f"{root}/c.png", b"other")
    assert storage.facts(f"{root}/c.png") != before
    with pytest.raises(StorageError, match="no such file"):
        storage.read_bytes(f"{root}/gone.png")
    (tmp_path / "mine").write_bytes(b"x" * 300_000)
    storage.upload(tmp_path / "mine", f"{root}/up/x.bin")
    assert storage.read_bytes(f"{root}/up/x.bin") == b"x" * 300_000
    if kind != "path":
        with pytest.raises(storage.Stopped), storage.local_copy(f"{root}/up/x.bin", on_bytes=_stop):
            pass
    with pytest.raises(StorageError, match="limit") as refused:
        storage.read_bytes(f"{root}/c.png", most=3)
    assert refused.value.status == "too_large" and not refused.value.passing


def _stop(_):
    raise storage.Stopped


def test_lists_of_many_pages_are_read_page_by_page(s3, monkeypatch):
    for number in range(5):
        storage.write_bytes(f"s3://{BUCKET}/many/{number}.png", b"")
    asked, whole = [], s3.call_s3

    def in_pages(method, **words):
        asked.append(method)
        return whole(method, MaxKeys=2, **words)

    monkeypatch.setattr(type(s3), "call_s3", staticmethod(in_pages))
    found = storage.list_files(f"s3://{BUCKET}/many/")
    assert next(found).url.endswith("0.png") and len(asked) == 1
    assert len(list(found)) == 4 and len(asked) == 3


@pytest.mark.parametrize(
    ("path", "reason", "requests", "passing"),
    [
        ("/cut.png", "the connection was cut, 4 times", 4, True),
        ("/busy.png", "the server fails (status 503), 4 times", 4, True),
        ("/throttled.png", "the server asks for fewer requests (status 429), 4 times", 4, True),
        ("/slow.png", "does not answer in time, 4 times", 4, True),
        ("/gone.png", "there is no such file", 1, False),
        ("/forbidden.png", "access is denied", 1, False),
        ("/circle.png", "redirects in a circle", 10, False),
        ("/endless.png", "over 1 MiB", 1, False),
        ("/huge.png", "over 1 MiB", 1, False),
    ],
)
def test_what_may_pass_is_repeated(web, waits, monkeypatch, path, reason, requests, passing):
    monkeypatch.setattr(filesystems, "_SILENT_S", 0.1)
    web.requests.clear()
    with pytest.raises(StorageError) as failed:
        storage.read_bytes(web.url.replace("//", "//me:PASS@") + path + "?sig=PASS", most=1 << 20)
    assert reason in failed.value.reason and failed.value.passing == passing
    assert web.requests[path] == requests
    assert "PASS" not in f"{failed.value}{failed.value!r}{failed.value.__cause__}"
    expected = {"/throttled.png": [7.0] * 3}.get(path, [0.5, 1.0, 2.0] if passing else [])
    assert waits == expected


def test_a_server_that_recovers_is_read(web, waits):
    web.files["/good.png"] = b"content"
    assert storage.read_bytes(f"{web.url}/busy-twice.png") == b"content" and len(waits) == 2


def test_a_server_that_is_gone_has_one_try_for_each_further_file(waits):
    gone = Web()
    gone.close()
    for expected in (3, 3, 3):
        with pytest.raises(StorageError, match="does not answer"):
            storage.read_bytes(f"{gone.url}/a.png")
        assert len(waits) == expected
    retrying._down.discard(gone.url)
    with pytest.raises(StorageError):
        storage.read_bytes(f"{gone.url}/a.png")
    assert len(waits) == 6


def test_waits_are_limited():
    backoff = Backoff(chance=lambda: 0.0)
    assert [backoff.wait_s(n) for n in (1, 2, 9)] == [0.25, 0.5, 4.0]
    slept = []

    def fail():
        raise ConnectionResetError

    with pytest.raises(retrying.Failed):
        retrying.attempt(fail, "x", Backoff(total_s=0.6, sleep=slept.append, chance=lambda: 1.0), ())
    assert slept == [0.5]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://host/a.jpg", "expected s3://, gs://"),
        ("gs://b/a.jpg", r"needs the package gcsfs.*pip install 'fakelab\[cloud\]'"),
        ("s3://me:PASS@b/a.jpg", "takes no password"),
        ("https://h/folder/", "cannot be listed"),
    ],
)
def test_what_cannot_be_read_says_why(url, says, monkeypatch):
    present = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gcsfs" else present(name))
    with pytest.raises(UserError, match=says) as refused:
        list(storage.list_files(url))
    assert "PASS" not in str(refused.value)


def test_web_servers_are_not_written_to(web):
    with pytest.raises(UserError, match="cannot be written"):
        storage.write_bytes(f"{web.url}/a.html", b"")
