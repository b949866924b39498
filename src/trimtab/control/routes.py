"""RoutePublisher: pushes the route table to gateways over a Unix socket and takes their acknowledgements.

To a gateway: `u32 little-endian length, MessagePack of RouteTable`, at connect and on each change.
From a gateway: `u64 little-endian version`, once it routes by that version.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from trimtab.clock import Clock
from trimtab.control.local_server import LocalConnection, LocalServer
from trimtab.control.route_book import RouteBook
from trimtab.logs import fields
from trimtab.resources.routing import AccessKey
from trimtab.wire.sized import sized

logger = logging.getLogger(__name__)

_VERSION = struct.Struct("<Q")


class RoutePublisher:
    """Serves a `RouteBook` on a socket. A gateway that is silent for `ack_timeout_s` is dropped: it holds up nobody."""

    def __init__(
        self,
        file: Path,
        socket: Path,
        clock: Clock,
        *,
        keys: Sequence[AccessKey] = (),
        require_auth: bool = True,
        account: str = "000000000000",
        region: str = "us-east-1",
        expected_gateways: int = 0,
        ack_timeout_s: float = 5.0,
        reconnect_s: float = 2.0,
        save_again_s: float = 1.0,
    ) -> None:
        self.book = RouteBook(
            file,
            clock,
            keys=keys,
            require_auth=require_auth,
            account=account,
            region=region,
            expected_gateways=expected_gateways,
            reconnect_s=reconnect_s,
        )
        self.book.on_publish = self._push_all
        self._ack_timeout_s = ack_timeout_s
        self._save_again_s = save_again_s
        self.connections = LocalServer(socket, lambda: _Gateway(self, next(self._numbers)))
        self._gateways: dict[int, _Gateway] = {}
        self._numbers = count()
        self._pending_save: asyncio.Handle | None = None

    async def open(self) -> None:
        """Listen, owner only."""
        self.book.keep_later = self._save_soon
        await self.connections.open()

    async def close(self) -> None:
        """Let the gateways go; they route on by what they have."""
        self.book.keep_later = self.book.save
        if self._pending_save is not None:
            self._pending_save.cancel()
        self.book.save()
        await self.connections.close()

    def set_keys(self, keys: Sequence[AccessKey]) -> None:
        """Tell every gateway of these access keys instead of those before."""
        self.book.set_keys(keys)

    @property
    def connected(self) -> int:
        """How many gateways are connected."""
        return len(self._gateways)

    def _push_all(self) -> None:
        frame = self.frame()
        for gateway in list(self._gateways.values()):
            gateway.push(frame)

    def _save_soon(self) -> None:
        """When this turn of the loop is over: what was pushed leaves first."""
        if self._pending_save is not None:
            self._pending_save.cancel()
        self._pending_save = asyncio.get_running_loop().call_soon(self._save_now)

    def _save_now(self) -> None:
        self._pending_save = None
        if not self.book.save():
            loop = asyncio.get_running_loop()
            self._pending_save = loop.call_later(self._save_again_s, self._save_now)

    def frame(self) -> bytes:
        """The newest table as it travels."""
        return sized(self.book.packed)

    def joined(self, gateway: _Gateway) -> None:
        """A gateway has connected: it gets the table at once."""
        self._gateways[gateway.number] = gateway
        self.book.connected(gateway.number)
        gateway.push(self.frame())

    def left(self, gateway: _Gateway) -> None:
        """A gateway has gone."""
        if self._gateways.pop(gateway.number, None) is not None:
            self.book.disconnected(gateway.number)

    def timer(self, gateway: _Gateway) -> asyncio.TimerHandle:
        """Starts the wait for an acknowledgement."""
        return asyncio.get_running_loop().call_later(self._ack_timeout_s, gateway.silent)


class _Gateway(LocalConnection):
    """One connection. The clock runs from the oldest table that was pushed and not acknowledged."""

    def __init__(self, publisher: RoutePublisher, number: int) -> None:
        super().__init__(publisher.connections)
        self.number = number
        self._publisher = publisher
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def joined(self) -> None:
        """See LocalConnection."""
        self._publisher.joined(self)

    def push(self, frame: bytes) -> None:
        """Send a table and expect its acknowledgement."""
        if self.write(frame) and self._timer is None:
            self._timer = self._publisher.timer(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        whole = len(self._buffer) - len(self._buffer) % _VERSION.size
        for (version,) in _VERSION.iter_unpack(bytes(self._buffer[:whole])):
            self._publisher.book.applied(self.number, version)
            self._stop_timer()
            if self._publisher.book.behind(self.number):
                self._timer = self._publisher.timer(self)
        del self._buffer[:whole]

    def silent(self) -> None:
        """It has not answered in time: drop it. It will connect again and get the newest table."""
        logger.warning("gateway dropped: it does not acknowledge its routes %s", fields(gateway=self.number))
        self.drop()

    def gone(self) -> None:
        """See LocalConnection."""
        self._stop_timer()
        self._publisher.left(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
