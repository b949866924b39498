"""A model host with the real nursery and real workers: loads, evictions, crashes, and deaths of everybody around it."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from estate import MIB, Estate, a_host

from trimtab.resources.hosting import ModelSetting
from trimtab.resources.replica import ReplicaState, Wire
from trimtab.testing.engines import absent, find, settled
from trimtab.testing.host_ends import invoke
from trimtab.testing.waiting import until
from trimtab.wire.frames import Kind
from trimtab.wire.hosting import ModelState, Settings

SAYS = """
import os
NAME = {name!r}

def model_fn(model_dir):
    return bytes({mib} * 2**20) and bytearray(os.urandom(1) * ({mib} * 2**20))

def transform_fn(model, body, content_type, accept):
    return f"{{NAME}} {{os.getpid()}}", "text/plain"
"""


def says(name: str, mib: int = 0) -> str:
    return SAYS.format(name=name, mib=mib)


async def test_models_are_loaded_when_they_are_asked_for_and_do_not_see_each_other(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a"))
    estate.model("b.tar.gz", says("b"))
    status = await estate.host(await estate.engine(), a_host())
    assert status.wire is Wire.MODELS
    gateway = await estate.gateway(status)
    answers = [await invoke(await gateway.get(name)) for name in ("a.tar.gz", "b.tar.gz")]
    names, pids = zip(*(answer.decode().split() for kind, answer in answers), strict=True)
    assert names == ("a", "b")
    assert len({*pids, str(status.pids[0])}) == 3
    assert [event.why for event in await estate.control.heard("loaded", count=2)] == ["asked", "asked"]
    loaded = estate.control.happened("loaded", "a.tar.gz")[0]
    assert loaded.bytes > 0
    assert loaded.load_s
    assert loaded.wait_s
    assert loaded.wait_s >= loaded.load_s


async def test_however_many_gateways_ask_a_model_is_fetched_and_loaded_once(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a"))
    estate.control.answers.clear()
    status = await estate.host(await estate.engine(), a_host())
    gateways = [await estate.gateway(status) for _ in range(4)]
    for gateway in gateways * 5:
        gateway.want("a.tar.gz")
    await until(lambda: estate.control.fetches)
    estate.control.answers.set()
    lanes = {(await gateway.ready("a.tar.gz")).lanes for gateway in gateways}
    assert len(lanes) == 1
    assert estate.control.fetches == ["a.tar.gz"]
    late = await estate.gateway(status)
    assert {(await late.ready("a.tar.gz")).lanes} == lanes


async def test_a_model_that_needs_room_evicts_another_whose_memory_is_back(estate: Estate) -> None:
    for name in ("a", "b"):
        estate.model(f"{name}.tar.gz", says(name, mib=200), weights_mib=130)
    status = await estate.host(await estate.engine(), a_host(memory_mib=320))
    gateway = await estate.gateway(status)
    first = await gateway.get("a.tar.gz")
    gateway.use("a.tar.gz", 1)
    assert (await estate.control.heard("loaded"))[0].bytes > 200 * MIB
    second = await gateway.get("b.tar.gz")
    left = [at.state for at in gateway.told if at.model == "a.tar.gz"]
    assert left[-2:] == [ModelState.READY, ModelState.LEAVING]
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await invoke(first)
    assert (await invoke(second))[0] == Kind.ANSWER
    [event] = await estate.control.heard("unloaded")
    assert (event.why, event.requests) == ("evicted", 1)
    assert "b.tar.gz" in event.text
    assert len(estate.workers()) == 1


async def test_requests_in_hand_are_answered_before_an_evicted_model_ends(estate: Estate, tmp_path: Path) -> None:
    slow = (
        says("a", mib=200)
        + f"""
def transform_fn(model, body, content_type, accept):
    import pathlib, time
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    while not pathlib.Path({str(tmp_path / "go")!r}).exists():
        time.sleep(0.005)
    return "slow", "text/plain"
