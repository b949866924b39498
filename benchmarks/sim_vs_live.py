"""The simulator against what it is a model of: recorded scenarios, run live twice and then simulated.

    python -m benchmarks.sim_vs_live [--cases step,diurnal,models,backlog] [--seconds 90] [--seeds 3] [--json FILE]

A real `trimtab serve` that asks for no signatures. Each case is driven twice by an open-loop client at the same moments
(latency counts from when a request was due); then `trimtab record` makes a scenario of the first time, and that is
simulated, once for each seed (where within a second requests come is drawn).

  step      the fraud model behind a look-up of 20 ms; 10/s, then 90/s, then 10/s; 1 to 4 replicas by the event policy
  diurnal   the same; one wave from 5/s to 80/s
  models    eight models of which about four fit into memory, a load takes 0.3 s; Zipf, 6/s: evictions
  backlog   asynchronous, 0 to 4 replicas by the event policy; 25/s of 100 ms for a sixth of the time, then nothing

Compared are the bill (the ledger's), replica-seconds, p50 and p99; live against live tells how much of a difference is
chance. `trimtab replay` then gives the reducer all recorded inputs again: its decisions must be the same. Goals: bill and
replica-seconds within 2 %, p50 within 5 %, p99 within 10 %, or within 1.5 times what the two live runs differ by.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from msgspec import Struct, to_builtins

from benchmarks import openloop
from benchmarks.scale_out import model as fraud
from trimtab.cli.recorded.metrics import Metrics
from trimtab.metrics.names import TRIMTAB
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import ROLE, Trimtab, serving

VARIANT = "blue"
FRAUD = """
import json, os, time
import numpy as np, onnxruntime

def model_fn(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)

def transform_fn(model, body, content_type, accept):
    time.sleep(0.02)  # features are looked up
    rows = np.array(json.loads(body), dtype=np.float32)
    return json.dumps([float(one) for one in np.ravel(model.run(None, {model.get_inputs()[0].name: rows})[0])]), "application/json"
"""
LARGE = """
import time
import numpy as np

def model_fn(folder):
    time.sleep(0.3)
    return np.ones(40_000_000, dtype=np.uint8)

def transform_fn(model, body, content_type, accept):
    time.sleep(0.015)
    return body, content_type
"""
SLOW = """
import time

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep(0.1)
    return body, content_type
