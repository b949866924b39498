"""A worker is told to drain once no gateway sends it anything more, and no gateway can hold that up for ever."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.host.clients import Clients
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import Kind, WorkerDescription, pack
from trimtab.wire.hosting import ModelAt, ModelState

BOUND_S = 10.0
LEAVING = ModelAt("a", "1", ModelState.LEAVING)


class Nothing:
    """A host that holds nothing and hears nothing."""

    def known(self) -> tuple[ModelAt, ...]:
        return ()

    def describe(self) -> WorkerDescription:
        return WorkerDescription(replica_id="r", index=0, state="Ready", pid=1)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class End:
    """One connection to the host."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames: list[tuple[int, bytes]] = []
        self._decoder = FrameDecoder(lambda kind, stream, meta, payload: self.frames.append((kind, payload)))

    async def hears(self) -> ModelAt:
        async with asyncio.timeout(BOUND_S):
            while not self.frames:
                self._decoder.feed(await self.reader.read(1 << 16))
        return msgspec.msgpack.decode(self.frames.pop(0)[1], type=ModelAt)

    def say(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(pack(kind, 0, payload=payload))

    def give_back(self, at: ModelAt) -> None:
        self.say(Kind.MODEL, msgspec.msgpack.encode(at))


class Ends:
    """Clients, and who connects to them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "host.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self.clients = Clients(listener, Nothing())
        self.ends: list[End] = []

    async def connect(self) -> End:
        self.ends.append(End(*await asyncio.open_unix_connection(str(self.path))))
        async with asyncio.timeout(BOUND_S):
            while len(self.clients._connections) < len(self.ends):
                await asyncio.sleep(0.001)
        return self.ends[-1]

    def waiting(self, within_s: float = BOUND_S) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.clients.all_heard("a", "1", within_s))


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    made = Ends(tmp_path)
    await made.clients.open()
    yield made
    for end in made.ends:
        end.writer.close()
    await made.clients.close()


async def test_every_gateway_gives_back_what_is_leaving_before_its_worker_drains(ends: Ends) -> None:
    one, other = await ends.connect(), await ends.connect()
    ends.clients.tell_gateways(LEAVING)
    heard = ends.waiting()
    one.give_back(await one.hears())
    other.give_back(ModelAt("a", "2", ModelState.LEAVING))  # of another version
    await other.hears()
    one.give_back(LEAVING)  # twice is no harm
    done, _ = await asyncio.wait([heard], timeout=0.05)
    assert not done
    other.give_back(LEAVING)
    await heard
    assert not ends.clients.unheard


async def test_what_was_given_back_before_anybody_waited_counts(ends: Ends) -> None:
    gateway = await ends.connect()
    ends.clients.tell_gateways(LEAVING)
    gateway.give_back(await gateway.hears())
    async with asyncio.timeout(BOUND_S):
        while ends.clients.unheard:
            await asyncio.sleep(0.001)
    await ends.waiting()


async def test_gateways_that_are_gone_and_control_are_not_waited_for(ends: Ends) -> None:
    control, gateway = await ends.connect(), await ends.connect()
    ends.clients.tell_gateways(LEAVING)
    heard = ends.waiting()
    control.say(Kind.DESCRIBE)
    gateway.writer.close()
    await heard
    await ends.waiting()  # with no gateway there is nothing to wait for
    ends.clients.tell_gateways(LEAVING)
    await ends.waiting()


async def test_a_gateway_that_is_stuck_is_not_waited_for_long(ends: Ends) -> None:
    await ends.connect()
    ends.clients.tell_gateways(LEAVING)
    await ends.waiting(0.01)
    assert not ends.clients.unheard
