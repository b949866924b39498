"""Workers forked ahead of their orders: like any other worker once launched, and nobody's trace when they are not."""

import asyncio
import json
import os
import resource
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import psutil
import pytest
from house import House, a_spec, tiny

from trimtab.engines.local.placement import Machine
from trimtab.engines.local.processes import start_ticks
from trimtab.resources.replica import ReplicaState, ReplicaStatus
from trimtab.resources.runtime import Runtime
from trimtab.testing.engines import absent, find, settled
from trimtab.testing.waiting import until
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, RequestMeta, pack

READY, FAILED = ReplicaState.READY, ReplicaState.FAILED
GIB = 2**30


async def eventually(condition: Callable[[], object], house: House) -> None:
    await until(condition, house.nursery_log)


def title(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def spares(house: House) -> set[int]:
    """Those that wait for an order."""
    return {pid for pid, name in named_spares(house).items() if name == "trimtab: spare"}


def named_spares(house: House) -> dict[int, str]:
    """Those that rehearse included."""
    assert house.nursery is not None
    titles = {process.pid: title(process) for process in psutil.Process(house.nursery.pid).children()}
    return {pid: name for pid, name in titles.items() if name.startswith("trimtab: spare")}


async def some_spares(house: House, count: int = 1) -> set[int]:
    """At least so many: orders that follow one another quickly count as a burst."""
    found: set[int] = set()

    def enough() -> bool:
        found.clear()
        found.update(spares(house))
        return len(found) >= count

    await eventually(enough, house)
    return found


async def first(house: House, **settings: object) -> object:
    """An engine that has had one replica: from now on the nursery keeps a spare."""
    engine = await house.engine(**settings)
    await engine.start(tiny("ready", "r0"))
    await settled(engine, "r0", READY)
    return engine


async def born(engine, replica_id: str, house: House, **changes: object) -> int:  # type: ignore[no-untyped-def]
    await engine.start(tiny("ready", replica_id, **changes))
    (pid,) = (await settled(engine, replica_id, READY)).pids
    return pid


async def test_there_is_none_before_the_first_order(house: House) -> None:
    engine = await house.engine()
    assert not spares(house)
    await engine.start(tiny("ready"))
    await settled(engine, "r1", READY)
    await some_spares(house)


async def test_an_order_is_met_by_the_spare_and_another_takes_its_place(house: House) -> None:
    engine = await first(house)
    for number in range(3):
        waiting = await some_spares(house)
        assert await born(engine, f"s{number}", house) in waiting
    assert {record.replica_id for record in house.alive()} == {"r0", "s0", "s1", "s2"}


async def test_after_a_burst_the_next_one_like_it_finds_its_spares(house: House) -> None:
    engine = await first(house)
    await asyncio.gather(*(born(engine, f"a{number}", house) for number in range(3)))
    waiting = await some_spares(house, 4)  # with r0, four came together
    assert waiting == set(named_spares(house))
    pids = await asyncio.gather(*(born(engine, f"b{number}", house) for number in range(4)))
    assert set(pids) == waiting


async def test_a_launched_spare_is_its_nursery_s_child_and_is_followed_and_ended_like_any(house: House) -> None:
    engine = await first(house)
    await some_spares(house)
    pid = await born(engine, "s", house)
    os.kill(pid, signal.SIGKILL)
    failure = (await settled(engine, "s", FAILED)).failure
    assert failure is not None
    assert "SIGKILL" in failure.message
    assert "tiny worker ready" in failure.tail  # its log is the replica's, not the nursery's
    await engine.stop("s")
    await absent(engine, "s")
    await eventually(lambda: not psutil.pid_exists(pid), house)


async def test_spares_end_with_a_nursery_that_is_killed_and_those_launched_live_on(house: House) -> None:
    engine = await first(house)
    await some_spares(house)
    launched = await born(engine, "s", house)
    waiting = await some_spares(house)
    house.end_nursery(signal.SIGKILL)
    await eventually(lambda: not any(map(start_ticks, waiting)), house)
    assert start_ticks(launched)
    house.start_nursery()
    await born(engine, "t", house)
    assert find(engine, "s").state is READY


async def test_several_that_are_killed_at_once_are_missed_no_longer_than_one(house: House) -> None:
    engine = await first(house)
    await asyncio.gather(*(born(engine, f"a{number}", house) for number in range(3)))
    killed = await some_spares(house, 4)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: house.nursery_log().count("a spare worker ended") == len(killed), house)
    assert house.nursery_log().count("none_for_s=1") == len(killed)
    await some_spares(house)


@pytest.mark.parametrize("how", ["told", "lifeline"])
async def test_spares_end_with_a_nursery_that_ends(house: House, how: str) -> None:
    await first(house)
    waiting = await some_spares(house)
    assert house.nursery is not None
    if how == "told":
        assert await asyncio.to_thread(house.end_nursery, signal.SIGTERM) == 0
    else:
        os.close(house.lifeline[1])
        assert await asyncio.to_thread(house.nursery.wait, 10) == 0
        house.lifeline = os.pipe()
    await eventually(lambda: not any(map(start_ticks, waiting)), house)


