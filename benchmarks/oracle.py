"""How far from the best that can be: `event` scaling, AWS's target tracking and static peak, against the clairvoyant bound.

    python -m benchmarks.oracle [--only NAME,...] [--start 5] [--within 8] [--days N] [--jobs 2] [--rows FILE]

Every trace of benchmarks/data, whole, as requests that keep 20 replicas busy on average (benchmarks/oracle_cases.py), in
the simulator, on replicas that take `--start` seconds from order to first request (paid for), from 1 replica to 1.5 x
static peak. SLO: 99.9 % answered in time. A trace of several days is run day by day; each day begins with the replicas for its first minutes.

    event       trimtab's policy; its settings are chosen by trying some on the busiest hour of the busiest and of the middle
                day (as `trimtab plan` does); shorter traces are tried whole
    unseen      the same, chosen on the first half of the trace alone, and priced on the other half
    60 s, 10 s  AWS's target tracking at 70 %: InvocationsPerInstance each minute, concurrency each 10 s, cooldowns 300 s
    static      as many replicas all the time as keep the SLO on the busiest day

Figures are replica-seconds as multiples of the bound (sim/oracle/bound.py), and the part of requests that was answered in
time. Goal: event <= 1.15 with 99.9 % kept. Rows are kept in `--rows` as they are made: a run that was cut off goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from math import ceil
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.oracle_cases import KEPT, TRACES, Case, Trace
from benchmarks.oracle_choice import MARGIN, Ran, Setting, busiest, by_minute, by_ten_seconds, chosen, run, static_peak
from trimtab.sim.oracle.bound import Asked, Terms
from trimtab.sim.oracle.windows import Window, summed, window_of
from trimtab.sim.world import Slo

GOAL = 1.15
FINE_STEPS = 4e9  # of the bound's programme for a trace of an hour; days do without: it adds less than 0.1 % there
MOST_WITHIN_S = 120.0  # and those whose deadlines are as long as they are do without, too
MOST_TRIES = 4  # with less patience, where what was chosen does not keep the SLO of the whole
LATE = "late"  # the second half of a trace of one part


class Options(Struct, frozen=True):
    start_s: float
    within_s: float  # 0: as the case has it
    days: int
    seed: int


class Chosen(Struct):
    """What a trace is run with."""

    peak: int
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
    chosen: Chosen | None = None
    parts: dict[str, Part] = {}


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
    peak = static_peak(top, options.start_s)
    most = ceil(1.5 * peak)
    work = top.workload.work["*"]
    threshold_s = float(np.quantile(work.service_s(np.linspace(0, 1, 100_001)[:-1]), KEPT))

    def setting(cases: list[Case], *, is_all: bool) -> Setting:
        return chosen(cases, options.start_s, most, margin=0.0 if is_all else MARGIN)

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
    return Chosen(peak, threshold_s, event, unseen, time.process_time() - began_s)


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
    most = ceil(1.5 * use.peak)
    slo = case.workload.slo
    assert slo is not None
    is_fine = case.end_s - case.start_s < 5400 and slo.within_s < MOST_WITHIN_S and key != LATE
    window = window_of(
        lambda: [Asked(case.at_s, case.service_s)],
        Terms(start_s=options.start_s, least=1),
        within_s=slo.within_s,
        start_s=case.start_s,
        end_s=case.end_s,
        threshold_s=use.threshold_s,
        most_steps=FINE_STEPS if is_fine else 0.0,
    )
    ways = {"event": use.event.policy()}
    if is_late(key, trace.parts):
        ways["unseen"] = use.unseen.policy()
    if key != LATE:
        mean_s = float(case.service_s.mean())
        ways |= {"60 s": by_minute(mean_s), "10 s": by_ten_seconds()}
    runs = {way: run(case, options.start_s, policy, most=most) for way, policy in ways.items()}
    if key != LATE:
        runs["static"] = run(case, options.start_s, None, static=use.peak)
    return Part(case.end_s - case.start_s, window, runs, time.process_time() - began_s)


def again(name: str, key: str, setting: Setting, peak: int, options: Options) -> Ran:
    case = trace_of(name, options).part(int(key), options.seed)
    return run(case, options.start_s, setting.policy(), most=ceil(1.5 * peak))


def is_late(key: str, parts: int) -> bool:
    """Whether a part is of the half that `unseen` is priced on."""
    return key == LATE or (parts > 1 and int(key) >= parts // 2)


# --- all of them


class Store:
    """Rows in a file, by options."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._key = f"start {options.start_s:g}, within {options.within_s:g}, days {options.days}, seed {options.seed}"
        self._all = msgspec.json.decode(path.read_bytes(), type=dict[str, Rows]) if path.exists() else {}
        self.rows = self._all.setdefault(self._key, {})

    def save(self) -> None:
        fresh = self._path.with_suffix(".part")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self._all), indent=1))
        fresh.replace(self._path)


def keys_of(parts: int) -> list[str]:
    return [str(number) for number in range(parts)] + ([LATE] if parts == 1 else [])


