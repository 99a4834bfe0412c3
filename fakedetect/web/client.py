"""A client of `serve`: judge files on another machine, with the rows of `score`."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fakecore.errors import UserError, why_unreadable

try:
    import httpx
except ModuleNotFoundError:
    raise UserError("the client needs httpx", remedy="Install it: pip install 'fakelab[serve]'.") from None

_TIMEOUT_S = 60.0  # to connect, and between bytes
_TRIES = 6
_POLL_S = 0.5
_MOST_FILES, _MOST_BYTES = 50, 100 * 2**20  # of one request


class Client:
    """Judges files by the server at `url`; `token` is needed where the server asks for one.

    Requests that fail for a moment (no connection, too many files waiting) are sent again for about a minute. Every method
    raises UserError for a server that cannot be reached, or refuses.
    """

    def __init__(self, url: str, token: str | None = None):
        if not url.startswith(("http://", "https://")):
            raise UserError("this is no address of a server", got=repr(url), expected="http://HOST:PORT")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT_S)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def detectors(self) -> list[dict[str, Any]]:
        """Return what the server offers, the default first."""
        return self._json("GET", "/v1/detectors")["detectors"]

    def score(
        self,
        paths: Iterable[Path | str],
        *,
        detector: str | None = None,
        stability: bool | None = None,
        whole_frame: bool = False,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the row of each file, in order, as `score_files` does. Each request is a job, which survives a server that is
        killed, and is deleted when its rows are fetched. `on_progress` is called with (path, frames analysed, expected).
        """
        listed = [str(path) for path in paths]
        tested = len(listed) == 1 if stability is None else stability
        fields = {"detector": detector, "stability": tested, "whole_frame": whole_frame}
        given = {name: str(value).lower() for name, value in fields.items() if value is not None}
        for part in _in_requests(listed):
            readable = [path for path in part if _why_not(path) is None]
            rows = iter(self._judged(readable, given, on_progress) if readable else ())
            for path in part:
                yield _unreadable(path) if path not in readable else next(rows) | {"path": path}

    def _judged(
        self, paths: list[str], fields: dict[str, str], on_progress: Callable[[str, int, int], None] | None
    ) -> list[dict[str, Any]]:
        key = secrets.token_urlsafe(16)  # a request that is sent again makes no second job
        job = self._json("POST", "/v1/jobs", headers={"Idempotency-Key": key}, upload=paths, data=fields)
        where = job["links"]["self"]
        try:
            self._wait(job, paths, on_progress)
            return self._json("GET", f"{where}/result")["results"]
        finally:
            with suppress(UserError):
                self._send("DELETE", where)

    def _wait(self, job: dict[str, Any], paths: list[str], on_progress: Callable[[str, int, int], None] | None) -> None:
        """Return when a job is done; a connection that breaks is made again."""
        while self._json("GET", job["links"]["self"])["state"] != "done":
            with suppress(httpx.TransportError):
                for event, data in self._events(job["links"]["events"]):
                    if event == "progress" and on_progress:
                        on_progress(paths[data["place"]], data["analysed"], data["expected"])
                    if event in ("done", "deleted"):
                        break
            time.sleep(_POLL_S)

    def _events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._http.stream("GET", path) as answer:
            event = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            return self._send(method, path, **options).json()
        except ValueError:
            raise UserError(f"{self.url} is no fakelab server", got="an answer that is not JSON") from None

    def _send(self, method: str, path: str, upload: list[str] | None = None, **options: Any) -> httpx.Response:
        """Send a request, again if the server is not there for a moment. Raises UserError."""
        for attempt in range(1, _TRIES + 1):
            try:
                with ExitStack() as opened:
                    files = [
                        ("files", (Path(one).name, opened.enter_context(Path(one).open("rb")))) for one in upload or ()
                    ]
                    answer = self._http.request(method, path, files=files or None, **options)
                wait_s = _retry_after(answer)
                if wait_s is None or attempt == _TRIES:
                    return self._checked(answer)
            except httpx.TransportError as error:
                if attempt == _TRIES:
                    raise UserError(
                        f"the server {self.url} cannot be reached", got=str(error) or type(error).__name__
                    ) from None
                wait_s = 2.0 ** (attempt - 1)
            time.sleep(wait_s * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = answer.reason_phrase
        raise UserError(f"{self.url} refused", got=f"{answer.status_code}: {detail}")


def _retry_after(answer: httpx.Response) -> float | None:
    """Return how long to wait before a request is sent again; None if it is not to be."""
    if answer.status_code not in (429, 502, 503, 504):
        return None
    stated = answer.headers.get("Retry-After", "")
    return min(30.0, float(stated)) if stated.isdecimal() else 2.0


def _in_requests(paths: list[str]) -> Iterator[list[str]]:
    """Yield the paths in parts, each small enough for a request."""
    part: list[str] = []
    size = 0
    for path in paths:
        own = Path(path).stat().st_size if Path(path).is_file() else 0
        if part and (len(part) == _MOST_FILES or size + own > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(path)
        size += own
    if part:
        yield part


def _why_not(path: str) -> str | None:
    try:
        if not Path(path).is_file():
            return "there is no such file"
        with Path(path).open("rb"):
            return None
    except OSError as error:
        return why_unreadable(error, Path(path))


def _unreadable(path: str) -> dict[str, Any]:
    from fakedetect.web.tasks import failed_row

    return failed_row(path, _why_not(path) or "it cannot be read")
