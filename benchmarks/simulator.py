"""How fast the simulator is, with all of its policies in the loop: requests a second of one core.

    python -m benchmarks.simulator [--days 14] [--only NAME,...] [--seed 0]

Two loads: ServeGen's m-large as it was (benchmarks/data: ten-minute rates over 14 days, 196 requests/s on average, gaps
with the coefficient of variation that its clients had), and a flood of 5,000 requests/s for an hour. Replicas start in 4
minutes, work on one request at a time, for 50 ms to 1 s, half of them under 100 ms; 1 to 3,000 replicas. Policies keep
replicas 70 % busy; `static` has none, and as many replicas as the peak needs.

Times are of CPU, the making of arrivals included. Peak memory is the process's: each case has a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import resource
import sys
import time
from pathlib import Path

import numpy as np

from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalingPolicy, TargetTracking
from trimtab.sim.arrivals import Rates
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode, Scenario, Serving, Slo, Work, Workload

RATES = Path(__file__).parent / "data" / "servegen_rates_10min.csv.gz"
START_S = 1_699_920_000.0  # a midnight
WORK = Work(quantiles_s=(0.05, 0.07, 0.1, 0.3, 1.0))
BUSY = 0.7
DIMENSIONS = (("EndpointName", "e"), ("VariantName", "AllTraffic"))
POLICIES = {
    "static": None,
    "60 s": TargetTracking(
        target_value=BUSY / WORK.mean_s * 60, predefined="SageMakerVariantInvocationsPerInstance"
    ),
    "10 s": TargetTracking(
        target_value=BUSY, predefined="SageMakerVariantConcurrentRequestsPerModelHighResolution"
    ),
    "event": TargetTracking(
        target_value=BUSY, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average")
    ),
}  # fmt: skip


def m_large(days: float) -> Rates:
    with gzip.open(RATES, "rt") as lines:
        rows = [row for row in csv.DictReader(lines) if row["model"] == "m-large"]
    rate = np.array([float(row["req_per_s"]) for row in rows])[: int(days * 144)]
    cv = np.array([float(row["rate_weighted_cv"]) for row in rows])[: int(days * 144)]
    return Rates(rate=rate, step_s=600.0, start_s=START_S, cv=np.clip(cv, 0.1, None))


def flood(days: float) -> Rates:
    del days
    return Rates(rate=np.full(60, 5000.0), step_s=60.0, start_s=START_S)


LOADS = {"m-large": m_large, "flood": flood}


def case(load: str, policy: str, days: float, seed: int) -> str:
    rates = LOADS[load](days)
    tracking = POLICIES[policy]
    scaling = () if tracking is None else (
        ScalingPolicy(name="p", arn="arn:p", endpoint="e", variant="AllTraffic", created_s=0.0, tracking=tracking),
    )  # fmt: skip
    peak = int(np.ceil(rates.rate.max() * WORK.mean_s / BUSY))
    first = peak if tracking is None else int(np.ceil(rates.rate[0] * WORK.mean_s / BUSY))
    one = Workload(name="w", arrivals=rates, work={"*": WORK}, slo=Slo(within_s=2.0))
    architecture = Architecture(name="a", endpoints=(
        Serving(
            name="e", mode=Mode.REAL_TIME, workloads=("w",), instance_type="x", min_replicas=peak if tracking is None else 1,
            max_replicas=3_000 if tracking is not None else peak, initial_replicas=first, start_s=240.0, policies=scaling,
        ),
    ))  # fmt: skip
    scenario = Scenario(name="s", workloads=(one,), architectures=(architecture,))
    simulate(_short(scenario), architecture)  # what must be compiled is
    began_s = time.process_time()
    outcome = simulate(scenario, architecture, seed=seed)
    took_s = time.process_time() - began_s
    served, used = outcome.served[0], outcome.used[0]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{load:8} {policy:7} {served.requests:12,} {took_s:8.1f} {served.requests / took_s:12,.0f} {memory:7.0f}"
        f" {used.replica_s / 3600:11,.0f} {served.p50_s * 1e3:7.0f} {served.p99_s * 1e3:9,.0f} {served.within_slo:8.4f}"
        f" {len(used.decisions):8}"
    )


def _short(scenario: Scenario) -> Scenario:
    rates = Rates(rate=np.full(10, 5.0), step_s=1.0, start_s=START_S)
    one = scenario.workloads[0]
    return Scenario(
        name="short", workloads=(Workload(name="w", arrivals=rates, work=one.work, slo=one.slo),), architectures=()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=14.0)
    parser.add_argument("--only", default="", help="policies or loads, by name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    only = set(options.only.split(",")) - {""}
    print(
        f"{'load':8} {'policy':7} {'requests':>12} {'CPU s':>8} {'requests/s':>12} {'MiB':>7} {'replica-h':>11} {'p50 ms':>7}"
        f" {'p99 ms':>9} {'in 2 s':>8} {'changes':>8}"
    )
    spawn = multiprocessing.get_context("spawn")
    for load in LOADS:
        for policy in POLICIES:
            if (only and not only & {load, policy}) or (only & set(LOADS) and load not in only):
                continue
            with spawn.Pool(1) as pool:
                print(pool.apply(case, (load, policy, options.days, options.seed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
