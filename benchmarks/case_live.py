"""The case study's day, live and simulated: eleven endpoints, the published cure, and what `trimtab plan` found.

    python -m benchmarks.case_live [--seconds 120] [--ways before,published,planned] [--json FILE]

One day of real arrivals (those of examples/scenarios/case-study.yaml) in two minutes, played to three `trimtab serve`, one
after the other, by an open-loop client. A model is the fraud example's, with 40 MB beside it; that a load takes half a
second, and an answer as many milliseconds as below, is waited for, so that the times are the models', and not those of a
machine that has other work. Documents are 5 MB each: in the request, or in S3 where they are asynchronous.

Then each way is simulated: the same moments; what an answer takes as `before` was seen to take (nothing is known of the
other ways); starts, loads and models' memory as measured. Compared are dollars (the ledger's, of endpoints' lives, from
their making until they are deleted), replica-seconds, and p50 and p99 of hot models, rare ones and documents. Latency
counts from when a request was due; of asynchronous requests it is TotalProcessingTime. Exits 1 if more requests were lost
live than in the simulation.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import time
from collections.abc import Sequence
from functools import cache
from math import nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop
from msgspec import Struct, field

from benchmarks import openloop
from benchmarks.case_study import BUSY_TRACE, QUIET_TRACE, drawn
from benchmarks.scale_out import model as fraud
from benchmarks.scaling import scale
from trimtab.advisor.bill import bill_of
from trimtab.advisor.plan.signals import VARIANT, Signal, tracked
from trimtab.advisor.prices.book import book
from trimtab.cli.connect import connect
from trimtab.cli.recorded.finding import Found, found_of
from trimtab.cli.recorded.metrics import Metrics, service_s
from trimtab.jobs.loadtest.traces import read_trace
from trimtab.sim.arrivals import Times
from trimtab.sim.latency import quantile
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode, Outcome, Scenario, Serving, Work, Workload
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

MODEL = """
import json, os, time
import numpy as np, onnxruntime

def model_fn(folder):
    time.sleep(0.5)  # it is fetched
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)
    return model, np.ones(40_000_000, dtype=np.uint8)

def transform_fn(model, body, content_type, accept):
    time.sleep(TAKES_S)
    rows = np.array(json.loads(body), dtype=np.float32)
    made = model[0].run(None, {model[0].get_inputs()[0].name: rows})[0]
    return json.dumps(np.ravel(made).tolist()), "application/json"
"""
GPU, CPU = "ml.g4dn.xlarge", "ml.c6i.xlarge"
TAKES_S = {"fraud": 0.04, "documents": 0.4, "search": 0.06}
BUSY = {"fraud-eu": 0.19, "documents-invoices": 0.19, "search-base": 0.14}  # of an endpoint's time, hot ones
FRAUD = ("fraud-eu", "fraud-us", "fraud-asia", "fraud-trial")
DOCUMENTS = ("documents-invoices", "documents-orders", "documents-receipts")
SEARCH = ("search-base", "search-legal", "search-medical", "search-help")
NAMES = (*FRAUD, *DOCUMENTS, *SEARCH)
RARE_CALLS = 24
PAGE_BYTES = 5_000_000
HELD, ROOM = 2.2, 1.2  # models beside the pinned one that there is room for; MiB to a model's measured ones
LATER_S, SETTLED_S = 12.0, 8
CLASSES = {
    "hot": ("fraud-eu", "search-base"),
    "rare": tuple(name for name in NAMES if name not in BUSY and name not in DOCUMENTS),
    "documents": DOCUMENTS[:1],
}


def use(name: str) -> str:
    return name.split("-")[0]


@cache
def packed(kind: str) -> tuple[bytes, bytes]:
    """A model's archive, and one request of it."""
    made, body = fraud()
    with tarfile.open(fileobj=io.BytesIO(made)) as given:
        member = given.extractfile("model.onnx")
        assert member is not None
        content = member.read()
    code = MODEL.replace("TAKES_S", str(TAKES_S[kind]))
    filled = body + b" " * (PAGE_BYTES - len(body)) if kind == "documents" else body
    return archive(model_onnx=content, code__inference_py=code), filled


