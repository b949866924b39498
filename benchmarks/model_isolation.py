"""A process for each model against one process for all: memory, what an unload gives back, and who waits for a load.

    .venv/bin/python benchmarks/model_isolation.py [--models 20] [--rounds 3] [--seconds 4]

The parent imports the runtimes and rehearses, as the nursery does; everything else happens in children forked from it.
Models: gradient boosting in ONNX, in scikit-learn (pickle), XGBoost, LightGBM, all of the fraud example's size, and a
random forest of some 40 MB. Three questions:

- memory: private bytes that a model costs, with a process of its own and as one of many in one process;
- unload: how much of that is back, after how long;
- neighbours: latencies of a hot ONNX model, asked 500 times a second, while the forest is loaded again and again: by a
  thread of the same process, by another process, and not at all. Rounds of the three are interleaved.

Prints Markdown tables. Exits 1 when one process for all would give back 99 % of its memory, or delay its neighbours at
the 99th percentile by less than a half more than processes of their own do: then decision 014 has lost its ground.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import pickle
import signal
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import xgboost
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

FEATURES = 30
RATE_PER_S = 500.0
MIB = 2**20


def save_models(folder: Path) -> dict[str, Path]:
    from skl2onnx import to_onnx

    rng = np.random.default_rng(42)
    x = rng.normal(size=(4000, FEATURES)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=4000) > 1).astype(int)
    boosted = GradientBoostingClassifier(random_state=42).fit(x, y)
    paths = {name: folder / name for name in ("onnx", "pickle", "xgboost.ubj", "lightgbm.txt", "forest")}
    paths["onnx"].write_bytes(to_onnx(boosted, x[:1], options={"zipmap": False}).SerializeToString())
    paths["pickle"].write_bytes(pickle.dumps(boosted))
    xgboost.XGBClassifier(n_estimators=100, max_depth=3, n_jobs=1).fit(x, y).save_model(paths["xgboost.ubj"])
    lightgbm.LGBMClassifier(n_estimators=100, max_depth=3, n_jobs=1, verbose=-1).fit(x, y).booster_.save_model(
        str(paths["lightgbm.txt"])
    )
    noise = rng.integers(0, 2, size=4000)
    paths["forest"].write_bytes(pickle.dumps(RandomForestClassifier(n_estimators=300, n_jobs=1).fit(x, noise)))
    return paths


def load(path: Path) -> Any:
    row = np.zeros((1, FEATURES), np.float32)
    if path.name == "onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: row})
        return session
    if path.name.startswith("xgboost"):
        booster = xgboost.Booster({"nthread": 1}, model_file=str(path))
        booster.inplace_predict(row)
        return booster
    if path.name.startswith("lightgbm"):
        booster = lightgbm.Booster(model_file=str(path))
        booster.predict(row, num_threads=1)
        return booster
    model = pickle.loads(path.read_bytes())
    model.predict(row)
    return model


def private_bytes() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_"))


def in_child(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returned in a process forked for it, and how long that one took to end after it was told to."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            result = pickle.dumps(work())
            os.write(write, len(result).to_bytes(4, "little") + result)
            os.close(write)
            signal.pause()
        except BaseException:  # noqa: BLE001 told, and then this process ends
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        size = int.from_bytes(file.read(4), "little")
        result = pickle.loads(file.read(size))
    began_s = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return result, time.perf_counter() - began_s


# --- memory ----------------------------------------------------------------------------------------------------------


def nothing() -> int:
    """What a process costs that holds no model: it has run for a moment, and collected garbage."""
    gc.collect()
    return private_bytes()


def alone(path: Path) -> Callable[[], tuple[int, float]]:
    def work() -> tuple[int, float]:
        began_s = time.perf_counter()
        model = load(path)
        took_s = time.perf_counter() - began_s
        return private_bytes() if model is not None else 0, took_s

    return work


def together(path: Path, count: int) -> Callable[[], tuple[float, float, float]]:
    def work() -> tuple[float, float, float]:
        gc.collect()
        before = private_bytes()
        models = [load(path) for _ in range(count)]
        full = private_bytes()
        began_s = time.perf_counter()
        models.clear()
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        took_s = time.perf_counter() - began_s
        return (full - before) / count, 1 - (private_bytes() - before) / (full - before), took_s

    return work


def memory(paths: dict[str, Path], count: int) -> bool:
    bare = statistics.median(in_child(nothing)[0] for _ in range(5))
    print(f"A process that holds no model: {bare / MIB:.2f} MiB of its own.\n")
    print("| model | file MiB | own process: MiB | load ms | unload ms | one of many: MiB | given back | unload ms |")
    print("|---|---|---|---|---|---|---|---|")
    kept = False
    for name, path in paths.items():
        runs = [in_child(alone(path)) for _ in range(5)]
        own = statistics.median(size for (size, _), _ in runs)
        load_ms = 1000 * statistics.median(took_s for (_, took_s), _ in runs)
        end_ms = 1000 * statistics.median(end_s for _, end_s in runs)
        (each, back, trim_s), _ = in_child(together(path, count if name != "forest" else 5))
        print(
            f"| {name} | {path.stat().st_size / MIB:.2f} | {own / MIB:.2f} | {load_ms:.1f} | {end_ms:.1f} "
            f"| {each / MIB:.2f} | {100 * back:.1f} % | {1000 * trim_s:.1f} |",
            flush=True,
        )
        kept = kept or back < 0.99
    return kept


# --- neighbours ------------------------------------------------------------------------------------------------------


def ask(path: Path, seconds: float, latencies_s: list[float]) -> None:
    session = load(path)
    name, row = session.get_inputs()[0].name, np.zeros((1, FEATURES), np.float32)
    start_s = time.perf_counter()
    for number in range(int(RATE_PER_S * seconds)):
        due_s = start_s + number / RATE_PER_S
        if (wait_s := due_s - time.perf_counter()) > 0:
            time.sleep(wait_s)
        session.run(None, {name: row})
        latencies_s.append(time.perf_counter() - due_s)


def hot(paths: dict[str, Path], seconds: float, neighbour: str) -> list[float]:
    """Latencies while a neighbour is loaded: `none`, `thread`, `process`."""

    def work() -> list[float]:
        found: list[float] = []
        over = threading.Event()

        def load_again() -> None:
            while not over.is_set():
                load(paths["forest"])

        if neighbour == "thread":
            threading.Thread(target=load_again, daemon=True).start()
        ask(paths["onnx"], seconds, found)
        over.set()
        return found

    pid = 0
    if neighbour == "process":
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    load(paths["forest"])
            finally:
                os._exit(1)
    try:
        return in_child(work)[0]
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def neighbours(paths: dict[str, Path], rounds: int, seconds: float) -> bool:
    kinds = {
        "none": "nothing is loaded",
        "process": "loaded by another process",
        "thread": "by a thread of its own process",
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            found[kind] += hot(paths, seconds, kind)
    print(
        f"\nA hot model at {RATE_PER_S:.0f} requests a second, {len(found['none']):,} requests each, ms from due to done:\n"
    )
    print("| a forest of 300 trees is | p50 | p90 | p99 | most |")
    print("|---|---|---|---|---|")
    p99 = {}
    for kind, words in kinds.items():
        p50, p90, p99[kind], most = (1000 * float(np.quantile(found[kind], q)) for q in (0.5, 0.9, 0.99, 1.0))
        print(f"| {words} | {p50:.2f} | {p90:.2f} | {p99[kind]:.2f} | {most:.1f} |", flush=True)
    return p99["thread"] > 1.5 * p99["process"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20, help="of one kind in one process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths, _ = in_child(lambda: save_models(Path(folder)))  # its threads would be missing in what is forked here
        load(paths["onnx"])  # the rehearsal
        gc.collect()
        gc.freeze()
        holds = memory(paths, asked.models), neighbours(paths, asked.rounds, asked.seconds)
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
