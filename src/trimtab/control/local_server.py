"""LocalServer: a Unix socket, for its owner only, and the connections on it; it can be closed at any moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class Connection(Protocol):
    """What a LocalServer keeps: told by `made` and `lost`."""

    def drop(self) -> None:
        """End it now, and say `lost`."""
        ...


class LocalServer:
    """`protocol` makes asyncio's side of each new connection."""

    def __init__(self, socket: Path, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._socket = socket
        self._protocol = protocol
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._closing = False

    async def open(self) -> None:
        """Listen."""
        with suppress(FileNotFoundError):
            self._socket.unlink()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._protocol, str(self._socket))
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

    def made(self, connection: Connection) -> bool:
        """A connection is there. False: it was accepted a moment before `close`, which waits for its end; it is
        dropped."""
        self._connections.add(connection)
        if self._closing:
            connection.drop()
        return not self._closing

    def lost(self, connection: Connection) -> None:
        """A connection is over."""
        self._connections.discard(connection)
