"""Who may use a server: addresses, tokens, hosts and pages of other sites."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from fakecore.errors import UserError
from fakedetect.web.access import SESSION, Access, Guard
from fakedetect.web.problems import Problem
from fakedetect.web.settings import ServeSettings
from fakedetect.web.tokens import Signer, Tokens

LONG = "a-token-of-at-least-twenty-characters"
OTHER = "another-token-of-twenty-characters"
THIRD = "a-third-token-of-twenty-characters"


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw, "client": ("10.0.0.1", 1)})


@pytest.fixture
def guarded(tmp_path):
    (tmp_path / "tokens").write_text(f"# ours\nann {LONG}\nann {OTHER} read-only\nbob {THIRD}\n")
    return Access(ServeSettings(tmp_path, token_file=tmp_path / "tokens", host="0.0.0.0", max_per_minute=2))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "fakelab.example.org"])
def test_beyond_loopback_a_token_is_required(tmp_path, host):
    with pytest.raises(UserError, match="--token-file"):
        ServeSettings(tmp_path, host=host)
    assert not ServeSettings(tmp_path, host=host, no_auth=True).is_local


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"max_per_minute": -3}, "--max-per-minute"),
        ({"port": 65536}, "--port"),
        ({"workers": 0}, "--workers"),
        ({"keep_h": -1.0}, "--keep"),
        ({"max_minutes": float("nan")}, "--max-minutes"),
        ({"max_s": float("inf")}, "--max-s"),
        ({"memory_mb": 10**20}, "--memory-mb"),
        ({"proxies": ("everywhere",)}, "--proxy"),
    ],
)
def test_options_out_of_range_are_named(tmp_path, changes, option):
    with pytest.raises(UserError, match=f"{option} is"):
        ServeSettings(tmp_path, **changes)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_token(tmp_path, host):
    assert ServeSettings(tmp_path, host=host).is_local


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("# none\n", "has no token"),
        ("ann short\n", "too short"),
        (f"ann {LONG} admin\n", "is no token"),
        (f"ann {LONG}\nann {OTHER}\n", "a name twice"),
        (f"ann {LONG}\nann {OTHER} read-only\nann {THIRD} read-only\n", "a name twice"),
        (f"ann {LONG}\nbob {OTHER} read-only\n", "would show nothing"),
        (f"ann {LONG}\nann {LONG} read-only\n", "a token twice"),
        (None, "cannot be read"),
    ],
)
def test_bad_token_files_are_refused(tmp_path, text, wrong):
    if text is not None:
        (tmp_path / "tokens").write_text(text)
    with pytest.raises(UserError, match=wrong) as error:
        Tokens(tmp_path / "tokens")
    assert LONG not in str(error.value)


def test_tokens_name_their_client(guarded):
    ann, reader, bob = (guarded.client(request(authorization=f"Bearer {token}")) for token in (LONG, OTHER, THIRD))
    assert [(one.owner, one.may_write) for one in (ann, reader, bob)] == [
        ("token ann", True),
        ("token ann", False),
        ("token bob", True),
    ]
    for headers in ({}, {"authorization": f"Bearer {LONG}x"}, {"authorization": f"Basic {LONG}"}):
        with pytest.raises(Problem) as refused:
            guarded.client(request(**headers))
        assert refused.value.status == 401
    with pytest.raises(Problem) as refused:
        guarded.writer(request(authorization=f"Bearer {OTHER}"))
    assert refused.value.status == 403
    assert guarded.may_see(reader, "token ann") and not guarded.may_see(bob, "token ann")


def test_a_client_that_sends_too_much_waits(guarded):
    ask = request(authorization=f"Bearer {LONG}")
    guarded.uploader(ask), guarded.uploader(ask)
    with pytest.raises(Problem) as refused:
        guarded.uploader(ask)
    assert refused.value.status == 429
    assert refused.value.response().headers["Retry-After"] == "30"


def test_a_session_lasts_as_long_as_its_token(tmp_path, guarded):
    answer = Response()
    assert not guarded.sign_in(answer, "wrong", secure=True)
    assert guarded.sign_in(answer, LONG, secure=True)
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Secure")) and LONG not in cookie
    value = cookie.partition(";")[0]
    assert guarded.client(request(cookie=value)).owner == "token ann"
    with pytest.raises(Problem):
        guarded.client(request(cookie=value[:-1] + ("0" if value[-1] != "0" else "1")))
    for lines in (f"bob {OTHER}\n", f"ann {OTHER}\n"):  # withdrawn, or changed
        (tmp_path / "tokens").write_text(lines)
        with pytest.raises(Problem):
            Access(ServeSettings(tmp_path, token_file=tmp_path / "tokens")).client(request(cookie=value))


def test_a_session_that_was_ended_is_of_no_use(tmp_path, guarded):
    cookies = []
    for _ in range(2):
        answer = Response()
        guarded.sign_in(answer, LONG, secure=True)
        cookies.append(answer.headers["set-cookie"].partition(";")[0])
    guarded.sign_out(request(cookie=cookies[0]), Response())
    guarded.sign_out(request(cookie="fakelab_session=forged"), Response())
    again = Access(ServeSettings(tmp_path, token_file=tmp_path / "tokens"))
    for access in (guarded, again):
        assert access.client(request(cookie=cookies[1])).owner == "token ann", "other browsers stay signed in"
        with pytest.raises(Problem):
            access.client(request(cookie=cookies[0]))
    assert len((tmp_path / "signed-out").read_text().splitlines()) == 1, "only who is signed in can add to it"


def test_signatures_expire_and_survive_a_restart(tmp_path):
    value = Signer(tmp_path).sign("text")
    assert Signer(tmp_path).read(value, 60) == "text"
    assert Signer(tmp_path).read(value, -1) is None
    for wrong in ("", "x", "..", value.upper(), "é.1.x", "zz" + value):
        assert Signer(tmp_path).read(wrong, 60) is None
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    assert SESSION not in value
    assert Signer(tmp_path).read(value, 60, b"token") is None
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(UserError, match="has 0 bytes; 32 are expected"):
        Signer(tmp_path)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"host": "localhost:8000"}, 200),
        ("GET", {"host": "[::1]:8000"}, 200),
        ("GET", {"host": "evil.example.org"}, 421),
        ("GET", {"host": "127.0.0.1.evil.example.org"}, 421),
        ("GET", {"host": "[::1"}, 421),
        ("GET", {"origin": "https://evil.example.org"}, 200),  # nothing changes, and CORS keeps the answer from it
        ("POST", {}, 200),
        ("POST", {"origin": "http://127.0.0.1:8000"}, 200),
        ("POST", {"origin": "https://evil.example.org"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://127.0.0.1:9999"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("DELETE", {"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_foreign_hosts_and_pages_are_refused(tmp_path, method, headers, status):
    async def ok(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    routes = [Route(path, ok, methods=["GET", "POST", "DELETE"]) for path in ("/", "/readyz")]
    app = Guard(Starlette(routes=routes), ServeSettings(tmp_path))
    answer = TestClient(app).request(method, "/", headers={"host": "127.0.0.1:8000"} | headers)
    health = TestClient(app).get("/readyz", headers={"host": "127.0.0.1:8000"} | headers)
    assert health.status_code == 200, "a container's health check does not know the host names"
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