# --- the day, and the ways


def day(seconds: float, seed: int) -> dict[str, np.ndarray]:
    """Moments of each model's requests, in seconds from the beginning: hot ones follow a busy site, others quiet days."""
    rng = np.random.default_rng(seed)
    busy = np.array(read_trace(BUSY_TRACE).counts).reshape(4, -1)
    quiet = iter(np.array(read_trace(QUIET_TRACE).counts)[: 14 * 288].reshape(14, -1))
    found = {}
    for name in NAMES:
        if name in BUSY:
            calls = round(BUSY[name] * seconds / TAKES_S[use(name)])
            found[name] = seconds * drawn(busy[3 if name == "search-base" else 0], calls, rng)
        else:
            found[name] = seconds * drawn(next(quiet), RARE_CALLS, rng)
    return found


def later(name: str, instance_type: str, start_s: float) -> Serving:
    """Asynchronous, on a replica while documents are there."""
    policy = tracked(name, Signal.EVENT, 1.0, scale_in_s=0.0, settings={"StableWindowSeconds": "10"})
    return Serving(
        name=name, mode=Mode.ASYNC, workloads=(name,), instance_type=instance_type, min_replicas=0, max_replicas=2,
        initial_replicas=1, start_s=start_s, policies=(policy,), queue=10**9, timeout_s=3600.0,
    )  # fmt: skip


def ways(start_s: float = 1.0, cold_s: float = 1.0, room_bytes: int = 0) -> dict[str, Architecture]:
    """All three. What is measured is of no use for building them."""

    def many(name: str, models: tuple[str, ...]) -> Serving:
        return Serving(
            name=name, mode=Mode.MULTI_MODEL, workloads=models, instance_type=GPU, models_bytes=room_bytes,
            pinned=models[:1], initial_replicas=1,
        )  # fmt: skip

    def less(name: str) -> Serving:
        memory_mb = 1024 if name in FRAUD else 2048
        return Serving(
            name=name, mode=Mode.SERVERLESS, workloads=(name,), memory_mb=memory_mb, max_concurrency=8, start_s=cold_s,
            min_replicas=0, max_replicas=8, queue=0,
        )  # fmt: skip

    single = [
        Serving(name=name, mode=Mode.REAL_TIME, workloads=(name,), instance_type=GPU, initial_replicas=1)
        for name in NAMES
    ]
    made = {
        "before": single,
        "published": [many("scores", FRAUD), many("texts", SEARCH), *(later(name, GPU, start_s) for name in DOCUMENTS)],
        "planned": [*(less(name) for name in (*FRAUD, *SEARCH)), *(later(name, CPU, start_s) for name in DOCUMENTS)],
    }
    return {name: Architecture(name=name, endpoints=tuple(each)) for name, each in made.items()}


# --- live


def build(trimtab: Trimtab, one: Serving) -> None:
    """One endpoint, in service, as it is simulated."""
    if one.mode is Mode.MULTI_MODEL:
        size = sized(trimtab)
        room_mib = int(ROOM * size * (1 + HELD) / 2**20) + 1
        trimtab.create_many(
            one.name, TRIMTAB_PINNED_MODELS=",".join(one.pinned), TRIMTAB_MODEL_MEMORY_MIB=str(room_mib)
        )
        for name in one.workloads:
            trimtab.put_model(one.name, name, packed(use(name))[0])
    else:
        trimtab.create_model(one.name, packed(use(one.name))[0])
    variant: dict[str, Any] = {"VariantName": VARIANT, "ModelName": one.name}
    if one.mode is Mode.SERVERLESS:
        variant["ServerlessConfig"] = {"MemorySizeInMB": one.memory_mb, "MaxConcurrency": one.max_concurrency}
    else:
        variant |= {"InstanceType": one.instance_type, "InitialInstanceCount": 1}
    more: dict[str, Any] = {}
    if one.mode is Mode.ASYNC:
        more["AsyncInferenceConfig"] = {
            "OutputConfig": {"S3OutputPath": "s3://models/out"},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        }
    trimtab.sagemaker.create_endpoint_config(EndpointConfigName=one.name, ProductionVariants=[variant], **more)
    trimtab.sagemaker.create_endpoint(EndpointName=one.name, EndpointConfigName=one.name)
    trimtab.settled(one.name)
    for policy in one.policies:
        bounds = one.min_replicas, one.max_replicas
        scale(
            trimtab.client("application-autoscaling"),
            one.name,
            *bounds,
            policy.document,
            variant=VARIANT,
            name=policy.name,
        )


