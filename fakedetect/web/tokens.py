"""Who may use the server: tokens from a file, sessions of browsers, and which names and pages requests may come from.

A token file has lines `name token`, and `name token read-only` for those who may see the jobs of that name, but not send or
delete; # begins a comment. Tokens are compared in constant time. Browsers that sign in with a token get a cookie that holds no
token: it is signed with a secret of this server.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fakecore.errors import UserError, why_unreadable
from fakecore.files import write_bytes

MIN_TOKEN = 20  # characters
SESSION_S = 7 * 24 * 3600.0
SECRET_BYTES = 32  # that cookies are signed with
READ_ONLY = "read-only"


@dataclass(frozen=True)
class Client:
    """Who sent a request: `owner` names whose jobs are shown, `may_write` whether it may send and delete."""

    owner: str
    may_write: bool = True


@dataclass(frozen=True)
class _Token:
    name: str
    digest: bytes
    may_write: bool


class Tokens:
    """The tokens of a file: of each name one, and perhaps a read-only one. Raises UserError if it cannot be read, has no
    token, a short one, the same one twice, two of a kind of one name, or a read-only one of a name that has no other.
    """

    def __init__(self, path: Path):
        self._tokens: list[_Token] = []
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            got = why_unreadable(error, path) if isinstance(error, OSError) else "no text in UTF-8"
            raise UserError(f"the token file {path} cannot be read", got=got) from None
        for number, line in enumerate(lines, 1):
            if words := line.partition("#")[0].split():
                self._tokens.append(_parsed(words, f"line {number} of {path}"))
        if not self._tokens:
            remedy = f"Write a line: NAME TOKEN. A new token: {secrets.token_urlsafe(24)}"
            raise UserError(f"the token file {path} has no token", remedy=remedy)
        self._check(path)

    def _check(self, path: Path) -> None:
        full = [token.name for token in self._tokens if token.may_write]
        read_only = [token.name for token in self._tokens if not token.may_write]
        for names in (full, read_only):
            for name in names:
                if names.count(name) > 1:
                    expected = f"one token of a name, and perhaps a {READ_ONLY} one"
                    raise UserError(f"the token file {path} has a name twice", got=name, expected=expected)
        for name in read_only:
            if name not in full:
                what = (
                    f"the {READ_ONLY} token of {name} in {path} would show nothing: nobody can send jobs of that name"
                )
                raise UserError(what, expected=f"a line {name} TOKEN, too")
        if len({token.digest for token in self._tokens}) < len(self._tokens):
            raise UserError(f"the token file {path} has a token twice", expected="a token of its own for each line")

    def clients(self) -> list[tuple[Client, bytes]]:
        """Return all clients, each with the digest of its token."""
        return [(Client(f"token {one.name}", one.may_write), one.digest) for one in self._tokens]

    def find(self, token: str) -> tuple[Client, bytes] | None:
        """Return who has this token, and its digest, or None."""
        digest = _digest(token)
        found = None
        for client, known in self.clients():  # all are compared, whichever is right
            if hmac.compare_digest(known, digest):
                found = client, known
        return found


def _parsed(words: list[str], where: str) -> _Token:
    if len(words) not in (2, 3) or words[2:] not in ([], [READ_ONLY]):
        raise UserError(
            f"{where} is no token", got=f"{len(words)} words", expected=f"NAME TOKEN, or NAME TOKEN {READ_ONLY}"
        )
    if len(words[1]) < MIN_TOKEN:
        got = f"{len(words[1])} characters"
        remedy = f"A new token: {secrets.token_urlsafe(24)}"
        raise UserError(f"the token in {where} is too short", got=got, expected=f"{MIN_TOKEN} or more", remedy=remedy)
    return _Token(words[0], _digest(words[1]), len(words) == 2)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def wrong_secret(data: Path) -> str | None:
    """Return what is wrong with the secret in a data folder: with a short one, anyone could sign a session."""
    path = data / "secret"
    size = path.stat().st_size if path.is_file() else SECRET_BYTES
    return None if size >= SECRET_BYTES else f"{path} has {size} bytes; {SECRET_BYTES} are expected"


class Signer:
    """Signs the cookies of browsers with a secret in the data folder, which is made once."""

    def __init__(self, data: Path):
        path = data / "secret"
        if not path.is_file():
            write_bytes(path, secrets.token_bytes(SECRET_BYTES))
            path.chmod(0o600)
        self._secret = path.read_bytes()
        if why := wrong_secret(data):
            raise UserError(why, remedy="Delete it: a new one is made, and browsers have to sign in again.")

    def sign(self, text: str, bound_to: bytes = b"") -> str:
        """Return text, time and signature as the value of a cookie, to be read with the same `bound_to` only."""
        body = f"{text.encode().hex()}.{int(time.time())}"
        return f"{body}.{self._signature(body, bound_to)}"

    def read(self, value: str, most_s: float, bound_to: bytes = b"") -> str | None:
        """Return the text of a cookie, or None if its signature is wrong or older than `most_s` seconds."""
        body, _, signature = value.rpartition(".")
        if not hmac.compare_digest(self._signature(body, bound_to).encode(), signature.encode(errors="replace")):
            return None
        text, _, signed = body.partition(".")
        return bytes.fromhex(text).decode() if time.time() - int(signed) <= most_s else None

    def _signature(self, body: str, bound_to: bytes) -> str:
        return hmac.new(self._secret, bound_to + body.encode(errors="replace"), hashlib.sha256).hexdigest()


class EndedSessions:
    """The sessions that were ended by signing out, in the data folder: lines "DIGEST TIME", when they would have expired."""

    def __init__(self, data: Path):
        self._path = data / "signed-out"
        self._until: dict[str, float] = {}
        lines = self._path.read_text("ascii", errors="replace").splitlines() if self._path.is_file() else []
        for words in map(str.split, lines):
            if len(words) == 2 and words[1].isdecimal() and float(words[1]) > time.time():
                self._until[words[0]] = float(words[1])
        if lines:
            self._write("w", self._until)

    def add(self, cookie: str, most_s: float) -> None:
        """End a session whose cookie is valid for at most so many seconds."""
        digest = hashlib.sha256(cookie.encode()).hexdigest()
        self._until[digest] = time.time() + most_s
        self._write("a", {digest: self._until[digest]})

    def has(self, cookie: str) -> bool:
        """Return whether a session was ended."""
        return hashlib.sha256(cookie.encode(errors="replace")).hexdigest() in self._until

    def _write(self, mode: str, sessions: dict[str, float]) -> None:
        with self._path.open(mode, encoding="ascii") as file:
            file.writelines(f"{digest} {until:.0f}\n" for digest, until in sessions.items())


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port: "[::1]:8000" -> "::1"; "" for a malformed one."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""
