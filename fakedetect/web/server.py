"""Run the application with uvicorn."""

from __future__ import annotations

import resource
import socket
from contextlib import suppress
from pathlib import Path

from fakecore.errors import UserError
from fakecore.progress import say
from fakedetect.web.settings import ServeSettings

try:
    import uvicorn
    import uvloop  # noqa: F401  uvicorn takes it where it is installed

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
    for file in filter(None, (certificate, key)):
        if not file.is_file():
            raise UserError(f"{file} is missing", expected="a file in PEM format")
    _allow_many_connections()
    listening = _listen(settings)
    config = uvicorn.Config(
        create_app(settings),
        http=LimitedProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=SILENCE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        ssl_certfile=certificate,
        ssl_keyfile=str(key) if key else None,
    )
    server = _Server(config, f"{'https' if certificate else 'http'}://{_address(listening)}")
    with listening, suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        raise UserError("the server could not start", remedy="The lines above say why.")


class _Server(uvicorn.Server):
    """uvicorn's server, which says where it listens once it is ready."""

    def __init__(self, config: uvicorn.Config, address: str):
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            say(f"serving at {self._address}  (API: {self._address}/docs; Ctrl-C stops)")


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