"""
    )
    estate.model("a.tar.gz", slow, weights_mib=130)
    estate.model("b.tar.gz", says("b", mib=200), weights_mib=130)
    status = await estate.host(await estate.engine(), a_host(memory_mib=320))
    gateway = await estate.gateway(status)
    at = await gateway.get("a.tar.gz")
    request = asyncio.create_task(invoke(at))
    await until((tmp_path / "begun").exists)
    gateway.use("a.tar.gz", 1, in_hand=1)
    gateway.want("b.tar.gz")
    await gateway.leaving("a.tar.gz")
    assert not request.done()
    (tmp_path / "go").touch()
    assert await request == (Kind.ANSWER, b"slow")
    assert (await invoke(await gateway.ready("b.tar.gz")))[0] == Kind.ANSWER


async def test_a_crash_of_one_model_does_not_touch_the_others(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a"))
    estate.model("b.tar.gz", says("b"))
    status = await estate.host(await estate.engine(), a_host())
    gateway = await estate.gateway(status)
    a, b = await gateway.get("a.tar.gz"), await gateway.get("b.tar.gz")
    _, before = await invoke(b)
    os.kill(int((await invoke(a))[1].split()[1]), signal.SIGKILL)
    await gateway.leaving("a.tar.gz")
    assert (await invoke(b))[1] == before
    gateway.want("a.tar.gz", "gone")
    again = await gateway.ready("a.tar.gz")
    assert (await invoke(again))[0] == Kind.ANSWER
    assert (await estate.control.heard("crashed"))[0].failure == "Exited"


async def test_a_model_that_cannot_be_loaded_is_refused_with_its_reason(estate: Estate) -> None:
    estate.model("raises.tar.gz", "def model_fn(model_dir):\n    raise RuntimeError('no weights')\n")
    estate.model("kills.tar.gz", "import os\nos.kill(os.getpid(), 9)\n")
    estate.model("b.tar.gz", says("b"))
    status = await estate.host(await estate.engine(), a_host())
    gateway = await estate.gateway(status)
    for name in ("raises.tar.gz", "kills.tar.gz", "absent.tar.gz"):
        gateway.want(name)
    raises = await gateway.failed("raises.tar.gz")
    assert raises.reason == "ModelLoadFailed"
    assert "no weights" in raises.message
    # killed once, it may have been by others: those who wait are told to ask again, and it has been loaded anew by then
    await gateway.failed("kills.tar.gz")
    await until(lambda: (told := gateway.at.get(("kills.tar.gz", ""))) is not None and told.reason == "Exited")
    absent_ = await gateway.failed("absent.tar.gz")
    assert absent_.reason == "ArtifactMissing"
    assert "Failed to download model data" in absent_.message
    assert (await invoke(await gateway.get("b.tar.gz")))[0] == Kind.ANSWER
    await until(lambda: len(estate.workers()) == 1)
    await until(lambda: estate.control.leases.total() == 1)


async def test_a_load_that_hangs_is_ended_at_its_bound_and_holds_up_nobody(estate: Estate) -> None:
    estate.model("hangs.tar.gz", "import time\ndef model_fn(model_dir):\n    time.sleep(1000)\n")
    estate.model("b.tar.gz", says("b"))
    status = await estate.host(await estate.engine(), a_host(startup_timeout_s=4.0))
    gateway = await estate.gateway(status)
    gateway.want("hangs.tar.gz")
    assert (await invoke(await gateway.get("b.tar.gz")))[0] == Kind.ANSWER
    assert (await gateway.failed("hangs.tar.gz")).reason == "StartTimeout"
    await until(lambda: len(estate.workers()) == 1)


async def test_what_a_model_has_forked_is_counted_and_ends_with_it(estate: Estate, tmp_path: Path) -> None:
    forks = f"""
import os, time
def model_fn(model_dir):
    if os.fork() == 0:
        block = bytearray(os.urandom(1) * (64 * 2**20))
        open({str(tmp_path / "child")!r}, "w").write(str(os.getpid()))
        time.sleep(1000)
    while not (os.path.exists({str(tmp_path / "child")!r}) and open({str(tmp_path / "child")!r}).read()):
        time.sleep(0.005)
def transform_fn(model, body, content_type, accept):
    return body, "text/plain"
"""
    estate.model("forks.tar.gz", forks)
    status = await estate.host(await estate.engine(), a_host(cache=False))
    gateway = await estate.gateway(status)
    assert await invoke(await gateway.get("forks.tar.gz")) == (Kind.ANSWER, b"x")
    child = int((tmp_path / "child").read_text())
    assert (await estate.control.heard("loaded"))[0].bytes > 60 * MIB
    gateway.use("forks.tar.gz", 1)  # answered, and not cached
    await until(lambda: estate.control.happened("unloaded"))
    await until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


async def test_a_killed_host_leaves_no_model_behind_and_requests_in_hand_are_answered(
    estate: Estate, tmp_path: Path
) -> None:
    slow = f"""
