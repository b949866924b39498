"""An artifact is held for as long as a process may read it, and no longer: what a bounded cache may evict."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from house import House, tiny

from trimtab.resources.replica import ReplicaState
from trimtab.testing.engines import absent, settled, until

READY, FAILED = ReplicaState.READY, ReplicaState.FAILED
URL = "s3://models/m.tar.gz"


@pytest.fixture
def artifact(house: House, tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    house.artifacts[URL] = folder
    return folder


async def test_it_is_held_until_the_last_process_is_dead(house: House, artifact: Path) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready", artifact_url=URL, environment={"MODEL_SERVER_WORKERS": "2"}))
    await settled(engine, "r1", READY)
    assert house.leases[artifact] == 1
    await engine.stop("r1")
    assert house.leases[artifact] == 1  # the order is given; the processes are dying still
    await until(engine, lambda: house.leases[artifact] == 0)
    assert not house.alive()


async def test_a_drained_replica_lets_go(house: House, artifact: Path) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready", artifact_url=URL))
    await settled(engine, "r1", READY)
    await engine.drain("r1", grace_s=5)
    await absent(engine, "r1")
    assert house.leases[artifact] == 0


async def test_a_failed_replica_lets_go_when_it_is_stopped(house: House, artifact: Path) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready", artifact_url=URL))
    os.kill((await settled(engine, "r1", READY)).pids[0], signal.SIGKILL)
    await settled(engine, "r1", FAILED)
    await engine.stop("r1")
    await until(engine, lambda: house.leases[artifact] == 0)


async def test_a_start_that_is_given_up_leaves_no_lease(house: House, artifact: Path) -> None:
    engine = await house.engine()
    for turns in range(12):  # given up at every step of it
        name = f"r{turns}"
        await engine.start(tiny("ready", name, artifact_url=URL))
        for _ in range(turns):
            await asyncio.sleep(0)
        await engine.stop(name)
        await until(engine, lambda: house.leases[artifact] == 0)
        assert not house.alive()  # a process that was ordered, and given up before it was born, is a reader too


async def test_what_an_adopted_process_reads_is_leased_anew(house: House, artifact: Path) -> None:
    before = await house.engine()
    await before.start(tiny("ready", artifact_url=URL))
    await settled(before, "r1", READY)
    await before.close()
    house.leases.clear()  # they went with the control that held them
    after = await house.engine()
    assert house.leases[artifact] == 1
    await after.stop("r1")
    await until(after, lambda: house.leases[artifact] == 0)
