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

A simulation request by request (`trimtab.sim`, which needs numba): trimtab's own policies and alarms under a virtual
clock, so four days take seconds. Nobody gives up: who waits is answered in the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from msgspec import Struct

from trimtab.jobs.loadtest.traces import read_trace
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalingPolicy, TargetTracking
from trimtab.sim.arrivals import Rates
from trimtab.sim.latency import quantile
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode, Outcome, Scenario, Served, Serving, Slo, Work, Workload

TRACE = Path(__file__).parent / "data" / "nasa_weekend_1995-07-07.csv.gz"
SCALE = 120.0  # requests for each of the trace's
SMOOTH = 10  # minutes
WORK_S = 0.05
BUSY = 0.7
MOST = 24
INSTANCE_START_S, REPLICA_START_S = 240.0, 0.05
SLOW_S = 0.2
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
START_S = 805_075_200.0  # Friday 1995-07-07 00:00, as if it were UTC
MONDAY = (3 * DAY_S + 8.5 * HOUR_S, 3 * DAY_S + 9.5 * HOUR_S)  # of which latencies are told by themselves

DIMENSIONS = (("EndpointName", "e"), ("VariantName", "AllTraffic"))
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
    outcome: Outcome
    cpu_s: float


def loads() -> dict[str, Rates]:
    """Requests a second, by the second."""
    counts = np.array(read_trace(TRACE).counts) * SCALE
    counts = np.convolve(
        np.pad(counts, (SMOOTH // 2, SMOOTH - 1 - SMOOTH // 2), mode="edge"), np.ones(SMOOTH) / SMOOTH, "valid"
    )
    wall = counts.copy()
    monday = 3 * 1440
    night = counts[monday + 240 : monday + 300].mean()
    wall[monday + 240 : monday + 540] = night
    made = {"as it was": counts, "wall": wall}
    return {
        name: Rates(rate=values / MINUTE_S, step_s=MINUTE_S, start_s=START_S).smooth(1.0)
        for name, values in made.items()
    }


def scenario_of(load: Rates) -> Scenario:
    """Monday's requests from 08:30 to 09:30 (the wall, and the hour around it) are a workload, the others another."""
    at_s = np.arange(len(load.rate)) * load.step_s
    inside = (at_s >= MONDAY[0]) & (at_s < MONDAY[1])
    parts = {"Monday": np.where(inside, load.rate, 0.0), "other": np.where(inside, 0.0, load.rate)}
    workloads = tuple(
        Workload(
            name=name, arrivals=Rates(rate=rate, step_s=load.step_s, start_s=load.start_s),
            work={"*": Work(quantiles_s=(WORK_S,))}, slo=Slo(within_s=SLOW_S),
        )
        for name, rate in parts.items()
    )  # fmt: skip
    return Scenario(name="weekend", workloads=workloads, architectures=())


def architecture_of(tracking: TargetTracking, start_s: float) -> Architecture:
    policy = ScalingPolicy(name="p", arn="arn:p", endpoint="e", variant="AllTraffic", created_s=0.0, tracking=tracking)
    serving = Serving(
        name="e", mode=Mode.REAL_TIME, workloads=("Monday", "other"), instance_type="x", min_replicas=1,
        max_replicas=MOST, initial_replicas=8, start_s=start_s, policies=(policy,), queue=1 << 60, timeout_s=DAY_S,
    )  # fmt: skip
    return Architecture(name="weekend", endpoints=(serving,))


def slow(served: Served) -> int:
    """Requests that took longer than SLOW_S."""
    return served.requests - round(served.requests * (served.within_slo or 0.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="draw the wall into this PNG")
    parser.add_argument("--only", default="", help="policies, by name")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chosen = [name for name in POLICIES if not options.only or name in options.only.split(",")]
    cases: list[Case] = []
    for load_name, load in loads().items():
        scenario = scenario_of(load)
        print(f"\n{load_name}: most {load.rate.max():,.0f} requests a second")
        print(
            f"{'':17} {'':20} {'requests':>12} {'replica-hours':>13} {'p50 ms':>8} {'p99 ms':>9} {'over 200 ms':>12}"
            f" {'Monday p99':>11} {'changes':>8}"
        )
        for machine, start_s in MACHINES.items():
            for policy in chosen:
                began_s = time.process_time()
                outcome = simulate(scenario, architecture_of(POLICIES[policy], start_s), seed=options.seed)
                case = Case(load_name, machine, policy, outcome, time.process_time() - began_s)
                cases.append(case)
                tell(case)
    if options.plot is not None:
        draw([case for case in cases if case.load == "wall"], options.plot)
    return 0


def tell(case: Case) -> None:
    monday, other = case.outcome.served
    used = case.outcome.used[0]
    histogram = monday.histogram + other.histogram
    p50_s, p99_s = quantile(histogram, 0.5), quantile(histogram, 0.99)
    print(
        f"{case.machine:17} {case.policy:20} {used.requests:12,} {used.replica_s / 3600:13.1f} {p50_s * 1e3:8.1f}"
        f" {p99_s * 1e3:9,.0f} {slow(monday) + slow(other):12,} {monday.p99_s * 1e3:11,.0f} {len(used.decisions):8}"
        f"   ({case.cpu_s:.1f} s of CPU)",
        flush=True,
    )


def draw(cases: list[Case], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [case for case in cases if (case.machine == "starts in 4 min") != (case.policy == "event")]
    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 1, sharex=True)
    days = [f"{name} {hour}" for name in ("Fri", "Sat", "Sun", "Mon") for hour in ("0:00", "12:00")]
    for case in shown:
        series = case.outcome.used[0].series
        assert series is not None
        xs = np.arange(len(series.requests)) * series.step_s
        name = f"{case.policy}, {case.machine}"
        if case is shown[0]:
            axes[0].plot(xs, series.requests, color="#8a8f98", linewidth=1.2)
        style = "--" if "cooldown 60" in case.policy else "-"  # it lies on the other one
        axes[1].plot(xs, series.ready, style, label=name, linewidth=1.3)
        axes[2].plot(xs, series.p99_s * 1e3, style, label=name, linewidth=1.1)
    for one, title in zip(axes, ("requests/s", "replicas that are ready", "latency, 99th percentile, ms"), strict=True):
        one.set_title(title, loc="left", fontsize=10)
        one.grid(alpha=0.3)
    axes[2].set_yscale("log")
    axes[2].set_xticks([n * DAY_S / 2 for n in range(8)], days, fontsize=8)
    lines, names = axes[1].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