async def test_spares_end_with_the_lifeline_also_when_the_nursery_is_stuck(house: House) -> None:
    await first(house)
    waiting = await some_spares(house)
    assert house.nursery is not None
    os.kill(house.nursery.pid, signal.SIGSTOP)
    os.close(house.lifeline[1])
    try:
        await eventually(lambda: not any(map(start_ticks, waiting)), house)
    finally:
        house.lifeline = os.pipe()
        os.kill(house.nursery.pid, signal.SIGCONT)


async def test_a_spare_that_is_killed_is_no_replica_s_loss_and_is_made_anew_after_a_pause(house: House) -> None:
    engine = await first(house)
    (spare,) = await some_spares(house)
    os.kill(spare, signal.SIGKILL)
    await eventually(lambda: "a spare worker ended" in house.nursery_log(), house)
    assert await born(engine, "s", house) != spare
    assert {status.state for status in engine.observe()} == {READY}
    assert spare not in await some_spares(house)
    assert f"a spare worker ended pid={spare} how=-9 none_for_s=1" in house.nursery_log()


async def test_spares_killed_while_orders_come_cost_no_replica(house: House) -> None:
    engine = await first(house)
    for number in range(12):
        for spare in named_spares(house):
            os.kill(spare, signal.SIGKILL)
        await engine.start(tiny("ready", f"s{number}"))
    for number in range(12):
        status = await settled(engine, f"s{number}", READY, FAILED)
        if status.state is FAILED:  # it was launched, and then killed: as told, and nothing is left of it
            assert status.failure is not None
            assert "SIGKILL" in status.failure.message
    alive = sorted(record.replica_id for record in house.alive())
    assert alive == sorted(status.id for status in engine.observe() if status.state is READY)


async def test_an_order_that_comes_while_a_spare_still_rehearses_is_not_kept_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REHEARSAL", "hang")
    house.end_nursery()
    house.start_nursery()
    engine = await first(house)
    await eventually(lambda: named_spares(house), house)
    assert await born(engine, "s", house) not in named_spares(house)
    rehearsing = set(named_spares(house))
    house.end_nursery(signal.SIGKILL)
    await eventually(lambda: not any(map(start_ticks, rehearsing)), house)


