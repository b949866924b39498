"""Workers and their faults: whatever is killed, the engine says the truth and leaves no process behind."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from house import House, a_spec, tiny
from msgspec.structs import replace

from trimtab.engines.local import processes
from trimtab.engines.local.placement import Machine
from trimtab.errors import NoCapacity, NotFound
from trimtab.resources.replica import ReplicaState, StartCause
from trimtab.resources.runtime import Runtime
from trimtab.testing.engines import absent, find, settled, until

HERE = Path(__file__).parent
READY, FAILED = ReplicaState.READY, ReplicaState.FAILED


def state_letter(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def ended(pid: int) -> bool:
    return state_letter(pid) in ("gone", "Z")


async def test_a_killed_worker_fails_its_replica_with_the_signal_and_the_end_of_its_log(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready", environment={"MODEL_SERVER_WORKERS": "2"}))
    status = await settled(engine, "r1", READY)
    os.kill(status.pids[0], signal.SIGKILL)
    status = await settled(engine, "r1", FAILED)
    assert status.failure is not None
    assert status.failure.reason == "Exited"
    assert "SIGKILL" in status.failure.message
    assert "tiny worker ready" in status.failure.tail
    await until(engine, lambda: not house.alive())  # the other process does not go on beside a successor


async def test_no_zombie_is_left_behind(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready"))
    (pid,) = (await settled(engine, "r1", READY)).pids
    await engine.stop("r1")
    await absent(engine, "r1")
    async with asyncio.timeout(5):
        while state_letter(pid) != "gone":
            await asyncio.sleep(0.01)


async def test_a_worker_that_exits_while_it_starts_says_its_status(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("exit"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert "exited with status 3" in failure.message
    assert failure.tail.endswith("boom: the model left")
    assert engine.tail("r1").endswith("boom: the model left")


async def test_what_a_worker_says_of_its_failure_is_kept(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("fail"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert (failure.reason, failure.message) == ("ModelLoadFailed", "model_fn raised")
    assert failure.tail == "Traceback: it broke"
    await until(engine, lambda: not house.alive())


@pytest.mark.parametrize("mode", ["mute", "stuck"])
async def test_a_worker_that_is_never_ready_is_ended_at_its_start_limit(house: House, mode: str) -> None:
    engine = await house.engine()
    await engine.start(tiny(mode, startup_timeout_s=0.4))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "StartTimeout"
    assert "0.4 s" in failure.message
    assert f"tiny worker {mode}" in failure.tail
    await until(engine, lambda: not house.alive())


async def test_a_worker_hung_in_a_request_is_ended(house: House) -> None:
    engine = await house.engine(invocation_limit_s=0.2, hung_margin_s=0.1)
    await engine.start(tiny("deaf"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Hung"
    await until(engine, lambda: not house.alive())


async def test_a_stopped_process_that_answers_nobody_is_hung(house: House) -> None:
    engine = await house.engine(invocation_limit_s=0.2, hung_margin_s=0.1)
    await engine.start(tiny("ready"))
    (pid,) = (await settled(engine, "r1", READY)).pids
    os.kill(pid, signal.SIGSTOP)
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Hung"
    await until(engine, lambda: not house.alive())


async def test_a_control_that_was_held_up_takes_no_worker_for_hung(house: House) -> None:
    engine = await house.engine(invocation_limit_s=0.2, hung_margin_s=0.1)
    await engine.start(tiny("ready"))
    (pid,) = (await settled(engine, "r1", READY)).pids
    time.sleep(0.6)  # the loop itself stands still: that is the subject
    for _ in range(10):
        await asyncio.sleep(0.05)
    status = find(engine, "r1")
    assert status is not None
    assert (status.state, status.pids) == (READY, (pid,))


@pytest.mark.parametrize(
    ("kills", "looks", "reason"),
    [
        (1, 0, "OutOfMemory"),  # just now
        (1, 20, "Exited"),  # somebody else, a while ago
        (0, 0, "Exited"),  # nobody: a person did it
    ],
)
async def test_a_killed_worker_is_out_of_memory_if_the_kernel_has_just_killed_for_memory(
    house: House, monkeypatch: pytest.MonkeyPatch, kills: int, looks: int, reason: str
) -> None:
    machine = SimpleNamespace(kills=4, looks=0)

    def oom_kills() -> int:
        machine.looks += 1
        return machine.kills

    monkeypatch.setattr(processes, "oom_kills", oom_kills)
    engine = await house.engine(look_every_s=0.01 if looks else 5.0)
    await engine.start(tiny("ready"))
    status = await settled(engine, "r1", READY)
    machine.kills, machine.looks = 4 + kills, 0
    async with asyncio.timeout(10):
        while machine.looks < looks:
            await asyncio.sleep(0.01)
    os.kill(status.pids[0], signal.SIGKILL)
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == reason


async def test_a_replica_that_outgrows_its_instance_type_is_out_of_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(cpus=tuple(sorted(os.sched_getaffinity(0))), memory_bytes=9 * 2**30)
    engine = await house.engine(enforce_shapes=True, machine=machine)
    await engine.start(tiny("ready", instance_type="ml.m5.large"))
    await settled(engine, "r1", READY)
    monkeypatch.setattr(processes, "resident_bytes", lambda pid: 9 * 2**30)
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "OutOfMemory"
    assert "8 GiB" in failure.message
    await until(engine, lambda: not house.alive())


async def test_a_drain_that_takes_too_long_is_cut_short(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("stubborn"))
    (pid,) = (await settled(engine, "r1", READY)).pids
    await engine.drain("r1", grace_s=0.2)
    assert find(engine, "r1").state is ReplicaState.DRAINING  # type: ignore[union-attr]
    await absent(engine, "r1")
    assert ended(pid)


async def test_workers_outlive_the_nursery_and_the_next_one_takes_the_order_that_waited(house: House) -> None:
    engine = await house.engine()
    await engine.start(tiny("ready"))
    before = await settled(engine, "r1", READY)
    house.end_nursery(signal.SIGKILL)
    await engine.start(tiny("ready", "r2"))
    assert find(engine, "r1") == before
    house.start_nursery()
    await settled(engine, "r2", READY)
    assert find(engine, "r1") == before
    os.kill(before.pids[0], signal.SIGKILL)  # no child of this nursery: its end is noticed all the same
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Exited"


async def test_an_order_waits_for_a_nursery_only_so_long(house: House) -> None:
    engine = await house.engine(nursery_patience_s=0.2)
    house.end_nursery()
    await engine.start(tiny("ready"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "NoCapacity"
    assert "nursery" in failure.message


async def test_orders_given_while_nurseries_die_make_one_process_each(house: House) -> None:
    engine = await house.engine()
    names = [f"r{number}" for number in range(24)]
    for number, name in enumerate(names):
        await engine.start(tiny("ready", name))
        if number % 6 == 5:
            await asyncio.to_thread(house.end_nursery)
            await asyncio.to_thread(house.start_nursery)
    for name in names:
        await settled(engine, name, READY)
    assert sorted(record.replica_id for record in house.alive()) == sorted(names)


async def test_a_control_killed_at_any_moment_leaves_only_replicas_that_the_next_one_lists(house: House) -> None:
    for round_ in range(4):
        names = [f"k{round_}-{number}" for number in range(6)]
        argv = [sys.executable, str(HERE / "control_process.py"), str(house.paths.data_dir), *names]
        control = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert control.stdout is not None
        await asyncio.to_thread(control.stdout.readline)
        time.sleep(0.004 * round_)  # where in the starts it dies is what varies
        control.kill()
        control.wait()
        control.stdout.close()
    engine = await house.engine()
    await until(engine, lambda: {r.replica_id for r in house.alive()} <= {s.id for s in engine.observe()})
    for status in engine.observe():
        await settled(engine, status.id, READY)
        await engine.stop(status.id)
    await until(engine, lambda: not engine.observe())
    async with asyncio.timeout(5):
        while house.alive():
            await asyncio.sleep(0.01)


async def test_a_replica_that_lost_a_process_while_control_was_away_has_failed(house: House) -> None:
    first = await house.engine()
    await first.start(tiny("ready", environment={"MODEL_SERVER_WORKERS": "2"}))
    status = await settled(first, "r1", READY)
    await first.close()
    os.kill(status.pids[1], signal.SIGKILL)
    async with asyncio.timeout(5):
        while not ended(status.pids[1]):
            await asyncio.sleep(0.005)
    second = await house.engine()
    failure = (await settled(second, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Exited"
    async with asyncio.timeout(5):
        while house.alive():
            await asyncio.sleep(0.01)


async def test_dead_sockets_and_records_are_cleared_away(house: House) -> None:
    house.paths.workers_dir.mkdir(parents=True)
    dead = house.paths.workers_dir / "x-0.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    torn = house.paths.workers_dir / "y-0.birth"
    torn.write_bytes(b"\x81")
    engine = await house.engine()
    assert list(engine.observe()) == []
    assert not dead.exists()
    assert not torn.exists()


async def test_a_worker_whose_record_is_lost_is_found_by_its_socket(house: House) -> None:
    first = await house.engine()
    await first.start(tiny("ready"))
    before = await settled(first, "r1", READY)
    await first.close()
    (record,) = house.alive()
    house.seen.append(record)
    (house.paths.workers_dir / "r1-0.birth").unlink()
    second = await house.engine()
    after = find(second, "r1")
    assert after is not None
    assert (after.state, after.pids, after.endpoint) == (READY, before.pids, "shop")
    await second.stop("r1")
    await until(second, lambda: ended(before.pids[0]) or None)


async def test_no_process_is_taken_for_another_that_had_its_id(house: House) -> None:
    ticks = processes.start_ticks(os.getpid())
    assert ticks is not None
    processes.signal_group(os.getpid(), ticks - 1, signal.SIGKILL)  # this test goes on: it was somebody else
    assert not processes.is_alive(os.getpid(), ticks - 1)


async def test_an_artifact_that_is_missing_fails_the_replica_by_name(house: House) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/no.tar.gz"] = NotFound("object", "s3://b/no.tar.gz")
    await engine.start(tiny("ready", artifact_url="s3://b/no.tar.gz"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "ArtifactMissing"
    assert "s3://b/no.tar.gz" in failure.message


async def test_a_disk_without_room_for_the_artifact_is_no_fault_of_the_artifacts(house: House) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/big.tar.gz"] = NoCapacity("The disk of /data is full. Free space there.")
    await engine.start(tiny("ready", artifact_url="s3://b/big.tar.gz"))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert (failure.reason, failure.message) == ("NoCapacity", "The disk of /data is full. Free space there.")


async def test_an_artifact_that_does_not_come_in_time_is_a_start_timeout(house: House) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/slow.tar.gz"] = Path("never")
    await engine.start(tiny("ready", artifact_url="s3://b/slow.tar.gz", download_timeout_s=0.1))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "StartTimeout"
    assert "ModelDataDownloadTimeoutInSeconds" in failure.message


@pytest.mark.parametrize(
    "changes", [{"instance_type": "ml.m5.larg"}, {"environment": {"MODEL_SERVER_WORKERS": "many"}}]
)
async def test_a_setting_that_no_start_can_meet_fails_at_once_and_says_which(
    house: House, changes: dict[str, object]
) -> None:
    engine = await house.engine()
    await engine.start(a_spec(**changes))
    failure = (await settled(engine, "r1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Invalid"
    assert "ml.m5.large" in failure.message or "MODEL_SERVER_WORKERS" in failure.message


async def test_an_enforced_shape_that_does_not_fit_is_refused_until_there_is_room(house: House) -> None:
    machine = Machine(cpus=tuple(sorted(os.sched_getaffinity(0)))[:2], memory_bytes=9 * 2**30)
    engine = await house.engine(enforce_shapes=True, machine=machine)
    await engine.start(tiny("ready", instance_type="ml.m5.large"))
    await settled(engine, "r1", READY)
    with pytest.raises(NoCapacity, match=r"ml\.m5\.large"):
        await engine.start(tiny("ready", "r2", instance_type="ml.m5.large"))
    assert find(engine, "r2") is None
    await engine.stop("r1")
    changed = asyncio.Event()
    engine.on_change(changed.set)  # tells of room that came free as well
    async with asyncio.timeout(5):
        while find(engine, "r2") is None:
            await changed.wait()
            changed.clear()
            with contextlib.suppress(NoCapacity):
                await engine.start(tiny("ready", "r2", instance_type="ml.m5.large"))
    await settled(engine, "r2", READY)


async def test_every_step_of_a_start_is_in_its_budget(house: House, tmp_path: Path) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/m.tar.gz"] = tmp_path
    await engine.start(tiny("ready", artifact_url="s3://b/m.tar.gz", decided_monotonic_s=time.monotonic()))
    budget = (await settled(engine, "r1", READY)).budget
    for step in (budget.place_s, budget.fetch_s, budget.fork_s, budget.load_s):
        assert step is not None
        assert 0 <= step < 2


async def test_the_nursery_learns_imports_when_idle_and_survives_broken_ones(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "tt_raises.py").write_text("raise RuntimeError('no')")
    (tmp_path / "lib" / "tt_crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    (tmp_path / "lib" / "tt_good.py").write_text("")
    house.end_nursery()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    house.start_nursery()
    engine = await house.engine()
    imports = ("tt_raises", "tt_crashes", "tt_good")
    await engine.start(tiny("ready", runtime=Runtime(imports=imports)))
    await settled(engine, "r1", READY)
    async with asyncio.timeout(10):
        while "imported module=tt_good" not in house.nursery_log():
            await asyncio.sleep(0.02)
    assert "not learned module=tt_raises" in house.nursery_log()
    assert "not learned module=tt_crashes" in house.nursery_log()
    await engine.start(tiny("ready", "r2"))
    await settled(engine, "r2", READY)


async def test_what_a_serverless_endpoint_imports_is_learned_before_its_first_environment_and_again_by_a_new_nursery(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tt_one.py").write_text("")
    (tmp_path / "tt_threads.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    (tmp_path / "tt_two.py").write_text("import tt_one")
    house.end_nursery()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    house.start_nursery()
    engine = await house.engine()
    runtime = Runtime(imports=("tt_one", "tt_threads", "tt_two"))
    spec = tiny("ready", runtime=runtime, instance_type="ml.serverless.2048", cause=StartCause.DEPLOYMENT)
    await engine.start(spec)
    await settled(engine, "r1", READY)
    log = house.nursery_log()
    assert "imported module=tt_one" in log
    assert "imported module=tt_two" in log
    assert "not learned module=tt_threads" in log
    other = tiny("ready", "r2", runtime=Runtime(imports=("tt_one", "json")), instance_type="ml.serverless.2048")
    await engine.start(replace(other, cause=StartCause.DEPLOYMENT))
    await settled(engine, "r2", READY)  # what is there already keeps nobody waiting
    house.end_nursery()
    house.start_nursery()
    async with asyncio.timeout(10):
        while house.nursery_log().count("imported module=tt_two") < 2:
            await asyncio.sleep(0.02)


async def test_a_nursery_that_is_told_to_end_does_not_wait_for_what_it_is_learning(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trial = tmp_path / "trial"
    text = f"import os, pathlib, signal\npathlib.Path({str(trial)!r}).write_text(f'{{os.getpid()}}\\n')\nsignal.pause()"
    (tmp_path / "tt_takes_long.py").write_text(text)
    house.end_nursery()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    house.start_nursery()
    engine = await house.engine()
    await engine.start(tiny("ready", runtime=Runtime(imports=("tt_takes_long",))))
    async with asyncio.timeout(10):
        while not (trial.exists() and trial.read_text().endswith("\n")):
            await asyncio.sleep(0.02)
    assert house.end_nursery(signal.SIGTERM) == 0
    pid = int(trial.read_text())
    async with asyncio.timeout(10):
        while not ended(pid):
            await asyncio.sleep(0.02)


async def test_the_end_of_the_lifeline_ends_the_nursery(house: House) -> None:
    os.close(house.lifeline[1])
    assert house.nursery is not None
    assert await asyncio.to_thread(house.nursery.wait, 10) == 0
    house.lifeline = os.pipe()


async def test_starts_that_are_under_way_end_with_their_engine_and_leave_nothing(house: House) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/slow.tar.gz"] = Path("never")
    await engine.start(tiny("ready", artifact_url="s3://b/slow.tar.gz"))
    await engine.close()
    assert house.alive() == []
