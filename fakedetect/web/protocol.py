"""uvicorn's HTTP protocol with limits for what comes before and after a body: bytes of headers, and time."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

SILENCE_S = 20  # of a connection that does not send its request, or sends no further one
MOST_HEADER_BYTES = 64 * 1024  # of a request line and headers, and of trailers


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which neither limits headers nor the time in which they come: one connection could fill the memory.
    Answers 431 when they are too large, and closes connections whose request does not come.
    """

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        super().connection_made(transport)
        self._bare = 0  # bytes since the last header section or piece of a body ended
        self._fields = 0  # bytes of the request line and of complete headers
        self._patience: asyncio.TimerHandle | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._bare += len(data)
        super().data_received(data)
        if self._bare > MOST_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._fields = 0
        self._wait()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._bare = 0
        self._stop_waiting()  # from now on, the application's and uvicorn's own time limits hold
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bare = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer 431 if headers are too large, as uvicorn answers 400 to what is no HTTP."""
        if max(self._bare, self._fields) <= MOST_HEADER_BYTES:
            super().send_400_response(msg)
            return
        text = f"The headers are too large; the limit is {MOST_HEADER_BYTES:,} bytes.".encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
        self.transport.write(STATUS_LINE[431] + head + text)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _count(self, size: int) -> None:
        self._fields += size
        if self._fields > MOST_HEADER_BYTES:
            raise ValueError("the headers are too large")  # ends the parser: uvicorn then calls send_400_response

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = asyncio.get_running_loop().call_later(SILENCE_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