import pathlib, time
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    while not pathlib.Path({str(tmp_path / "go")!r}).exists():
        time.sleep(0.005)
    return "slow", "text/plain"
"""
    estate.model("a.tar.gz", slow)
    estate.model("b.tar.gz", says("b"))
    engine = await estate.engine()
    status = await estate.host(engine, a_host())
    gateway = await estate.gateway(status)
    a, _ = await gateway.get("a.tar.gz"), await gateway.get("b.tar.gz")
    request = asyncio.create_task(invoke(a))
    await until((tmp_path / "begun").exists)
    os.kill(status.pids[0], signal.SIGKILL)
    failed = await settled(engine, "h1", ReplicaState.FAILED)
    assert failed.failure is not None
    await gateway.over.wait()
    await until(lambda: len(estate.workers()) == 1)
    await engine.stop("h1")
    (tmp_path / "go").touch()
    assert await request == (Kind.ANSWER, b"slow")
    await until(lambda: not estate.workers())
    await until(lambda: not list(estate.paths.models_dir.iterdir()))
    again = await estate.host(engine, a_host("h2"))
    assert (await invoke(await (await estate.gateway(again)).get("b.tar.gz")))[0] == Kind.ANSWER


async def test_a_model_that_hangs_deaf_is_killed_after_its_host_has_gone(estate: Estate, tmp_path: Path) -> None:
    deaf = f"""