"""
GOALS = {"usd": 0.02, "replica_s": 0.02, "p50_s": 0.05, "p99_s": 0.10}
MODELS = 8


class Seen(Struct):
    """One run, live or simulated."""

    usd: float
    replica_s: float
    p50_s: float
    p99_s: float
    requests: int
    lost: int
    loads: int = 0


class Case(Struct):
    """What is deployed and what it is asked."""

    name: str
    deploy: Callable[[Trimtab, str], None]
    rates: Callable[[float], Sequence[tuple[float, float]]]  # of a length: (seconds, requests/s) one after the other
    settle_s: float = 3.0
    is_async: bool = False
    models: int = 0


def moments(rates: Sequence[tuple[float, float]], seed: int) -> list[float]:
    """A Poisson process."""
    chance = np.random.default_rng(seed)
    found: list[float] = []
    begin_s = 0.0
    for lasting_s, rate in rates:
        count = chance.poisson(rate * lasting_s)
        found += sorted((begin_s + chance.random(count) * lasting_s).tolist())
        begin_s += lasting_s
    return found


# --- what is deployed


def scaled(trimtab: Trimtab, name: str, least: int, most: int, target: float) -> None:
    """Scaled by the event policy."""
    scaling = trimtab.client("application-autoscaling")
    where = {
        "ServiceNamespace": "sagemaker", "ResourceId": f"endpoint/{name}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }  # fmt: skip
    scaling.register_scalable_target(**where, MinCapacity=least, MaxCapacity=most)
    dimensions = {"EndpointName": name, "VariantName": VARIANT, "StableWindowSeconds": "10"}
    metric = {
        "Namespace": "trimtab/Endpoints", "MetricName": "ConcurrencyPerReplicaEvent", "Statistic": "Average",
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }  # fmt: skip
    configuration = {"TargetValue": target, "CustomizedMetricSpecification": metric, "ScaleInCooldown": 0}
    scaling.put_scaling_policy(
        **where, PolicyName="event", PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=configuration,
    )  # fmt: skip


def one_model(trimtab: Trimtab, name: str) -> None:
    with tempfile.TemporaryDirectory():
        packed, _ = fraud()
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(packed)) as given:
        member = given.extractfile("model.onnx")
        assert member is not None
        content = member.read()
    trimtab.deploy(name, archive(model_onnx=content, code__inference_py=FRAUD))
    scaled(trimtab, name, 1, 4, 0.7)


def many_models(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="240")
    packed = script(LARGE)
    for number in range(MODELS):
        trimtab.put_model(name, f"m{number}.tar.gz", packed)


def queued(trimtab: Trimtab, name: str) -> None:
    trimtab.create_model(name, script(SLOW))
    trimtab.s3.put_object(Bucket="models", Key="in/one", Body=b"[1]")
    variant = {"VariantName": VARIANT, "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    trimtab.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        AsyncInferenceConfig={
            "OutputConfig": {"S3OutputPath": "s3://models/out"},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        },
    )
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    scaled(trimtab, name, 0, 4, 1.0)


def wave(seconds: float) -> list[tuple[float, float]]:
    steps = 30
    heights = [5 + 75 * (1 - math.cos(2 * math.pi * (step + 0.5) / steps)) / 2 for step in range(steps)]
    return [(seconds / steps, height) for height in heights]


CASES = {
    "step": Case("step", one_model, lambda s: [(s / 3, 10.0), (s / 3, 90.0), (s / 3, 10.0)]),
    "diurnal": Case("diurnal", one_model, wave),
    "models": Case("models", many_models, lambda s: [(s, 6.0)], models=MODELS),
    "backlog": Case("backlog", queued, lambda s: [(s / 6, 25.0), (s * 5 / 6, 0.0)], settle_s=15.0, is_async=True),
}


# --- live


def asks(case: Case, name: str) -> Iterator[bytes]:
    """Requests, endlessly."""
    if case.is_async:
        yield from itertools.repeat(
            openloop.request(
                f"/endpoints/{name}/async-invocations", b"", "X-Amzn-SageMaker-InputLocation: s3://models/in/one\r\n"
            )
        )
    elif case.models:
        chance = np.random.default_rng(11)
        shares = 1 / np.arange(1, case.models + 1) ** 0.9
        while True:
            model = chance.choice(case.models, p=shares / shares.sum())
            head = f"X-Amzn-SageMaker-Target-Model: m{model}.tar.gz\r\n"
            yield openloop.request(f"/endpoints/{name}/invocations", b"[1]", head)
    else:
        _, body = fraud()
        yield from itertools.repeat(openloop.request(f"/endpoints/{name}/invocations", body))


def drive(trimtab: Trimtab, case: Case, name: str, seconds: float) -> tuple[float, float, openloop.Outcome]:
    """One live run: from when to when, and what came back."""
    port = urlsplit(trimtab.url).port
    assert port is not None
    time.sleep(case.settle_s)
    while time.time() % 1 > 0.01:
        time.sleep(0.002)
    start_s = round(time.time())

    async def run() -> openloop.Outcome:
        client = openloop.Client(port, asks(case, name), is_right=lambda body: True, most_connections=400)
        outcome = await client.run_at(moments(case.rates(seconds), 7), time.perf_counter())
        client.close()
        return outcome

    outcome = asyncio.run(run())
    while time.time() < start_s + seconds:
        time.sleep(0.05)
    return float(start_s), float(round(start_s + seconds)), outcome


def live(trimtab: Trimtab, case: Case, name: str, span: tuple[float, float], outcome: openloop.Outcome) -> Seen:
    """What it was, by the server's own figures. They are there a moment later."""
    from trimtab.cli.connect import connect

    client = connect(trimtab.data_dir)
    start_s, end_s = span
    metrics = Metrics(client, name, VARIANT, start_s, end_s, time.time())
    replicas = metrics.series(TRIMTAB, "ReplicasDesired", "Average")
    cost = metrics.series(TRIMTAB, "Cost", "Sum")
    if case.is_async:
        took = _total_times(client, name, start_s, end_s)
    else:
        took = sorted(outcome.ok_s)
    lost = sum(count for status, count in outcome.statuses.items() if status not in (200, 202))
    loads = 0
    if case.models:
        events = client.get(f"endpoints/{name}/models/events", last="100000", since=repr(start_s))["events"]
        loads = sum(event["what"] == "loaded" and event["at_s"] < end_s for event in events)
    return Seen(
        usd=sum(value or 0.0 for value in cost), replica_s=_held(replicas), p50_s=_of(took, 0.5), p99_s=_of(took, 0.99),
        requests=sum(outcome.statuses.values()), lost=lost, loads=loads,
    )  # fmt: skip


def _held(values: Sequence[float | None]) -> float:
    """Replica-seconds of a level that is told each second; where it is not, it is as before."""
    total, level = 0.0, next((value for value in values if value is not None), 0.0)
    for value in values:
        level = level if value is None else value
        total += level
    return total


