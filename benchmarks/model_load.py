"""Loads: what a worker takes to load a model that is on the disk, beside what the library takes for it.

    python -m benchmarks.model_load [--rounds 9] [--raw-mib 1024] [--only NAME,...] [--json]

Every load is made in a process of its own, forked from one that has imported the libraries, after the rehearsal that the
nursery's spare workers do. Two ways take turns: `library` is the library's own call; `worker` is what a worker does, from
looking into the artifact to a model that has answered once (`worker/loading.py`). Of raw tensors (safetensors, NPY, ONNX
external data; read by scripts and by onnxruntime) two more things are measured: the first touch of every page, and how
fast the same file is read into a buffer. `cold`: the file's pages are dropped from the page cache first.

Goals: library x 1.05 + 10 ms; raw tensors mapped in 5 ms, or load and touch at 85 % of the read bandwidth. Exits 1 when
one is missed. Torch and safetensors are left out where they are not installed (run it with .venvs/torch).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import raw_models
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.worker import loading
from trimtab.worker.rehearsal import rehearse

MAPPED_MS = 5.0
SHARE = 0.85
FACTOR, MORE_MS = 1.05, 10.0
_BUFFER_BYTES = 2**20


class Times(msgspec.Struct):
    """Of one load, in milliseconds."""

    load: float
    touch: float = 0.0


def forked(work: Callable[[], Times]) -> Times:
    """Run `work` in a child that has rehearsed; what it returned."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(read_end)
            rehearse()
            os.write(write_end, msgspec.json.encode(work()))
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        said = pipe.read()
    if os.waitpid(pid, 0)[1] or not said:
        raise RuntimeError("a load failed; see above")
    return msgspec.json.decode(said, type=Times)


def by_library(model: raw_models.Saved) -> Times:
    began_s = time.perf_counter()
    loaded = model.library(model.folder)
    load_s = time.perf_counter() - began_s
    if model.touch is None:
        return Times(load_s * 1e3)
    began_s = time.perf_counter()
    model.touch(loaded)
    return Times(load_s * 1e3, (time.perf_counter() - began_s) * 1e3)


def by_worker(model: raw_models.Saved) -> Times:
    spec = ReplicaSpec(
        id="r", endpoint="e", variant="v", version="1", model_name="m", runtime=Runtime(flavor=model.flavor)
    )
    launch = WorkerLaunch(spec=msgspec.msgpack.encode(spec), socket_path="", model_dir=str(model.folder))
    os.environ["OMP_NUM_THREADS"] = "1"
    began_s = time.perf_counter()
    recipe = loading.recipe(launch, spec)
    recipe.prepare()
    served = recipe.load()
    served.warm()
    load_s = time.perf_counter() - began_s
    if model.touch is None:
        return Times(load_s * 1e3)
    began_s = time.perf_counter()
    model.touch(model.loaded(served))
    return Times(load_s * 1e3, (time.perf_counter() - began_s) * 1e3)


def drop(folder: Path) -> None:
    """Have the files of a model leave the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def read_ms(path: Path) -> float:
    """Read a file into one buffer."""
    buffer = bytearray(_BUFFER_BYTES)
    began_s = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    while os.readv(fd, [buffer]):
        pass
    os.close(fd)
    return (time.perf_counter() - began_s) * 1e3


def library_rows(models: list[raw_models.Saved], rounds: int) -> list[dict[str, object]]:
    """Each model's two ways, in turns."""
    rows = []
    for model in models:
        library, worker = [], []
        for _ in range(rounds + 1):
            library.append(forked(lambda m=model: by_library(m)).load)
            worker.append(forked(lambda m=model: by_worker(m)).load)
        own, ours = statistics.median(library[1:]), statistics.median(worker[1:])
        limit = own * FACTOR + MORE_MS
        rows.append(
            {
                "model": model.name,
                "mib": model.size_bytes / 2**20,
                "library_ms": own,
                "worker_ms": ours,
                "limit_ms": limit,
            }
            | {"met": ours <= limit}
        )
        print(
            f"{model.name:<34}{model.size_bytes / 2**20:>8.2f} MiB  library {own:>8.2f}  worker {ours:>8.2f} "
            f"(limit {limit:.2f} ms){'' if ours <= limit else '  MISSED'}",
            flush=True,
        )
    return rows


def raw_rows(models: list[raw_models.Saved], rounds: int) -> list[dict[str, object]]:
    """Raw tensors, warm and cold, with reads of the same file in turns."""
    rows = []
    for model in models:
        for cold in (False, True):
            reads, loads = [], []
            for _ in range(rounds + 1):
                if cold:
                    drop(model.folder)
                reads.append(read_ms(model.data))
                if cold:
                    drop(model.folder)
                loads.append(forked(lambda m=model: by_worker(m)))
            read = statistics.median(reads[1:])
            load = statistics.median(one.load for one in loads[1:])
            touch = statistics.median(one.touch for one in loads[1:])
            share = read / (load + touch)
            met = load <= MAPPED_MS or share >= SHARE
            rows.append(
                {"model": model.name, "cold": cold, "read_ms": read, "load_ms": load, "touch_ms": touch}
                | {
                    "gib_s": model.data.stat().st_size / 2**30 / (load + touch) * 1e3,
                    "share_of_read": share,
                    "met": met,
                }
            )
            print(
                f"{model.name:<34}{'cold' if cold else 'warm'}  read {read:>7.1f}  load {load:>7.2f}  first touch "
                f"{touch:>7.1f} ms  {100 * share:>4.0f} % of the read bandwidth{'' if met else '  MISSED'}",
                flush=True,
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--raw-mib", type=int, default=1024)
    parser.add_argument("--only", default="", help="comma separated beginnings of names")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loads-") as root:
        wanted = tuple(arguments.only.split(","))
        makers = {name: make for name, make in raw_models.MAKERS.items() if name.startswith(wanted)}
        missing = [name for name, make in makers.items() if any(find_spec(need) is None for need in make.needs)]
        if missing:
            print(f"left out, for what they need is not installed: {', '.join(missing)}", flush=True)
        size_bytes = arguments.raw_mib * 2**20
        models = []
        for name in [name for name in makers if name not in missing]:
            folder = Path(root) / name
            own = [sys.executable, "-m", "benchmarks.raw_models", name, str(folder), str(size_bytes)]
            subprocess.run(own, check=True, cwd=Path(__file__).parents[1])
            models.append(makers[name].make(folder, size_bytes))
        for module in {module for model in models for module in model.imports}:
            __import__(module)
        print(
            f"{os.cpu_count()} CPUs, numpy {np.__version__}; medians of {arguments.rounds}, in milliseconds", flush=True
        )
        rows = library_rows([model for model in models if model.touch is None], arguments.rounds)
        rows += raw_rows([model for model in models if model.touch is not None], arguments.rounds)
    if arguments.json:
        print(json.dumps(rows))
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
