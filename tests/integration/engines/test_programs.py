"""Programs and images that keep the container contract, run by the local engine."""

import asyncio
import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from house import House, a_command, a_spec

from trimtab.engines.local import programs
from trimtab.resources.replica import ReplicaState, ReplicaStatus, Wire
from trimtab.resources.runtime import Runtime, RuntimeKind
from trimtab.testing.engines import absent, find, settled, until
from trimtab.wire.log_times import read_times

SERVER = Path(__file__).parent / "server.py"
READY, FAILED = ReplicaState.READY, ReplicaState.FAILED

FAKE_DOCKER = """#!{python}
import os, sys
if sys.argv[1] == "version":
    sys.exit(0)
if sys.argv[1] == "inspect":
    print(open({removed!r} + ".pid").read())
    sys.exit(0)
if sys.argv[1] == "rm":
    open({removed!r}, "a").write(sys.argv[-1] + "\\n")
    sys.exit(0)
at = sys.argv.index("-p")
port = sys.argv[at + 1].split(":")[1]
open({removed!r} + ".pid", "w").write(str(os.getpid()))
os.environ["SEEN"] = " ".join(sys.argv[1:])
os.execv({python!r}, [{python!r}, {server!r}, port])
"""


async def call(status: ReplicaStatus, verb: str = "POST", path: str = "/invocations", body: bytes = b"hi") -> Any:
    host, port = status.addresses[0].removeprefix("tcp:").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    text = answer.partition(b"\r\n\r\n")[2]
    return json.loads(text) if text else None


async def test_a_program_gets_its_port_environment_and_folder(house: House, tmp_path: Path) -> None:
    engine = await house.engine()
    house.artifacts["s3://b/m.tar.gz"] = tmp_path
    command = (sys.executable, str(SERVER), "{port}", "--model={model_dir}")
    runtime = Runtime(kind=RuntimeKind.COMMAND, command=command)
    await engine.start(a_spec("c1", runtime=runtime, environment={"COLOUR": "red"}, artifact_url="s3://b/m.tar.gz"))
    status = await settled(engine, "c1", READY)
    assert status.wire is Wire.HTTP
    seen = await call(status)
    port = status.addresses[0].rpartition(":")[2]
    assert seen["body"] == "hi"
    assert seen["argv"][1:] == [port, f"--model={tmp_path}"]
    assert seen["cwd"] == str(tmp_path)
    assert seen["environment"]["COLOUR"] == "red"
    assert seen["environment"]["SAGEMAKER_BIND_TO_PORT"] == port
    low, high = seen["environment"]["SAGEMAKER_SAFE_PORT_RANGE"].split("-")
    assert int(port) < int(low) < int(high)
    assert [name for name in seen["environment"] if name.startswith("TRIMTAB_")] == ["TRIMTAB_HOUSE"]
    assert "serving" in engine.tail("c1")
    assert [path.name for path in engine.log_files("c1")] == ["c1-0.log"]


async def test_what_a_program_writes_is_kept_with_its_times(house: House) -> None:
    began_ms = time.time() * 1000
    engine = await house.engine()
    await engine.start(a_command(SERVER))
    await settled(engine, "c1", READY)
    [log] = engine.log_files("c1")
    async with asyncio.timeout(10):
        while (times := read_times(log)) is None or not times.positions:
            await asyncio.sleep(0.01)
    assert times.positions[0] == 0
    assert began_ms - 10 <= times.times_ms[0] <= time.time() * 1000
    await engine.stop("c1")


async def test_a_program_outlives_the_nursery_and_is_ended_by_a_later_control(house: House) -> None:
    first = await house.engine()
    await first.start(a_command(SERVER))
    before = await settled(first, "c1", READY)
    house.end_nursery(signal.SIGKILL)
    await first.close()
    house.start_nursery()
    second = await house.engine()
    after = find(second, "c1")
    assert after is not None
    assert (after.state, after.pids) == (READY, before.pids)
    await second.stop("c1")
    async with asyncio.timeout(5):
        while house.alive():
            await asyncio.sleep(0.01)


