"""ReportServer: takes the gateways' reports on a Unix socket and acknowledges what is durable (`wire/reports.py`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from trimtab.control.local_server import LocalConnection, LocalServer
from trimtab.logs import fields
from trimtab.wire.reports import MAX_BYTES, NUMBER, Hello, Report
from trimtab.wire.sized import SizedReader

logger = logging.getLogger(__name__)

_decode_hello = msgspec.msgpack.Decoder(Hello).decode
_decode_report = msgspec.msgpack.Decoder(Report).decode


class Takes(Protocol):
    """Who is given the reports."""

    def welcome(self, gateway: str, answer: Callable[[int], None]) -> None:
        """A gateway has connected: call `answer` with the number of its last report, once that one is durable."""
        ...

    def take(self, gateway: str, report: Report, acknowledge: Callable[[int], None]) -> None:
        """A report that is new: call `acknowledge` with its number once it is durable."""
        ...

    def left(self, gateway: str) -> None:
        """A gateway is not connected any more."""
        ...


class ReportServer:
    """One connection for each gateway; of two with the same name the later one counts."""

    def __init__(self, socket: Path, takes: Takes) -> None:
        self.takes = takes
        self.gateways: dict[str, _Connection] = {}
        self.connections = LocalServer(socket, lambda: _Connection(self))

    async def open(self) -> None:
        """Listen, owner only."""
        await self.connections.open()

    async def close(self) -> None:
        """Take nothing more. What was taken and not acknowledged is sent to the next control."""
        await self.connections.close()

    def named(self, gateway: str, connection: _Connection) -> None:
        """A gateway has said who it is."""
        if (before := self.gateways.get(gateway)) is not None:
            before.drop()
        self.gateways[gateway] = connection

    def gone(self, connection: _Connection) -> None:
        """A connection is over."""
        if connection.gateway and self.gateways.get(connection.gateway) is connection:
            del self.gateways[connection.gateway]
            self.takes.left(connection.gateway)


class _Connection(LocalConnection):
    def __init__(self, reports: ReportServer) -> None:
        super().__init__(reports.connections)
        self.gateway = ""
        self._reports = reports
        self._reader = SizedReader(MAX_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._take(message)
                if not self.connected:
                    return
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("gateway sent a report that cannot be read %s", fields(gateway=self.gateway, error=error))
            self.drop()

    def _take(self, message: bytes) -> None:
        if not self.gateway:
            self.gateway = _decode_hello(message).gateway
            self._reports.named(self.gateway, self)
            self._reports.takes.welcome(self.gateway, self._answer)
        else:
            self._reports.takes.take(self.gateway, _decode_report(message), self._answer)

    def _answer(self, number: int) -> None:
        self.write(NUMBER.pack(number))

    def gone(self) -> None:
        """See LocalConnection."""
        self._reports.gone(self)
