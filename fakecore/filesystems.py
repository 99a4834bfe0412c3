"""The file system of a URL, by fsspec and the package of each store."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from fakecore.errors import UserError
from fakecore.urls import SCHEMES, file_path, has_user, is_url, is_web, scheme_of, shown

_CONNECT_S, _SILENT_S = 15, 30  # seconds without an answer, and without a further byte


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return (fsspec file system, path in it) of a URL, or of a path of this machine.

    Raises UserError for an unknown scheme, for a package that is missing, and for a password in the URL of a bucket;
    whatever the store's package raises if it cannot be opened.
    """
    scheme = scheme_of(url) or "file"
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(
            f"URLs of {scheme}:// are not read", expected=known, remedy="Download the file, and give its path."
        )
    package = SCHEMES[scheme]
    if package and importlib.util.find_spec(package) is None:
        what = f"{scheme}:// needs the package {package}, which is not installed"
        raise UserError(what, remedy="Install it: pip install 'fakelab[cloud]'.")
    if has_user(url) and not is_web(url):
        what = "a URL of a store takes no password"
        raise UserError(
            what, got=shown(url), remedy="Its library finds credentials by itself, see docs/how-to/urls.md."
        )
    import fsspec

    if scheme == "file":
        return fsspec.filesystem("file"), str(file_path(url) if is_url(url) else Path(url))
    url = f"{scheme}://{url.partition('://')[2]}"
    store = fsspec.filesystem(scheme, use_listings_cache=False, **_options(scheme))
    if scheme == "s3":
        store.retries = 1  # fakecore.storage repeats, with waits that can be chosen
    return store, url if is_web(url) else store._strip_protocol(url)


def _options(scheme: str) -> dict[str, Any]:
    """Return the options of a file system, beside those of the user's configuration of fsspec."""
    if scheme in ("http", "https"):
        import aiohttp

        # No limit for the whole: a long video may take its time, a server that falls silent may not.
        times = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
        return {"client_kwargs": {"timeout": times}}
    if scheme == "s3":
        from fsspec.config import conf

        own = {"retries": {"total_max_attempts": 1}, "connect_timeout": _CONNECT_S, "read_timeout": _SILENT_S}
        return {"config_kwargs": own | conf.get("s3", {}).get("config_kwargs", {})}
    return {}