def sized(trimtab: Trimtab) -> int:
    """Bytes of a model's memory, as a host measures them."""
    found = getattr(trimtab, "_case_bytes", 0)
    if not found:
        trimtab.deploy_many("sizes")
        trimtab.put_model("sizes", "one", packed("fraud")[0])
        trimtab.invoke("sizes", packed("fraud")[1], TargetModel="one")
        while not found:
            time.sleep(0.2)
            rows = json.loads(trimtab.cli("models", "sizes", "--json"))["models"]
            found = max((int(row["peak_bytes"] or 0) for row in rows), default=0)
        trimtab.sagemaker.delete_endpoint(EndpointName="sizes")
        trimtab._case_bytes = found  # type: ignore[attr-defined]
    return found


def request_of(one: Serving, name: str) -> bytes:
    """One invocation, as bytes."""
    if one.mode is Mode.ASYNC:
        head = "X-Amzn-SageMaker-InputLocation: s3://models/in/page\r\n"
        return openloop.request(f"/endpoints/{one.name}/async-invocations", b"", head)
    head = f"X-Amzn-SageMaker-Target-Model: {name}\r\n" if one.mode is Mode.MULTI_MODEL else ""
    return openloop.request(f"/endpoints/{one.name}/invocations", packed(use(name))[1], head)


class Seen(Struct):
    """A way's day, live or simulated. Latencies in ms: (p50, p99) of each class."""

    usd: float
    replica_s: float
    ms: dict[str, tuple[float, float]]
    requests: int
    lost: int
    loads: int = 0
    by_endpoint: dict[str, float] = field(default_factory=dict)


class Lived(Struct):
    """A live day, and what was measured of it."""

    seen: Seen
    work: dict[str, tuple[float, ...]]
    found: dict[str, Found]
    lives: dict[str, tuple[float, float]]  # of endpoints: from when until when, as the moments of the day


def live(way: Architecture, moments: dict[str, np.ndarray], seconds: float) -> Lived:
    """Build it, play the day, ask what it was."""
    with serving("--auth", "none") as trimtab:
        trimtab.s3.put_object(Bucket="models", Key="in/page", Body=packed("documents")[1])
        for one in way.endpoints:
            build(trimtab, one)
            if one.mode is Mode.REAL_TIME:  # the first answers of a process are its slowest
                for _ in range(2):
                    trimtab.invoke(one.name, packed(use(one.name))[1])
        time.sleep(5.0)
        order = sorted((at_s, name) for name, each in moments.items() for at_s in each.tolist())
        begin_s = float(int(time.time()) + 2)
        answers, outcome = play(trimtab, way, order, begin_s)
        time.sleep(max(0.0, begin_s + seconds + LATER_S - time.time()))  # documents that wait are answered
        return looked_at(trimtab, way, (begin_s, begin_s + seconds), answers, outcome)


def play(
    trimtab: Trimtab, way: Architecture, order: Sequence[tuple[float, str]], begin_s: float
) -> tuple[dict[str, list[float]], openloop.Outcome]:
    """Latencies by model, of answers that came at once."""
    port = urlsplit(trimtab.url).port
    assert port is not None
    asks = {name: request_of(one, name) for one in way.endpoints for name in one.workloads}
    answers: dict[str, list[float]] = {name: [] for name in NAMES}

    async def run() -> openloop.Outcome:
        began_s = time.perf_counter() + begin_s - time.time()
        whose = {began_s + at_s: name for at_s, name in order}
        client = openloop.Client(
            port, (asks[name] for _, name in order), is_right=lambda body: True, most_connections=300
        )
        client.on_ok = lambda due_s, latency_s: answers[whose[due_s]].append(latency_s)
        try:
            return await client.run_at([at_s for at_s, _ in order], began_s)
        finally:
            client.close()

    return answers, uvloop.run(run())


