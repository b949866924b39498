"""Cold starts against idle memory: trimtab's keep-warm policy, a fixed ten minutes, and the hybrid histogram.

    python -m benchmarks.keep_warm [--only WORLD,...] [--seed 1]

The live policy and its rivals (trimtab.sim.serverless.rivals) on the same calls, from nothing known. Worlds:

    azure      real: 199 calls of 31 functions of Azure in 20 minutes, with the times that they took
    servegen   synthetic: calls drawn for each client of Alibaba's model services after its rate in each ten minutes and
               the spread of its times between calls (a Gamma renewal process whose clock runs as fast as the rate), each
               client an endpoint of its own. Its rates are divided by the number named: whole, these clients are seldom
               idle and would not be on a serverless endpoint. Each call takes a second.

`cold`: calls that found no environment; a client's first call is always one. `idle h`: environment-hours without a call.
Policies that weigh the two differently are compared at equal terms: the live one is run with several opinions of what a
cold start is worth, the first being the standard. Exits with 1 when some rival is not beaten on both axes by any of them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trimtab.policies.serverless.environments import Environments
from trimtab.policies.serverless.settings import COLD_S, KeepWarm, KeepWarmMode
from trimtab.resources.serverless import Serverless
from trimtab.sim.serverless.keep_warm import Call, Tally, replay
from trimtab.sim.serverless.rivals import HybridHistogram

DATA = Path(__file__).parent / "data"
STEP_S = 600.0
TAKES_S = 1.0
RULES = Serverless(memory_mib=1024, max_concurrency=100_000)  # nothing is throttled here
TEN_MINUTES = KeepWarm(KeepWarmMode.FIXED, 600.0)

World = tuple[list[list[Call]], float]
"""The calls of each endpoint, and how long all of it lasts in seconds."""

POLICIES: dict[str, Callable[[], Environments]] = {
    "off": lambda: Environments(rules=RULES, keep_warm=KeepWarm(KeepWarmMode.OFF)),
    "fixed 10 min": lambda: Environments(rules=RULES, keep_warm=TEN_MINUTES),
    "hybrid histogram": lambda: Environments(rules=RULES, learner=HybridHistogram),
    "hybrid, 10 min first": lambda: Environments(
        rules=RULES, learner=lambda: HybridHistogram(standard_s=600.0, least_seen=5)
    ),
}
RIVALS = ("fixed 10 min", "hybrid histogram", "hybrid, 10 min first")
WORTH_S = (COLD_S, 2000.0, 4000.0, 7000.0)  # what a cold start is worth to trimtab's policy


def azure() -> World:
    calls = defaultdict(list)
    with (DATA / "azure_functions_2021_sample200.csv").open() as file:
        for row in csv.DictReader(file):
            calls[row["function"]].append((float(row["start_s"]), float(row["duration_s"])))
    return list(calls.values()), 1200.0


def servegen(service: str, divided_by: float, seed: int) -> World:
    """Calls of each client, drawn after its rates."""
    steps: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    last = 0
    with gzip.open(DATA / "servegen_clients.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["service"] == service:
                steps[row["client"]].append((int(row["step"]), float(row["req_per_s"]), float(row["cv"])))
                last = max(last, int(row["step"]))
    draw = np.random.default_rng(seed)
    endpoints = [[(at_s, TAKES_S) for at_s in arrivals(known, divided_by, draw)] for known in steps.values()]
    return [calls for calls in endpoints if calls], (last + 1) * STEP_S


def arrivals(steps: list[tuple[int, float, float]], divided_by: float, draw: np.random.Generator) -> list[float]:
    """Times between calls are Gamma with the step's variation and a mean of 1, on a clock that runs with the rate."""
    found = []
    due = None
    for step, rate, cv in steps:
        shape = 1 / max(cv, 0.05) ** 2
        if due is None:
            due = draw.gamma(shape, 1 / shape) * draw.random()
        expected = rate / divided_by * STEP_S
        at = 0.0
        while at + due <= expected:
            at += due
            found.append(step * STEP_S + at / expected * STEP_S)
            due = draw.gamma(shape, 1 / shape)
        due -= expected - at
    return found


def worlds(seed: int) -> dict[str, Callable[[], World]]:
    return {
        "azure (real)": azure,
        "servegen mm-image / 100 (synthetic)": lambda: servegen("mm-image", 100, seed),
        "servegen deepseek-r1 / 100 (synthetic)": lambda: servegen("deepseek-r1", 100, seed),
        "servegen m-large / 3000 (synthetic)": lambda: servegen("m-large", 3000, seed),
    }


def trimtab(cold_s: float) -> Callable[[], Environments]:
    return lambda: Environments(rules=RULES, keep_warm=KeepWarm(cold_s=cold_s))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="worlds, by how their names begin")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missed = False
    for name, make in worlds(options.seed).items():
        if name.startswith(tuple(options.only.split(","))):
            missed |= compare(name, *make())
    return int(missed)


def compare(name: str, endpoints: list[list[Call]], until_s: float) -> bool:
    """Print a table. Returns whether the live policy misses: whether one of its rivals is not beaten by any setting."""
    print(f"\n{name}: {sum(map(len, endpoints)):,} calls of {len(endpoints)} endpoints in {until_s / 3600:.1f} h")
    print(f"{'':22} {'cold':>7} {'of calls':>9} {'idle h':>9} {'made ahead':>11} {'CPU us':>7}")
    rivals = {policy: played(policy, fresh, endpoints, until_s) for policy, fresh in POLICIES.items()}
    ours = {cold_s: played(f"trimtab, {cold_s:,.0f} s", trimtab(cold_s), endpoints, until_s) for cold_s in WORTH_S}
    missed = False
    for policy in RIVALS:
        other = rivals[policy]
        better = [f"{cold_s:,.0f} s" for cold_s, one in ours.items() if beats(one, other)]
        print(f"better than {policy} on both axes: {', '.join(better) or 'none'}")
        missed |= not better
    return missed


def beats(one: Tally, other: Tally) -> bool:
    """No worse on either axis, and better on one."""
    ours, theirs = (one.cold, one.idle_s), (other.cold, other.idle_s)
    return ours[0] <= theirs[0] and ours[1] <= theirs[1] and ours != theirs


def played(policy: str, fresh: Callable[[], Environments], endpoints: list[list[Call]], until_s: float) -> Tally:
    """Replay all endpoints' calls, and print what came of it."""
    began_s = time.process_time()
    tally = sum((replay(calls, fresh(), until_s) for calls in endpoints), Tally())
    cpu_us = (time.process_time() - began_s) / max(1, tally.calls) * 1e6
    print(
        f"{policy:22} {tally.cold:7,} {tally.cold / tally.calls:9.2%} {tally.idle_s / 3600:9.2f} {tally.made:11,}"
        f" {cpu_us:7.0f}",
        flush=True,
    )
    return tally


if __name__ == "__main__":
    sys.exit(main())