def make(names: list[str], store: Store, options: Options, jobs: int) -> None:
    """All rows that are missing."""
    began_s = time.monotonic()
    traces = {name: trace_of(name, options).parts for name in names}
    rows = store.rows

    def told(what: str, done: int, of: int) -> None:
        print(f"{time.monotonic() - began_s:7.0f} s  {what}  ({done} of {of})", file=sys.stderr, flush=True)

    with ProcessPoolExecutor(jobs) as pool:
        waits: dict[Future[Chosen], str] = {}
        for name in names:
            row = rows.setdefault(name, Row())
            if row.chosen is None:
                waits[pool.submit(choose, name, options)] = name
        for done, ready in enumerate(as_completed(waits), 1):
            name = waits[ready]
            rows[name].chosen = ready.result()
            store.save()
            told(f"{name}: {ready.result().event}, unseen {ready.result().unseen}", done, len(waits))
        prices: dict[Future[Part], tuple[str, str]] = {}
        for name in names:
            use = rows[name].chosen
            assert use is not None
            for key in keys_of(traces[name]):
                if key not in rows[name].parts:
                    prices[pool.submit(price, name, key, use, options)] = (name, key)
        for done, priced in enumerate(as_completed(prices), 1):
            name, key = prices[priced]
            rows[name].parts[key] = priced.result()
            store.save()
            told(f"{name} {key}: {priced.result().cpu_s:.0f} s of CPU", done, len(prices))
        for name in names:
            if _mended(pool, name, rows[name], traces[name], options):
                store.save()


def _mended(pool: ProcessPoolExecutor, name: str, row: Row, parts: int, options: Options) -> bool:
    """Less patience, or a lower target, until the SLO of the whole is kept; whether anything was changed."""
    use = row.chosen
    assert use is not None
    keys = [str(number) for number in range(parts)]
    for tried in range(MOST_TRIES + 1):
        ran = [row.parts[key].runs["event"] for key in keys]
        if tried == MOST_TRIES or sum(one.kept for one in ran) >= KEPT * sum(one.requests for one in ran):
            return tried > 0
        use.event = replace(use.event, patience_s=use.event.patience_s * 0.94, target=_lower(use.event))
        done = pool.map(again, [name] * parts, keys, [use.event] * parts, [use.peak] * parts, [options] * parts)
        for key, one in zip(keys, done, strict=True):
            row.parts[key].runs["event"] = one
    return True


def _lower(setting: Setting) -> float:
    return setting.target if setting.patience_s else setting.target * 0.94


# --- the table


def figure(row: Row, way: str, keys: list[str]) -> tuple[float, float]:
    """Of some parts: a multiple of their bound, and the part of requests that was kept."""
    parts = [row.parts[key] for key in keys]
    ran = [part.runs[way] for part in parts]
    least_s = summed([part.window for part in parts], KEPT)
    requests = max(sum(one.requests for one in ran), 1)
    return sum(one.replica_s for one in ran) / least_s, sum(one.kept for one in ran) / requests


def table(names: list[str], rows: Rows) -> list[str]:
    """Prints it; those that miss the goal."""
    print(
        f"{'trace':15} {'days':>6} {'bound':>6} {'event':>14} {'setting':>14} {'half: event':>14} {'unseen':>14}"
        f" {'60 s':>14} {'10 s':>14} {'static':>14}  changes a day   CPU"
    )
    missed = []
    for name in names:
        row = rows[name]
        use = row.chosen
        assert use is not None
        keys = [key for key in row.parts if key != LATE]
        late = [key for key in row.parts if is_late(key, len(keys))]
        length_s = sum(row.parts[key].length_s for key in keys)
        least_s = summed([row.parts[key].window for key in keys], KEPT)
        ratio, kept = figure(row, "event", keys)
        told = [figure(row, "event", late), figure(row, "unseen", late)]
        told += [figure(row, way, keys) for way in ("60 s", "10 s", "static")]
        changes = sum(row.parts[key].runs["event"].changes for key in keys) / length_s * 86_400
        cpu_s = use.cpu_s + sum(part.cpu_s for part in row.parts.values())
        columns = " ".join(f"{one:6.3f} {part:6.2%}".rjust(14) for one, part in told[:2])
        others = " ".join(f"{one:6.3f} {part:6.2%}".rjust(14) for one, part in told[2:])
        print(
            f"{name:15} {length_s / 86_400:6.2f} {least_s / length_s:6.2f} {ratio:6.3f} {kept:7.3%} {use.event!s:>14}"
            f" {columns} {others}  {changes:7.0f} {cpu_s:7.0f} s"
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
    parser.add_argument("--rows", type=Path, default=Path("oracle-rows.json"))
    given = parser.parse_args()
    options = Options(given.start, given.within, given.days, given.seed)
    names = [name for name in TRACES if not given.only or name in given.only.split(",")]
    store = Store(given.rows, options)
    make(names, store, options, given.jobs)
    print(f"starts of {given.start:g} s; figures: replica-seconds / bound, part kept (goal {GOAL}, {KEPT:.1%})")
    missed = table(names, store.rows)
    print(f"missed: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
