"""Connection: one client's bytes to exchanges, in order, one at a time.

The parser runs inside the read callback and hands a request over as soon as it can be worked on: no task and no timer
per connection. A pipelined request waits, parsed, for its turn; meanwhile nothing more is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from trimtab.aws.server.body import ArrivingBody
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.heads import ambiguous, origin_form
from trimtab.aws.server.intake import Intake
from trimtab.aws.server.phases import Phase, Stopwatch, overdue
from trimtab.aws.server.rendering import status_line
from trimtab.errors import TooLarge, Unavailable

if TYPE_CHECKING:
    from trimtab.aws.server.listener import HttpServer

WRITE_HIGH_WATER_BYTES = 1 << 18
# One receive buffer for all connections of the process: a read is parsed before the next one begins.
_BUFFER = memoryview(bytearray(1 << 18))


class Connection(asyncio.BufferedProtocol):
    """One client."""

    __slots__ = (
        "_active",
        "_advancing",
        "_completed_s",
        "_deaf",
        "_discarded_bytes",
        "_feeding_bytes",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_intake",
        "_lingering",
        "_parser",
        "_received",
        "_receiving",
        "_stopwatch",
        "_target",
        "_transport",
        "_waiting",
        "closing",
        "peer",
        "server",
        "writable",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.closing = False  # after the answer in hand the connection ends
        self.writable = True
        self.peer = ""
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = None
        self._active: Exchange | None = None  # whose turn it is
        self._receiving: Exchange | None = None  # whose bytes are arriving
        self._waiting: deque[Exchange] = deque()  # parsed ahead
        self._advancing = False
        self._intake = Intake()
        self._lingering = False
        self._deaf = False  # what follows cannot be understood
        self._in_head = False
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._feeding_bytes = 0
        self._discarded_bytes = 0
        self._received = 0  # requests, for the sweep
        self._completed_s = 0.0  # when the last one was here whole
        self._stopwatch = Stopwatch(server.now_s)

    # --- transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; one too many is told so."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self._intake.transport = self._transport
        peer = self._transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        self._parser = httptools.HttpRequestParser(self)
        if not self.server.admit(self):
            self._refuse(503, "Too many connections. Try again, or reuse connections.")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came: parse them, and serve what they complete."""
        if self._lingering:
            self._swallow(nbytes)
            return
        parser = self._parser
        if parser is None:
            return
        self._feeding_bytes = nbytes
        try:
            parser.feed_data(_BUFFER[:nbytes])
        except httptools.HttpParserUpgrade:
            pass  # refused when its head was complete
        except httptools.HttpParserError as error:
            self._refuse(400, f"The request is not well-formed HTTP/1.1: {error}.")
        if self._in_head:
            self._head_bytes += nbytes
            if self._head_bytes > self.server.limits.head_bytes:
                self._refuse(431, f"The request's head is over {self.server.limits.head_bytes} bytes.")

    def eof_received(self) -> bool:
        """The client sends no more. True: it still wants an answer; False: it has gone, and the transport closes.

        A client that is leaving and one that only closes its sending half (`nc -N`, some HTTP/1.0 clients) look the
        same. Those that still listen close it right behind their request; whoever gives up does so later.
        """
        active = self._active
        if active is None or not active.complete or self._receiving is not None or self._in_head or self._deaf:
            return False
        if (
            active.answering
            or self._waiting
            or self.server.monotonic_s() - self._completed_s > self.server.limits.half_close_s
        ):
            return False
        self.closing = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more can be sent or received."""
        self.server.forget(self)
        self._transport = self._intake.transport = self._parser = None
        active, receiving, self._active, self._receiving = self._active, self._receiving, None, None
        waiting = list(self._waiting)
        self._waiting.clear()
        for exchange in {id(e): e for e in (active, receiving, *waiting) if e is not None}.values():
            self.server.release(exchange)
            exchange.lost()

    def pause_writing(self) -> None:
        """The client takes its answer slower than we make it."""
        self.writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self.writable = True
        if self._active is not None and self._active.on_writable is not None:
            self._active.on_writable()

    # --- parser ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._in_head = True
        self._head_bytes = 0
        self._target = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """(A part of) the request target."""
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; trailers after the body are dropped."""
        if self._in_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: the request can be placed, and started if it is its turn."""
        self._in_head = False
        parser = self._parser
        if parser is None or self._deaf:
            return
        exchange = Exchange(
            self,
            parser.get_method(),
            self._target if self._target.startswith(b"/") else origin_form(self._target),
            self._headers,
            keep_alive=parser.should_keep_alive(),
            old=parser.get_http_version() == "1.0",
        )
        if self._overlong(exchange):
            self._refuse(431, "The request's head has too many or too long header fields.")
            return
        if parser.should_upgrade():
            self._refuse(400, "This server does not upgrade or tunnel connections: send plain HTTP/1.1.")
            return
        if refusal := ambiguous(exchange):
            self._refuse(*refusal)
            return
        if b"expect" in exchange.fields:
            exchange.continues = exchange.fields[b"expect"].strip().lower() == b"100-continue"
        self._receiving = exchange
        if self._active is None and not self._waiting and not self._intake.held:
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self._intake.pause()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        exchange = self._receiving
        if exchange is None:
            return
        exchange.size_bytes += len(data)
        if exchange.discard:
            self._swallow(len(data))
        elif exchange.body is not None:
            if not exchange.body.feed(data):
                self._intake.pause()
        elif not exchange.started or exchange.size_bytes <= exchange.limit_bytes:
            exchange.chunks.append(data)
            if not self.server.reserve(len(data)):
                self._drop_body(exchange, Unavailable("Too many request bodies are in memory. Try again."))
        else:
            self._drop_body(exchange, _too_large(exchange.limit_bytes))

    def on_message_complete(self) -> None:
        """The whole request is here."""
        exchange, self._receiving = self._receiving, None
        if exchange is None:
            return
        self._received += 1
        self._completed_s = self.server.monotonic_s()
        exchange.complete = True
        exchange.continues = False
        if exchange.body is not None:
            exchange.body.finish()
        elif exchange is self._active and exchange.fast:
            self.server.fast.handle(exchange)
        if self.closing and self._active is None:
            self.close()

    # --- turns -------------------------------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        self._active = exchange
        exchange.started = True
        if self.server.fast.wants(exchange.target):
            self._start_fast(exchange)
            return
        body = ArrivingBody(on_wanted=exchange.expect_body, on_consumed=exchange.body_consumed)
        for chunk in exchange.chunks:
            body.feed(chunk)
        self.server.release(exchange)
        if exchange.complete:
            body.finish()
        exchange.body = body
        self.server.serve(exchange, self.peer)

    def _start_fast(self, exchange: Exchange) -> None:
        exchange.fast = True
        limit_bytes = exchange.limit_bytes = self.server.fast.begin(exchange)
        if int(exchange.fields.get(b"content-length", b"0")) > limit_bytes or exchange.size_bytes > limit_bytes:
            self._drop_body(exchange, _too_large(limit_bytes))
        elif exchange.complete:
            self.server.fast.handle(exchange)
        elif exchange.continues:
            exchange.expect_body()

    def _drop_body(self, exchange: Exchange, error: TooLarge | Unavailable) -> None:
        exchange.discard = True
        self.server.release(exchange)
        if exchange.started and exchange.fast:
            self.server.fast.refuse(exchange, error)
        else:  # parsed ahead of its turn: too much at once
            self._refuse(503, str(error))

    def finished(self, exchange: Exchange, *, keep_alive: bool) -> None:
        """The exchange in hand has its answer: on with the next, or close."""
        self._active = None
        if exchange.chunks:
            self.server.release(exchange)
        if not exchange.complete:
            exchange.discard = True
        if not keep_alive or self.ends_now:
            if exchange.complete and not self._deaf:
                self.close()
            else:
                self._linger()
        elif not self._intake.reads:
            self._advance()

    def _advance(self) -> None:
        """Start what waits. A loop, for an exchange may be answered within its start."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._waiting and self._active is None and not self._lingering and not self._intake.held:
                self._start(self._waiting.popleft())
        finally:
            self._advancing = False
        if not self._waiting:
            self.resume_body()

    # --- sending -----------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write, unless the client has gone (uvloop raises on a closing transport)."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def send_lines(self, parts: tuple[bytes, ...]) -> None:
        """Write several buffers without joining them."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.writelines(parts)

    # --- reading -----------------------------------------------------------------------------------------------

    def _overlong(self, exchange: Exchange) -> bool:
        limits = self.server.limits
        if len(exchange.headers) > limits.header_count:
            return True
        if self._head_bytes + self._feeding_bytes <= limits.head_bytes:
            return False  # cannot be: that much has not come yet
        size_bytes = len(exchange.target) + sum(len(name) + len(value) + 4 for name, value in exchange.headers)
        return size_bytes > limits.head_bytes

    def resume_body(self) -> None:
        """Read on, unless parsed requests still wait for their turn."""
        if not self._waiting:
            self._intake.resume()

    def hold(self, now_s: float) -> None:
        """Read and start nothing more for a while: the longer, the sooner the client has come again (`Impatience`)."""
        if not self._lingering:
            self._intake.hold(now_s, self._advance)

    # --- endings -----------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """End after the request in hand; at once when there is none."""
        self.closing = True
        if self._active is None and self._receiving is None and not self._in_head:
            self.close()

    def close(self) -> None:
        """Flush, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def ends_now(self) -> bool:
        """Whether the connection ends after the answer in hand."""
        return self.closing and not self._waiting

    def _refuse(self, status: int, message: str) -> None:
        """Answer an error in place of whatever was arriving, and close; requests that are already here come first."""
        if self._deaf:
            return
        self.closing = self._deaf = True
        self._in_head = False
        active, self._active = self._active, None
        if active is not None and active.complete:
            self._active = active
            self._intake.pause()
            return
        if active is not None:
            self.server.release(active)
            active.lost()
            if active.answering:
                self.abort()
                return
        body = message.encode()
        head = b"%b%bContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.send(head % (status_line(status), self.server.date, len(body)) + body)
        self._linger()

    def _linger(self) -> None:
        """Close our half and swallow what still comes, so that a reset does not eat the answer on its way."""
        self._lingering = self._deaf = True
        self._in_head = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        for exchange in (self._active, self._receiving, *self._waiting):
            if exchange is not None:
                self.server.release(exchange)
        if transport.can_write_eof():
            transport.write_eof()
        self._intake.unhold()

    def _swallow(self, nbytes: int) -> None:
        self._discarded_bytes += nbytes
        if self._discarded_bytes > self.server.limits.discard_bytes:
            self.abort()

    # --- time --------------------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> None:
        """Cut the connection when it has been in one phase for longer than that phase's limit (about once a second)."""
        phase, unsent_bytes = self._phase()
        body_bytes = self._receiving.size_bytes if self._receiving is not None else 0
        progress = unsent_bytes if phase is Phase.WRITE else self._received
        held_s = self._stopwatch.held_s(phase, progress, now_s)
        if not overdue(phase, held_s, body_bytes, self.server.limits):
            return
        if phase is Phase.IDLE:
            self.close() if not unsent_bytes else self.abort()
        elif phase is Phase.HEAD:
            self._refuse(408, "The request's head did not arrive in time.")
        elif phase is Phase.BODY and self._receiving is not None:
            self._body_too_slow(self._receiving)
        else:
            self.abort()

    def _phase(self) -> tuple[Phase, int]:
        transport = self._transport
        if transport is None:
            return Phase.IDLE, 0
        unsent_bytes = transport.get_write_buffer_size()
        if self._lingering:
            return Phase.LINGER, unsent_bytes
        if unsent_bytes and (not self.writable or self._active is None):
            return Phase.WRITE, unsent_bytes
        if self._in_head and self._active is None:
            return Phase.HEAD, unsent_bytes
        if self._receiving is not None and self._intake.reads:
            return Phase.BODY, unsent_bytes
        return (Phase.BUSY if self._active is not None else Phase.IDLE), unsent_bytes

    def _body_too_slow(self, exchange: Exchange) -> None:
        if exchange.answering or exchange.body is not None or exchange is not self._active:
            self.abort()  # its handler learns that the client is lost
            return
        self._refuse(408, "The request's body did not arrive in time.")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The request body is over {limit_bytes} bytes.", limit_bytes=limit_bytes)
