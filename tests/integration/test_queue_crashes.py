"""The keeper of queues is killed at any moment, loses its power, and runs out of disk: nothing that it answered is lost."""

import asyncio
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import trimtab.testing
from trimtab.errors import Unavailable
from trimtab.queues.client import QueueClient
from trimtab.queues.ids import new_id
from trimtab.queues.model import Ack, Declare, Done, Lease, Leases, List, Look, Messages, Put, QueueSettings, QueuesFull
from trimtab.testing.queue_process import start_keeper

POWER_CUT = Path(trimtab.testing.__file__).parent / "power_cut.c"
PUTTERS, TAKERS = 8, 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "q").mkdir()
    return tmp_path / "q"


class Ledger:
    """What a client knows: what it was told, and what it may have done."""

    def __init__(self, client: QueueClient) -> None:
        self.client = client
        self.accepted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.asked_to_acknowledge: set[str] = set()
        self.leased: dict[str, int] = {}  # the greatest token that was seen

    async def put(self) -> None:
        while True:
            message_id = new_id()
            assert await self.client.ask(Put(queue="q", id=message_id, body=b"x" * random.randrange(2000))) == Done()
            self.accepted.add(message_id)

    async def take(self) -> None:
        while True:
            lease = Lease(queue="q", owner=self.client.owner, most=3, wait_s=1.0, lease_s=float("inf"))
            found = await self.client.ask(lease)
            assert isinstance(found, Leases)
            for message in found.messages:
                assert message.token > self.leased.get(message.id, 0)
                self.leased[message.id] = message.token
                self.asked_to_acknowledge.add(message.id)
                notice = Put(queue="notices", id=message.id, body=b"")
                ack = Ack(queue="q", id=message.id, token=message.token, puts=(notice,))
                if await self.client.ask(ack) == Done():
                    self.acknowledged.add(message.id)

    async def work_until(self, enough: int) -> None:
        tasks = [asyncio.create_task(self.put()) for _ in range(PUTTERS)]
        tasks += [asyncio.create_task(self.take()) for _ in range(TAKERS)]
        try:
            while len(self.acknowledged) < enough:
                assert not [task.result() for task in tasks if task.done()]
                await asyncio.sleep(0.001)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self, client: QueueClient) -> None:
        """Every accepted message is there, or has ended with its notice, and never both."""
        there = await ids_in(client, "q")
        notices = await ids_in(client, "notices")
        assert self.accepted <= there | notices
        assert not there & notices
        assert self.acknowledged <= notices <= self.asked_to_acknowledge


async def ids_in(client: QueueClient, queue: str) -> set[str]:
    found = await client.ask(List(queue=queue, most=1_000_000))
    assert isinstance(found, Messages)
    return {message.id for message in found.messages}


async def client_of(folder: Path) -> QueueClient:
    client = QueueClient(folder / "queues.sock")
    client.open()
    for queue in ("q", "notices"):
        assert await client.ask(Declare(queue=queue, settings=QueueSettings())) == Done()
    return client


async def test_a_keeper_that_is_killed_again_and_again_loses_nothing(folder: Path) -> None:
    keeper = start_keeper(folder)
    client = await client_of(folder)
    ledger = Ledger(client)
    work = asyncio.create_task(ledger.work_until(150))
    kills = 0
    while not work.done() or kills < 5:
        before = len(ledger.acknowledged)
        while len(ledger.acknowledged) < before + random.randrange(1, 40) and not work.done():
            await asyncio.sleep(0.001)
        keeper.kill()
        keeper.wait()
        keeper = await asyncio.to_thread(start_keeper, folder)
        kills += 1
    await work
    await ledger.check(client)
    await client.close()
    keeper.kill()
    keeper.wait()


@pytest.fixture(scope="module")
def power_cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("power-cut") / "power_cut.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, POWER_CUT, "-ldl"], check=True)
    yield library


@pytest.mark.parametrize("cut", range(3))
async def test_what_was_answered_is_there_after_a_power_cut(
    tmp_path: Path, folder: Path, power_cut: Path, cut: int
) -> None:
    left = tmp_path / "left"
    left.mkdir()
    environment = {**os.environ, "LD_PRELOAD": str(power_cut), "POWER_CUT_OF": f"{folder}/", "POWER_CUT_TO": str(left)}
    keeper = start_keeper(folder, environment=environment)
    client = await client_of(folder)
    ledger = Ledger(client)
    work = asyncio.create_task(ledger.work_until(10_000))
    while len(ledger.acknowledged) < 20 + 30 * cut:
        assert not work.done()
        await asyncio.sleep(0.001)
    keeper.kill()
    keeper.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await client.close()
    assert {file.name for file in left.iterdir()} <= {"queues.db", "queues.db-wal", "queues.db-wal.part"}
    keeper = start_keeper(left)
    after = await client_of(left)
    await ledger.check(after)
    await after.close()
    keeper.kill()
    keeper.wait()


async def test_a_full_disk_refuses_clearly_and_accepts_nothing_by_halves(folder: Path) -> None:
    keeper = start_keeper(folder, file_most_bytes=1_000_000)
    client = await client_of(folder)
    accepted, refused = set(), set()
    while len(refused) < 20:
        ids = [new_id() for _ in range(10)]
        puts = (client.ask(Put(queue="q", id=message_id, body=os.urandom(10_000))) for message_id in ids)
        for message_id, result in zip(ids, await asyncio.gather(*puts, return_exceptions=True), strict=True):
            if result == Done():
                accepted.add(message_id)
            else:
                assert isinstance(result, QueuesFull)
                assert "has no room" in str(result)
                refused.add(message_id)
    assert accepted
    assert await ids_in(client, "q") == accepted
    keeper.kill()
    keeper.wait()
    keeper = start_keeper(folder)
    assert await ids_in(client, "q") == accepted
    assert await client.ask(Put(queue="q", id=refused.pop(), body=b"")) == Done()
    await client.close()
    keeper.kill()
    keeper.wait()


async def test_an_op_that_no_keeper_answers_is_refused_after_a_while(folder: Path) -> None:
    client = QueueClient(folder / "queues.sock", patience_s=0.05)
    client.open()
    with pytest.raises(Unavailable, match="did not answer within 0.05 s"):
        await client.ask(Look())
    await client.close()