async def test_a_program_that_stops_answering_pings_has_failed(house: House) -> None:
    engine = await house.engine(ping_every_s=0.05)
    await engine.start(a_command(SERVER))
    status = await settled(engine, "c1", READY)
    await call(status, "GET", "/sicken", b"")
    failure = (await settled(engine, "c1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "HealthCheckFailed"
    await until(engine, lambda: not house.alive())


async def test_a_program_that_exits_says_its_status_and_last_words(house: House) -> None:
    engine = await house.engine()
    await engine.start(a_command(SERVER, environment={"SERVER": "exit"}))
    failure = (await settled(engine, "c1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "Exited"
    assert "status 7" in failure.message
    assert failure.tail == "cannot serve: no model here"


async def test_a_program_that_never_answers_is_ended_at_its_start_limit(house: House) -> None:
    engine = await house.engine()
    runtime = Runtime(kind=RuntimeKind.COMMAND, command=("sleep", "1000"))
    await engine.start(a_spec("c1", runtime=runtime, startup_timeout_s=0.3))
    failure = (await settled(engine, "c1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "StartTimeout"
    assert "/ping" in failure.message
    await until(engine, lambda: not house.alive())


async def test_a_command_that_does_not_exist_is_named(house: House) -> None:
    engine = await house.engine()
    runtime = Runtime(kind=RuntimeKind.COMMAND, command=("/no/such/server", "{port}"))
    await engine.start(a_spec("c1", runtime=runtime))
    failure = (await settled(engine, "c1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "RuntimeMissing"
    assert "/no/such/server" in failure.message
    assert house.alive() == []


async def test_a_program_that_ignores_sigterm_is_killed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TERM_GRACE_S", 0.2)
    engine = await house.engine()
    await engine.start(a_command(SERVER, environment={"SERVER": "stubborn"}))
    await settled(engine, "c1", READY)
    await engine.stop("c1")
    async with asyncio.timeout(5):
        while house.alive():
            await asyncio.sleep(0.01)


async def test_a_drained_program_lives_until_its_last_connection_is_closed(house: House) -> None:
    engine = await house.engine()
    await engine.start(a_command(SERVER))
    status = await settled(engine, "c1", READY)
    port = int(status.addresses[0].rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    await engine.drain("c1", grace_s=20.0)
    await asyncio.to_thread(programs.connections_to, port)
    assert house.alive()
    writer.close()
    await writer.wait_closed()
    await absent(engine, "c1")
    assert house.alive() == []


async def test_a_port_that_somebody_else_took_meanwhile_is_given_up_for_another(house: House, tmp_path: Path) -> None:
    once = tmp_path / "once"
    script = tmp_path / "greedy.py"  # on its first start somebody else holds the port when it wants it
    script.write_text(
        "import os, subprocess, sys, socket\n"
        f"if not os.path.exists({str(once)!r}):\n"
        "    taken = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"  # as servers do: after others' connections, too
        f"    open({str(once)!r}, 'w').write(sys.argv[1])\n"
        "    holder = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'], pass_fds=[taken.fileno()],"
        " start_new_session=True)\n"
        f"    open({str(once) + '.pid'!r}, 'w').write(str(holder.pid))\n"
        "    sys.exit(98)\n"
        f"os.execv(sys.executable, [sys.executable, {str(SERVER)!r}, sys.argv[1]])\n"
    )
    engine = await house.engine()
    try:
        await engine.start(a_command(script))
        status = await settled(engine, "c1", READY, FAILED)
        assert status.failure is None
        assert status.addresses[0].rpartition(":")[2] != once.read_text()
    finally:
        os.kill(int(Path(f"{once}.pid").read_text()), signal.SIGKILL)


def fake_docker(folder: Path) -> Path:
    folder.mkdir()
    removed = folder / "removed"
    docker = folder / "docker"
    docker.write_text(FAKE_DOCKER.format(python=sys.executable, server=str(SERVER), removed=str(removed)))
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    return removed


async def test_an_image_is_run_by_the_container_engine(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = fake_docker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    house.artifacts["s3://b/m.tar.gz"] = tmp_path
    engine = await house.engine()
    runtime = Runtime(kind=RuntimeKind.CONTAINER, image="shop/scorer:1")
    environment = {"SECRET": "s3cr3t", "PATH": "/inside"}
    await engine.start(a_spec("k1", runtime=runtime, environment=environment, artifact_url="s3://b/m.tar.gz"))
    seen = (await call(await settled(engine, "k1", READY)))["environment"]
    assert "-e SECRET" in seen["SEEN"]
    assert "s3cr3t" not in seen["SEEN"]
    assert seen["SECRET"] == "s3cr3t"
    assert "-e PATH=/inside" in seen["SEEN"]
    assert f"-v {tmp_path}:/opt/ml/model:ro" in seen["SEEN"]
    assert seen["SEEN"].endswith("shop/scorer:1 serve")
    await engine.stop("k1")
    async with asyncio.timeout(5):
        while not removed.exists() or removed.read_text() != "trimtab-k1\n":
            await asyncio.sleep(0.01)


async def test_what_is_in_a_container_is_measured_once_its_engine_says_where_it_is(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    engine = await house.engine()
    await engine.start(a_spec("k1", runtime=Runtime(kind=RuntimeKind.CONTAINER, image="shop/scorer:1")))
    await settled(engine, "k1", READY)
    [usage] = await engine.measure()
    assert (usage.cpu_percent, usage.memory_bytes) == (None, None)  # those of the engine's own command mean nothing
    async with asyncio.timeout(10):
        while usage.memory_bytes is None:
            await asyncio.sleep(0.01)
            [usage] = await engine.measure()
    assert usage.memory_bytes > 2**20


async def test_a_machine_without_container_engine_says_what_to_do(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    engine = await house.engine()
    await engine.start(a_spec("k1", runtime=Runtime(kind=RuntimeKind.CONTAINER, image="x")))
    failure = (await settled(engine, "k1", FAILED)).failure
    assert failure is not None
    assert failure.reason == "RuntimeMissing"
    assert "install docker or podman" in failure.message


async def test_programs_end_with_trimtab(house: House) -> None:
    engine = await house.engine()
    await engine.start(a_command(SERVER))
    await settled(engine, "c1", READY)
    await engine.close()
    assert await asyncio.to_thread(house.end_nursery, signal.SIGTERM) == 0
    assert house.alive() == []
