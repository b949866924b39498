"""The simulator against what it is a model of: recorded scenarios, run live twice and then simulated.

    python -m benchmarks.sim_vs_live [--cases step,diurnal,models,backlog] [--seconds 180] [--seeds 3] [--json FILE]

A real `trimtab serve` that asks for no signatures. Each case is driven twice by an open-loop client at the same moments
(latency counts from when a request was due); then `trimtab record` makes a scenario of the first time, and that is
simulated, once for each seed (where within a second requests come is drawn).

  step      the fraud model behind a look-up of 100 ms; 4/s, then 24/s, then 4/s; 1 to 4 replicas by the event policy
  diurnal   the same; one wave from 2/s to 24/s
  models    eight models of which about four fit into memory, a load takes 0.3 s; Zipf, 6/s: evictions
  backlog   asynchronous, 0 to 4 replicas by the event policy; 25/s of 100 ms for a sixth of the time, then nothing

Compared are the bill (the ledger's), replica-seconds, p50 and p99; live against live tells how much of a difference is
chance. `trimtab replay` then gives the reducer all recorded inputs again: its decisions must be the same. Goals: bill and
replica-seconds within 2 %, p50 within 5 %, p99 within 10 %, or within 1.5 times what the two live runs differ by.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import math
import re
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from msgspec import Struct, to_builtins

from benchmarks import openloop
from benchmarks.scale_out import model
from trimtab.cli.recorded.metrics import Metrics
from trimtab.metrics.names import TRIMTAB
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab, serving

VARIANT = "blue"
FRAUD = """
import json, os, time
import numpy as np, onnxruntime

def model_fn(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)

def transform_fn(model, body, content_type, accept):
    time.sleep(0.1)  # features are looked up
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
SETTLE_S = 20.0  # for a deployment
PRICE_USD_PER_S = 0.115 / 3600  # ml.m5.large
GOALS = {"usd": 0.02, "replica_s": 0.02, "p50_s": 0.05, "p99_s": 0.10}
MODELS = 8


fraud = cache(model)


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
    rest_s: float = 0.0  # beyond the load, to see it come to an end
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
    packed, _ = fraud()
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
    heights = [2 + 22 * (1 - math.cos(2 * math.pi * (step + 0.5) / steps)) / 2 for step in range(steps)]
    return [(seconds / steps, height) for height in heights]


CASES = {
    "step": Case("step", one_model, lambda s: [(s / 3, 4.0), (s / 3, 24.0), (s / 3, 4.0)]),
    "diurnal": Case("diurnal", one_model, wave),
    "models": Case("models", many_models, lambda s: [(s, 6.0)], models=MODELS),
    "backlog": Case("backlog", queued, lambda s: [(s / 6, 25.0), (s * 5 / 6, 0.0)], rest_s=15.0, is_async=True),
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


class Life(Struct):
    """One endpoint, from before it was made until it was given up; and what came back to the client."""

    name: str
    start_s: float
    end_s: float
    outcome: openloop.Outcome


def live_through(trimtab: Trimtab, case: Case, number: int, seconds: float) -> Life:
    """Make an endpoint, drive it. Each life of a case lasts as long."""
    port = urlsplit(trimtab.url).port
    assert port is not None
    name = f"sim-{case.name}-{number}"
    start_s = time.time()
    case.deploy(trimtab, name)

    async def run() -> openloop.Outcome:
        client = openloop.Client(port, asks(case, name), is_right=lambda body: True, most_connections=400)
        outcome = await client.run_at(moments(case.rates(seconds), 7), time.perf_counter())
        client.close()
        return outcome

    until(start_s + SETTLE_S)
    outcome = asyncio.run(run())
    until(start_s + SETTLE_S + seconds + case.rest_s)
    made = trimtab.sagemaker.describe_endpoint(EndpointName=name)["CreationTime"].timestamp()
    return Life(name, made, time.time(), outcome)


def until(moment_s: float) -> None:
    """Wait. A life that takes longer than planned is not like the other one."""
    left_s = moment_s - time.time()
    if left_s < 0:
        print(f"  late by {-left_s:.1f} s", file=sys.stderr)
    time.sleep(max(0.0, left_s))


def stamp(moment_s: float) -> str:
    """As a scenario has it."""
    return datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def seen_of(trimtab: Trimtab, case: Case, life: Life) -> tuple[float, Seen]:
    """When it was deleted (the ledger closes its account then), and what it was by the server's own figures."""
    from trimtab.cli.connect import connect

    client = connect(trimtab.data_dir)
    loads = 0
    if case.models:
        events = client.get(f"endpoints/{life.name}/models/events", last="100000")["events"]
        loads = sum(event["what"] == "loaded" for event in events)
    trimtab.sagemaker.delete_endpoint(EndpointName=life.name)
    gone_s = time.time()
    micro_usd, same = -1, 0
    while same < 6:  # charges come some seconds after the time that they are for
        time.sleep(1.0)
        total = client.get("costs", since=f"{life.start_s - 7200:.0f}", by="endpoint", endpoint=life.name)
        now = sum(row["micro_usd"] for row in total["rows"])
        same = same + 1 if now == micro_usd and now > 0 else 0
        micro_usd = now
    metrics = Metrics(client, life.name, VARIANT, life.start_s, life.end_s, time.time())
    namespace, name, unit_s = TRIMTAB, "Latency", 1e6
    if case.is_async:
        namespace, name, unit_s = "AWS/SageMaker", "TotalProcessingTime", 1e3
    p50, p99 = metrics.whole([(namespace, name, "p50"), (namespace, name, "p99")])
    return gone_s, Seen(
        usd=micro_usd / 1e6, replica_s=micro_usd / 1e6 / PRICE_USD_PER_S, p50_s=(p50 or math.nan) / unit_s,
        p99_s=(p99 or math.nan) / unit_s, requests=sum(life.outcome.statuses.values()),
        lost=sum(count for status, count in life.outcome.statuses.items() if status not in (200, 202)), loads=loads,
    )  # fmt: skip


# --- simulated


def recorded(trimtab: Trimtab, life: Life, folder: Path) -> Path:
    """The scenario that `trimtab record` makes of a life."""
    path = folder / f"{life.name}.yaml"
    trimtab.cli("record", life.name, "--from", f"{life.start_s:.3f}", "--to", f"{life.end_s:.3f}", "-o", str(path))
    return path


def simulated(path: Path, seeds: int) -> list[Seen]:
    """A scenario, with so many seeds."""
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
        seen, agrees = [], True
        for number in range(2):
            life = live_through(trimtab, case, number, seconds)
            time.sleep(4.0)  # until the last second's metrics are there
            if number == 0:
                path = recorded(trimtab, life, Path(folder))
            if not case.models:
                told = json.loads(trimtab.cli("replay", life.name, "--last", "1h", "--json"))
                agrees = agrees and bool(told["agrees"])
            gone_s, found = seen_of(trimtab, case, life)
            seen.append(found)
            if number == 0:  # it was there a little longer than was recorded: nothing more came
                path.write_text(re.sub(r"until: \S+", f"until: '{stamp(gone_s)}'}}", path.read_text()))
        made = simulated(path, seeds)
    return {
        "case": case.name,
        "live": [to_builtins(one) for one in seen],
        "simulated": [to_builtins(one) for one in made],
        "compared": compared(seen[0], seen[1], made),
        "decisions_agree": agrees,
    }


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
    parser.add_argument("--seconds", type=float, default=180.0)
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
