"""Swaps: one model goes, another comes, ten thousand times; what stays behind of it in memory, and how soon it is back.

    python -m benchmarks.model_swaps [--swaps 10000] [--models 12] [--mib 8] [--json]

A real `trimtab serve` with one replica of a multi-model endpoint that keeps nothing (ModelCacheSetting Disabled): every
request loads a model, which goes when it has answered. The resident memory of the nursery, the model host, control and
the gateway is compared before and after the swaps (the first tenth comes before): its drift is to be below 1 %, or below
a MiB. Of every hundredth request it is measured what the model's worker had as its own (private pages), and how soon
after the answer all of it is back: within 200 ms is asked for. Exits 1 when a goal is missed or a request failed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np

from trimtab.config import Paths
from trimtab.engines.local import records
from trimtab.testing.artifacts import archive
from trimtab.testing.server import ROLE, Trimtab, serving

NAME = "swapped"
WIDTH = 256
TITLES = ("trimtab: nursery", "trimtab: models", "trimtab: control", "trimtab: gateway 0")
DRIFT_SHARE, DRIFT_MIB = 0.01, 1.0
BACK_S = 0.2
_LOOK_S = 0.001
_PATIENCE_S = 10.0
_EVERY = 100


def model(size_mib: int, seed: int) -> bytes:
    """An archive with one table of weights."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(seed).normal(size=(WIDTH, size_mib * 2**20 // (4 * WIDTH))).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("ReduceSum", ["m"], ["y"], keepdims=1)]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])]
        for name, width in (("x", WIDTH), ("y", 1))
    ]
    graph = helper.make_graph(nodes, "m", *ends, [numpy_helper.from_array(weights, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return archive(model_onnx=made.SerializeToString())


def deploy(trimtab: Trimtab, models: int, size_mib: int) -> list[str]:
    """A multi-model endpoint and its models' names."""
    trimtab.s3  # noqa: B018 makes the bucket
    names = [f"m{number}.tar.gz" for number in range(models)]
    for number, name in enumerate(names):
        trimtab.upload(model(size_mib, number), f"swaps/{name}")
    container = {
        "Image": "trimtab://python",
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://models/swaps/",
        "MultiModelConfig": {"ModelCacheSetting": "Disabled"},
    }
    trimtab.sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    trimtab.create_config(NAME, NAME)
    trimtab.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    trimtab.settled(NAME)
    return names


def resident_mib(trimtab: Trimtab) -> dict[str, float]:
    """Of each process, the median of a few readings."""
    found: dict[str, float] = {}
    for title in TITLES:
        (process,) = trimtab.processes(title)[:1]
        readings = []
        for _ in range(5):
            readings.append(process.memory_info().rss / 2**20)
            time.sleep(0.05)
        found[title.removeprefix("trimtab: ")] = statistics.median(readings)
    return found


def workers(trimtab: Trimtab) -> set[int]:
    """The processes of models."""
    found = (record for _, record in records.all_records(Paths(trimtab.data_dir).models_dir) if record is not None)
    return {record.pid for record in found if records.is_alive(record)}


def back_s(trimtab: Trimtab) -> float:
    """From now until no model has any memory left; the process is gone then, and all that was its own with it."""
    began_s = time.monotonic()
    while workers(trimtab):
        if time.monotonic() - began_s > _PATIENCE_S:
            return float("inf")
        time.sleep(_LOOK_S)
    return time.monotonic() - began_s


def swap(trimtab: Trimtab, names: list[str], body: bytes, swaps: int) -> tuple[list[float], list[float], int]:
    """Ask for the models in turn. Milliseconds of each request, seconds until memory was back, and how many failed."""
    from botocore.exceptions import BotoCoreError, ClientError

    took_ms, back, failed = [], [], 0
    for number in range(swaps):
        began_s = time.perf_counter()
        try:
            trimtab.invoke(NAME, body, TargetModel=names[number % len(names)])
        except (BotoCoreError, ClientError) as error:
            failed += 1
            print(f"failed: {error}", flush=True)
        took_ms.append((time.perf_counter() - began_s) * 1e3)
        if number % _EVERY == 0:
            back.append(back_s(trimtab))
    return took_ms, back, failed


def measure(swaps: int, models: int, size_mib: int) -> dict[str, Any]:
    """All of it."""
    body = json.dumps([[0.5] * WIDTH]).encode()
    with serving() as trimtab:
        names = deploy(trimtab, models, size_mib)
        _, _, failed = swap(trimtab, names, body, max(models, swaps // 10))
        before = resident_mib(trimtab)
        took_ms, back, more = swap(trimtab, names, body, swaps)
        after = resident_mib(trimtab)
    drift = {name: (after[name] - before[name], after[name] / before[name] - 1.0) for name in before}
    return {
        "swaps": len(took_ms),
        "failed": failed + more,
        "request_ms": {"p50": float(np.median(took_ms)), "p99": float(np.percentile(took_ms, 99))},
        "resident_mib": {n: {"before": before[n], "after": after[n], "drift": drift[n][1]} for n in before},
        "drifts": [name for name, (mib, share) in drift.items() if share > DRIFT_SHARE and mib > DRIFT_MIB],
        "back_ms": {"p50": 1e3 * float(np.median(back)), "max": 1e3 * max(back)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--mib", type=int, default=8, help="of one model")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.swaps, arguments.models, arguments.mib)
    if arguments.json:
        print(json.dumps(found))
    else:
        print(f"{found['swaps']} swaps, {found['failed']} requests failed")
        print("request that loads its model: p50 {p50:.1f} ms, p99 {p99:.1f} ms".format(**found["request_ms"]))
        for name, row in found["resident_mib"].items():
            print(f"{name:<12} resident {row['before']:>7.1f} -> {row['after']:>7.1f} MiB  {100 * row['drift']:+.2f} %")
        print(
            "all of a model's memory is back {p50:.0f} ms after its answer (p50), {max:.0f} ms (longest)".format(
                **found["back_ms"]
            )
        )
    met = not found["failed"] and not found["drifts"] and found["back_ms"]["max"] <= 1e3 * BACK_S
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
