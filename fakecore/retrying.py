"""Repeat a transfer that failed for a reason that may pass, after waits that grow; and say in words why it failed.

The words are chosen here: messages of libraries contain whole URLs, with their passwords.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP status codes of what may be gone at the next try


@dataclass(frozen=True)
class Backoff:
    """`tries` in all, the first wait `first_s`, each further one twice as long, up to `most_s`, times a random factor of 0.5 to
    1; no try starts later than `total_s` after the first. Seconds. `sleep` waits; it may raise, to stop.
    """

    tries: int = 4
    first_s: float = 0.5
    most_s: float = 8.0
    total_s: float = 120.0
    sleep: Callable[[float], object] = time.sleep
    chance: Callable[[], float] = random.random

    def wait_s(self, failed: int, asked_s: float = 0.0) -> float:
        """Return the wait after the `failed`-th failure; at least `asked_s`, which the server asked for."""
        grown = min(self.most_s, self.first_s * 2 ** (failed - 1)) * (0.5 + self.chance() / 2)
        return max(grown, asked_s)


@dataclass(frozen=True)
class Fault:
    """Why a transfer failed. `passing`: it may succeed at the next try; `unreachable`: no server answers at all."""

    reason: str
    passing: bool = False
    unreachable: bool = False
    wait_s: float = 0.0  # that the server asked for
    is_missing: bool = False


class Short(Exception):
    """A body that ended early, in bytes."""

    def __init__(self, got: int, expected: int):
        super().__init__(f"the connection ended after {got:,} of {expected:,} bytes")


class TooSlow(Exception):
    """A body of which next to nothing arrives."""


_down: set[str] = set()  # places that did not answer at any try


def attempt(action: Callable[[], Result], place: str, backoff: Backoff, ours: tuple[type[Exception], ...]) -> Result:
    """Return the result of `action`, repeated as `backoff` says. Exceptions of the kinds `ours` end it.

    Raises Failed. After a `place` (scheme and host) did not answer at any try, each further action there has one try, until one
    succeeds: a server that is gone costs a job of a million files seconds, not weeks.
    """
    began, failed = time.monotonic(), 0
    while True:
        try:
            result = action()
        except ours:
            raise
        except Exception as error:  # libraries of stores raise whatever they like
            fault = fault_of(error)
        else:
            _down.discard(place)
            return result
        failed += 1
        wait_s = backoff.wait_s(failed, fault.wait_s)
        tries = 1 if fault.unreachable and place in _down else backoff.tries
        is_late = time.monotonic() - began + wait_s > backoff.total_s
        if not fault.passing or failed >= tries or is_late:
            if fault.unreachable:
                _down.add(place)
            raise Failed(fault, failed)
        backoff.sleep(wait_s)


class Failed(Exception):
    """The last try failed too. `fault` says why, `tries` how many there were."""

    def __init__(self, fault: Fault, tries: int):
        super().__init__(fault.reason)
        self.fault, self.tries = fault, tries


def fault_of(error: BaseException) -> Fault:
    """Return what an exception of a store's library means."""
    chain = list(_chain(error))
    for one in chain:  # the outermost counts: the cause of a cut connection may bear the status of a bad message
        if (status := _status(one)) is not None and 400 <= status < 600:
            return _of_status(status, one)
        if found := _of_kind(one):
            return found
    last = chain[0]
    if isinstance(last, OSError) and last.errno:
        return Fault(os.strerror(last.errno).lower())
    return Fault(f"the transfer failed ({type(last).__name__})")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status in an exception of aiohttp, botocore, gcsfs, Azure or Hugging Face."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for holder, name in ((error, "status"), (error, "status_code"), (answer, "status_code"), (error, "code")):
        found = getattr(holder, name, None)
        if isinstance(found, int):
            return found
        if isinstance(found, str) and found.isdecimal():
            return int(found)
    return None


def _of_status(status: int, error: BaseException) -> Fault:
    if status in PASSING:
        busy = "the server asks for fewer requests" if status == 429 else "the server fails"
        return Fault(f"{busy} (status {status})", passing=True, wait_s=_asked_wait(error))
    if status == 401:
        return Fault("the server asks for credentials (status 401)")
    if status == 403:
        return Fault("access is denied: check the credentials (status 403)")
    if status in (404, 410):
        return Fault(f"there is no such file (status {status})", is_missing=True)
    return Fault(f"the server refuses the request (status {status})")


def _asked_wait(error: BaseException) -> float:
    """Return the seconds of a Retry-After header, 0 without one; a date, which is rare, is passed over."""
    headers = getattr(error, "headers", None)
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders")
    with suppress(ValueError, TypeError, AttributeError):
        return max(0.0, float((headers or {}).get("Retry-After") or headers.get("retry-after")))  # type: ignore[union-attr]
    return 0.0


_REFUSALS = {  # names of exceptions, of libraries that need not be installed -> what they mean
    "NoCredentialsError": "no credentials are found",
    "PartialCredentialsError": "the credentials are incomplete",
    "CredentialRetrievalError": "no credentials are found",
    "TokenRetrievalError": "the credentials have expired",
    "UnauthorizedSSOTokenError": "the credentials have expired",
    "ProfileNotFound": "there is no such profile of credentials",
    "DefaultCredentialsError": "no credentials are found",
    "ClientAuthenticationError": "the credentials are refused",
    "ParamValidationError": "the name of the bucket or file is not valid",
    "InvalidURL": "the URL is not valid",
    "TooManyRedirects": "the server redirects in a circle",
    "ContentEncodingError": "the compressed body is damaged",
}
_NO_ANSWER = ("EndpointConnectionError", "ClientConnectorError", "ConnectTimeoutError", "ConnectionTimeoutError")
_CUT = (
    *("ClientPayloadError", "ServerDisconnectedError", "ConnectionClosedError", "HTTPClientError", "IncompleteRead"),
    *("IncompleteReadError", "ResponseStreamingError", "ResponseParserError", "ClientConnectionError"),
    "ServiceRequestError",
)


def _of_kind(error: BaseException) -> Fault | None:
    names = [kind.__name__ for kind in type(error).__mro__]
    if isinstance(error, Short):
        return Fault(str(error), passing=True)
    if isinstance(error, TooSlow):
        return Fault("the server sends next to nothing", passing=True)
    if isinstance(error, ssl.SSLError) or "ClientConnectorCertificateError" in names or "ClientSSLError" in names:
        return Fault("the certificate of the server is not valid, or it speaks no TLS")
    for name in names:
        if name in _REFUSALS:
            return Fault(_REFUSALS[name])
    if "ClientConnectorDNSError" in names or isinstance(error, socket.gaierror):
        return Fault("the name of the server cannot be resolved", passing=True, unreachable=True)
    if isinstance(error, FileNotFoundError):
        return Fault("there is no such file", is_missing=True)
    if isinstance(error, PermissionError):
        return Fault("access is denied: check the credentials")
    if isinstance(error, IsADirectoryError):
        return Fault("a folder, where a file is expected")
    if isinstance(error, ConnectionRefusedError) or any(name in names for name in _NO_ANSWER):
        return Fault("the server does not answer", passing=True, unreachable=True)
    if isinstance(error, TimeoutError) or "ReadTimeoutError" in names or "FSTimeoutError" in names:
        return Fault("the server does not answer in time", passing=True)
    if isinstance(error, ConnectionError) or any(name in names for name in _CUT):
        return Fault("the connection was cut", passing=True)
    return None
