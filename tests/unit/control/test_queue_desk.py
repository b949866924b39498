"""What people are told of a queue, and do to it; on the real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.control.queue_desk import QueueDesk
from trimtab.errors import Invalid, NotFound
from trimtab.queues.model import Bury, Declare, Lease, Leases, Put, QueueSettings
from trimtab.queues.sqlite import SqliteQueueStore
from trimtab.resources.asynchronous import AsyncSettings, AsyncTask, QueueMark

NOW_S = 1_700_000_000.0


class Direct:
    """A client that asks the store itself."""

    owner = "me"

    def __init__(self, store: SqliteQueueStore) -> None:
        self.store = store

    async def ask(self, op: Any) -> Any:
        return self.store.apply([op], NOW_S)[0]

    def watch(self, prefix: str, told: Any) -> None:
        raise NotImplementedError


def named(name: str) -> str:
    if name.lower() not in ("pages", "plain"):
        raise NotFound("endpoint", name)
    return {"pages": "Pages", "plain": "plain"}[name.lower()]


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[Direct]:
    store = SqliteQueueStore(tmp_path / "queues.db")
    attributes = msgspec.json.encode(QueueMark(uid="u"))
    settings = QueueSettings(max_items=10, max_bytes=1000, attributes=attributes)
    store.apply([Declare(queue="async/Pages", settings=settings)], NOW_S)
    yield Direct(store)
    store.close()


@pytest.fixture
def desk(queues: Direct) -> QueueDesk:
    return QueueDesk(queues, named)


def a_task(number: int) -> bytes:
    return msgspec.msgpack.encode(
        AsyncTask(
            id=f"t{number}", inference_id=f"i{number}", endpoint="Pages", endpoint_uid="u", version="c-1",
            settings=AsyncSettings(), output_location="s3://b/out", input_location=f"s3://b/in/{number}",
        )
    )  # fmt: skip


async def put(queues: Direct, count: int, body: bytes = b"") -> None:
    for number in range(count):
        await queues.ask(Put(queue="async/Pages", id=f"t{number}", body=body or a_task(number)))


async def bury_one(queues: Direct) -> None:
    leased = await queues.ask(Lease(queue="async/Pages", owner="me"))
    assert isinstance(leased, Leases)
    (message,) = leased.messages
    await queues.ask(Bury(queue="async/Pages", id=message.id, token=message.token, reason="ModelFailed: no"))


async def test_a_queue_is_shown_whatever_the_case_of_its_endpoints_name(queues: Direct, desk: QueueDesk) -> None:
    await put(queues, 3)
    await bury_one(queues)
    found = await desk.look("pages")
    assert (found.endpoint, found.waiting, found.in_flight, found.dead, found.accepted) == ("Pages", 2, 0, 1, 3)
    assert (found.oldest_s, found.max_items, found.deleting) == (NOW_S, 10, False)
    (dead,) = await desk.tasks("Pages", "dead")
    assert (dead.id, dead.inference_id, dead.reason) == ("t0", "i0", "ModelFailed: no")
    assert (dead.input_location, dead.endpoint_config, dead.attempts) == ("s3://b/in/0", "c-1", 1)
    assert [task.id for task in await desk.tasks("Pages", "waiting", most=1)] == ["t1"]


async def test_dead_letters_wait_again_or_are_removed_and_so_is_what_waits(queues: Direct, desk: QueueDesk) -> None:
    await put(queues, 3)
    await bury_one(queues)
    assert await desk.redrive("pages", 10) == 1
    assert (await desk.look("Pages")).waiting == 3
    await bury_one(queues)
    assert await desk.purge("Pages", dead=True) == 1
    assert await desk.purge("Pages", dead=False) == 2
    left = await desk.look("Pages")
    assert (left.waiting, left.dead) == (0, 0)


async def test_a_body_of_another_version_does_not_hide_the_task(queues: Direct, desk: QueueDesk) -> None:
    await put(queues, 1, b"\xc1 not a task")
    (found,) = await desk.tasks("Pages", "waiting")
    assert (found.id, found.inference_id, found.accepted_s) == ("t0", "", NOW_S)


async def test_what_has_no_queue_is_told_so(desk: QueueDesk) -> None:
    with pytest.raises(NotFound):
        await desk.look("nobody")
    with pytest.raises(Invalid, match="is not asynchronous"):
        await desk.purge("plain", dead=False)
    with pytest.raises(Invalid, match="state must be one of"):
        await desk.tasks("Pages", "gone")
