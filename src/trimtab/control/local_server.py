"""LocalServer and LocalConnection: a Unix socket, for its owner only, and who is connected to it; it can be closed at
any moment.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast


class LocalServer:
    """`connection` makes our side of each new connection."""

    def __init__(self, socket: Path, connection: Callable[[], LocalConnection]) -> None:
        self._socket = socket
        self._connection = connection
        self._server: asyncio.Server | None = None
        self._connections: set[LocalConnection] = set()
        self._closing = False

    async def open(self) -> None:
        """Listen."""
        with suppress(FileNotFoundError):
            self._socket.unlink()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._connection, str(self._socket))
        os.chmod(self._socket, 0o600)

    async def close(self) -> None:
        """Take nobody more and drop all."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    @property
    def count(self) -> int:
        """How many are connected."""
        return len(self._connections)

    def made(self, connection: LocalConnection) -> bool:
        """A connection is there. False: it was accepted a moment before `close`, and is let go."""
        self._connections.add(connection)
        if self._closing:
            connection.drop()
        return not self._closing

    def lost(self, connection: LocalConnection) -> None:
        """A connection is over."""
        self._connections.discard(connection)


class LocalConnection(asyncio.Protocol):
    """One connection of a LocalServer. Subclasses read, and are told by `joined` and `gone`."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None

    def joined(self) -> None:
        """It is there."""

    def gone(self) -> None:
        """It is over; may be said twice."""

    @property
    def connected(self) -> bool:
        """Whether it has not ended."""
        return self._transport is not None

    @property
    def unsent_bytes(self) -> int:
        """What was written and the other end has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def write(self, data: bytes) -> bool:
        """Send, if somebody is there."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        return True

    def drop(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        # uvloop keeps what is below the limit until the turn of the event loop ends, and a turn may wait for the disk.
        self._transport.set_write_buffer_limits(high=0)
        if self._server.made(self):
            self.joined()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self._transport = None
        self._server.lost(self)
        self.gone()
