"""Names of files on other machines: what is a URL, its parts, and how it is shown without its secrets. Nothing is read here."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from fakecore.errors import UserError

# Scheme -> the package that reads it, None if fsspec does by itself.
SCHEMES: dict[str, str | None] = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "az": "adlfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "file": None,
    "memory": None,
}
WEB = ("http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters or more: c:\ and c:/ are drives
# Parameters that choose a file, and are shown. Any other may be a password, a token or a part of a signature.
_SHOWN = {
    "id",
    "page",
    "n",
    "i",
    "index",
    "file",
    "filename",
    "name",
    "path",
    "format",
    "fm",
    "size",
    "width",
    "height",
    "w",
}
_SHOWN |= {"h", "q", "quality", "v", "version", "versionId", "rev", "raw", "dl", "download"}
_PARAMETERS = re.compile(r"[\w.~%-]+=")


def scheme_of(name: str) -> str | None:
    """Return the scheme of anything that looks like a URL, known or not, in small letters; None for a path."""
    match = _SCHEME.match(name)
    return match[1].lower() if match else None


def is_url(name: str) -> bool:
    """Return whether a name is a URL of a known scheme: "s3://bucket/a.jpg". A path is none, with a drive letter or ":" too."""
    return scheme_of(name) in SCHEMES


def is_web(name: str) -> bool:
    """Return whether a name is an http or https URL: a file that is read only, in a folder that cannot be listed."""
    return scheme_of(name) in WEB


def shown(url: str) -> str:
    """Return a URL as it is printed and written to rows: without user, password and fragment, and of the query only parameters
    that name a file. A path is returned as it is.
    """
    if not is_url(url):
        return url
    scheme, _, rest = url.partition("://")
    place, query = _split(scheme.lower(), rest)
    host, slash, path = place.partition("/")
    kept = "&".join(part for part in query.split("&") if part.partition("=")[0] in _SHOWN and "=" in part)
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{path}{'?' if kept else ''}{kept}"


def has_user(url: str) -> bool:
    """Return whether a URL bears a user name or password."""
    return is_url(url) and "@" in url.partition("://")[2].partition("/")[0]


def base_name(url: str) -> str:
    """Return the last part of a URL's path, without a query, as a file name; that of a path is its own."""
    if not is_url(url):
        return Path(url).name
    scheme, _, rest = url.partition("://")
    name = _split(scheme.lower(), rest)[0].rstrip("/").rpartition("/")[2]
    return unquote(name) if is_web(url) else name


def join(url: str, *names: str) -> str:
    """Return the URL or path of a file below a folder. A query stays at the end: a signed folder's holds for its files."""
    if not is_url(url):
        return str(Path(url, *names))
    scheme, _, rest = url.partition("://")
    place, query = _split(scheme.lower(), rest)
    parts = [quote(name, safe="/") if is_web(url) else name for name in names]
    return f"{scheme}://" + "/".join([place.rstrip("/"), *parts]) + (f"?{query}" if query else "")


def file_path(url: str) -> Path:
    """Return the path that a file:// URL names. Raises UserError if it names another machine."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        what = "a file:// URL names a file of this machine"
        raise UserError(
            what, got=shown(url), expected="file:///folder/photo.jpg", remedy="The path starts with a third /."
        )
    return Path(url2pathname(parts.path))


def refuse_url(path: Path | None, option: str) -> None:
    """Raise UserError if an option that takes a path of this machine has a URL."""
    if path is not None and path.parts and path.parts[0].endswith(":") and scheme_of(str(path).replace(":/", "://", 1)):
        raise UserError(f"{option} takes a path of this machine", got=f"a {path.parts[0]}// URL")


def _split(scheme: str, rest: str) -> tuple[str, str]:
    """Return what follows the scheme as (host and path, query). A name in a bucket may contain ? and #: what follows is a query
    only if it consists of parameters.
    """
    if scheme in WEB:
        rest = rest.partition("#")[0]
    place, _, query = rest.partition("?")
    if scheme in WEB or all(map(_PARAMETERS.match, query.split("&"))):
        return place, query
    return rest, ""