import ctypes, pathlib
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    ctypes.PyDLL(None).sleep(1000)  # with the lock of the interpreter
"""
    estate.model("a.tar.gz", deaf)
    engine = await estate.engine(orphan_grace_s=0.5)
    status = await estate.host(engine, a_host())
    gateway = await estate.gateway(status)
    at = await gateway.get("a.tar.gz")
    request = asyncio.create_task(invoke(at))
    await until((tmp_path / "begun").exists)
    os.kill(status.pids[0], signal.SIGKILL)
    await settled(engine, "h1", ReplicaState.FAILED)
    await engine.stop("h1")
    await until(lambda: not estate.workers())
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await request


async def test_without_control_what_is_loaded_serves_and_new_loads_wait_for_it(estate: Estate) -> None:
    for name in ("a", "b"):
        estate.model(f"{name}.tar.gz", says(name))
    engine = await estate.engine()
    status = await estate.host(engine, a_host())
    gateway = await estate.gateway(status)
    a = await gateway.get("a.tar.gz")
    await until(lambda: estate.control.events)
    await estate.control.close()
    await engine.close()
    assert (await invoke(a))[0] == Kind.ANSWER
    gateway.want("b.tar.gz")
    os.kill(int((await invoke(a))[1].split()[1]), signal.SIGKILL)  # an event that nobody hears now
    await gateway.leaving("a.tar.gz")
    second = await estate.engine()
    adopted = find(second, "h1")
    assert adopted is not None
    assert (adopted.state, adopted.pids, adopted.wire) == (ReplicaState.READY, status.pids, Wire.MODELS)
    await estate.control.open()
    b = await gateway.ready("b.tar.gz")
    assert (await invoke(b))[0] == Kind.ANSWER
    await until(lambda: estate.control.happened("crashed", "a.tar.gz"))
    assert [event.seq for event in estate.control.events] == sorted({event.seq for event in estate.control.events})
    assert estate.control.hellos[-1].replica_id == "h1"


async def test_a_new_control_is_told_which_artifacts_are_read(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a"))
    status = await estate.host(await estate.engine(), a_host())
    await (await estate.gateway(status)).get("a.tar.gz")
    await estate.control.close()
    await estate.control.open()
    await until(lambda: len(estate.control.hellos) == 2)
    assert estate.control.hellos[1].holds == (str(estate.control.models["a.tar.gz"][0]),)


async def test_an_overwritten_model_is_served_anew_before_the_old_version_leaves(estate: Estate) -> None:
    estate.model("a.tar.gz", says("old"))
    status = await estate.host(await estate.engine(), a_host())
    gateway = await estate.gateway(status)
    await gateway.get("a.tar.gz")
    estate.model("a.tar.gz", says("new"), version="v2")
    estate.control.change("a.tar.gz", *estate.control.models["a.tar.gz"])
    new = await gateway.ready("a.tar.gz", "v2")
    assert (await invoke(new))[1].startswith(b"new")
    await gateway.leaving("a.tar.gz", "v1")
    told = [(at.version, at.state) for at in gateway.told if at.state in (ModelState.READY, ModelState.LEAVING)]
    assert told == [("v1", ModelState.READY), ("v2", ModelState.READY), ("v1", ModelState.LEAVING)]
    await until(lambda: len(estate.workers()) == 1)
    await until(lambda: estate.control.leases.total() == 1)


async def test_a_pinned_model_is_loaded_unasked(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a"))
    status = await estate.host(await estate.engine(), a_host())
    gateway = await estate.gateway(status)
    pin = ModelSetting(model="a.tar.gz", pinned=True)
    await until(lambda: estate.control.hellos)
    estate.control.tell(Settings(settings=(pin,), hold={"a.tar.gz": "pinned"}))
    assert (await invoke(await gateway.ready("a.tar.gz")))[0] == Kind.ANSWER
    await until(lambda: estate.control.holding is not None and estate.control.holding.residents)
    assert estate.control.holding is not None
    [resident] = estate.control.holding.residents
    assert resident.pinned
    assert resident.pid in {record.pid for record in estate.workers()}
    assert abs(resident.loaded_s - (await estate.control.heard("loaded"))[0].at_s) < 1.0


async def test_a_drained_host_finishes_and_leaves_nothing(estate: Estate, tmp_path: Path) -> None:
    estate.model("a.tar.gz", says("a"))
    estate.model("hangs.tar.gz", "import time\ndef model_fn(model_dir):\n    time.sleep(1000)\n")
    engine = await estate.engine()
    status = await estate.host(engine, a_host())
    gateway = await estate.gateway(status)
    await gateway.get("a.tar.gz")
    gateway.want("hangs.tar.gz")
    await until(lambda: len(estate.workers()) == 2)
    await engine.drain("h1", grace_s=10.0)
    await gateway.leaving("a.tar.gz")
    assert (await gateway.failed("hangs.tar.gz")).reason == "NotReady"
    await absent(engine, "h1")
    assert not estate.workers()
    for folder in estate.paths.record_dirs:
        assert list(folder.iterdir()) == []
    assert [event.why for event in estate.control.happened("unloaded")] == ["stopped"]


async def test_what_models_take_is_measured_as_the_replicas(estate: Estate) -> None:
    estate.model("a.tar.gz", says("a", mib=100))
    engine = await estate.engine()
    status = await estate.host(engine, a_host())
    [before] = await engine.measure()
    await (await estate.gateway(status)).get("a.tar.gz")
    after = before
    async with asyncio.timeout(10):
        while (after.memory_bytes or 0) < (before.memory_bytes or 0) + 95 * MIB:
            await asyncio.sleep(0.05)
            [after] = await engine.measure()


async def test_a_request_that_hangs_ends_its_model_only(estate: Estate, tmp_path: Path) -> None:
    hangs = f"""
import pathlib, time
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    time.sleep(1000)
"""
    estate.model("hangs.tar.gz", hangs)
    estate.model("b.tar.gz", says("b"))
    status = await estate.host(await estate.engine(invocation_limit_s=0.5, hung_margin_s=1.0), a_host())
    gateway = await estate.gateway(status)
    at, b = await gateway.get("hangs.tar.gz"), await gateway.get("b.tar.gz")
    request = asyncio.create_task(invoke(at))
    await until((tmp_path / "begun").exists)
    gateway.use("hangs.tar.gz", 1, in_hand=1)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await request
    assert (await invoke(b))[0] == Kind.ANSWER
    assert (await estate.control.heard("crashed"))[0].failure == "Hung"


async def test_models_outlive_the_nursery_and_the_next_one_bears_more(estate: Estate) -> None:
    for name in ("a", "b"):
        estate.model(f"{name}.tar.gz", says(name))
    status = await estate.host(await estate.engine(), a_host())
    gateway = await estate.gateway(status)
    a = await gateway.get("a.tar.gz")
    estate.end_nursery()
    assert (await invoke(a))[0] == Kind.ANSWER
    gateway.want("b.tar.gz")
    await until(lambda: "b.tar.gz" in estate.control.fetches)
    estate.start_nursery()
    assert (await invoke(await gateway.ready("b.tar.gz")))[0] == Kind.ANSWER
