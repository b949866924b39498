"""One small request over HTTP/1.1, on a connection of its own: what the container contract asks beside invocations."""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

MAX_ANSWER_BYTES: Final = 16 * 2**20


async def ask(
    address: str, method: str, path: str, body: bytes = b"", *, timeout_s: float | None, connect_s: float | None = None
) -> tuple[int, bytes]:
    """Send `body` as JSON to `address` (`tcp:host:port`); the answer's status and body.

    `timeout_s` is for all of it, `connect_s` for the connection alone; None: however long it takes. Raises OSError when
    nobody listens or the connection ends before the answer, TimeoutError, and ValueError for what is no HTTP/1.1 or
    longer than MAX_ANSWER_BYTES.
    """
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        async with asyncio.timeout(connect_s):
            transport, answer = await loop.create_connection(_Answer, host, int(port))
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            kind = "Content-Type: application/json\r\n" if body else ""
            transport.write(f"{head}{kind}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return await answer.complete
        finally:
            transport.close()


class _Answer(asyncio.Protocol):
    """Collects one answer."""

    def __init__(self) -> None:
        self.complete: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._status = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ValueError(f"the answer is not well-formed HTTP/1.1: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._status and exc is None:  # an answer without a length ends so
            self.on_message_complete()
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the connection ended without an answer"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._status = status if status >= 200 else 0  # 1xx: the answer proper is still to come

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_ANSWER_BYTES:
            self._fail(ValueError(f"the answer is over {MAX_ANSWER_BYTES} bytes"))
            self._transport.close()

    def on_message_complete(self) -> None:
        if self._status and not self.complete.done():
            self.complete.set_result((self._status, bytes(self._body)))

    def _fail(self, error: Exception) -> None:
        if not self.complete.done():
            self.complete.set_exception(error)
            self.complete.exception()  # nobody may be waiting any more
