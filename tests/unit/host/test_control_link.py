"""ControlLink, and a control that does not read."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from trimtab.host.control import ControlLink
from trimtab.testing.waiting import until
from trimtab.wire.hosting import MAX_BYTES, Holding, HostHello, HostSays, ModelState, Resident
from trimtab.wire.sized import SizedReader

HELLO = HostHello(replica_id="r-1", endpoint="e", variant="v", prefix="s3://models/e/")
UNREAD_BYTES = 256 * 1024


def holding(number: int) -> Holding:
    """Large enough for a few of them to fill a socket."""
    residents = tuple(
        Resident(model=f"{index:0100}", version=str(number), state=ModelState.READY) for index in range(500)
    )
    return Holding(residents=residents, memory_bytes=1, used_bytes=number)


class Connection(asyncio.Protocol):
    """Reads nothing while `deaf`."""

    def __init__(self, deaf: bool) -> None:
        self.heard: list[HostSays] = []
        self.over = False
        self._deaf = deaf
        self._reader = SizedReader(MAX_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._deaf:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.heard += (msgspec.msgpack.decode(message, type=HostSays) for message in self._reader.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True


class DeafControl:
    """Whoever connects first is not heard; all others are."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []

    def connection(self) -> Connection:
        self.connections.append(Connection(deaf=not self.connections))
        return self.connections[-1]


@pytest.fixture
async def control() -> AsyncIterator[tuple[DeafControl, ControlLink]]:
    control = DeafControl()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(os.path.join(folder, "c"))
        server = await asyncio.get_running_loop().create_unix_server(control.connection, path)
        link = ControlLink(
            path, HELLO, on_changed=lambda _: None, on_settings=lambda _: None, unread_bytes=UNREAD_BYTES
        )
        link.open()
        yield control, link
        await link.close()
        server.close()
        for connection in control.connections:
            connection.transport.abort()
        await server.wait_closed()


async def test_a_control_that_does_not_read_is_left_before_it_fills_the_memory_and_told_the_newest_later(
    control: tuple[DeafControl, ControlLink],
) -> None:
    deaf, link = control
    await until(lambda: link.is_connected)
    number = 0
    while link.is_connected:
        number += 1
        assert number < 1000
        link.hold(holding(number))
        await asyncio.sleep(0)
    await until(lambda: len(deaf.connections) == 2 and len(deaf.connections[1].heard) == 2)
    hello, told = deaf.connections[1].heard
    assert hello == HELLO
    assert told == holding(number)
