"""How far from the best that can be: `event` scaling, AWS's target tracking and static peak, against the clairvoyant bound.

    python -m benchmarks.oracle [--only NAME,...] [--start 5] [--within 8] [--days N] [--jobs 2] [--most-s S] [--rows FILE]

Every trace of benchmarks/data, whole, as requests that keep 20 replicas busy on average (benchmarks/oracle_cases.py), in
the simulator, on replicas that take `--start` seconds from order to first request (paid for), from 1 replica to as
many as `trimtab plan` allows. SLO: 99.9 % answered in time. A trace of several days is run day by day; each day begins with the replicas for its first minutes.

    event       trimtab's policy; its settings are chosen by trying some on the busiest hour of the busiest and of the middle
                day (as `trimtab plan` does); shorter traces are tried whole. Where the whole trace then breaks the SLO,
                it is run again with less patience (of a day also with more); "as chosen" is without that
    unseen      the same, chosen on the first half of the trace alone, and priced on the other half
    60 s, 10 s  AWS's target tracking at 70 %: InvocationsPerInstance each minute, concurrency each 10 s, cooldowns 300 s
    static      as many replicas all the time as keep the SLO of the whole

Figures are replica-seconds as multiples of the bound (sim/oracle/bound.py), and the part of requests that was answered in
time. Goal: event <= 1.15 with 99.9 % kept. Rows are kept in `--rows` as they are made: a run that was cut off goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.oracle_cases import KEPT, TRACES, Case, Trace
from benchmarks.oracle_choice import (
    MARGIN,
    Ran,
    Setting,
    bounds_of,
    busiest,
    by_minute,
    by_ten_seconds,
    chosen,
    fitted,
    run,
)
from trimtab.sim.oracle.bound import Asked, Terms
from trimtab.sim.oracle.windows import Window, summed, window_of
from trimtab.sim.world import Slo

P = ParamSpec("P")
R = TypeVar("R")
Start = Callable[..., Future[Any]]  # of a function in a process
GOAL = 1.15
FINE_STEPS = 4e9  # of the bound's programme for a trace of an hour
MOST_WITHIN_S = 120.0  # traces whose deadlines are as long as they are do without
FINE_S = 4 * 3600.0  # a trace of one day is bounded in windows of so long; of more days the programme is left out
LATE = "late"  # the second half of a trace of one part


class Options(Struct, frozen=True):
    start_s: float
    within_s: float  # 0: as the case has it
    days: int
    seed: int


class Chosen(Struct):
    """What a trace is run with."""

    peak: int
    most: int
    threshold_s: float
    event: Setting
    unseen: Setting
    cpu_s: float


class Part(Struct):
    """A day, or a shorter trace."""

    length_s: float
    window: Window
    runs: dict[str, Ran]
    cpu_s: float


class Row(Struct):
    """`windows`: the bound of a part, window by window. `fitted`: the event policy with so many times the patience that
    was chosen, part by part."""

    chosen: Chosen | None = None
    parts: dict[str, Part] = {}
    windows: dict[str, dict[str, Window]] = {}
    fitted: dict[str, dict[str, Ran]] = {}

    def least_s(self, keys: list[str]) -> float:
        """The bound of some parts, in replica-seconds. However they are cut into windows, it is one: the larger."""
        whole = [self.parts[key].window for key in keys]
        cut = [window for key in keys for window in self._cut(key)]
        return max(summed(whole, KEPT), summed(cut, KEPT))

    def _cut(self, key: str) -> list[Window]:
        """All of a part's windows, where all are there."""
        whole, some = self.parts[key].window, list(self.windows.get(key, {}).values())
        return some if sum(one.requests for one in some) == whole.requests else [whole]

    def scales(self, keys: list[str]) -> list[float]:
        """What was tried on all parts, in order."""
        return [1.0, *(float(scale) for scale, runs in self.fitted.items() if all(key in runs for key in keys))]

    def runs(self, scale: float, keys: list[str]) -> list[Ran]:
        if scale == 1.0:
            return [self.parts[key].runs["event"] for key in keys]
        return [self.fitted[f"{scale:.4g}"][key] for key in keys]

    def best(self, keys: list[str]) -> float:
        """The scale that the SLO is kept with at the least cost; nearest to it, where none does."""
        tried = [(late_of(self.runs(scale, keys)), scale) for scale in self.scales(keys)]
        kept = [scale for late, scale in tried if late <= 1.0]
        return max(kept) if kept else min(tried)[1]