def looked_at(
    trimtab: Trimtab,
    way: Architecture,
    span: tuple[float, float],
    answers: dict[str, list[float]],
    outcome: openloop.Outcome,
) -> Lived:
    """Dollars of those seconds by the ledger, latencies by the client (of documents that waited: the server's)."""
    client = connect(trimtab.data_dir)
    metrics = {one.name: Metrics(client, one.name, VARIANT, span[0], span[1], time.time()) for one in way.endpoints}
    works, found, ms = {}, {}, {}
    for one in way.endpoints:
        each = metrics[one.name]
        found[one.name] = found_of(client, one.name, VARIANT, each)
        if one.mode is Mode.REAL_TIME and (took := service_s(each, 101)):
            works[one.name] = tuple(took)
        if one.mode is Mode.ASYNC:
            asked = [("AWS/SageMaker", "TotalProcessingTime", stat) for stat in ("p50", "p99")]
            p50, p99 = (value or nan for value in each.whole(asked))
            if one.workloads == CLASSES["documents"]:
                ms["documents"] = p50, p99
    ms = {
        name: (1e3 * float(np.quantile(values, 0.5)), 1e3 * float(np.quantile(values, 0.99))) if values else (nan, nan)
        for name, members in CLASSES.items()
        for values in [[latency_s for member in members for latency_s in answers[member]]]
    } | ms
    loads = sum(loads_of(trimtab, one.name) for one in way.endpoints if one.mode is Mode.MULTI_MODEL)
    lives, paid = ended(trimtab, way)
    prices = {one.name: usd_per_s(one) for one in way.endpoints if one.instance_type}
    replica_s = sum(paid[name] / price for name, price in prices.items())
    seen = Seen(
        usd=sum(paid.values()), replica_s=replica_s, ms=ms, requests=outcome.sent,
        lost=outcome.sent - outcome.statuses[200] - outcome.statuses[202], by_endpoint=paid, loads=loads,
    )  # fmt: skip
    return Lived(seen, works, found, {name: (made - span[0], gone - span[0]) for name, (made, gone) in lives.items()})


def ended(trimtab: Trimtab, way: Architecture) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
    """Delete all endpoints: the ledger closes their accounts. When each was there, and what it has cost."""
    lives = {}
    for one in way.endpoints:
        made = trimtab.sagemaker.describe_endpoint(EndpointName=one.name)["CreationTime"].timestamp()
        trimtab.sagemaker.delete_endpoint(EndpointName=one.name)
        lives[one.name] = made, time.time()
    client = connect(trimtab.data_dir)
    paid: dict[str, float] = {}
    same = 0
    while same < SETTLED_S:  # charges come some seconds after the time that they are for
        time.sleep(1.0)
        rows = client.get("costs", since=f"{time.time() - 7200:.0f}", by="endpoint")["rows"]
        now = {row["of"]["endpoint"]: row["micro_usd"] / 1e6 for row in rows if row["of"]["endpoint"] in lives}
        same = same + 1 if now == paid else 0
        paid = now
    return lives, {name: paid.get(name, 0.0) for name in lives}


def usd_per_s(one: Serving) -> float:
    price = book().instance(one.instance_type, "async" if one.mode is Mode.ASYNC else "hosting")
    assert price is not None
    return float(price.usd) / 3600


def loads_of(trimtab: Trimtab, endpoint: str) -> int:
    return sum(int(row["loads"]) for row in json.loads(trimtab.cli("models", endpoint, "--json"))["models"])


# --- simulated


