"""The keeper and its clients, in one process."""

import asyncio
from pathlib import Path

from trimtab.queues.client import QueueClient
from trimtab.queues.model import (
    Ack,
    Declare,
    Depth,
    Done,
    Lease,
    Leases,
    Look,
    Lost,
    Message,
    NoQueue,
    Put,
    QueueSettings,
    Result,
)
from trimtab.testing.queues import kept_queues


async def declare(client: QueueClient, queue: str = "q", **settings: object) -> None:
    assert await client.ask(Declare(queue=queue, settings=QueueSettings(**settings))) == Done()  # type: ignore[arg-type]


async def lease(client: QueueClient, queue: str = "q", wait_s: float = 5.0, **more: object) -> list[Message]:
    found = await client.ask(Lease(queue=queue, owner=client.owner, wait_s=wait_s, **more))  # type: ignore[arg-type]
    assert isinstance(found, Leases)
    return list(found.messages)


async def depth(client: QueueClient, queue: str = "q") -> Depth:
    found = await client.ask(Look(queue=queue))
    assert isinstance(found, Depth)
    return found


async def test_what_is_put_is_leased_and_acknowledged(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client = kept.client()
        await declare(client)
        assert await client.ask(Put(queue="q", id="1", body=b"x")) == Done()
        (message,) = await lease(client)
        assert (message.id, message.body, message.leases) == ("1", b"x", 1)
        assert await client.ask(Ack(queue="q", id="1", token=message.token)) == Done()
        assert (await depth(client)).ended == 1


async def test_a_lease_that_waits_gets_what_is_put_later(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client, other = kept.client(), kept.client()
        await declare(client)
        waiting = asyncio.create_task(lease(other))
        await depth(other)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        assert [message.id for message in await waiting] == ["1"]


async def test_a_lease_waits_no_longer_than_it_said(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client = kept.client()
        await declare(client)
        assert await lease(client, wait_s=0.01) == []


async def test_a_client_that_goes_leaves_its_messages_to_others_at_once(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client, other = kept.client(), kept.client()
        await declare(client)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        (held,) = await lease(client, lease_s=float("inf"))
        waiting = asyncio.create_task(lease(other))
        await client.close()
        (message,) = await waiting
        assert (message.id, message.leases) == ("1", 2)
        assert message.token > held.token


async def test_a_cancelled_lease_leaves_nothing_leased(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client, other = kept.client(), kept.client()
        await declare(client)
        waiting = asyncio.create_task(lease(client))
        await depth(client)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        assert [message.leases for message in await lease(other)] == [1]


async def test_a_lease_cancelled_while_it_is_carried_out_gives_its_messages_back(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client, other = kept.client(), kept.client()
        await declare(client)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        leasing = asyncio.create_task(lease(client))
        await asyncio.sleep(0)
        leasing.cancel()
        await asyncio.gather(leasing, return_exceptions=True)
        assert [message.leases for message in await lease(other)] == [1]


async def test_ops_wait_for_the_next_keeper_and_are_done_once(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client = kept.client()
        await declare(client)
        await kept.stop()
        asked: list[asyncio.Task[Result]] = [
            asyncio.create_task(client.ask(Put(queue="q", id=str(n), body=b"x"))) for n in range(10)
        ]
        await asyncio.sleep(0)
        await kept.start()
        assert await asyncio.gather(*asked) == [Done()] * 10
        assert (await depth(client)).put == 10


async def test_leases_survive_the_keeper(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client = kept.client()
        await declare(client)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        (message,) = await lease(client)
        await kept.stop()
        await kept.start()
        assert await client.ask(Ack(queue="q", id="1", token=message.token)) == Done()
        assert await client.ask(Ack(queue="q", id="1", token=message.token + 1)) == Lost()


async def test_watchers_hear_of_a_queue_that_begins_to_hold_something(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        client = kept.client()
        heard: asyncio.Queue[Depth] = asyncio.Queue()
        client.watch("q", heard.put_nowait)
        await declare(client)
        await declare(client, "other")
        assert (await heard.get()).waiting == 0
        await client.ask(Put(queue="other", id="1", body=b"x"))
        await client.ask(Put(queue="q", id="1", body=b"x"))
        assert (await heard.get()).waiting == 1
        (message,) = await lease(client)
        await client.ask(Ack(queue="q", id="1", token=message.token))
        while (found := await heard.get()).waiting + found.leased:
            pass


async def test_an_unknown_queue_is_named(tmp_path: Path) -> None:
    async with kept_queues(tmp_path) as kept:
        assert await kept.client().ask(Put(queue="no", id="1", body=b"")) == NoQueue(queue="no")


async def test_a_lease_lasts_as_long_as_it_should_though_the_clock_jumps(tmp_path: Path) -> None:
    steady_s, ahead_s = 1000.0, 5000.0
    async with kept_queues(tmp_path, now_s=lambda: steady_s + ahead_s, steady_s=lambda: steady_s) as kept:
        client = kept.client()
        await declare(client)
        await client.ask(Put(queue="q", id="1", body=b"x"))
        await lease(client, lease_s=20.0)
        ahead_s += 3600.0
        steady_s += 19.0
        assert (await depth(client)).leased == 1
        steady_s += 1.0
        assert (await depth(client)).leased == 0


async def test_who_has_waited_longer_gets_the_rest_of_what_becomes_visible_at_once(tmp_path: Path) -> None:
    now_s = 1000.0
    async with kept_queues(tmp_path, now_s=lambda: now_s, steady_s=lambda: now_s) as kept:
        client, patient, late = kept.client(), kept.client(), kept.client()
        await declare(client)
        for name in "xy":
            await client.ask(Put(queue="q", id=name, body=b"", visible_s=now_s + 10.0))
        waiting = asyncio.create_task(lease(patient, wait_s=60.0))
        await depth(patient)
        await depth(late)
        now_s += 11.0
        (first,) = await lease(late, wait_s=0.0)
        async with asyncio.timeout(5.0):
            (rest,) = await waiting
        assert {first.id, rest.id} == {"x", "y"}
