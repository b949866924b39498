"""HttpServer: a listening socket, its connections, and the two ways to handle a request."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from trimtab.aws.http import Handler
from trimtab.aws.server.connection import Connection
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.limits import Limits
from trimtab.aws.server.rendering import date_line
from trimtab.aws.server.serving import serve_exchange
from trimtab.errors import TooLarge, Unavailable

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL_S = 1.0
_SWEEP_SLICE = 512  # connections looked at in one go: about 0.2 ms
_LINGERING_SURPLUS = 256  # connections beyond the limit that are told so; any more are cut without a word


class FastPath(Protocol):
    """Requests served by callback, without a task: called from the parser, in the read callback."""

    def wants(self, target: bytes) -> bool:
        """Whether this request (by its raw target) is served here."""
        ...

    def begin(self, exchange: Exchange) -> int:
        """The head is here; say how many bytes the body may have."""
        ...

    def handle(self, exchange: Exchange) -> None:
        """All of it is here, the body in `exchange.chunks`. Answer now or later. Must not raise."""
        ...

    def refuse(self, exchange: Exchange, error: TooLarge | Unavailable) -> None:
        """Answer `error`; the body will not come."""
        ...


class NoFastPath:
    """Everything goes to the handler."""

    def wants(self, target: bytes) -> bool:
        """No."""
        return False

    def begin(self, exchange: Exchange) -> int:
        """Never called."""
        raise NotImplementedError

    def handle(self, exchange: Exchange) -> None:
        """Never called."""
        raise NotImplementedError

    def refuse(self, exchange: Exchange, error: TooLarge | Unavailable) -> None:
        """Never called."""
        raise NotImplementedError


class HttpServer:
    """An HTTP/1.1 server on one listening socket (TCP or Unix)."""

    def __init__(
        self,
        handler: Handler,
        *,
        fast: FastPath | None = None,
        limits: Limits | None = None,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.handler = handler
        self.fast: FastPath = fast if fast is not None else NoFastPath()
        self.limits = limits if limits is not None else Limits()
        self.date = date_line(wall_s())  # renewed by the sweep
        self.now_s = monotonic_s()  # likewise: to about a second
        self.connections: set[Connection] = set()
        self.buffered_bytes = 0
        self.stopping = False
        self._wall_s = wall_s
        self.monotonic_s = monotonic_s
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()

    async def start(self, sock: socket.socket, *, backlog: int = 4096) -> None:
        """Accept on `sock` (bound; listening or not)."""
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(lambda: Connection(self), sock=sock, backlog=backlog)
        else:
            self._server = await loop.create_server(lambda: Connection(self), sock=sock, backlog=backlog)
        self._timer = loop.call_later(_SWEEP_INTERVAL_S, self._sweep)

    async def stop(self, *, grace_s: float) -> None:
        """Stop accepting, let requests in hand finish for `grace_s` seconds, then cut what is left."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), grace_s)
            except TimeoutError:
                logger.warning("requests cut at the end of the grace time count=%d", len(self.connections))
        for connection in list(self.connections):
            connection.abort()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- for connections ---------------------------------------------------------------------------------------

    def admit(self, connection: Connection) -> bool:
        """Take note of a new connection; False when it is one too many."""
        self.connections.add(connection)
        excess = len(self.connections) - self.limits.connections
        if excess > _LINGERING_SURPLUS:
            connection.abort()
        if self.stopping:
            connection.closing = True
        return excess <= 0

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.stopping and not self.connections:
            self._empty.set()

    def reserve(self, size_bytes: int) -> bool:
        """Account for body bytes held in memory; False when that is too much."""
        self.buffered_bytes += size_bytes
        return self.buffered_bytes <= self.limits.buffered_bytes

    def release(self, exchange: Exchange) -> None:
        """The server holds the exchange's body no longer."""
        if exchange.chunks:
            chunks = exchange.chunks
            self.buffered_bytes -= len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
            exchange.chunks = []

    def serve(self, exchange: Exchange, peer: str) -> None:
        """Run the handler on an exchange, in a task of its own."""
        task = asyncio.get_running_loop().create_task(serve_exchange(self.handler, exchange, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- time --------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self.now_s = self.monotonic_s()
        self.date = date_line(self._wall_s())
        self._sweep_slice(iter(list(self.connections)))
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_INTERVAL_S, self._sweep)

    def _sweep_slice(self, rest: Iterator[Connection]) -> None:
        count = 0
        for connection in itertools.islice(rest, _SWEEP_SLICE):
            connection.sweep(self.now_s)
            count += 1
        if count == _SWEEP_SLICE:
            asyncio.get_running_loop().call_soon(self._sweep_slice, rest)
