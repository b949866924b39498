"""Many keepers on one PostgreSQL: they hear of each other, lose nothing and give nothing twice, whatever ends."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from trimtab.errors import Unavailable
from trimtab.queues.client import QueueClient
from trimtab.queues.keeper import QueueKeeper
from trimtab.queues.model import (
    Ack,
    Count,
    Declare,
    Depth,
    Done,
    Free,
    Lease,
    Leases,
    List,
    Look,
    Lost,
    Messages,
    Op,
    Put,
    QueueSettings,
    Result,
)
from trimtab.queues.postgresql import PostgresqlQueueStore
from trimtab.testing.postgresql import PostgresServer

pytestmark = pytest.mark.postgres
Start = Callable[..., "asyncio.Future[QueueClient]"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="tt-") as folder:
        yield Path(folder)


@pytest.fixture
async def machine(postgres: PostgresServer, folder: Path) -> AsyncIterator[Start]:
    """Starts a keeper as another machine has it, whose clock is `off_s` off; gives a client of it."""
    url = postgres.empty()
    async with AsyncExitStack() as parts:

        async def start(house: str, off_s: float = 0.0) -> QueueClient:
            socket = folder / f"{house}.sock"
            store = PostgresqlQueueStore(url, house=f"{house}/")
            keeper = QueueKeeper(
                store, socket, house=f"{house}/", now_s=lambda: time.time() + off_s, steady_s=time.monotonic
            )
            await keeper.open()
            parts.push_async_callback(keeper.close)
            run = asyncio.create_task(keeper.run())

            async def stop() -> None:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)

            parts.push_async_callback(stop)
            client = QueueClient(socket)
            client.open()
            parts.push_async_callback(client.close)
            return client

        yield start  # type: ignore[misc]


async def ask_again(client: QueueClient, op: Op) -> Result:
    """As every caller must while the database is away."""
    while True:
        try:
            return await client.ask(op)
        except Unavailable:
            await asyncio.sleep(0.01)


async def test_what_one_machine_puts_another_takes_at_once(machine: Start) -> None:
    here, there = await machine("here"), await machine("there", off_s=3600.0)
    await here.ask(Declare(queue="q", settings=QueueSettings()))
    waiting = asyncio.create_task(there.ask(Lease(queue="q", owner=there.owner, lease_s=math.inf, wait_s=60.0)))
    depths: list[Depth] = []
    there.watch("q", depths.append)
    await there.ask(Look())
    await here.ask(Put(queue="q", id="1", body=b"x", expires_s=time.time() + 60))
    found = await asyncio.wait_for(waiting, 20)
    assert isinstance(found, Leases)
    (message,) = found.messages
    assert abs(message.put_s - 3600 - time.time()) < 60, "times are those of the one who asks"
    async with asyncio.timeout(20):
        while not any(depth.leased for depth in depths):
            await asyncio.sleep(0.005)
    assert await here.ask(Ack(queue="q", id="1", token=message.token)) == Done()


async def test_two_machines_keep_the_order_of_groups_and_give_nothing_twice(machine: Start) -> None:
    clients = [await machine("one"), await machine("two")]
    await clients[0].ask(Declare(queue="q", settings=QueueSettings(fifo=True)))
    await clients[0].ask(Declare(queue="out", settings=QueueSettings()))
    count, groups = 60, 4

    async def put(client: QueueClient, part: int) -> None:
        for number in range(part, count, 2):
            await client.ask(Put(queue="q", id=str(number), body=b"", group=f"g{number % groups}"))

    taken: list[str] = []

    async def take(client: QueueClient) -> None:
        while len(taken) < count:
            found = await client.ask(Lease(queue="q", owner=client.owner, most=3, lease_s=math.inf, wait_s=0.2))
            assert isinstance(found, Leases)
            for message in found.messages:
                taken.append(message.id)
                puts = (Put(queue="out", id=message.id, body=b""),)
                assert await client.ask(Ack(queue="q", id=message.id, token=message.token, puts=puts)) == Done()

    await asyncio.gather(put(clients[0], 0), put(clients[1], 1), take(clients[0]), take(clients[1]), take(clients[1]))
    assert sorted(taken, key=int) == [str(number) for number in range(count)]
    for group in range(groups):
        members = [int(taken_id) for taken_id in taken if int(taken_id) % groups == group]
        assert members == sorted(members)


async def test_a_database_that_crashes_loses_nothing_that_was_accepted(
    machine: Start, postgres: PostgresServer
) -> None:
    client = await machine("here")
    for queue in ("q", "out"):
        await client.ask(Declare(queue=queue, settings=QueueSettings()))
    accepted: set[str] = set()
    ended: set[str] = set()
    over = asyncio.Event()

    async def put(part: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            if await ask_again(client, Put(queue="q", id=f"{part}-{number}", body=b"x")) == Done():
                accepted.add(f"{part}-{number}")

    async def take() -> None:
        while not over.is_set() or ended != accepted:
            found = await ask_again(client, Lease(queue="q", owner=client.owner, lease_s=math.inf, wait_s=0.2))
            assert isinstance(found, Leases)
            for message in found.messages:
                puts = (Put(queue="out", id=message.id, body=b""),)
                ack = Ack(queue="q", id=message.id, token=message.token, puts=puts)
                assert await ask_again(client, ack) in (Done(), Lost())
                ended.add(message.id)

    work = asyncio.gather(put(1), put(2), take(), take())
    for crash in range(3):
        enough = len(accepted) + 20
        async with asyncio.timeout(30):
            while len(accepted) < enough:
                await asyncio.sleep(0.002)
        await asyncio.to_thread(postgres.stop, "immediate")
        if crash < 2:
            await asyncio.to_thread(postgres.start)
    await asyncio.to_thread(postgres.start)
    over.set()
    await asyncio.wait_for(work, 60)
    out = await ask_again(client, List(queue="out", most=100_000))
    assert isinstance(out, Messages)
    assert {message.id for message in out.messages} == accepted


def test_what_a_machine_held_that_is_gone_waits_again(postgres: PostgresServer) -> None:
    url = postgres.empty()
    lost = PostgresqlQueueStore(url, house="lost/", database_clock=False)
    lost.apply([Declare(queue="q", settings=QueueSettings()), Put(queue="q", id="1", body=b"")], 1000.0)
    lost.apply([Lease(queue="q", owner="lost/me", lease_s=math.inf, ask="lost/me:1")], 1000.0)
    lost.close()
    other = PostgresqlQueueStore(url, house="other/", database_clock=False)
    lease = Lease(queue="q", owner="other/me", lease_s=math.inf, ask="other/me:1")
    assert other.apply([lease], 1010.0) == [Leases(messages=())]
    (found,) = other.apply([lease], 1020.0)
    assert isinstance(found, Leases)
    assert [message.id for message in found.messages] == ["1"]
    assert other.apply([Free(owner="lost/me")], 1020.0) == [Count(count=0)]
    other.close()


def test_a_database_that_is_away_is_said_and_comes_back(postgres: PostgresServer) -> None:
    store = PostgresqlQueueStore(postgres.empty())
    declare = Declare(queue="q", settings=QueueSettings())
    store.apply([declare], time.time())
    postgres.stop("fast")
    with pytest.raises(Unavailable, match="The queues' database does not answer"):
        store.apply([Put(queue="q", id="1", body=b"")], time.time())
    postgres.start()
    assert store.apply([Put(queue="q", id="1", body=b"")], time.time()) == [Done()]
    store.close()
