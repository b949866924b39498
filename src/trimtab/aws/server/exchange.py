"""Exchange: one request and its answer on one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trimtab.aws.server.rendering import NO_BODY_STATUSES

if TYPE_CHECKING:
    from trimtab.aws.server.body import ArrivingBody
    from trimtab.aws.server.connection import Connection

_JOINED_BYTES = 65_536  # answers up to this size are copied behind their head: one buffer is quicker than two
_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"


class Exchange:
    """One request and its answer.

    It outlives its connection: once the client has gone, every write is a no-op, so that whoever holds the exchange
    need not know. `on_gone` is called once if the client leaves before the answer is complete; `on_writable` when
    `write` had said False and the client has caught up.

    `head` arguments are a status line and header lines, each with its line end; the exchange adds the framing.
    """

    # Defaults stand on the class: an exchange is made for every request, and most never change most of these.
    fast = False
    started = False  # its turn has come: handlers know of it
    complete = False  # the whole body is here
    discard = False  # nobody wants (the rest of) the body
    continues = False  # the client waits for `100 Continue` before it sends the body
    size_bytes = 0  # of the body, so far
    limit_bytes = 0
    body: ArrivingBody | None = None
    on_gone: Callable[[], None] | None = None
    on_writable: Callable[[], None] | None = None
    _answering = False
    _chunked = False
    _stream_length: int | None = None

    def __init__(
        self,
        connection: Connection,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        keep_alive: bool,
        old: bool,
    ) -> None:
        self._connection: Connection | None = connection
        self._keep_alive = keep_alive
        self._old = old  # HTTP/1.0: no chunked coding
        self.method = method
        self.target = target  # as received, query included
        self.headers = headers  # as received, in order
        self.fields = {name.lower(): value for name, value in headers}  # the last one where repeated
        self.chunks: list[bytes] = []  # fast path only

    @property
    def open(self) -> bool:
        """Whether an answer can still reach the client."""
        return self._connection is not None

    @property
    def date(self) -> bytes:
        """The current `Date` header line."""
        return self._connection.server.date if self._connection is not None else b""

    def respond(self, head: bytes, body: bytes = b"") -> None:
        """Answer in one go."""
        connection = self._connection
        if connection is None:
            return
        if not self._keep_alive or connection.closing or self._old or self.continues:
            head += self._connection_line()
        size_bytes = len(body)
        if self.method == b"HEAD":
            connection.send(b"%bContent-Length: %d\r\n\r\n" % (head, size_bytes))
        elif size_bytes <= _JOINED_BYTES:
            connection.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, size_bytes, body))
        else:
            connection.send_lines((b"%bContent-Length: %d\r\n\r\n" % (head, size_bytes), body))
        self._finished(connection)

    def start(self, head: bytes, length: int | None = None, *, status: int = 200) -> None:
        """Begin an answer of `length` bytes, or of unknown length (chunked; for HTTP/1.0 until the connection ends)."""
        connection = self._connection
        if connection is None:
            return
        self._answering = True
        self._stream_length = length
        bodiless = self.method == b"HEAD" or status in NO_BODY_STATUSES
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif bodiless:
            framing = b""
        elif self._old:
            self._keep_alive, framing = False, b""
        else:
            self._chunked, framing = True, b"Transfer-Encoding: chunked\r\n"
        connection.send(b"".join((head, framing, self._connection_line(), b"\r\n")))

    def write(self, data: bytes) -> bool:
        """Send a piece of the body. False: the client is slow; wait for `on_writable` before the next."""
        connection = self._connection
        if connection is None:
            return True  # nobody to wait for
        if data and self.method != b"HEAD":
            if self._chunked:
                connection.send_lines((b"%x\r\n" % len(data), data, b"\r\n"))
            else:
                connection.send(data)
                if self._stream_length is not None:
                    self._stream_length -= len(data)
        return connection.writable

    def finish(self) -> None:
        """The streamed answer is complete."""
        connection = self._connection
        if connection is None:
            return
        if self._chunked:
            connection.send(b"0\r\n\r\n")
        elif self._stream_length and self.method != b"HEAD":
            connection.abort()  # fewer bytes than promised: only a cut tells the client
            return
        self._finished(connection)

    def abort(self) -> None:
        """Cut the connection: the answer cannot be completed, and the client must notice."""
        if self._connection is not None:
            self._connection.abort()

    def expect_body(self) -> None:
        """Somebody is about to read the body: tell a client that waits for it to go on."""
        if self.continues and self._connection is not None:
            self.continues = False
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hold_connection(self, now_s: float) -> None:
        """Leave the client, which is refused now, unread for as long as its impatience asks for."""
        if self._connection is not None:
            self._connection.hold(now_s)

    def body_consumed(self) -> None:
        """The reader of a streamed body has caught up."""
        if self._connection is not None:
            self._connection.resume_body()

    @property
    def answering(self) -> bool:
        """Whether a streamed answer has begun."""
        return self._answering

    def lost(self) -> None:
        """The connection is gone (called by it)."""
        self._connection = None
        if self.body is not None:
            self.body.lost()
        if self.on_gone is not None:
            self.on_gone()
        if self.on_writable is not None:
            self.on_writable()

    def _connection_line(self) -> bytes:
        connection = self._connection
        if not self._keep_alive or self.continues or (connection is not None and connection.ends_now):
            self._keep_alive = False
            return _CLOSE
        return _KEEP_ALIVE if self._old else b""

    def _finished(self, connection: Connection) -> None:
        self._connection = None
        self.on_gone = self.on_writable = None
        connection.finished(self, keep_alive=self._keep_alive)
