"""Friday to Monday: what each way of scaling costs, and how long requests wait, when traffic falls and comes back.

    python -m benchmarks.weekend [--plot FILE.png] [--only NAME,...] [--seed 1]

Four days of a real site (benchmarks/data): its rate over ten minutes, times 120, drawn as a Poisson process. (Its own
minutes have some 40 requests; their chance must not be scaled up, too.) Each request takes a replica 50 ms; 1 to 24
replicas. Every policy keeps replicas 70 % busy:

    minutes    AWS's default, InvocationsPerInstance each 60 s, with a ScaleInCooldown of 60 s and of 300 s (AWS's)
    10 s       AWS's high-resolution concurrency
    event      trimtab's, on every change, with headroom for as long as a start takes

on instances that start in 4 minutes (as AWS's do) and on replicas that start in 50 ms (as trimtab's do). `wall`: the same
days, but Monday does not come back hour by hour: at 09:00 all of its traffic is there within a minute.

A simulation: trimtab's own policies and alarms under a virtual clock, so four days take seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from trimtab.cli.replaying.report import points_of
from trimtab.jobs.loadtest.traces import read_trace
from trimtab.policies.scaling.decisions import Rules
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, ScalingPolicy, TargetTracking
from trimtab.sim.load import LoadShape, drawn, of_counts
from trimtab.sim.plant import Machine
from trimtab.sim.run import Run, run

TRACE = Path(__file__).parent / "data" / "nasa_weekend_1995-07-07.csv.gz"
SCALE = 120.0  # requests for each of the trace's
SMOOTH = 10  # minutes
WORK_S = 0.05
BUSY = 0.7
MOST = 24
INSTANCE_START_S, REPLICA_START_S = 240.0, 0.05
DAY_S = 86_400.0
START_S = 805_075_200.0  # Friday 1995-07-07 00:00, as if it were UTC

DIMENSIONS = (("EndpointName", "e"), ("VariantName", "v"))
CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


def minutes(cooldown_s: float) -> TargetTracking:
    per_minute = BUSY / WORK_S * 60
    return TargetTracking(
        target_value=per_minute, predefined="SageMakerVariantInvocationsPerInstance", scale_in_cooldown_s=cooldown_s
    )


POLICIES = {
    "60 s, cooldown 300": minutes(300.0),
    "60 s, cooldown 60": minutes(60.0),
    "10 s": TargetTracking(target_value=BUSY, predefined=CONCURRENCY),
    "event": TargetTracking(
        target_value=BUSY, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average")
    ),
}
MACHINES = {"starts in 4 min": INSTANCE_START_S, "starts in 50 ms": REPLICA_START_S}


class Case(Struct):
    load: str
    machine: str
    policy: str
    run: Any
    cpu_s: float


def loads(seed: int) -> dict[str, LoadShape]:
    counts = np.array(read_trace(TRACE).counts) * SCALE
    counts = np.convolve(
        np.pad(counts, (SMOOTH // 2, SMOOTH - 1 - SMOOTH // 2), mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid"
    )
    wall = counts.copy()
    monday = 3 * 1440
    night = counts[monday + 240 : monday + 300].mean()
    wall[monday + 240 : monday + 540] = night
    made = {"as it was": counts, "wall": wall}
    return {name: drawn(of_counts(values, 60.0, start_s=START_S), seed) for name, values in made.items()}


def simulate(load: LoadShape, tracking: TargetTracking, start_s: float) -> Run:
    target = ScalableTarget(endpoint="e", variant="v", min_capacity=1, max_capacity=MOST, created_s=0.0)
    policy = ScalingPolicy(name="p", arn="arn:p", endpoint="e", variant="v", created_s=0.0, tracking=tracking)
    machine = Machine(work_s=WORK_S, start_s=start_s)
    return run(load, Rules(target=target, policies=(policy,)), machine, replicas=8)


def monday_p99_s(one: Run) -> float:
    """Of the requests of Monday from 08:30 to 09:30: the wall, and the hour around it."""
    from trimtab.sim.latency import Told, summed

    told = one.told()
    part = slice(int(3 * DAY_S + 8.5 * 3600), int(3 * DAY_S + 9.5 * 3600))
    return summed(Told(told.seconds[part], told.weights[part])).p99_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="draw the wall into this PNG")
    parser.add_argument("--only", default="", help="policies, by name")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [name for name in POLICIES if not options.only or name in options.only.split(",")]
    cases: list[Case] = []
    for load_name, load in loads(options.seed).items():
        print(f"\n{load_name}: {load.total:,.0f} requests in 4 days, most {load.arrivals.max():,.0f} in a second")
        print(
            f"{'':17} {'':20} {'replica-hours':>13} {'p50 ms':>8} {'p99 ms':>9} {'over 200 ms':>12} {'Monday p99':>11} {'changes':>8}"
        )
        for machine, start_s in MACHINES.items():
            for policy in chosen:
                began_s = time.process_time()
                found = simulate(load, POLICIES[policy], start_s)
                case = Case(load_name, machine, policy, found, time.process_time() - began_s)
                cases.append(case)
                told = found.latencies()
                print(
                    f"{machine:17} {policy:20} {found.replica_s / 3600:13.1f} {told.p50_s * 1e3:8.1f} {told.p99_s * 1e3:9,.0f}"
                    f" {told.slow:12,.0f} {monday_p99_s(found) * 1e3:11,.0f} {len(found.changes):8}   ({case.cpu_s:.1f} s of CPU)",
                    flush=True,
                )
    if options.plot is not None:
        draw([case for case in cases if case.load == "wall"], options.plot)
    return 0


def draw(cases: list[Case], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [case for case in cases if (case.machine == "starts in 4 min") != (case.policy == "event")]
    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    days = [f"{name} {hour}" for name in ("Fri", "Sat", "Sun", "Mon") for hour in ("0:00", "12:00")]
    for case in shown:
        xs, rate, ready, slowest = points_of(case.run, 576)
        name = f"{case.policy}, {case.machine}"
        if case is shown[0]:
            axes[0].plot(xs, rate, color="#8a8f98", linewidth=1.2)
        axes[1].plot(xs, ready, label=name, linewidth=1.3)
        axes[2].plot(xs, [s * 1e3 if s is not None else float("nan") for s in slowest], label=name, linewidth=1.1)
    for one, title in zip(axes, ("requests/s", "replicas that are ready", "latency, 99th percentile, ms"), strict=True):
        one.set_title(title, loc="left", fontsize=10)
        one.grid(alpha=0.3)
    axes[2].set_yscale("log")
    axes[2].set_xticks([n * DAY_S / 2 for n in range(8)], days, fontsize=8)
    axes[1].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
