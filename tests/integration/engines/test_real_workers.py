"""The nursery and the engine with trimtab's real worker and a real ONNX model."""

import asyncio
import os
import signal
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from house import House, a_spec
from onnx import TensorProto, helper, numpy_helper

from trimtab.resources.replica import ReplicaState, ReplicaStatus
from trimtab.testing.engines import find, settled
from trimtab.wire.frames import HEADER, HEADER_SIZE, AnswerMeta, Kind, RequestMeta, pack

READY = ReplicaState.READY
URL = "s3://bucket/model.tar.gz"

SCRIPT = """
import os, random, sys
import numpy as np

def model_fn(model_dir):
    return {"numpy": np.__version__, "omp": os.environ.get("OMP_NUM_THREADS"), "draw": float(np.random.random())}

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    try:
        import ttlayer
        return {**model, "layer": ttlayer.version}
    except ImportError:
        return model

def output_fn(prediction, accept):
    import json
    return json.dumps(prediction)
"""


@pytest.fixture
async def real_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="tt") as run_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_dir)
        house = House(tmp_path / "data", "real", ["numpy", "onnxruntime"])
        house.start_nursery()
        yield house
        await house.close()


def save_linear_model(folder: Path) -> None:
    folder.mkdir()
    weights = numpy_helper.from_array(np.array([[1.0], [2.0]], dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")


def save_script(folder: Path, requirements: str = "") -> None:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    if requirements:
        (folder / "code" / "requirements.txt").write_text(requirements)


def wheel(folder: Path, name: str, version: str, module: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{module}.py", f"version = {version!r}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


async def invoke(status: ReplicaStatus, body: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(status.addresses[0].removeprefix("unix:"))
    meta = msgspec.msgpack.encode(RequestMeta(content_type="application/json", accept="application/json"))
    writer.write(pack(Kind.REQUEST, 1, meta, body))
    async with asyncio.timeout(10):
        size, _, meta_size, kind, _ = HEADER.unpack(await reader.readexactly(HEADER_SIZE))
        rest = await reader.readexactly(meta_size + size)
    writer.close()
    await writer.wait_closed()
    assert kind == Kind.ANSWER, rest
    assert msgspec.msgpack.decode(rest[:meta_size], type=AnswerMeta)
    return rest[meta_size:]


async def test_a_model_is_served_and_outlives_control_and_nursery(real_house: House, tmp_path: Path) -> None:
    save_linear_model(tmp_path / "m")
    real_house.artifacts[URL] = tmp_path / "m"
    engine = await real_house.engine()
    await engine.start(a_spec(artifact_url=URL, environment={"MODEL_SERVER_WORKERS": "2"}))
    status = await settled(engine, "r1", READY, ReplicaState.FAILED)
    assert status.failure is None, status.failure
    assert len(status.addresses) == 2
    budget = status.budget
    assert None not in (budget.fetch_s, budget.fork_s, budget.import_s, budget.load_s, budget.warm_s)
    assert b"5.0" in await invoke(status, b"[[1, 2]]")
    real_house.end_nursery(signal.SIGKILL)
    await engine.close()
    assert b"5.0" in await invoke(status, b"[[1, 2]]")
    real_house.start_nursery()
    second = await real_house.engine()
    adopted = find(second, "r1")
    assert adopted is not None
    assert (adopted.state, adopted.pids) == (READY, status.pids)
    assert b"5.0" in await invoke(adopted, b"[[1, 2]]")
    await second.drain("r1", grace_s=10)
    async with asyncio.timeout(10):
        while second.observe():
            await asyncio.sleep(0.01)
    assert list(real_house.paths.workers_dir.iterdir()) == []


async def test_a_script_that_raises_says_so_with_its_traceback(real_house: House, tmp_path: Path) -> None:
    save_script(tmp_path / "m")
    (tmp_path / "m" / "code" / "inference.py").write_text(
        "def model_fn(model_dir):\n    raise RuntimeError('no weights')\n"
    )
    real_house.artifacts[URL] = tmp_path / "m"
    engine = await real_house.engine()
    await engine.start(a_spec(artifact_url=URL))
    failure = (await settled(engine, "r1", ReplicaState.FAILED)).failure
    assert failure is not None
    assert failure.reason == "ModelLoadFailed"
    assert "no weights" in failure.tail
    async with asyncio.timeout(10):
        while real_house.alive():
            await asyncio.sleep(0.01)


async def test_requirements_come_first_and_siblings_draw_different_random_numbers(
    real_house: House, tmp_path: Path
) -> None:
    save_script(tmp_path / "m", "--no-index\n./ttlayer-1.0-py3-none-any.whl\n")
    wheel(tmp_path / "m" / "code", "ttlayer", "1.0", "ttlayer")
    real_house.artifacts[URL] = tmp_path / "m"
    engine = await real_house.engine()
    await engine.start(a_spec("r1", artifact_url=URL))
    await engine.start(a_spec("r2", artifact_url=URL))
    answers = []
    for name in ("r1", "r2"):
        status = await settled(engine, name, READY, ReplicaState.FAILED)
        assert status.failure is None, status.failure
        answers.append(msgspec.json.decode(await invoke(status, b"{}")))
    assert answers[0]["layer"] == "1.0"
    assert answers[0]["draw"] != answers[1]["draw"]


async def test_what_a_fork_cannot_obey_gets_a_new_interpreter(real_house: House, tmp_path: Path) -> None:
    save_script(tmp_path / "m", "--no-index\n./setproctitle-0.0.9-py3-none-any.whl\n")
    wheel(tmp_path / "m" / "code", "setproctitle", "0.0.9", "ttlayer")
    real_house.artifacts[URL] = tmp_path / "m"
    engine = await real_house.engine()
    await engine.start(a_spec("r1", artifact_url=URL, environment={"OMP_NUM_THREADS": "3"}))
    status = await settled(engine, "r1", READY, ReplicaState.FAILED)
    assert status.failure is None, status.failure
    answer = msgspec.json.decode(await invoke(status, b"{}"))
    assert (answer["omp"], answer["layer"]) == ("3", "0.0.9")
    assert os.getsid(status.pids[0]) == status.pids[0]
