"""What another supervisor's life left behind: processes that are dying with it, and files of those that are dead."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from house import House, a_command, tiny
from test_programs import SERVER

from trimtab.engines.local import processes, records, strays
from trimtab.engines.local.orders import BirthRecord
from trimtab.engines.local.placement import Machine
from trimtab.errors import NoCapacity
from trimtab.resources.replica import ReplicaState
from trimtab.testing.engines import settled

READY = ReplicaState.READY
GIB = 2**30


async def test_what_lives_of_an_earlier_supervisor_is_not_adopted_but_ends(house: House) -> None:
    before = await house.engine(house="one")
    await before.start(tiny("ready"))
    await before.start(a_command(SERVER))
    await settled(before, "r1", READY)
    await settled(before, "c1", READY)
    await before.close()
    after = await house.engine(house="two")
    assert after.observe() == []  # so nobody routes to them
    async with asyncio.timeout(10):
        while house.alive():
            await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        while list(house.paths.workers_dir.iterdir()):
            await asyncio.sleep(0.01)


async def test_it_holds_its_place_until_it_is_dead(house: House) -> None:
    machine = Machine(cpus=(0,), memory_bytes=16 * GIB)
    settings = {"enforce_shapes": True, "machine": machine}
    before = await house.engine(house="one", **settings)
    await before.start(tiny("ready"))
    (pid,) = (await settled(before, "r1", READY)).pids
    os.kill(pid, signal.SIGSTOP)  # it takes its time
    await before.close()
    after = await house.engine(house="two", **settings)
    await after.start(tiny("ready", "r2"))  # waits for the room that the other will make
    (waiting,) = after.observe()
    assert (waiting.id, waiting.state, waiting.pids) == ("r2", ReplicaState.STARTING, ())
    os.kill(pid, signal.SIGCONT)
    await settled(after, "r2", READY)
    with pytest.raises(NoCapacity):
        await after.start(tiny("ready", "r3"))


async def test_a_nursery_that_stops_ends_the_programs_of_its_own_supervisor_only(house: House) -> None:
    engine = await house.engine(house="another")
    await engine.start(a_command(SERVER))
    await settled(engine, "c1", READY)
    assert house.end_nursery(signal.SIGTERM) == 0  # its house is ""
    assert [record.replica_id for record in house.alive()] == ["c1"]


async def test_files_of_the_dead_whom_nobody_waited_for_are_removed(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready"))
    await settled(engine, "r1", READY)
    folder = house.paths.workers_dir
    dead = BirthRecord(replica_id="gone-1", index=0, spec=b"", address="unix:x", pid=2**22 - 1, start_ticks=1)
    claim = records.claim(str(folder / "gone-1-0.birth"))
    os.write(claim, msgspec.msgpack.encode(dead))
    os.close(claim)
    (folder / "gone-1-0.sock").touch()
    (folder / "gone-2-0.birth").touch()  # claimed by a nursery that was killed before the fork
    async with asyncio.timeout(5):
        while len(list(folder.iterdir())) > 2:
            await asyncio.sleep(0.01)
    assert {path.name for path in folder.iterdir()} == {"r1-0.birth", "r1-0.sock"}


async def test_what_a_dead_model_left_behind_is_ended_and_a_living_ones_daemon_is_not(
    house: House, tmp_path: Path
) -> None:
    strays.adopt_orphans()  # this process stands for the supervisor
    engine = await house.engine(supervisor_pid=os.getpid(), house="this")
    assert house.nursery is not None
    script = tmp_path / "with_daemon.py"
    script.write_text(DAEMON_THEN_SERVE.format(note=str(tmp_path / "pid"), server=str(SERVER)))
    for name in ("c1", "c2"):
        await engine.start(a_command(script, name, environment={"NAME": name}))
        await settled(engine, name, READY)
    first, second = (int((tmp_path / f"pid-{name}").read_text()) for name in ("c1", "c2"))
    house.end_nursery()  # so that what it has borne becomes the supervisor's
    await engine.stop("c1")
    async with asyncio.timeout(10):
        while processes.start_ticks(first) is not None:
            await asyncio.sleep(0.01)
    assert processes.start_ticks(second) is not None
    await engine.stop("c2")
    async with asyncio.timeout(10):
        while processes.start_ticks(second) is not None:
            await asyncio.sleep(0.01)


def test_what_the_program_that_became_the_supervisor_had_started_is_left_alone(house: House) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        found = strays.find(os.getpid(), house.paths.record_dirs, "this")
        assert bystander.pid not in {pid for pid, _ in found}
    finally:
        bystander.kill()
        bystander.wait()


DAEMON_THEN_SERVE = """
import os, runpy, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open("{note}-" + os.environ["NAME"], "w") as note:
            note.write(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
os.wait()
sys.argv = ["{server}", *sys.argv[1:]]
runpy.run_path("{server}", run_name="__main__")
"""
