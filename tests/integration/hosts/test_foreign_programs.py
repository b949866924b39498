"""Model hosts whose models are held by one program that keeps AWS's multi-model container contract."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import psutil
import pytest
from estate import MIB, Estate
from foreign import PROGRAM, a_program, http, log, model

from trimtab.host.foreign import ForeignRunner
from trimtab.host.runner import Key, LoadFault
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaState, Wire
from trimtab.resources.runtime import Runtime, RuntimeKind
from trimtab.testing.engines import absent, settled
from trimtab.testing.host_ends import HostGateway
from trimtab.testing.waiting import until
from trimtab.wire.hosting import Files, ModelAt, ModelState


async def ask(at, **more):
    return await asyncio.to_thread(http, at, **more)


async def leaving_for(gateway, other):
    """The model that has to go for another one."""

    def left():
        return [at for at in gateway.told if at.state is ModelState.LEAVING and at.model != other]

    await until(left)
    return left()[0]


async def patiently(gateway, name):
    """Ask until it is there, as gateways do that are told to ask again."""
    while True:
        try:
            return await gateway.ready(name)
        except AssertionError as no:
            if "NotReady" not in str(no):
                raise
            gateway.want(name)
            await until(lambda: (name, "") not in gateway.at or gateway.at[name, ""].state is not ModelState.FAILED)


async def test_models_are_loaded_into_one_program_under_names_that_say_nothing(estate: Estate) -> None:
    model(estate, "team/a.tar.gz")
    model(estate, "b.tar.gz")
    status = await estate.host(await estate.engine(), a_program())
    gateway = await estate.gateway(status)
    answers = {}
    for name in ("team/a.tar.gz", "b.tar.gz"):
        at = await gateway.get(name)
        assert at.lanes[0].wire is Wire.HTTP
        code, body = await ask(at)
        answers[name] = body.decode().split()
        assert code == 200
        assert answers[name][0] == f"{name}@v1"
        assert answers[name][3] == name
        assert at.lanes[0].path == f"/models/{answers[name][2]}/invoke"
        assert name not in at.lanes[0].path
    assert len({answer[1] for answer in answers.values()}) == 1
    loaded = await estate.control.heard("loaded", count=2)
    assert all(event.load_s for event in loaded)
    assert "POST /models 200" in (estate.paths.logs / "shop" / "main" / "h1-program.log").read_text()


async def test_what_a_model_takes_is_measured_by_what_the_program_grows_by(estate: Estate) -> None:
    for name, mib in (("a", 60), ("b", 20)):
        model(estate, name, mib=mib)
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program()))
    for name, mib in (("a", 60), ("b", 20)):
        await gateway.get(name)
        [event] = await estate.control.heard("loaded", name)
        assert mib * MIB <= event.bytes <= (mib + 8) * MIB


# Of two models that do not fit together the one goes that costs less to have again, by how often it is asked for and how
# long it loads: on a busy machine one load may take many times as long as another.
OFTEN = 10_000


async def make_known(estate: Estate, gateway: HostGateway, name: str) -> None:
    """Have a model loaded beside others that are asked for OFTEN: only then is it seen to be too large beside them."""
    gateway.want(name)
    await gateway.leaving(name)
    gateway.use(name, 0, done=("v1",))
    await estate.control.heard("unloaded", name)


async def test_a_model_that_needs_room_evicts_another(estate: Estate) -> None:
    for name in ("a", "b"):
        model(estate, name, mib=60)
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program(memory_mib=100)))
    await gateway.get("a")
    gateway.use("a", OFTEN)
    await estate.control.heard("loaded", "a")
    await make_known(estate, gateway, "b")
    gateway.want("b")
    await gateway.leaving("a")
    gateway.use("a", 0, done=("v1",))
    at = await gateway.ready("b")
    [event] = await estate.control.heard("unloaded", "a")
    assert event.why == "evicted"
    assert [line for line in log(at) if line.startswith("DELETE")]


async def test_a_program_that_says_that_it_is_full_gets_room_and_is_asked_again(estate: Estate) -> None:
    for name in ("a", "b", "c"):
        model(estate, name, mib=10)
    spec = a_program(CAPACITY_MIB="25")
    gateway = await estate.gateway(await estate.host(await estate.engine(), spec))
    for name in ("a", "b"):
        await gateway.get(name)
        gateway.use(name, 1)
        await estate.control.heard("loaded", name)
    gateway.want("c")
    left = await leaving_for(gateway, "c")
    gateway.use(left.model, 0, done=("v1",))
    at = await patiently(gateway, "c")
    assert (await ask(at))[0] == 200
    asked = [line.split()[0::2] for line in log(at)]
    loads = [status for method, status in asked if method == "POST"]
    assert loads.count("507") == 1
    assert asked.index(["DELETE", "200"]) > asked.index(["POST", "507"])
    [event] = await estate.control.heard("unloaded")
    assert "full" in event.text


async def test_a_model_that_can_never_fit_is_refused_and_the_program_lives(estate: Estate) -> None:
    model(estate, "big", mib=50)
    model(estate, "a", mib=1)
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program(CAPACITY_MIB="25")))
    gateway.want("big")
    no = await gateway.failed("big")
    assert no.reason == "OutOfMemory"
    assert "507" in no.message
    assert (await ask(await gateway.get("a")))[0] == 200


async def test_a_model_that_does_not_load_is_refused_with_what_the_program_said(estate: Estate) -> None:
    model(estate, "bad", load="fail")
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program()))
    gateway.want("bad")
    no = await gateway.failed("bad")
    assert no.reason == "ModelLoadFailed"
    assert "this model is broken" in no.message


async def test_requests_in_hand_are_answered_before_a_model_is_unloaded(estate: Estate, tmp_path: Path) -> None:
    model(estate, "a", mib=60, work="slow")
    model(estate, "b", mib=60)
    spec = a_program(memory_mib=100, GATE=str(tmp_path))
    gateway = await estate.gateway(await estate.host(await estate.engine(), spec))
    at = await gateway.get("a")
    await estate.control.heard("loaded", "a")
    request = asyncio.create_task(ask(at))
    await until((tmp_path / "begun").exists)
    gateway.use("a", OFTEN, in_hand=1)
    await make_known(estate, gateway, "b")
    gateway.want("b")
    await gateway.leaving("a")
    name = at.lanes[0].path.split("/")[2]
    assert not [line for line in await asyncio.to_thread(log, at) if line.startswith(f"DELETE /models/{name}")]
    (tmp_path / "go").touch()
    assert (await request)[0] == 200
    gateway.use("a", 0, done=("v1",))
    await gateway.ready("b")


async def test_a_model_that_the_program_has_dropped_is_loaded_again_when_a_gateway_says_so(estate: Estate) -> None:
    model(estate, "a")
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program()))
    at = await gateway.get("a")
    await estate.control.heard("loaded", "a")
    gateway.want("a", "absent")  # it is there all the same
    await until(lambda: [one.state for one in gateway.told].count(ModelState.READY) == 2)
    name = at.lanes[0].path.split("/")[2]
    await ask(at, path=f"/forget/{name}")
    gateway.want("a", "absent")
    assert (await ask(await gateway.ready("a")))[0] in (200, 404)
    await estate.control.heard("loaded", "a", count=2)
    assert (await ask(await gateway.ready("a")))[0] == 200
    assert len(estate.control.happened("crashed", "a")) == 1


async def test_a_model_that_the_program_has_dropped_is_missed_by_the_host_itself(estate: Estate) -> None:
    for name in "abcde":  # more than one page of its list
        model(estate, name)
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program()))
    at = [await gateway.get(name) for name in "abcde"][2]
    await estate.control.heard("loaded", count=5)
    await ask(at, path=f"/forget/{at.lanes[0].path.split('/')[2]}")
    assert [event.model for event in await estate.control.heard("crashed")] == ["c"]


async def test_a_model_that_ran_out_of_memory_at_work_is_unloaded(estate: Estate) -> None:
    model(estate, "a", mib=10)
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program()))
    await gateway.get("a")
    await estate.control.heard("loaded", "a")
    gateway.want("a", "short")
    await gateway.leaving("a")
    gateway.want("a", "gone")
    gateway.use("a", 0, done=("v1",))
    await estate.control.heard("loaded", "a", count=2)
    assert [event.why for event in estate.control.happened("unloaded", "a")] == ["no memory"]


@pytest.mark.parametrize("load", ["exit", None])
async def test_a_program_that_dies_is_started_again_and_its_models_are_loaded_again(estate: Estate, load) -> None:
    model(estate, "a")
    model(estate, "killer", load=load)
    engine = await estate.engine()
    status = await estate.host(engine, a_program())
    gateway = await estate.gateway(status)
    first = (await ask(await gateway.get("a")))[1].split()[1]
    if load:
        gateway.want("killer")
        no = await gateway.failed("killer")
        assert no.reason in ("Exited", "NotReady")
    else:
        os.kill(int(first), signal.SIGKILL)
    await gateway.leaving("a")
    at = await gateway.get("a")
    second = (await ask(at))[1].split()[1]
    assert first != second
    assert "a" in [event.model for event in estate.control.happened("crashed")]
    assert engine.observe()[0].state is ReplicaState.READY


async def test_a_slow_load_holds_up_no_other_model(estate: Estate, tmp_path: Path) -> None:
    model(estate, "slow", load="slow")
    model(estate, "a")
    gateway = await estate.gateway(await estate.host(await estate.engine(), a_program(GATE=str(tmp_path))))
    gateway.want("slow")
    await until((tmp_path / "begun").exists)
    assert (await ask(await gateway.get("a")))[0] == 200
    (tmp_path / "go").touch()
    assert (await ask(await gateway.ready("slow")))[0] == 200


class Held:
    """A runner of its own, without a host."""

    def __init__(self, estate: Estate, **more) -> None:
        self.estate = estate
        self.ends: list[tuple[str, str]] = []
        self.broken: list[str] = []
        spec = a_program(GATE=str(estate.folder))
        launch = WorkerLaunch(
            spec=msgspec.msgpack.encode(spec), socket_path="", data_dir=str(estate.paths.data_dir), house=""
        )
        self.runner = ForeignRunner(
            launch, spec, lambda key, failure: self.ends.append((key.model, failure.reason)),
            on_broken=lambda failure: self.broken.append(failure.reason), quiet=self.quiet, **more,
        )  # fmt: skip

    async def quiet(self, key) -> None:
        pass

    async def load(self, name: str):
        folder, version = self.estate.control.models[name]
        files = Files(id=1, path=str(folder), version=version, size_bytes=1, fetched=True)
        return await self.runner.load(Key(name, version), files)


@pytest.fixture
async def held(estate: Estate):
    held = Held(estate, give_up_s=0.1)
    await held.runner.open()
    yield held
    await held.runner.close(grace_s=0.0)


async def test_what_a_model_takes_while_it_is_loaded_is_no_growth_of_another(estate: Estate, held: Held) -> None:
    for name, mib in (("a", 10), ("b", 60)):
        model(estate, name, mib=mib)
    await held.load("a")
    assert (await held.runner.weigh(Key("a", "v1"))) is not None
    await held.load("b")
    assert await held.runner.measure() == {}, "the program has grown, and not for a"
    await held.runner.weigh(Key("b", "v1"))
    sizes = {key.model: footprint.bytes // MIB for key, footprint in (await held.runner.measure()).items()}
    assert 10 <= sizes["a"] <= 18
    assert 60 <= sizes["b"] <= 68


async def test_a_load_that_hangs_although_it_was_given_up_costs_the_program_its_life(
    estate: Estate, held: Held
) -> None:
    model(estate, "a")
    model(estate, "stuck", load="hang")
    first = await held.load("a")
    load = asyncio.create_task(held.load("stuck"))
    while "stuck" not in [key.model for key in held.runner._copies]:
        await asyncio.sleep(0)
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    await until(lambda: held.ends)
    assert held.ends == [("a", "Hung")]
    assert (await held.load("a")).pid != first.pid


async def test_a_load_that_was_given_up_is_unloaded_once_it_has_ended(estate: Estate, held: Held) -> None:
    model(estate, "slow", load="slow")
    held.runner._give_up_s = 20.0
    model(estate, "a")
    load = asyncio.create_task(held.load("slow"))
    await until((estate.folder / "begun").exists)
    load.cancel()
    (estate.folder / "go").touch()
    with pytest.raises(asyncio.CancelledError):
        await load
    running = await held.load("a")
    at = ModelAt("a", "v1", ModelState.READY, running.lanes)
    assert [line.split()[0::2] for line in await asyncio.to_thread(log, at)][-3:] == [
        ["POST", "200"], ["DELETE", "200"], ["POST", "200"]
    ]  # fmt: skip
    assert not held.ends


async def test_a_program_that_cannot_be_started_again_breaks_its_host(estate: Estate, held: Held, monkeypatch) -> None:
    from trimtab.host import program

    monkeypatch.setattr(program, "_BACKOFF_S", 0.001)
    model(estate, "a")
    running = await held.load("a")
    held.runner._program._spec = a_program(runtime=Runtime(kind=RuntimeKind.COMMAND, command=("/no/such/program",)))
    os.kill(running.pid, signal.SIGKILL)
    await until(lambda: held.broken)
    assert held.broken == ["RuntimeMissing"]
    with pytest.raises(LoadFault):
        await held.load("a")


async def test_a_program_without_a_list_of_models_is_no_multi_model_server(estate: Estate) -> None:
    engine = await estate.engine()
    await engine.start(a_program(BREAKS="models"))
    status = await settled(engine, "h1", ReplicaState.FAILED)
    assert status.failure is not None
    assert status.failure.reason == "HealthCheckFailed"
    assert "multi-model container contract" in status.failure.message
    await until(lambda: not estate.workers())


async def test_a_program_that_cannot_be_started_fails_the_replica(estate: Estate) -> None:
    engine = await estate.engine()
    await engine.start(a_program(runtime=Runtime(kind=RuntimeKind.COMMAND, command=("/no/such/program",))))
    status = await settled(engine, "h1", ReplicaState.FAILED)
    assert status.failure is not None
    assert status.failure.reason == "RuntimeMissing"


async def test_a_stopped_replica_leaves_no_program_and_no_files(estate: Estate) -> None:
    model(estate, "a")
    engine = await estate.engine()
    gateway = await estate.gateway(await estate.host(engine, a_program()))
    pid = int((await ask(await gateway.get("a")))[1].split()[1])
    await engine.stop("h1")
    await absent(engine, "h1")
    await until(lambda: not psutil.pid_exists(pid))
    await until(lambda: not (estate.paths.hosted / "h1").exists())


async def test_a_later_control_finds_the_host_and_its_program_serving(estate: Estate) -> None:
    model(estate, "a")
    first = await estate.engine()
    status = await estate.host(first, a_program())
    gateway = await estate.gateway(status)
    before = await ask(await gateway.get("a"))
    await first.close()
    second = await estate.engine()
    after = await settled(second, "h1", ReplicaState.READY)
    assert after.pids == status.pids
    assert await ask(await gateway.get("a")) == before


async def test_a_killed_hosts_program_finishes_what_it_has_in_hand_and_ends(estate: Estate, tmp_path: Path) -> None:
    model(estate, "a", work="slow")
    engine = await estate.engine()
    status = await estate.host(engine, a_program(GATE=str(tmp_path)))
    gateway = await estate.gateway(status)
    at = await gateway.get("a")
    request = asyncio.create_task(ask(at))
    await until((tmp_path / "begun").exists)
    os.kill(status.pids[0], signal.SIGKILL)
    await settled(engine, "h1", ReplicaState.FAILED)
    stopping = asyncio.create_task(engine.stop("h1"))
    (tmp_path / "go").touch()
    assert (await request)[0] == 200
    await stopping
    await until(lambda: not estate.workers("h1"))
    await until(lambda: not (estate.paths.hosted / "h1").exists())


DOCKER = """#!{python}
import os, sys
if sys.argv[1] in ("version", "rm"):
    open({folder!r} + "/" + sys.argv[1], "a").write(sys.argv[-1] + "\\n")
    sys.exit(0)
