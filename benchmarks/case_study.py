"""The case study, scaled down and live: eleven endpoints of one model each against two multi-model endpoints with pins.

    python -m benchmarks.case_study [--minutes 3] [--plot FILE.png] [--json FILE]

Eleven models of three use cases (`case_models.py`), three hot and eight cold. Twice the same day of real arrivals: a
`trimtab serve` with eleven endpoints, one replica each, and one with two multi-model endpoints, one replica each, whose
hot models are pinned and whose memory holds those and two fifths of the cold ones. The day is played in `--minutes`: it
is cut into eight parts of three hours, and the two take turns, in both orders. Load and answering times are real, so the
day that is played is some hundred times harder than the real one.

Memory is the proportional set size (PSS) of all processes of a server, read while the other one is not running. Money:
replica-hours of a day at the price of ml.g4dn.xlarge in trimtab's table, and at the published $1.20.

Exits 1 if a request failed or a pinned model was evicted.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import uvloop
from msgspec import Struct, field

from benchmarks import openloop
from benchmarks.case_models import CaseModel, eleven
from benchmarks.model_swaps import workers
from trimtab.advisor.model_costs import time_usd
from trimtab.advisor.prices.book import book
from trimtab.engines.local.proc import private_bytes, proportional_bytes
from trimtab.jobs.loadtest.traces import read_trace
from trimtab.testing.server import Trimtab, serving

INSTANCE, PUBLISHED_USD = "ml.g4dn.xlarge", 1.20
BUSY_TRACE = Path(__file__).parent / "data" / "nasa_weekend_1995-07-07.csv.gz"
QUIET_TRACE = Path(__file__).parents[1] / "examples" / "traces" / "nab_aws_elb_request_count_5min.csv.gz"
DAY_S, PARTS = 86_400.0, 8
CALLS = {"fraud-eu": 1600, "documents-invoices": 1200, "search-base": 900}  # a day, of the hot ones
COLD_CALLS = 24
COLD_SHARE = 0.4  # of the cold models' bytes, that multi-model endpoints have room for
GROUPS = {"scores": ("fraud", "documents"), "texts": ("search",)}
MIB = 2**20
LEARNED = ("xgboost", "lightgbm", "sklearn.ensemble")  # onnxruntime it has from the beginning
LEARNING_S = 120.0
SINGLE, MULTI = "11 endpoints", "2 multi-model endpoints"
ARMS = (SINGLE, MULTI)


# --- arrivals ----------------------------------------------------------------------------------------------------


def drawn(counts: np.ndarray, calls: int, rng: np.random.Generator) -> np.ndarray:
    """Times in [0, 1) of a day, as many as chance makes of `calls`, spread as `counts` of its equal steps are."""
    edges = np.concatenate(([0.0], np.cumsum(counts) / counts.sum()))
    return np.sort(np.interp(rng.random(rng.poisson(calls)), edges, np.linspace(0.0, 1.0, len(edges))))


def day(made: Sequence[CaseModel], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """When requests come (0 to 1), and for which model. Hot ones follow Friday and Monday of a busy site, minute by
    minute, each a shape of its own; cold ones follow days of a quiet load balancer, a day each."""
    rng = np.random.default_rng(seed)
    busy = np.array(read_trace(BUSY_TRACE).counts).reshape(4, -1)
    quiet = np.array(read_trace(QUIET_TRACE).counts)[: 14 * 288].reshape(14, -1)
    hot_days, cold_days = iter((busy[0], busy[3], busy[0] + busy[3])), iter(quiet)
    each = [
        drawn(next(hot_days), CALLS[model.name], rng) if model.hot else drawn(next(cold_days), COLD_CALLS, rng)
        for model in made
    ]
    at, which = np.concatenate(each), np.repeat(np.arange(len(made)), [len(times) for times in each])
    order = np.argsort(at, kind="stable")
    return at[order], which[order]


# --- the two ways ------------------------------------------------------------------------------------------------


class Arm(Struct):
    """One of the two, running."""

    name: str
    trimtab: Trimtab
    endpoints: tuple[str, ...]
    requests: list[bytes]  # by model
    starts_s: list[float]  # of endpoints, from CreateEndpoint to InService

    @property
    def port(self) -> int:
        found = urlsplit(self.trimtab.url).port
        assert found is not None
        return found

    def told(self) -> list[dict[str, Any]]:
        """What the server tells of models of multi-model endpoints."""
        if self.name == SINGLE:
            return []
        return [
            row for name in self.endpoints for row in json.loads(self.trimtab.cli("models", name, "--json"))["models"]
        ]

    def replicas(self) -> int:
        """As DescribeEndpoint tells."""
        found = (self.trimtab.sagemaker.describe_endpoint(EndpointName=name) for name in self.endpoints)
        return sum(int(one["ProductionVariants"][0]["CurrentInstanceCount"]) for one in found)

    def model_pids(self) -> list[int]:
        """The processes that hold models."""
        return [process.pid for process in self.trimtab.processes("trimtab: worker")]

    def memory_mib(self) -> dict[str, float]:
        """PSS of everything, and of replicas alone (hosts and workers)."""
        processes = self.trimtab.processes("trimtab")
        replicas = self.model_pids() + [process.pid for process in self.trimtab.processes("trimtab: models")]
        sizes = {process.pid: (proportional_bytes(process.pid) or 0) / MIB for process in processes}
        return {"all": sum(sizes.values()), "replicas": sum(sizes.get(pid, 0.0) for pid in replicas)}


def learn(trimtab: Trimtab, made: Sequence[CaseModel]) -> dict[str, int]:
    """Have the nursery learn the libraries, as one that has run for a while has. Peak bytes of each model."""
    kinds = {model.kind: model for model in made}
    trimtab.deploy_many("first")
    for model in kinds.values():
        trimtab.put_model("first", model.name, model.archive)
        trimtab.invoke("first", model.body, TargetModel=model.name)
    deadline_s = time.monotonic() + LEARNING_S
    while not all(f"imported module={name}" in (said := trimtab.log_path.read_text()) for name in LEARNED):
        if time.monotonic() > deadline_s:
            missing = [name for name in LEARNED if f"imported module={name}" not in said]
            raise RuntimeError(f"the nursery has not learned {', '.join(missing)}")
        time.sleep(0.2)
    gone(trimtab, "first")
    trimtab.deploy_many("sized")
    for model in made:
        trimtab.put_model("sized", model.name, model.archive)
        trimtab.invoke("sized", model.body, TargetModel=model.name)
    sizes: dict[str, int] = {}
    while len(sizes) < len(made):
        time.sleep(0.2)
        rows = json.loads(trimtab.cli("models", "sized", "--json"))["models"]
        sizes = {row["model"]: row["peak_bytes"] for row in rows if row["peak_bytes"]}
    gone(trimtab, "sized")
    return sizes


def gone(trimtab: Trimtab, name: str) -> None:
    """Delete an endpoint and wait for it."""
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    trimtab.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )


def single(trimtab: Trimtab, made: Sequence[CaseModel]) -> Arm:
    """An endpoint for each model."""
    starts = []
    for model in made:
        trimtab.create_model(model.name, model.archive)
        trimtab.create_config(model.name, model.name)
        began_s = time.perf_counter()
        trimtab.sagemaker.create_endpoint(EndpointName=model.name, EndpointConfigName=model.name)
        trimtab.settled(model.name)
        starts.append(time.perf_counter() - began_s)
    requests = [openloop.request(f"/endpoints/{model.name}/invocations", model.body) for model in made]
    return Arm(SINGLE, trimtab, tuple(model.name for model in made), requests, starts)


def multi(trimtab: Trimtab, made: Sequence[CaseModel], sizes: dict[str, int]) -> Arm:
    """Two endpoints, hot models pinned."""
    starts = []
    for name, uses in GROUPS.items():
        its = [model for model in made if model.use in uses]
        cold = [sizes[model.name] for model in its if not model.hot]
        room = sum(sizes[model.name] for model in its if model.hot) + max(COLD_SHARE * sum(cold), 1.2 * max(cold))
        for model in its:
            trimtab.put_model(name, model.name, model.archive)
        pins = ",".join(model.name for model in its if model.hot)
        began_s = time.perf_counter()
        trimtab.deploy_many(name, TRIMTAB_PINNED_MODELS=pins, TRIMTAB_MODEL_MEMORY_MIB=str(int(room / MIB) + 1))
        starts.append(time.perf_counter() - began_s)
    group = {use: name for name, uses in GROUPS.items() for use in uses}
    requests = [
        openloop.request(
            f"/endpoints/{group[model.use]}/invocations",
            model.body,
            f"X-Amzn-SageMaker-Target-Model: {model.name}\r\n",
        )
        for model in made
    ]
    return Arm(MULTI, trimtab, tuple(GROUPS), requests, starts)


@contextmanager
def arm(name: str, made: Sequence[CaseModel]) -> Iterator[Arm]:
    """A server with it, each model asked twice."""
    with serving("--auth", "none") as trimtab:
        sizes = learn(trimtab, made)
        one = single(trimtab, made) if name == SINGLE else multi(trimtab, made, sizes)
        play(one, [0.0] * (2 * len(made)), [*range(len(made))] * 2, at_once=1)
        yield one


# --- traffic -----------------------------------------------------------------------------------------------------


class Part(Struct):
    """What was seen: of each answer its model, when it was due, and its latency, in seconds."""

    answers: list[tuple[int, float, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    late_s: float = 0.0  # the client itself


def play(one: Arm, at_s: Sequence[float], which: Sequence[int], *, at_once: int = 200) -> Part:
    """Requests at `at_s` (ascending) from now."""
    seen = Part()
    due = np.asarray(at_s)

    async def run() -> None:
        began_s = time.perf_counter() + 0.05
        client = openloop.Client(
            one.port, (one.requests[index] for index in which), is_right=lambda body: True, most_connections=at_once
        )

        def look(due_s: float, latency_s: float) -> None:
            index = int(np.abs(due - (due_s - began_s)).argmin())
            seen.answers.append((which[index], float(due[index]), latency_s))

        client.on_ok = look
        try:
            outcome = await client.run_at(at_s, began_s)
        finally:
            client.close()
        seen.failed.update({str(status): n for status, n in outcome.statuses.items() if status != 200})
        seen.failed["no answer"] += outcome.sent - outcome.statuses.total()
        seen.late_s = outcome.last_sent_late_s

    uvloop.run(run())
    seen.failed = +seen.failed
    return seen


class Watch:
    """Private memory of the processes that hold models, while a part is played: (seconds, MiB)."""

    def __init__(self, one: Arm) -> None:
        self.readings: list[tuple[float, float]] = []
        self._one = one
        self._fixed = one.model_pids() if one.name == SINGLE else []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._began_s = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            pids = self._fixed or workers(self._one.trimtab)
            size = sum(private_bytes(pid) or 0 for pid in pids) / MIB
            self.readings.append((time.perf_counter() - self._began_s, size))
            if self._over.wait(1.0):
                return


class Result(Struct):
    """Of one way. Times are parts of the day, from 0 to 1."""

    replicas: int
    memory_mib: dict[str, float]
    starts_s: list[float]
    answers: list[tuple[int, float, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    private_mib: list[tuple[float, float]] = field(default_factory=list)
    late_s: float = 0.0
    told: list[dict[str, Any]] = field(default_factory=list)

    def latencies(self, indices: set[int]) -> list[float]:
        return [latency_s for index, _, latency_s in self.answers if index in indices]


def measure(made: Sequence[CaseModel], minutes: float, seed: int) -> dict[str, Result]:
    """All of it."""
    with arm(SINGLE, made) as one:
        alone = one.memory_mib()
        print(f"{SINGLE}: {alone['all']:,.0f} MiB", flush=True)
    with arm(MULTI, made) as two:
        results = {MULTI: Result(two.replicas(), two.memory_mib(), two.starts_s)}
        print(f"{MULTI}: {results[MULTI].memory_mib['all']:,.0f} MiB", flush=True)
        with arm(SINGLE, made) as one:
            results[SINGLE] = Result(one.replicas(), alone, one.starts_s)
            before = {row["model"]: row for row in two.told()}
            take_turns({SINGLE: one, MULTI: two}, results, *day(made, seed), minutes * 60)
            for row in two.told():
                past = before[row["model"]]
                gained = {key: row[key] - past[key] for key in ("requests", "misses", "loads", "evictions", "load_s")}
                results[MULTI].told.append(gained | {"model": row["model"], "pinned": row["pinned"]})
    return results


def take_turns(
    arms: dict[str, Arm], results: dict[str, Result], at: np.ndarray, which: np.ndarray, seconds: float
) -> None:
    """Play the day, part by part."""
    for part in range(PARTS):
        start, length_s = part / PARTS, seconds / PARTS
        mine = (at >= start) & (at < start + 1 / PARTS)
        times = ((at[mine] - start) * seconds).tolist()
        for name in ARMS if part % 2 == 0 else ARMS[::-1]:
            with Watch(arms[name]) as watch:
                seen = play(arms[name], times, which[mine].tolist())
            result = results[name]
            result.answers += [(index, start + due_s / seconds, latency_s) for index, due_s, latency_s in seen.answers]
            result.private_mib += [(start + at_s / seconds, mib) for at_s, mib in watch.readings if at_s <= length_s]
            result.failed.update(seen.failed)
            result.late_s = max(result.late_s, seen.late_s)
        print(f"hour {24 * (part + 1) // PARTS}: {len(times)} requests", flush=True)


# --- telling -----------------------------------------------------------------------------------------------------


def ms(values: Sequence[float], q: float) -> str:
    return f"{1e3 * float(np.quantile(values, q)):,.1f}" if len(values) else "-"


def told(made: Sequence[CaseModel], results: dict[str, Result]) -> str:
    """A Markdown table."""
    price = book().instance(INSTANCE)
    assert price is not None
    classes = {
        "hot": {index for index, model in enumerate(made) if model.hot},
        "cold": {index for index, model in enumerate(made) if not model.hot},
    }
    two = [results[name] for name in ARMS]
    rows: list[tuple[str, list[str]]] = []
    for kind, indices in classes.items():
        latencies = [one.latencies(indices) for one in two]
        rows.append((f"{kind} models: requests", [f"{len(each):,}" for each in latencies]))
        for words, q in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
            rows.append((f"{kind} models: {words}, ms", [ms(each, q) for each in latencies]))
    loads = two[1].told
    load_s = sum(row["load_s"] for row in loads)
    days = [one.replicas * DAY_S / 3600 for one in two]
    rows += [
        ("failed requests", [str(one.failed.total()) for one in two]),
        ("an endpoint's start, median and longest, ms", [f"{ms(o.starts_s, 0.5)}, {ms(o.starts_s, 1.0)}" for o in two]),
        ("loads under way", ["0", f"{sum(row['loads'] for row in loads)}, {load_s:.1f} s in all"]),
        ("evictions; of pinned models", ["0", f"{sum(r['evictions'] for r in loads)}; {pinned_evictions(loads)}"]),
        ("memory of replicas (PSS), MiB", [f"{one.memory_mib['replicas']:,.0f}" for one in two]),
        ("memory of all of trimtab (PSS), MiB", [f"{one.memory_mib['all']:,.0f}" for one in two]),
        ("models' own memory, most in the day, MiB", [f"{max(m for _, m in one.private_mib):,.0f}" for one in two]),
        ("replica-hours a day", [f"{hours:,.0f}" for hours in days]),
        (f"a day at ${price.usd} ({price.as_of})", [f"${hours * float(price.usd):,.2f}" for hours in days]),
        (f"a day at the published ${PUBLISHED_USD:.2f}", [f"${hours * PUBLISHED_USD:,.2f}" for hours in days]),
        (
            "1,000 requests, of that",
            [f"${1e3 * h * PUBLISHED_USD / len(o.answers):,.2f}" for h, o in zip(days, two, strict=True)],
        ),
        ("of that, the loads' time", ["$0", f"${time_usd(load_s, PUBLISHED_USD):.4f}"]),
    ]
    lines = [f"| | {' | '.join(ARMS)} |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {words} | {' | '.join(cells)} |" for words, cells in rows)])


def pinned_evictions(rows: Sequence[dict[str, Any]]) -> int:
    return sum(int(row["evictions"]) for row in rows if row["pinned"])


def draw(made: Sequence[CaseModel], results: dict[str, Result], path: Path) -> None:
    """Latencies of hot and of cold models over the day, and the models' own memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 2, 2))
    for (name, result), colour in zip(sorted(results.items()), ("#8a8f98", "#0b7285"), strict=True):
        for axes, hot in zip(panels, (True, False), strict=False):
            dots = np.array([(at, s) for index, at, s in result.answers if made[index].hot == hot])
            axes.plot(
                24 * dots[:, 0], 1e3 * dots[:, 1], ".", markersize=3 if hot else 6, color=colour, label=name, alpha=0.7
            )
        times, sizes = zip(*sorted(result.private_mib), strict=True)
        panels[2].plot(24 * np.array(times), sizes, color=colour, linewidth=1.3)
        panels[3].plot([0, 24], [0, 24 * result.replicas * PUBLISHED_USD], color=colour, linewidth=1.3)
    titles = (
        "latency of hot models, ms",
        "of cold models, ms",
        "models' own memory, MiB",
        r"spent at \$1.20 an hour, \$",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.3)
    for axes in panels[:2]:
        axes.set_yscale("log")
    for axes in panels[2:]:
        axes.set_ylim(bottom=0)
    panels[0].legend(fontsize=8, frameon=False)
    panels[3].set_xticks(range(0, 25, 3), [f"{hour}:00" for hour in range(0, 25, 3)], fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="that the day is played in, each way")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = eleven()
    print("eleven models are made", flush=True)
    results = measure(made, options.minutes, options.seed)
    print(told(made, results))
    print(f"the client was late by {1e3 * max(one.late_s for one in results.values()):.1f} ms at most")
    if options.json:
        options.json.write_bytes(msgspec.json.encode(results))
    if options.plot:
        draw(made, results, options.plot)
    bad = any(one.failed for one in results.values()) or pinned_evictions(results[MULTI].told)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