Rows = dict[str, Row]


def trace_of(name: str, options: Options) -> Trace:
    trace = TRACES[name]()
    part = trace.part

    def other(number: int, seed: int) -> Case:
        case = part(number, seed)
        slo = Slo(within_s=options.within_s, kept=KEPT)
        return replace(case, workload=replace(case.workload, slo=slo)) if options.within_s else case

    return replace(trace, part=other, requests=trace.requests[: options.days or None])


# --- what one process does


def choose(name: str, options: Options) -> Chosen:
    began_s = time.process_time()
    trace = trace_of(name, options)
    order = np.argsort(trace.requests)
    top = trace.part(int(order[-1]), options.seed)
    bounds = bounds_of(trace, options.seed, options.start_s)
    work = top.workload.work["*"]
    threshold_s = float(np.quantile(work.service_s(np.linspace(0, 1, 100_001)[:-1]), KEPT))

    def setting(cases: list[Case], *, is_all: bool) -> Setting:
        return chosen(cases, options.start_s, bounds.most, margin=0.0 if is_all else MARGIN)

    if trace.parts == 1:
        is_short = busiest(top) is top
        middle_s = (top.start_s + top.end_s) / 2
        event = setting(_hours(top), is_all=is_short)
        unseen = setting(_hours(top.part(top.start_s, middle_s)), is_all=False)
    else:
        first = np.argsort(trace.requests[: trace.parts // 2])
        days = (int(order[len(order) // 2]), int(first[-1]), int(first[len(first) // 2]))
        middle, early_top, early = (trace.part(day, options.seed) for day in days)
        event = setting([busiest(top), busiest(middle)], is_all=False)
        unseen = setting([busiest(early_top), busiest(early)], is_all=False)
    return Chosen(bounds.peak, bounds.most, threshold_s, event, unseen, time.process_time() - began_s)


def _hours(case: Case) -> list[Case]:
    """The busiest one and one in the middle; all of a short load."""
    top = busiest(case)
    if top is case:
        return [case]
    middle_s = (case.start_s + case.end_s) / 2
    return [top, case.part(middle_s - 1800, middle_s + 1800)]


def price(name: str, key: str, use: Chosen, options: Options) -> Part:
    began_s = time.process_time()
    trace = trace_of(name, options)
    case = trace.part(0 if key == LATE else int(key), options.seed)
    if key == LATE:
        case = case.part((case.start_s + case.end_s) / 2, case.end_s)
    slo = case.workload.slo
    assert slo is not None
    is_fine = case.end_s - case.start_s < 5400 and slo.within_s < MOST_WITHIN_S and key != LATE
    window = bound(case, use.threshold_s, options, FINE_STEPS if is_fine else 0.0)
    ways = {"event": use.event.policy()}
    if is_late(key, trace.parts):
        ways["unseen"] = use.unseen.policy()
    if key != LATE:
        mean_s = float(case.service_s.mean())
        ways |= {"60 s": by_minute(mean_s), "10 s": by_ten_seconds()}
    runs = {way: run(case, options.start_s, policy, most=use.most) for way, policy in ways.items()}
    if key != LATE:
        runs["static"] = run(case, options.start_s, None, static=use.peak)
    return Part(case.end_s - case.start_s, window, runs, time.process_time() - began_s)


def bound(case: Case, threshold_s: float, options: Options, most_steps: float) -> Window:
    slo = case.workload.slo
    assert slo is not None
    return window_of(
        lambda: [Asked(case.at_s, case.service_s)],
        Terms(start_s=options.start_s, least=1),
        within_s=slo.within_s,
        start_s=case.start_s,
        end_s=case.end_s,
        threshold_s=threshold_s,
        most_steps=most_steps,
    )


def window_in(name: str, begin_s: float, threshold_s: float, options: Options) -> Window:
    """Of a trace of one day, from `begin_s` after its beginning."""
    case = trace_of(name, options).part(0, options.seed)
    begin_s += case.start_s
    some = case.part(begin_s, min(begin_s + FINE_S, case.end_s))
    return bound(some, threshold_s, options, FINE_STEPS * (some.end_s - some.start_s) / 3600)


def again(name: str, key: str, setting: Setting, most: int, options: Options) -> Ran:
    case = trace_of(name, options).part(int(key), options.seed)
    return run(case, options.start_s, setting.policy(), most=most)


def is_late(key: str, parts: int) -> bool:
    """Whether a part is of the half that `unseen` is priced on."""
    return key == LATE or (parts > 1 and int(key) >= parts // 2)


# --- all of them


class Store:
    """Rows in a file, by options. One thread at a time changes them."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._key = f"start {options.start_s:g}, within {options.within_s:g}, days {options.days}, seed {options.seed}"
        self._all = msgspec.json.decode(path.read_bytes(), type=dict[str, Rows]) if path.exists() else {}
        self._lock, self._began_s = threading.Lock(), time.monotonic()
        self.rows = self._all.setdefault(self._key, {})

    @contextmanager
    def changed(self, what: str) -> Iterator[None]:
        """Saved after that."""
        with self._lock:
            yield
            fresh = self._path.with_suffix(".part")
            fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self._all), indent=1))
            fresh.replace(self._path)
            print(f"{time.monotonic() - self._began_s:7.0f} s  {what}", file=sys.stderr, flush=True)


def keys_of(parts: int) -> list[str]:
    return [str(number) for number in range(parts)] + ([LATE] if parts == 1 else [])


def make(names: list[str], store: Store, options: Options, jobs: int, most_s: float) -> None:
    """All rows that are missing, as far as that is done in `most_s`: traces side by side, days of each side by side."""
    for name in names:
        store.rows.setdefault(name, Row())
    run(trace_of("azure-functions", options).part(0, options.seed), options.start_s, None, static=1)  # compiles
    until_s = time.time() + most_s
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool, ThreadPoolExecutor(len(names)) as traces:

        def start(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
            return pool.submit(_in_time, until_s, partial(function, *args, **kwargs))

        for done in [traces.submit(_make, name, store, options, start) for name in names]:
            done.result()


def _in_time(until_s: float, function: Callable[[], R]) -> R:
    """TimeoutError where the time is over before it begins."""
    if time.time() > until_s:
        raise TimeoutError
    return function()


def _make(name: str, store: Store, options: Options, start: Start) -> None:
    row, parts = store.rows[name], trace_of(name, options).parts
    try:
        if row.chosen is None:
            use = start(choose, name, options).result()
            with store.changed(f"{name}: {use.event}, unseen {use.unseen}"):
                row.chosen = use
        missing = [key for key in keys_of(parts) if key not in row.parts]
        prices = {start(price, name, key, row.chosen, options): key for key in missing}
        for priced in as_completed(prices):
            key, part = prices[priced], priced.result()
            with store.changed(f"{name} {key}: {part.cpu_s:.0f} s of CPU"):
                row.parts[key] = part
        if parts == 1 and row.parts["0"].length_s > FINE_S:
            _refine(name, row, store, options, start)
        _fit(name, row, [str(number) for number in range(parts)], store, options, start)
    except TimeoutError:
        print(f"{name}: no time left", file=sys.stderr, flush=True)


def _refine(name: str, row: Row, store: Store, options: Options, start: Start) -> None:
    """The bound of one day with the programme, in windows."""
    assert row.chosen is not None
    threshold_s, done = row.chosen.threshold_s, row.windows.setdefault("0", {})
    begins = [f"{begin_s:g}" for begin_s in np.arange(0.0, row.parts["0"].length_s, FINE_S)]
    found = {start(window_in, name, float(key), threshold_s, options): key for key in begins if key not in done}
    for window in as_completed(found):
        key, one = found[window], window.result()
        with store.changed(f"{name}: the bound from {key} s, cells of {one.cell_s:g} s"):
            done[key] = one


def _fit(name: str, row: Row, keys: list[str], store: Store, options: Options, start: Start) -> None:
    """Less patience, or a lower target, until the SLO of the whole is kept; of a day, no less than is needed for it."""
    use = row.chosen
    assert use is not None
    while True:
        tried = [(one, late_of(row.runs(one, keys))) for one in row.scales(keys)]
        scale = fitted(tried, upward=len(keys) == 1)  # what a plan tries whole
        if scale is None:
            return
        done = row.fitted.setdefault(f"{scale:.4g}", {})
        setting = use.event.milder(float(f"{scale:.4g}"))
        runs = {start(again, name, key, setting, use.most, options): key for key in keys if key not in done}
        for ran in as_completed(runs):
            key, one = runs[ran], ran.result()
            with store.changed(f"{name} {key}: {setting}"):
                done[key] = one


def late_of(runs: list[Ran]) -> float:
    """Requests that were late, as a multiple of those that may be."""
    requests = sum(one.requests for one in runs)
    return (requests - sum(one.kept for one in runs)) / max(requests * (1 - KEPT), 1e-9)


# --- the table


def figure(row: Row, runs: list[Ran], keys: list[str]) -> tuple[float, float]:
    """Of some parts: a multiple of their bound, and the part of requests that was kept."""
    least_s = row.least_s(keys)
    requests = max(sum(one.requests for one in runs), 1)
    return sum(one.replica_s for one in runs) / least_s, sum(one.kept for one in runs) / requests


def table(names: list[str], rows: Rows, options: Options) -> list[str]:
    """Prints it; those that miss the goal."""
    print(
        f"{'trace':15} {'days':>6} {'bound':>6} {'event':>14} {'setting':>16} {'as chosen':>14} {'half: chosen':>14}"
        f" {'unseen':>14} {'60 s':>14} {'10 s':>14} {'static':>14}  changes a day   CPU"
    )
    missed = []
    for name in names:
        row, whole = rows[name], [str(number) for number in range(trace_of(name, options).parts)]
        use, there = row.chosen, [key for key in row.parts if key != LATE]
        if use is None or len(there) < len(whole):
            print(f"{name:15} {len(there)} of {len(whole)} days are priced")
            missed.append(name)
            continue
        scale = row.best(whole)
        late = [key for key in row.parts if is_late(key, len(whole))]
        ratio, kept = figure(row, row.runs(scale, whole), whole)
        told = [figure(row, row.runs(1.0, whole), whole)]
        told += [figure(row, [row.parts[key].runs[way] for key in late], late) for way in ("event", "unseen")]
        told += [figure(row, [row.parts[key].runs[way] for key in whole], whole) for way in ("60 s", "10 s", "static")]
        length_s = sum(row.parts[key].length_s for key in whole)
        least_s = row.least_s(whole)
        changes = sum(one.changes for one in row.runs(scale, whole)) / length_s * 86_400
        cpu_s = use.cpu_s + sum(part.cpu_s for part in row.parts.values())
        columns = " ".join(f"{one:6.3f} {part:7.3%}".rjust(14) for one, part in told)
        print(
            f"{name:15} {length_s / 86_400:6.2f} {least_s / length_s:6.2f} {ratio:6.3f} {kept:7.3%}"
            f" {use.event.milder(scale)!s:>16} {columns}  {changes:7.0f} {cpu_s:7.0f} s"
        )
        if ratio > GOAL or kept < KEPT:
            missed.append(name)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="traces, by name")
    parser.add_argument("--start", type=float, default=5.0, help="seconds that a start takes")
    parser.add_argument("--within", type=float, default=0.0, help="the SLO's seconds (8; of single requests their own)")
    parser.add_argument("--days", type=int, default=0, help="only the first so many of each trace")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--most-s", type=float, default=1e6, help="nothing is begun after so many seconds")
    parser.add_argument("--rows", type=Path, default=Path("oracle-rows.json"))
    given = parser.parse_args()
    options = Options(given.start, given.within, given.days, given.seed)
    names = [name for name in TRACES if not given.only or name in given.only.split(",")]
    store = Store(given.rows, options)
    make(names, store, options, given.jobs, given.most_s)
    print(f"starts of {given.start:g} s; figures: replica-seconds / bound, part kept (goal {GOAL}, {KEPT:.1%})")
    missed = table(names, store.rows, options)
    print(f"missed: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
