"""A listener of the framed wire inside the test's own event loop: what fake workers and fake hosts have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self, cast

from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import Kind, pack


class FramesConnection(asyncio.Protocol):
    """A gateway's connection to a fake."""

    def __init__(self, listener: FramesListener) -> None:
        self.transport: asyncio.Transport | None = None
        self._listener = listener
        self._decoder = FrameDecoder(self._frame)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway came."""
        self.transport = cast(asyncio.Transport, transport)
        if self._listener.dead:  # accepted just before
            self.transport.abort()
        self._listener.connections.append(self)
        self._listener.greet(self)
        self._listener.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It left."""
        self.transport = None
        self._listener.connections.remove(self)
        self._listener.wake()

    def data_received(self, data: bytes) -> None:
        """Bytes of frames."""
        self._decoder.feed(data)

    def send(self, kind: Kind, stream: int, meta: bytes = b"", payload: bytes = b"") -> None:
        """One frame, unless the gateway has gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(pack(kind, stream, meta, payload))

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        self._listener.take(self, kind, stream, meta, payload)
        self._listener.wake()


class FramesListener:
    """Listens on a Unix socket; subclasses say what they answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[FramesConnection] = []
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def dead(self) -> bool:
        """Not started, or killed."""
        return self._server is None

    def greet(self, connection: FramesConnection) -> None:
        """A gateway has connected; by default nothing is said."""

    def take(self, connection: FramesConnection, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        """A frame has come."""
        raise NotImplementedError

    async def start(self) -> Self:
        """Listen."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: FramesConnection(self), str(self.path))
        return self

    async def die(self) -> None:
        """As by kill -9: everything is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self.until(lambda: not self.connections)

    async def until(self, done: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until `done()`, looked at every millisecond and at each event here; TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not done():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.001)

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()