async def test_rehearsals_that_fail_are_told_and_made_rarer_and_births_go_on_by_fork(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REHEARSAL", "raise")
    house.end_nursery()
    house.start_nursery()
    engine = await first(house)
    await eventually(lambda: "none_for_s=2" in house.nursery_log(), house)
    assert "the rehearsal went wrong" in house.nursery_log()
    await born(engine, "s", house)


async def test_spares_give_way_when_memory_is_short_and_come_back(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory = tmp_path / "available"
    memory.write_text(str(1024 * GIB))

    def set_available(size_bytes: int) -> None:
        (tmp_path / "next").write_text(str(size_bytes))
        (tmp_path / "next").rename(memory)

    monkeypatch.setenv("MEMORY", str(memory))
    house.end_nursery()
    house.start_nursery()
    engine = await first(house)
    await some_spares(house)
    set_available(100 * 2**20)
    await eventually(lambda: not spares(house), house)
    await born(engine, "s", house)  # by fork
    assert not spares(house)
    set_available(1024 * GIB)
    await some_spares(house)


async def test_what_the_nursery_has_learned_is_in_the_next_spares(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tt_learned.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    house.end_nursery()
    house.start_nursery()
    engine = await first(house)
    before = await some_spares(house)
    await born(engine, "s", house, runtime=Runtime(imports=("tt_learned",)))
    await eventually(lambda: "imported module=tt_learned" in house.nursery_log(), house)
    await eventually(lambda: spares(house) and before.isdisjoint(named_spares(house)), house)
    assert await born(engine, "t", house) not in before


SLOW = """
import os, time
if os.path.exists("FOLDER/tried"):  # by a trial, in a child: this is the nursery
    while not os.path.exists("FOLDER/go"):
        time.sleep(0.01)
open("FOLDER/tried", "w").close()
"""


async def test_spares_without_what_was_learned_leave_before_the_rest_is_learned(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tt_first.py").write_text("")
    (tmp_path / "tt_slow.py").write_text(SLOW.replace("FOLDER", str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    house.end_nursery()
    house.start_nursery()
    engine = await first(house)
    await born(engine, "s", house, runtime=Runtime(imports=("tt_first", "tt_slow")))
    before = await some_spares(house)
    await eventually(lambda: "imported module=tt_first" in house.nursery_log(), house)
    await eventually(lambda: before.isdisjoint(named_spares(house)), house)
    assert "imported module=tt_slow" not in house.nursery_log()
    (tmp_path / "go").write_text("")
    await eventually(lambda: "imported module=tt_slow" in house.nursery_log(), house)


async def test_a_launch_too_long_for_one_message_is_forked(house: House) -> None:
    engine = await first(house)
    waiting = await some_spares(house)
    assert await born(engine, "s", house, environment={"LONG": "x" * 200_000}) not in waiting


SCRIPT = """
import json, os, random, resource, signal, sys
import numpy as np

def model_fn(model_dir):
    return {
        "own_session": os.getsid(0) == os.getpid() == os.getpgrp(),
        "cwd": os.getcwd(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "data_limit": resource.getrlimit(resource.RLIMIT_DATA),
        "oom_score": open("/proc/self/oom_score_adj").read(),
        "environment": {k: v for k, v in os.environ.items() if k not in ("TRIMTAB_REPLICA", "PYTEST_CURRENT_TEST")},
        "signals": ["own" if callable(h := signal.getsignal(n)) else str(h) for n in (2, 1, 13, 15, 17)],
        "mask": str(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "title": open("/proc/self/cmdline").read().strip("\\0 "),
        "files": sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0].replace(os.environ["TRIMTAB_REPLICA"], "ID")
                        for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")
                        if not os.readlink(f"/proc/self/fd/{n}").startswith("socket")),  # who connects meanwhile varies
        "threads": len(os.listdir("/proc/self/task")),
        "draws": [random.random(), float(np.random.random())],
        "path": sys.path,
    }

def transform_fn(model, data, content_type, accept):
    return json.dumps(model), "application/json"
"""


@pytest.fixture
async def real_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="tt") as run_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_dir)
        house = House(tmp_path / "data", "real", ["numpy", "numpy.random", "onnxruntime"])
        house.start_nursery()
        yield house
        await house.close()


async def ask(status: ReplicaStatus) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(status.addresses[0].removeprefix("unix:"))
    writer.write(pack(Kind.REQUEST, 1, msgspec.msgpack.encode(RequestMeta(content_type="application/json")), b"{}"))
    size, _, meta_size, kind, _ = HEADER.unpack(await reader.readexactly(HEADER_SIZE))
    body = await reader.readexactly(meta_size + size)
    writer.close()
    assert kind == Kind.ANSWER, body
    return dict(json.loads(body[meta_size:]))


async def test_a_launched_spare_sees_what_a_forked_worker_sees(real_house: House, tmp_path: Path) -> None:
    (tmp_path / "m" / "code").mkdir(parents=True)
    (tmp_path / "m" / "code" / "inference.py").write_text(SCRIPT)
    real_house.artifacts["s3://b/m"] = tmp_path / "m"
    machine = Machine(cpus=tuple(sorted(os.sched_getaffinity(0)))[:1], memory_bytes=64 * GIB)
    engine = await real_house.engine(enforce_shapes=True, machine=machine)

    async def seen(replica_id: str) -> tuple[int, dict[str, object]]:
        environment = {"TOKEN": "abc"}
        await engine.start(
            a_spec(replica_id, artifact_url="s3://b/m", instance_type="ml.m5.large", environment=environment)
        )
        status = await settled(engine, replica_id, READY, FAILED)
        assert status.state is READY, status.failure
        answer = await ask(status)
        await engine.stop(replica_id)
        await absent(engine, replica_id)
        return status.pids[0], answer

    _, forked = await seen("r0")
    waiting = await some_spares(real_house)
    pid, launched = await seen("r1")
    assert pid in waiting
    assert forked.pop("draws") != launched.pop("draws")
    assert launched == forked
    assert launched["own_session"]
    assert launched["data_limit"] != list(resource.getrlimit(resource.RLIMIT_DATA))
    assert launched["environment"]["TOKEN"] == "abc"  # type: ignore[index]


async def test_two_spares_draw_different_random_numbers(real_house: House, tmp_path: Path) -> None:
    (tmp_path / "m" / "code").mkdir(parents=True)
    (tmp_path / "m" / "code" / "inference.py").write_text(SCRIPT)
    real_house.artifacts["s3://b/m"] = tmp_path / "m"
    engine = await real_house.engine()
    for name in ("r0", "r1"):
        await engine.start(a_spec(name, artifact_url="s3://b/m"))
    for name in ("r0", "r1"):
        await settled(engine, name, READY)
    waiting = await some_spares(real_house, 2)
    for name in ("s0", "s1"):
        await engine.start(a_spec(name, artifact_url="s3://b/m"))
    statuses = [await settled(engine, name, READY) for name in ("s0", "s1")]
    assert {status.pids[0] for status in statuses} == waiting
    first_draws, second_draws = [(await ask(status))["draws"] for status in statuses]
    assert set(first_draws).isdisjoint(second_draws)  # type: ignore[call-overload]