if sys.argv[1] == "inspect":
    print(open({folder!r} + "/pid").read())
    sys.exit(0)
arguments = sys.argv[1:]
mounts = [arguments[n + 1].split(":") for n, word in enumerate(arguments) if word == "-v"]
port = arguments[arguments.index("-p") + 1].split(":")[1]
open({folder!r} + "/mounts", "w").write(repr(mounts))
open({folder!r} + "/pid", "w").write(str(os.getpid()))
source = [host for host, inside, how in mounts if inside == "/opt/ml/models"][0]
program = open({program!r}).read().replace("Path(url)", "Path(url.replace('/opt/ml/models', " + repr(source) + "))")
open({folder!r} + "/program.py", "w").write(program)
os.execv({python!r}, [{python!r}, {folder!r} + "/program.py", port])
"""


async def test_a_container_sees_its_models_below_opt_ml_models(estate: Estate, tmp_path: Path, monkeypatch) -> None:
    import sys

    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER.format(python=sys.executable, folder=str(tmp_path), program=str(PROGRAM)))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    estate.end_nursery()
    estate.start_nursery()
    model(estate, "a", mib=30)
    spec = a_program(runtime=Runtime(kind=RuntimeKind.CONTAINER, image="many:1"))
    engine = await estate.engine()
    gateway = await estate.gateway(await estate.host(engine, spec))
    at = await gateway.get("a")
    code, body = await ask(at)
    assert (code, body.split()[0]) == (200, b"a@v1")
    [event] = await estate.control.heard("loaded")
    assert 30 * MIB <= event.bytes <= 38 * MIB
    assert eval((tmp_path / "mounts").read_text()) == [
        [str(estate.paths.hosted.absolute() / "h1"), "/opt/ml/models", "ro"]
    ]
    await engine.stop("h1")
    await until(lambda: (tmp_path / "rm").exists() and "trimtab-h1-1" in (tmp_path / "rm").read_text())