def _total_times(client: Any, name: str, start_s: float, end_s: float) -> list[float]:
    metrics = Metrics(client, name, VARIANT, start_s, end_s, time.time())
    parts = [part / 10 for part in range(1, 1000)]
    asked = [("AWS/SageMaker", "TotalProcessingTime", f"p{part:g}") for part in parts]
    return [(value or 0.0) / 1e3 for value in metrics.whole(asked)]


def _of(took: Sequence[float], part: float) -> float:
    return took[min(len(took) - 1, int(part * len(took)))] if took else math.nan


# --- simulated


def simulated(
    trimtab: Trimtab, case: Case, name: str, span: tuple[float, float], folder: Path, seeds: int
) -> list[Seen]:
    """The scenario that `trimtab record` makes of the first live run, simulated with so many seeds."""
    path = folder / f"{name}.yaml"
    start_s, end_s = span
    trimtab.cli("record", name, "--from", f"{start_s:.0f}", "--to", f"{end_s:.0f}", "-o", str(path), "--force")
    from trimtab.cli.simulating.running import loaded, run

    scenario = loaded(path).scenario
    found = []
    for seed in range(seeds):
        done = run(scenario, scenario.architectures, seed=seed, region=scenario.region, quiet=True).tried[0]
        p50_s, _, p99_s = done.latencies_s
        used = done.outcome.used[0]
        found.append(
            Seen(
                usd=done.bill.of_endpoint(used.endpoint) / 1e6, replica_s=used.replica_s, p50_s=p50_s, p99_s=p99_s,
                requests=sum(one.requests for one in done.outcome.served),
                lost=sum(one.refused + one.failed for one in done.outcome.served), loads=used.loads,
            )
        )  # fmt: skip
    return found


def compared(first: Seen, second: Seen, made: Sequence[Seen]) -> dict[str, dict[str, Any]]:
    """Each figure: how far the simulation's mean is from the mean of both live runs, and how far these are apart."""
    found = {}
    for name, goal in GOALS.items():
        one, two = getattr(first, name), getattr(second, name)
        ours = sum(getattr(each, name) for each in made) / len(made)
        middle = (one + two) / 2
        off, spread = abs(ours - middle) / middle, abs(one - two) / middle
        is_kept = off <= goal or off <= 1.5 * spread
        found[name] = {
            "live": [one, two],
            "simulated": ours,
            "off": off,
            "spread": spread,
            "goal": goal,
            "kept": is_kept,
        }
    return found


def measure(case: Case, seconds: float, seeds: int) -> dict[str, Any]:
    """One case in a server of its own."""
    with serving("--auth", "none") as trimtab, tempfile.TemporaryDirectory() as folder:
        name = f"sim-{case.name}"
        case.deploy(trimtab, name)
        spans, seen = [], []
        for _ in range(2):
            start_s, end_s, outcome = drive(trimtab, case, name, seconds)
            spans.append((start_s, end_s))
            time.sleep(4.0)  # until the last second's metrics are there
            seen.append(live(trimtab, case, name, spans[-1], outcome))
        made = simulated(trimtab, case, name, spans[0], Path(folder), seeds)
        agrees = True
        if case.models == 0:
            told = json.loads(trimtab.cli("replay", name, "--last", "1h", "--json"))
            agrees = bool(told["agrees"])
        return {
            "case": case.name, "live": [to_builtins(one) for one in seen], "simulated": [to_builtins(one) for one in made],
            "compared": compared(seen[0], seen[1], made), "decisions_agree": agrees,
        }  # fmt: skip


def report(found: dict[str, Any]) -> None:
    print(f"\n{found['case']}: decisions on recorded inputs {'identical' if found['decisions_agree'] else 'DIFFER'}")
    for name, one in found["compared"].items():
        print(
            f"  {name:10} live {one['live'][0]:10.4g} {one['live'][1]:10.4g}  simulated {one['simulated']:10.4g}  "
            f"off {one['off']:6.1%} (goal {one['goal']:.0%}, live runs {one['spread']:.1%} apart)  "
            f"{'ok' if one['kept'] else 'MISSED'}"
        )
    for label in ("live", "simulated"):
        print(
            f"  {label:10} "
            + "; ".join(f"{one['requests']} requests, {one['lost']} lost, {one['loads']} loads" for one in found[label])
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for name in options.cases.split(","):
        found.append(measure(CASES[name], options.seconds, options.seeds))
        report(found[-1])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return (
        0
        if all(one["decisions_agree"] and all(each["kept"] for each in one["compared"].values()) for one in found)
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
