"""One keep-alive connection with at most one request on it. As little as possible happens per request."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import httptools

from trimtab.jobs.loadtest.sender import StreamReader

_KEPT_ERROR_BYTES = 8192
_monotonic = time.monotonic


class Owner(Protocol):
    """Who is told. `connection` still knows the request that it is about."""

    def succeeded(self, connection: Connection, now: float) -> None:
        """A good answer is here, whole."""
        ...

    def refused(self, connection: Connection, now: float, status: int) -> None:
        """An answer that is an error is here, whole."""
        ...

    def broke(self, connection: Connection, now: float, why: str, *, bad_answer: bool) -> None:
        """The request will have no answer. The connection is gone."""
        ...

    def free(self, connection: Connection, now: float) -> None:
        """The connection can take a request."""
        ...

    def gone(self, connection: Connection) -> None:
        """The connection is closed. Called once, after everything else."""
        ...


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1. `due` and `sent` are times of the monotonic clock; `due` is below 0 while it is idle."""

    __slots__ = (
        "bytes_received", "chunks", "due", "error_body", "error_type", "first_chunk", "measured", "owner", "parser",
        "reader", "sent", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.parser = httptools.HttpResponseParser(self)
        self.due = -1.0
        self.sent = 0.0
        self.measured = True
        self.bytes_received = 0
        self.error_type = b""
        self.error_body = b""
        self.reader: StreamReader | None = None
        self.first_chunk = 0.0
        self.chunks = 0

    @property
    def idle(self) -> bool:
        """Whether no request is on it."""
        return self.due < 0

    def send(self, request: bytes, due: float, now: float, *, measured: bool, reader: StreamReader | None) -> None:
        """Send a request that was due at `due`."""
        self.due = due
        self.sent = now
        self.measured = measured
        self.reader = reader
        self.transport.write(request)

    def abandon(self) -> None:
        """Forget the request and close: nobody is told but that the connection is gone."""
        self.due = -1.0
        self.transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        self.bytes_received += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.due >= 0:
                self._end_broken(f"the answer is not HTTP: {error}", bad_answer=True)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by either side."""
        if self.due >= 0:
            self._end_broken(str(exc) if exc else "the server closed the connection", bad_answer=False)
        self.owner.gone(self)

    def _end_broken(self, why: str, *, bad_answer: bool) -> None:
        self.owner.broke(self, _monotonic(), why, bad_answer=bad_answer)
        self.due = -1.0

    # --- httptools ---------------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only the kind of an error is of interest."""
        if len(name) == 16 and name.lower() == b"x-amzn-errortype":
            self.error_type = value

    def on_body(self, data: bytes) -> None:
        """Kept of errors, counted of streams, dropped otherwise."""
        if self.parser.get_status_code() >= 300:
            if len(self.error_body) < _KEPT_ERROR_BYTES:
                self.error_body += data
        elif self.reader is not None:
            count = self.reader.feed(data)
            if count and not self.chunks:
                self.first_chunk = _monotonic()
            self.chunks += count

    def on_message_complete(self) -> None:
        """The answer is whole."""
        now = _monotonic()
        status = self.parser.get_status_code()
        if status < 200:
            return  # 100 Continue and the like
        if self.due < 0:  # an answer to nothing
            self.transport.abort()
            return
        reader = self.reader
        if status < 300 and (reader is None or reader.failure is None):
            self.owner.succeeded(self, now)
        else:
            self.owner.refused(self, now, status)
            self.error_type = self.error_body = b""
        self.due = -1.0
        self.chunks = self.bytes_received = 0
        if self.parser.should_keep_alive():
            self.owner.free(self, now)
        else:
            self.transport.close()