def simulated(name: str, lived: Lived, work: dict[str, tuple[float, ...]], moments: dict[str, np.ndarray]) -> Seen:
    """The same day, by what was measured: each endpoint over its own life, as endpoints share nothing."""
    found = lived.found.values()
    models = {model.name: model for one in found for model in one.models}
    start_s = max((one.start_s or 0.0 for one in found if one.mode is Mode.ASYNC), default=1.0)
    cold = [one.start_s for one in found if one.mode is Mode.SERVERLESS and one.start_s]
    room = max((one.models_bytes for one in found), default=0)
    outcomes = []
    for one in ways(start_s, sum(cold) / len(cold) if cold else 1.0, room)[name].endpoints:
        made_s, gone_s = lived.lives[one.name]
        workloads = tuple(
            Workload(
                name=each, arrivals=Times(at_s=moments[each], start_s=made_s, end_s=gone_s),
                work={"*": Work(quantiles_s=work[each])},
                memory_bytes=models[each].memory_bytes if each in models else 100_000_000,
                load_s=models[each].load_s if each in models else 0.5,
            )
            for each in one.workloads
        )  # fmt: skip
        alone = Architecture(name=name, endpoints=(one,))
        scenario = Scenario(name=name, workloads=workloads, architectures=(alone,))
        outcomes.append(simulate(scenario, alone, seed=1))
    return of_outcomes(outcomes)


def of_outcomes(outcomes: Sequence[Outcome]) -> Seen:
    """All endpoints together."""
    bills = [bill_of(outcome, book()) for outcome in outcomes]
    served = {one.workload: one for outcome in outcomes for one in outcome.served}
    used = [one for outcome in outcomes for one in outcome.used]
    ms = {}
    for name, members in CLASSES.items():
        histogram = sum((served[member].histogram for member in members), start=np.zeros(1))
        ms[name] = (1e3 * quantile(histogram, 0.5), 1e3 * quantile(histogram, 0.99))
    paid = {one.endpoint: bill.usd for one, bill in zip(used, bills, strict=True)}
    return Seen(
        usd=sum(paid.values()), replica_s=sum(one.replica_s for one in used if one.mode is not Mode.SERVERLESS), ms=ms,
        requests=sum(bill.requests for bill in bills), lost=sum(one.refused + one.failed for one in served.values()),
        loads=sum(one.loads for one in used if one.mode is Mode.MULTI_MODEL), by_endpoint=paid,
    )  # fmt: skip


def table(found: dict[str, tuple[Seen, Seen]]) -> str:
    """Markdown: live and simulated beside each other."""
    lines = [
        "| | " + " | ".join(f"{name}, live | simulated" for name in found) + " |",
        "|---" * (1 + 2 * len(found)) + "|",
    ]
    pairs = [one for pair in found.values() for one in pair]
    rows = [("dollars", [f"{one.usd:.5f}" for one in pairs])]
    rows.append(("replica-seconds", [f"{one.replica_s:,.0f}" for one in pairs]))
    for name in CLASSES:
        rows.append((f"{name}: p50, p99, ms", [f"{one.ms[name][0]:,.0f}, {one.ms[name][1]:,.0f}" for one in pairs]))
    rows.append(("requests; lost; loads", [f"{one.requests:,}; {one.lost}; {one.loads}" for one in pairs]))
    return "\n".join([*lines, *(f"| {words} | {' | '.join(cells)} |" for words, cells in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="that the day is played in, each way")
    parser.add_argument(
        "--ways", default="before,published,planned", help="before is needed: it tells what answers take"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    moments = day(options.seconds, options.seed)
    work: dict[str, tuple[float, ...]] = {}
    found: dict[str, tuple[Seen, Seen]] = {}
    for name in options.ways.split(","):
        lived = live(ways()[name], moments, options.seconds)
        work = work or lived.work
        found[name] = lived.seen, simulated(name, lived, work, moments)
        print(f"{name}: {lived.seen.requests} requests, {lived.seen.lost} lost", flush=True)
        print(table(found), flush=True)
    if options.json:
        options.json.write_bytes(msgspec.json.encode(found))
    return 1 if any(one.lost > other.lost for one, other in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
