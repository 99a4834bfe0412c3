"""Run the application with uvicorn."""

from __future__ import annotations

import logging
import resource
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from fakecore.errors import UserError, why_unreadable
from fakecore.progress import say
from fakedetect.web.settings import ServeSettings

try:
    import uvicorn
    import uvloop  # noqa: F401  uvicorn takes it where it is installed
    from fastapi import FastAPI

    from fakedetect.web.app import create_app
    from fakedetect.web.protocol import SILENCE_S, LimitedProtocol
except ModuleNotFoundError as error:
    raise UserError(
        "serve needs further packages",
        got=f"no module {error.name}",
        remedy="Install them: pip install 'fakelab[serve]'.",
    ) from None

_SHUTDOWN_S = 5  # for requests that are being answered
_BACKLOG = 1024


def run(settings: ServeSettings, certificate: Path | None = None, key: Path | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises UserError if the address is taken, or something that it needs cannot be used."""
    if (certificate is None) != (key is None):
        raise UserError("HTTPS needs a certificate and its key", expected="--certificate FILE and --key FILE")
    if certificate and key:
        _check_certificate(certificate, key)
    _allow_many_connections()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else every damaged form is a line of the log
    listening = _listen(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        lifespan="off",  # _Server has it: uvicorn would print a traceback of a detector that cannot be used
        http=LimitedProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        server_header=False,
        timeout_keep_alive=SILENCE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        ssl_certfile=certificate,
        ssl_keyfile=str(key) if key else None,
    )
    server = _Server(config, app, f"{'https' if certificate else 'http'}://{_address(listening)}")
    with listening, suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's server, which starts and stops the application itself, and says where it listens once it is ready. `serve`
    raises UserError if the application cannot start.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, address: str):
        super().__init__(config)
        self._running, self._address = app.router.lifespan_context(app), address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._running.__aenter__()
        await super().startup(sockets)
        if self.started:
            say(f"serving at {self._address}  (API: {self._address}/docs; Ctrl-C stops)")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._running.__aexit__(None, None, None)


def _check_certificate(certificate: Path, key: Path) -> None:
    """Raise UserError unless both files are PEM, and the key is that of the certificate and needs no password."""
    for file in (certificate, key):
        try:
            file.read_bytes()
        except OSError as error:
            raise UserError(f"{file} cannot be read", got=why_unreadable(error, file), expected="a PEM file") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(cafile=certificate)
    except ssl.SSLError:
        expected = "PEM: lines from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        raise UserError(f"--certificate {certificate} is no certificate", expected=expected) from None
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UserError(
                f"--key {key} is not the key of {certificate}", expected="the key that it was made with"
            ) from None
        expected = "PEM without a password: lines from -----BEGIN PRIVATE KEY----- to -----END PRIVATE KEY-----"
        raise UserError(f"--key {key} is no private key that can be used", expected=expected) from None


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        remedy = "Choose another --port; 0 takes a free one." if settings.port else None
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port}", got=error.strerror or error, remedy=remedy
        ) from None
    listening.listen(_BACKLOG)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _allow_many_connections() -> None:
    """Raise the soft limit of open files, so that idle connections do not use it up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
