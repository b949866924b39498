"""The route socket, with real connections."""

import asyncio
import select
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import uvloop

from trimtab.clock import SystemClock
from trimtab.control.routes import RoutePublisher
from trimtab.resources.routing import EndpointRoute, RouteTable

BOUND_S = 5.0
A = EndpointRoute(name="a", variants=())


class Client:
    """The gateway's end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def table(self) -> RouteTable:
        async with asyncio.timeout(BOUND_S):
            (length,) = struct.unpack("<I", await self.reader.readexactly(4))
            return msgspec.msgpack.decode(await self.reader.readexactly(length), type=RouteTable)

    def ack(self, version: int) -> None:
        self.writer.write(struct.pack("<Q", version))

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # dropped by the other end


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt") as name:  # short: socket paths have 107 bytes
        yield Path(name)


@pytest.fixture
async def publisher(folder: Path) -> AsyncIterator[RoutePublisher]:
    publisher = RoutePublisher(
        folder / "routes", folder / "routes.sock", SystemClock(), ack_timeout_s=0.2, save_again_s=0.01
    )
    await publisher.open()
    yield publisher
    await publisher.close()


def _waits_at(descriptor: int) -> bool:
    """Whether there is something to read."""
    return bool(select.select([descriptor], [], [], 0)[0])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_gateway_gets_the_table_when_it_connects_and_at_each_change(
    publisher: RoutePublisher, folder: Path
) -> None:
    client = await Client.connect(folder / "routes.sock")
    assert await client.table() == publisher.book.table
    publisher.book.publish("a", A)
    assert await client.table() == publisher.book.table
    await client.close()


async def test_acknowledgements_settle_a_change_and_may_come_in_pieces(publisher: RoutePublisher, folder: Path) -> None:
    client = await Client.connect(folder / "routes.sock")
    client.ack((await client.table()).version)
    await until(lambda: publisher.book.acked() == publisher.book.table.version)
    settled = asyncio.Event()
    publisher.book.on_settled = lambda key: settled.set()
    publisher.book.publish("a", A)
    assert not publisher.book.settled("a")
    packed = struct.pack("<Q", (await client.table()).version)
    client.writer.write(packed[:3])
    await client.writer.drain()
    client.writer.write(packed[3:])
    async with asyncio.timeout(BOUND_S):
        await settled.wait()
    assert publisher.book.settled("a")
    await client.close()


async def test_a_gateway_that_disconnects_does_not_hold_up(publisher: RoutePublisher, folder: Path) -> None:
    client = await Client.connect(folder / "routes.sock")
    await client.table()
    publisher.book.publish("a", A)
    assert not publisher.book.settled("a")
    await client.close()
    await until(lambda: publisher.book.settled("a"))
    assert publisher.connected == 0


async def test_a_silent_gateway_is_dropped_and_gets_the_newest_table_when_it_comes_back(
    publisher: RoutePublisher, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silent = await Client.connect(folder / "routes.sock")
    publisher.book.publish("a", A)
    await until(lambda: publisher.connected == 1)
    async with asyncio.timeout(BOUND_S):
        while await silent.reader.read(65536):  # until the other end drops it
            pass
    assert publisher.book.settled("a")
    assert "does not acknowledge" in caplog.text
    again = await Client.connect(folder / "routes.sock")
    assert await again.table() == publisher.book.table
    await silent.close()
    await again.close()


async def test_one_gateway_that_acknowledges_is_not_dropped_for_another_that_does_not(
    publisher: RoutePublisher, folder: Path
) -> None:
    good = await Client.connect(folder / "routes.sock")
    good.ack((await good.table()).version)
    silent = await Client.connect(folder / "routes.sock")
    await until(lambda: publisher.connected == 2)
    await until(lambda: publisher.connected == 1)
    publisher.book.publish("a", A)
    good.ack((await good.table()).version)
    await until(lambda: publisher.book.settled("a"))
    assert publisher.connected == 1
    await good.close()
    await silent.close()


async def test_the_socket_is_its_owners_only_and_a_left_over_one_is_replaced(folder: Path) -> None:
    path = folder / "routes.sock"
    for _ in range(2):
        publisher = RoutePublisher(folder / "routes", path, SystemClock())
        await publisher.open()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await publisher.close()
        if not path.exists():
            path.touch()


async def test_a_change_is_on_its_way_before_it_is_written_and_is_written_before_it_is_settled(
    publisher: RoutePublisher, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await Client.connect(folder / "routes.sock")
    await client.table()
    save, held = publisher.book.save, asyncio.Event()
    arrived: list[bool] = []

    def save_with_a_look() -> bool:
        arrived.append(_waits_at(client.writer.get_extra_info("socket").fileno()))
        held.set()
        return save()

    monkeypatch.setattr(publisher.book, "save", save_with_a_look)
    publisher.book.publish("a", A)
    assert not publisher.book.settled("a")
    async with asyncio.timeout(BOUND_S):
        await held.wait()
    assert arrived == [True]
    client.ack((await client.table()).version)
    await until(lambda: publisher.book.settled("a"))
    await client.close()


async def test_what_was_published_last_is_in_the_file_when_it_is_closed(folder: Path) -> None:
    publisher = RoutePublisher(folder / "routes", folder / "routes.sock", SystemClock())
    await publisher.open()
    publisher.book.publish("a", A)
    await publisher.close()
    assert msgspec.msgpack.decode((folder / "routes").read_bytes(), type=RouteTable) == publisher.book.table


async def test_the_file_is_written_again_once_that_is_possible(publisher: RoutePublisher, folder: Path) -> None:
    blocker = folder / "routes"
    blocker.unlink()
    blocker.mkdir()
    (blocker / "x").touch()  # a rename onto it fails
    publisher.book.publish("a", A)
    (blocker / "x").unlink()
    blocker.rmdir()
    await until(blocker.is_file)
    assert msgspec.msgpack.decode(blocker.read_bytes(), type=RouteTable) == publisher.book.table


def test_the_same_holds_on_uvloop(folder: Path) -> None:
    async def follow() -> None:
        publisher = RoutePublisher(folder / "routes", folder / "routes.sock", SystemClock())
        await publisher.open()
        client = await Client.connect(folder / "routes.sock")
        client.ack((await client.table()).version)
        publisher.book.publish("a", A)
        client.ack((await client.table()).version)
        await until(lambda: publisher.connected == 1 and publisher.book.settled("a"))
        await client.close()
        await publisher.close()

    uvloop.run(follow())
