"""Forms are received within limits, and a request that is refused leaves nothing."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request

from fakedetect.web import uploads
from fakedetect.web.problems import Problem
from fakedetect.web.settings import ServeSettings
from fakedetect.web.uploads import receive, shown_name

BOUNDARY = "xyz"


def part(name: str, content: bytes, file: str | None = None) -> bytes:
    given = f'; filename="{file}"' if file is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{given}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def received(tmp_path: Path, body: bytes, *, kind: str | None = None, size: int = 1000, silent: bool = False, **limits):
    """Send `body` in pieces of `size` bytes; with `silent`, nothing follows."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def next_piece():
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or silent}
        await asyncio.sleep(60)
        return None

    headers = [(b"content-type", (kind or f"multipart/form-data; boundary={BOUNDARY}").encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, next_piece)
    return asyncio.run(receive(request, tmp_path, ServeSettings(tmp_path, **limits)))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_files_and_fields_arrive_whatever_the_pieces(tmp_path, size):
    photo = bytes(range(256)) * 3 + b"\r\n--xy" + b"z" * 40  # as good as a boundary
    body = form(part("files", photo, "../../etc/pass wd.JPG"), part("stability", b"true"), part("files", b"", ""))
    found = received(tmp_path, body, size=size)
    (upload,) = found.files
    assert (upload.name, upload.size, upload.path.read_bytes()) == ("pass wd.JPG", len(photo), photo)
    assert upload.path.parent == tmp_path
    assert upload.path.suffix == ".jpg"
    assert found.fields == {"stability": "true"}
    found.discard()
    assert list(tmp_path.iterdir()) == []


PHOTO = part("files", b"photo", "a.jpg")


@pytest.mark.parametrize(
    ("body", "status", "more"),
    [
        (form(part("files", b"x" * 2_200_000, "a.jpg")), 413, {"max_mb": 2, "size": 100_000}),
        (form(PHOTO, PHOTO, PHOTO), 413, {"max_files": 2}),
        (form(part("files", b"", "")), 422, {}),
        (form(PHOTO)[:-10], 400, {}),
        (PHOTO, 400, {}),
        (b"--other\r\n\r\n", 400, {}),
        (form(part("note", b"x" * 5000), PHOTO), 400, {}),
        (form(*[part(f"f{n}", b"") for n in range(40)], PHOTO), 400, {}),
        (form(part("n" * 5000, b"", "a.jpg")), 400, {}),
        (form(PHOTO), 415, {"kind": "application/json"}),
        (form(PHOTO), 415, {"kind": "multipart/form-data"}),
    ],
    ids=[
        "large",
        "many",
        "no file",
        "cut",
        "no end",
        "damaged",
        "long field",
        "fields",
        "long header",
        "json",
        "plain",
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, body, status, more):
    with pytest.raises(Problem) as refused:
        received(tmp_path, body, **more)
    assert refused.value.status == status
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_falls_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "_SILENCE_S", 0.05)
    with pytest.raises(Problem) as refused:
        received(tmp_path, PHOTO, silent=True)
    assert refused.value.status == 408
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_trickles_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "_GRACE_S", 0.0)
    monkeypatch.setattr(uploads, "_MIN_RATE", 10**9)
    with pytest.raises(Problem) as refused:
        received(tmp_path, form(PHOTO), size=5)
    assert refused.value.status == 408


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("C:\\photos\\me.jpg", "me.jpg"),
        ("/etc/passwd", "passwd"),
        ("a\nb\x00c\u202e.png", "abc.png"),
        ("x" * 300, "x" * 255),
        ("..", ".."),
        ("%22a%22%0D%0A 100%.png", '"a" 100%.png'),
    ],
)
def test_names_are_only_shown(name, shown):
    assert shown_name(name) == shown
