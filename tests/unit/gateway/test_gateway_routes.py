"""Following control's routes, and living without it."""

import asyncio
import struct

import msgspec
import pytest

from trimtab.gateway.routes import RouteClient
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute


class Publisher:
    """Control's side of the routes socket."""

    def __init__(self, path):
        self.path = path
        self.connected = asyncio.Event()
        self._server = None

    async def start(self):
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._take, str(self.path))
        return self

    async def _take(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.connected.set()

    async def publish(self, table, *, whole=True):
        await asyncio.wait_for(self.connected.wait(), 5)
        data = msgspec.msgpack.encode(table)
        self.writer.write(struct.pack("<I", len(data)) + (data if whole else data[: len(data) // 2]))

    async def acknowledged(self):
        return struct.unpack("<Q", await asyncio.wait_for(self.reader.readexactly(8), 5))[0]

    async def stop(self):
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        if self.connected.is_set():
            self.writer.close()
        self.connected.clear()


def table(version, *lanes):
    variant = VariantRoute(name="v", weight=1, lanes=lanes)
    return RouteTable(version=version, endpoints=(EndpointRoute(name="e", variants=(variant,)),))


@pytest.fixture
async def following(bench):
    client = RouteClient(bench.gateway, socket_path=bench.folder / "routes.sock", file_path=bench.folder / "routes")
    publisher = Publisher(bench.folder / "routes.sock")
    task = asyncio.ensure_future(client.run())
    yield client, publisher
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await publisher.stop()


async def test_a_table_is_acknowledged_once_its_lanes_are_connected(bench, following):
    _, publisher = following
    await publisher.start()
    worker = await bench.worker(lambda got: got.answer(got.body))
    await publisher.publish(table(7, worker.lane()))
    assert await publisher.acknowledged() == 7
    assert worker.connections
    assert await bench.ask(b"1").outcome() == b"1"


async def test_tables_are_acknowledged_in_order(bench, following):
    _, publisher = following
    await publisher.start()
    for version in (1, 2, 3):
        await publisher.publish(table(version))
    assert [await publisher.acknowledged() for _ in range(3)] == [1, 2, 3]
    assert bench.gateway.table.version == 3


async def test_the_last_routes_hold_while_control_is_away_and_a_new_control_is_found(bench, following):
    _, publisher = following
    await publisher.start()
    worker = await bench.worker(lambda got: got.answer(got.body))
    await publisher.publish(table(1, worker.lane()))
    await publisher.acknowledged()
    await publisher.stop()
    assert await bench.ask(b"1").outcome() == b"1"
    await publisher.start()
    await publisher.publish(table(2))
    assert await publisher.acknowledged() == 2


async def test_a_control_whose_versions_began_anew_is_obeyed(bench, following):
    _, publisher = following
    await publisher.start()
    await publisher.publish(table(9))
    await publisher.acknowledged()
    await publisher.publish(RouteTable(version=2))
    assert await publisher.acknowledged() == 2
    assert not bench.gateway.endpoints


async def test_a_table_cut_off_in_the_middle_changes_nothing(bench, following):
    _, publisher = following
    await publisher.start()
    await publisher.publish(table(1))
    await publisher.acknowledged()
    await publisher.publish(table(2), whole=False)
    await publisher.stop()
    await publisher.start()
    await publisher.publish(table(3))
    assert await publisher.acknowledged() == 3


async def test_what_cannot_be_read_is_not_obeyed_and_control_is_asked_again(bench, following, caplog):
    _, publisher = following
    await publisher.start()
    await asyncio.wait_for(publisher.connected.wait(), 5)
    reader, writer = publisher.reader, publisher.writer
    publisher.connected.clear()
    writer.write(struct.pack("<I", 3) + b"\xc1\xc1\xc1")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await publisher.publish(table(4))
    assert await publisher.acknowledged() == 4
    assert "cannot be read" in caplog.text


async def test_a_gateway_starts_from_the_file_even_without_control(bench, following):
    client, _ = following
    worker = await bench.worker(lambda got: got.answer(got.body))
    await client.load()  # no file: nothing to start from
    (bench.folder / "routes").write_bytes(msgspec.msgpack.encode(table(5, worker.lane())))
    await client.load()
    assert await bench.ask(b"1").outcome() == b"1"


async def test_a_damaged_file_is_reported_and_control_waited_for(bench, following, caplog):
    client, _ = following
    (bench.folder / "routes").write_bytes(b"\xc1 nonsense")
    await client.load()
    assert "route file unreadable" in caplog.text
    assert bench.gateway.table.version == 0


async def test_an_endpoint_that_has_not_changed_is_left_alone(bench):
    worker = await bench.worker(lambda got: got.answer(got.body))
    route = table(1, worker.lane()).endpoints[0]
    other = msgspec.structs.replace(route, name="other")
    await bench.gateway.apply(bench.table(route, other))
    entries = dict(bench.gateway.endpoints)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(bench.table(route)), type=RouteTable)
    await bench.gateway.apply(again)
    assert bench.gateway.endpoints == {"e": entries["e"]}
    assert entries["other"].variants[0].retired
    assert await bench.ask(b"1").outcome() == b"1"
