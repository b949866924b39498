"""Passthrough: every call that is not data plane, streamed to control over its Unix socket and back.

Heads travel as they came but for the hop's own fields, so that signatures stay valid. While control is away (it is
being restarted), a request waits; only one whose body control may have seen is answered 503 instead.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, cast

import httptools
import msgspec

from trimtab.aws.fault_shapes import render
from trimtab.aws.faults import Fault, Where
from trimtab.aws.http import HttpRequest, HttpResponse
from trimtab.aws.server.body import ArrivingBody
from trimtab.aws.server.rendering import NO_BODY_STATUSES
from trimtab.errors import Invalid

logger = logging.getLogger(__name__)

HOLD_S: Final = 5.0  # AWS's clients wait 60 s for an answer; a restart of control takes under a second
_RETRY_S: Final = 0.02
_IDLE_MOST: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"  # of the query protocol
_HOP_FIELDS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}
)
_OWN_FIELDS: Final = _HOP_FIELDS | {"date"}  # of an answer: the public server writes these itself
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})


class _Lost(Exception):
    """Control went away before it answered."""


class Passthrough:
    """An `aws.http.Handler` that asks control."""

    def __init__(
        self, socket_path: Path, *, hold_s: float = HOLD_S, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket_path = socket_path
        self._hold_s = hold_s
        self._monotonic_s = monotonic_s
        self._idle: list[_Upstream] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Control's answer; 503 when control is away for longer than `hold_s`, or dies with the request in hand."""
        deadline_s = self._monotonic_s() + self._hold_s
        while True:
            upstream = await self._reach(deadline_s)
            if upstream is None:
                return _unavailable(request, "Control does not answer. It is being restarted; try again.")
            try:
                return await upstream.ask(request)
            except _Lost:
                if upstream.body_begun or not (upstream.has_body or request.method in _IDEMPOTENT):
                    return _unavailable(request, "Control went away with this request in its hands. Try again.")
            except Invalid as error:  # the client left half-way: nobody will read this
                return HttpResponse(status=400, body=str(error).encode())

    async def close(self) -> None:
        """Close idle connections."""
        for upstream in self._idle:
            upstream.close()
        self._idle.clear()

    async def _reach(self, deadline_s: float) -> _Upstream | None:
        while self._idle:
            upstream = self._idle.pop()
            if upstream.usable:
                return upstream
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, upstream = await loop.create_unix_connection(
                    lambda: _Upstream(self._release), str(self._socket_path)
                )
                return upstream
            except OSError:
                if self._monotonic_s() >= deadline_s:
                    return None
                await asyncio.sleep(_RETRY_S)

    def _release(self, upstream: _Upstream) -> None:
        if len(self._idle) < _IDLE_MOST:
            self._idle.append(upstream)
        else:
            upstream.close()


class _Upstream(asyncio.Protocol):
    """One connection to control; one request at a time."""

    def __init__(self, release: Callable[[_Upstream], None]) -> None:
        self.body_begun = False  # control may have seen some of the request's body
        self.has_body = False
        self._release = release
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._writable = asyncio.Event()
        self._writable.set()
        self._head: asyncio.Future[HttpResponse] | None = None
        self._method = ""
        self._headers: list[tuple[str, str]] = []
        self._status = 0
        self._keep_alive = False
        self._body = ArrivingBody(on_wanted=_nothing, on_consumed=self._read_on)
        self._answered = False
        self._reading = True
        self._pump: asyncio.Task[None] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    # --- request -----------------------------------------------------------------------------------------------

    async def ask(self, request: HttpRequest) -> HttpResponse:
        """Send the request; return the answer's head, with its body still to be read. Raises _Lost, Invalid."""
        self._head = asyncio.get_running_loop().create_future()
        self._method = request.method
        self._answered = False
        self._body = ArrivingBody(on_wanted=_nothing, on_consumed=self._read_on)
        chunked = "transfer-encoding" in request.headers
        self.has_body = chunked or request.headers.get("content-length", "0") != "0"
        self.body_begun = False
        self._send(_head_bytes(request, chunked=chunked))
        if self.has_body:
            self._pump = asyncio.get_running_loop().create_task(self._send_body(request, chunked=chunked))
        try:
            response = await self._head
        except BaseException:
            self._end()
            raise
        if self._answered and (self._pump is None or self._pump.done()):  # all here: spare the streaming
            response.body = await self._body.read(1 << 40)
            self._finish()
        elif request.method == "HEAD" or response.status in NO_BODY_STATUSES:
            self._finish()
        else:
            response.body = self._stream()
        return response

    async def _send_body(self, request: HttpRequest, *, chunked: bool) -> None:
        try:
            async for piece in request.body.stream():
                self.body_begun = True
                self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await self._writable.wait()
            if chunked:
                self._send(b"0\r\n\r\n")
        except Invalid as error:
            if self._head is not None and not self._head.done():
                self._head.set_exception(error)
            self.close()

    def _send(self, data: bytes) -> None:
        if self.usable and self._transport is not None:
            self._transport.write(data)

    # --- answer ------------------------------------------------------------------------------------------------

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._body.stream():
                yield piece
        finally:
            self._finish()

    def _finish(self) -> None:
        """The answer has been read (or nobody reads it): keep the connection if nothing is left on it."""
        sent = self._pump is None or self._pump.done()
        if self._answered and sent and self._keep_alive and self.usable:
            self._pump = None
            self._release(self)
        else:
            self._end()

    def _end(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self.close()

    def _read_on(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    # --- transport and parser ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        """Bytes from control."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            logger.exception("control's answer is not HTTP")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Control is gone, or closed the connection."""
        self._transport = None
        self._writable.set()
        if self._head is not None and not self._head.done():
            self._head.set_exception(_Lost())
        elif not self._answered:
            self._body.lost()

    def pause_writing(self) -> None:
        """Control reads slower than the client sends."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def on_message_begin(self) -> None:
        """An answer's first byte."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._status = self._parser.get_status_code()
        if status < 200:
            return
        self._keep_alive = self._parser.should_keep_alive()
        headers = [pair for pair in self._headers if pair[0].lower() not in _OWN_FIELDS]
        if self._method == "HEAD" and not self._answered:
            self._parser = httptools.HttpResponseParser(self)  # the old one would wait for the body
            self._complete()
        if self._head is not None and not self._head.done():
            self._head.set_result(HttpResponse(status=status, headers=headers))

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        if not self._body.feed(data) and self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._status >= 200:
            self._complete()

    def _complete(self) -> None:
        self._answered = True
        self._body.finish()


def _head_bytes(request: HttpRequest, *, chunked: bool) -> bytes:
    target = f"{request.raw_path}?{request.query}" if request.query else request.raw_path
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.pairs if name not in _HOP_FIELDS]
    if chunked:
        lines.append("transfer-encoding: chunked")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _unavailable(request: HttpRequest, message: str) -> HttpResponse:
    """503 in a shape that AWS's clients retry: they go by the status, once they can read the body."""
    if request.headers.get("content-type").startswith(_FORM):
        fault = Fault(code="ServiceUnavailable", message=message, status=503, headers=(("Retry-After", "1"),))
        return render(fault, Where(service="", protocol="query", request_id=str(uuid.uuid4())))
    return HttpResponse(
        status=503,
        headers=[
            ("Content-Type", "application/json"),
            ("x-amzn-ErrorType", "ServiceUnavailable"),
            ("Retry-After", "1"),
        ],
        body=msgspec.json.encode({"__type": "ServiceUnavailable", "message": message}),
    )


def _nothing() -> None:
    return
