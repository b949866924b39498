"""What the event policy would pay with other settings in each hour, chosen knowing what comes.

    python -m benchmarks.oracle_hours [--only deepseek-r1] [--start 5] [--jobs 2] [--seed 1]

Each hour of a day's trace (benchmarks/oracle_cases.py) is run alone under a grid of settings: how long requests may wait, how
long idle replicas stay, how many of the swells room is left for. Told are: the one setting that keeps 99.9 % of the day at the least cost; and a
setting for each hour, such that the day keeps 99.9 % and all of it costs least (the hours' late requests at one price, which is
sought). No policy of this kind that adapts to the hour does better than the second: it chooses with the outcome in sight.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context

import numpy as np
from msgspec import Struct

from benchmarks.oracle import FINE_S, Options, trace_of, window_in
from benchmarks.oracle_cases import KEPT
from benchmarks.oracle_choice import Ran, Setting, run
from trimtab.sim.oracle.windows import summed

HOUR_S = 3600.0
SETTINGS = tuple(
    Setting(1.0, 60.0, idle_s, headroom, patience_s)
    for headroom, patience_s, idle_s in (
        *product((0.0, 0.9), (2.0, 3.0, 4.0, 5.0, 6.0, 7.0), (0.0, 2.0, 5.0)),
        *product((0.98,), (4.0, 5.5, 7.0), (0.0, 2.0, 5.0)),
    )
)


class Hour(Struct, frozen=True):
    """`runs`: with each of SETTINGS."""

    work_s: float
    runs: tuple[Ran, ...]


def hour_of(number: int, name: str, options: Options) -> Hour:
    """One hour of the trace's first day."""
    case = trace_of(name, options).part(0, options.seed)
    begin_s = case.start_s + number * HOUR_S
    some = case.part(begin_s, min(begin_s + HOUR_S, case.end_s))
    runs = (run(some, options.start_s, setting.policy()) for setting in SETTINGS)
    return Hour(float(some.service_s.sum()), tuple(runs))


def late(ran: Ran) -> float:
    return ran.requests - ran.kept


def at_price(hours: list[Hour], price: float) -> list[int]:
    """The setting of each hour that is cheapest where a late request costs so many replica-seconds."""
    return [
        min(range(len(SETTINGS)), key=lambda at, hour=hour: hour.runs[at].replica_s + price * late(hour.runs[at]))
        for hour in hours
    ]


def mixed(hours: list[Hour], may_be_late: float) -> list[int]:
    """A setting for each hour, at the least price at which no more are late than may be."""
    low, high = 0.0, 1e6
    for _ in range(60):
        price = (low + high) / 2
        some = sum(late(hour.runs[at]) for hour, at in zip(hours, at_price(hours, price), strict=True))
        low, high = (low, price) if some <= may_be_late else (price, high)
    return at_price(hours, high)


def show(what: str, hours: list[Hour], use: list[int], bound_s: float) -> None:
    runs = [hour.runs[at] for hour, at in zip(hours, use, strict=True)]
    paid_s, requests = sum(one.replica_s for one in runs), sum(one.requests for one in runs)
    kept = sum(one.kept for one in runs) / requests
    print(f"{what}: {paid_s / bound_s:.3f} times the bound, {kept:.3%} kept")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="deepseek-r1", help="a trace of one day")
    parser.add_argument("--start", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    options = Options(given.start, 0.0, 0, given.seed)
    case = trace_of(given.only, options).part(0, given.seed)
    length_s = case.end_s - case.start_s
    threshold_s = float(np.quantile(case.service_s, KEPT))
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        found = pool.map(partial(hour_of, name=given.only, options=options), range(round(length_s / HOUR_S)))
        begins = np.arange(0.0, length_s, FINE_S)
        windows = pool.map(partial(window_in, given.only, threshold_s=threshold_s, options=options), begins)
        hours = list(found)
        bound_s = summed(list(windows), KEPT)
    requests = sum(hour.runs[0].requests for hour in hours)
    may_be_late = (1 - KEPT) * requests
    ones = [[at] * len(hours) for at in range(len(SETTINGS))]
    keep = [one for one in ones if sum(late(hour.runs[one[0]]) for hour in hours) <= may_be_late]
    if keep:
        best = min(keep, key=lambda one: sum(hour.runs[one[0]].replica_s for hour in hours))
        show(f"one setting, {SETTINGS[best[0]]}", hours, best, bound_s)
    each = mixed(hours, may_be_late)
    show("another one in each hour", hours, each, bound_s)
    for number, (hour, at) in enumerate(zip(hours, each, strict=True)):
        ran = hour.runs[at]
        print(
            f"  hour {number:2}: {ran.requests:7} requests, {SETTINGS[at]!s:>12},"
            f" {ran.replica_s / hour.work_s:.3f} times the work, {late(ran) / max(ran.requests, 1):.3%} late"
        )


if __name__ == "__main__":
    main()
