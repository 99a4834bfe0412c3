"""Access control: which hosts, origins and clients are answered, and the security headers of every answer."""

from __future__ import annotations

import secrets
import time
from collections.abc import MutableMapping
from typing import Any, Literal

from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fakedetect.web.problems import SECURITY_HEADERS, Page, Problem, answer_to
from fakedetect.web.settings import ServeSettings
from fakedetect.web.tokens import SESSION_S, Client, EndedSessions, Signer, Tokens, host_name

ANYONE = "anyone"  # the owner of jobs of clients without a name: whoever knows the id
SESSION, BROWSER = "fakelab_session", "fakelab_browser"  # cookies
_BROWSER_S = 400 * 24 * 3600.0  # the most that browsers keep a cookie
HEALTH_CHECKS = ("/healthz", "/readyz")  # say only that, so whatever calls them may use any host name
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Access:
    """Says who sent a request. Without a token file, everyone who reaches the server may use it, and sees the jobs of this
    browser, or the one whose id is known.
    """

    def __init__(self, settings: ServeSettings):
        self.tokens = Tokens(settings.token_file) if settings.token_file else None
        self._signer = Signer(settings.data)
        self._ended = EndedSessions(settings.data)
        self._per_minute = settings.max_per_minute
        self._recent: dict[str, tuple[float, float]] = {}  # client -> (when, requests left)

    def client(self, request: Request) -> Client:
        """Return who sent the request. Raises Problem 401 if a token is required."""
        if self.tokens is None:
            browser = self._signer.read(request.cookies.get(BROWSER, ""), _BROWSER_S)
            return Client(f"browser {browser}" if browser else ANYONE)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if known := self.tokens.find(token.strip()):
                return known[0]
        elif found := self._session(self.tokens, request):
            return found
        raise Problem(401, "A valid token is required: Authorization: Bearer TOKEN.")

    def _session(self, tokens: Tokens, request: Request) -> Client | None:
        """Return who signed in, or None: also if the token was withdrawn or changed since, or the session was ended."""
        cookie = request.cookies.get(SESSION, "")
        for client, digest in tokens.clients():
            # Signed with the token's digest, too: so the session ends with it.
            text = self._signer.read(cookie, SESSION_S, digest)
            if text and text.rpartition(" ")[0] == client.owner and not self._ended.has(cookie):
                return client
        return None

    def writer(self, request: Request) -> Client:
        """Return who sent the request. Raises Problem 403 if it may only read."""
        client = self.client(request)
        if not client.may_write:
            raise Problem(403, "This token is read-only.")
        return client

    def uploader(self, request: Request) -> Client:
        """Return who sent a request with files. Raises Problem 429 if the client sent too many of late."""
        client = self.writer(request)
        self.count(client, request)
        return client

    def count(self, client: Client, request: Request) -> None:
        """Take one request of a client's allowance, which fills up within a minute (a token bucket). Raises Problem 429 if
        nothing is left of it.
        """
        if not self._per_minute:
            return
        name = client.owner if self.tokens else request.client.host if request.client else ""
        now = time.monotonic()
        before, left = self._recent.pop(name, (now, float(self._per_minute)))
        left = min(self._per_minute, left + (now - before) * self._per_minute / 60) - 1
        self._recent[name] = (now, max(left, -1.0))
        while len(self._recent) > 10_000:
            self._recent.pop(next(iter(self._recent)))
        if left < 0:
            raise Problem(429, "Too many requests of this client. Slow down.", retry_s=60 / self._per_minute)

    def may_see(self, client: Client, owner: str) -> bool:
        """Return whether a client may see and delete the jobs of an owner."""
        return owner == client.owner or (self.tokens is None and owner == ANYONE)

    def sign_in(self, response: Response, token: str, *, secure: bool) -> bool:
        """Give a browser a session; return False for a wrong token."""
        found = self.tokens.find(token) if self.tokens else None
        if found is None:
            return False
        client, digest = found
        value = self._signer.sign(
            f"{client.owner} {secrets.token_hex(8)}", digest
        )  # each session has a cookie of its own
        self._set(response, SESSION, value, SESSION_S, secure, "strict")
        return True

    def name_browser(self, request: Request, response: Response, *, secure: bool) -> None:
        """Give a browser a name of its own, by which it finds its jobs again."""
        if self.tokens is None and self._signer.read(request.cookies.get(BROWSER, ""), _BROWSER_S) is None:
            # Not "strict": a link from another site would come without the cookie, and the browser would get a new name and
            # lose its jobs. Guard keeps other sites from changing anything.
            self._set(response, BROWSER, self._signer.sign(secrets.token_urlsafe(16)), _BROWSER_S, secure, "lax")

    def _set(
        self, response: Response, name: str, value: str, most_s: float, secure: bool, samesite: Literal["strict", "lax"]
    ) -> None:
        response.set_cookie(name, value, int(most_s), httponly=True, samesite=samesite, secure=secure)

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session of a browser: its cookie is of no more use to anyone, also after a restart."""
        if self.tokens and self._session(self.tokens, request):
            self._ended.add(request.cookies[SESSION], SESSION_S)
        response.delete_cookie(SESSION, httponly=True, samesite="strict")


class Guard:
    """ASGI middleware: refuses foreign hosts (DNS rebinding) and foreign pages (CSRF), and adds the security headers."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, page: Page | None = None):
        self._app, self._page = app, page
        own = {settings.host.lower(), *(name.lower() for name in settings.hosts)}
        self._hosts = own | {"localhost", "127.0.0.1", "::1"} if settings.is_local else own
        self._any_host = not settings.is_local and settings.host in ("0.0.0.0", "::") and not settings.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=_headers_of(message))
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._problem(Headers(scope=scope), scope["method"], scope["path"])
        app = answer_to(Request(scope), problem, self._page) if problem else self._app
        await app(scope, receive, send_with_headers)

    def _problem(self, headers: Headers, method: str, path: str) -> Problem | None:
        host = headers.get("host", "")
        if not self._any_host and host_name(host) not in self._hosts and path not in HEALTH_CHECKS:
            return Problem(421, "This server does not answer to that host name; --hosts allows it.")
        if method in _SAFE_METHODS:
            return None
        site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2].lower() != host.lower()
        if site not in ("same-origin", "none") or foreign:
            return Problem(403, "Requests from pages of other sites are refused.")
        return None


def _headers_of(message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    message["headers"] = list(message["headers"])
    return message
