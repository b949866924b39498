"""HostServer: model hosts on a Unix socket, each known by its replica (`wire/hosting.py`, part 2)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Protocol

import msgspec

from trimtab.control.local_server import LocalConnection, LocalServer
from trimtab.errors import Broken
from trimtab.logs import fields
from trimtab.wire.hosting import MAX_BYTES, ControlSays, Events, Fetch, Holding, HostHello, HostSays, Release
from trimtab.wire.sized import SizedReader, sized

UNREAD_BYTES: Final = 2 * MAX_BYTES

logger = logging.getLogger(__name__)

_decode = msgspec.msgpack.Decoder(HostSays).decode
_encode = msgspec.msgpack.Encoder().encode

Place = tuple[str, str]
"""Endpoint and variant."""
Said = Fetch | Release | Holding | Events
"""What a host says once it has said who it is."""


class Takes(Protocol):
    """Who hears hosts. Called on the event loop."""

    def joined(self, host: Host) -> None:
        """A host has said who it is (`host.hello`)."""
        ...

    def said(self, host: Host, says: Said) -> None:
        """It has said something else."""
        ...

    def left(self, host: Host) -> None:
        """It is not connected any more, or another connection speaks for its replica now. Once for each `joined`."""
        ...


class HostServer:
    """One connection for each host; of two for the same replica the later one counts."""

    def __init__(self, socket: Path, takes: Takes) -> None:
        self.takes = takes
        self.hosts: dict[str, Host] = {}  # by replica
        self.connections = LocalServer(socket, lambda: Host(self))

    async def open(self) -> None:
        """Listen, owner only."""
        await self.connections.open()

    async def close(self) -> None:
        """Take nothing more. Hosts hold what they hold, and say again what was not answered to the next control."""
        await self.connections.close()

    def named(self, host: Host) -> None:
        """A connection has said whose it is."""
        if (before := self.hosts.get(host.replica_id)) is not None:
            before.drop()
        self.hosts[host.replica_id] = host
        self.takes.joined(host)

    def gone(self, host: Host) -> None:
        """A connection is over."""
        if self.hosts.get(host.replica_id) is host:
            del self.hosts[host.replica_id]
            self.takes.left(host)


class Host(LocalConnection):
    """One host's connection. Nobody is told of it before it has said who it is."""

    def __init__(self, hosts: HostServer) -> None:
        super().__init__(hosts.connections)
        self._hello: HostHello | None = None
        self._hosts = hosts
        self._reader = SizedReader(MAX_BYTES)

    @property
    def hello(self) -> HostHello:
        """Who it is."""
        if self._hello is None:
            raise Broken("a host that has not said who it is")
        return self._hello

    @property
    def replica_id(self) -> str:
        """Whose it is; "" while that is not known."""
        return self._hello.replica_id if self._hello is not None else ""

    @property
    def place(self) -> Place:
        """Its endpoint and variant."""
        return self.hello.endpoint, self.hello.variant

    def tell(self, says: ControlSays) -> None:
        """Say something to it. What does not reach it, it asks for, or is told, when it has connected anew; so one that
        does not read is let go before it fills our memory."""
        self.write(sized(_encode(says)))
        if self.unsent_bytes > UNREAD_BYTES:
            logger.error("a model host does not read what it is told; dropped %s", fields(replica=self.replica_id))
            self.drop()

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        try:
            for message in self._reader.feed(data):
                self._hear(_decode(message))
                if not self.connected:
                    return
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("model host said what cannot be read %s", fields(replica=self.replica_id, error=error))
            self.drop()

    def _hear(self, says: HostSays) -> None:
        if self._hello is None:
            if not isinstance(says, HostHello):
                raise ValueError("a host that does not say who it is")
            self._hello = says
            self._hosts.named(self)
        elif isinstance(says, HostHello):
            raise ValueError("a second hello")
        else:
            self._hosts.takes.said(self, says)

    def gone(self) -> None:
        """See LocalConnection."""
        self._hosts.gone(self)
