"""Which mode a workload is served in: what each costs, by formula; and by simulation where the formulas are close.

All is reckoned on requests that came. `trimtab plan` searches much further (types, signals, shared endpoints); this is
the quick answer, with its reasons.

- real-time: replicas that have at most 1.5 requests a slot in hand in each minute's busiest ten seconds (Erlang's C),
  one at least.
- asynchronous: the same to zero; the last one stays for the stable window, and each return from zero pays for a start.
- serverless: milliseconds of work times memory. Requests that come after a longer pause than is kept warm find it cold.
- batch: the work in a row, one start for each run.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from trimtab.advisor.bill import bill_of
from trimtab.advisor.plan.limits import (
    ASYNC_S,
    MIB,
    REAL_TIME_S,
    SERVERLESS_MB,
    SERVERLESS_S,
    forbidden,
)
from trimtab.advisor.plan.signals import STABLE, Signal, tracked
from trimtab.advisor.prices.book import HOME_REGION, Book
from trimtab.advisor.prices.price import Use
from trimtab.errors import Invalid
from trimtab.policies.scaling.queueing import replicas_for
from trimtab.resources.cost import MICRO
from trimtab.sim.load import Floats
from trimtab.sim.replicas.station import feed, work_on
from trimtab.sim.simulate import MODES, simulate
from trimtab.sim.world import Architecture, Mode, Scenario, Serving, Work, Workload

CLOSE: Final = 1.5
"""Modes that cost up to so many times the best one, by formula, are simulated."""

_BIN_S: Final = 10.0
_MINUTE: Final = 6  # bins
_IN_HAND: Final = 1.5
_STABLE_S: Final = 60.0
_WARM_S: Final = 600.0
_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3600.0
_MOST: Final = 400  # replicas
_ROUND_UP_S: Final = 0.001  # AWS bills serverless work by the millisecond


class Terms(Struct, frozen=True, kw_only=True):
    """What the modes would be served by."""

    instance_type: str
    start_s: float
    memory_mb: int = 2048  # of a serverless environment
    region: str = HOME_REGION


class Estimate(Struct, frozen=True, kw_only=True):
    """One mode, over the time that was looked at. None: it is forbidden, misses the SLO, or has no price."""

    mode: Mode
    micro_usd: int | None
    why_not: str = ""
    is_simulated: bool = False


class Advice(Struct, frozen=True, kw_only=True):
    """`mode` is the cheapest one that keeps the SLO; None where none does. `estimates`: of all modes."""

    mode: Mode | None
    estimates: tuple[Estimate, ...]
    why: str

    def of(self, mode: Mode) -> Estimate:
        """One mode's estimate."""
        return next(one for one in self.estimates if one.mode is mode)


class Habits(Struct, frozen=True, kw_only=True):
    """What a workload's requests are like."""

    requests: int
    span_s: float
    work_s: float  # of slots, alone
    slowest_s: float
    busy: Floats  # replicas' worth of work in each 10 s
    gaps_s: Floats  # between requests

    def pauses(self, longer_s: float) -> int:
        """Times that nothing came for longer than this."""
        return int((self.gaps_s > longer_s).sum())


def habits_of(workload: Workload, instance_type: str, seed: int) -> Habits:
    """Invalid for a workload whose requests' times are not known on that type, or that has no time."""
    work, arrivals = work_on(workload, instance_type), workload.arrivals
    span_s = arrivals.end_s - arrivals.start_s
    if span_s <= 0:
        raise Invalid(f"Workload {workload.name} lasts no time.")
    bins = ceil(span_s / _BIN_S)
    busy, gaps, before = np.zeros(bins), [], arrivals.start_s
    count, work_s, slowest_s = 0, 0.0, 0.0
    for at_s, service_s, _ in feed([workload], [work], seed):
        if not len(at_s):
            continue
        index = np.clip(((at_s - arrivals.start_s) / _BIN_S).astype(np.int64), 0, bins - 1)
        busy += np.bincount(index, weights=service_s, minlength=bins)
        gaps.append(np.diff(at_s, prepend=before))
        before = float(at_s[-1])
        count, work_s = count + len(at_s), work_s + float(service_s.sum())
        slowest_s = max(slowest_s, float(service_s.max()))
    return Habits(
        requests=count,
        span_s=span_s,
        work_s=work_s,
        slowest_s=slowest_s,
        busy=busy / _BIN_S / work.slots,
        gaps_s=np.concatenate(gaps) if gaps else np.zeros(0),
    )


def advise(
    workload: Workload, terms: Terms, book: Book, *, seed: int = 0, simulated: bool = True, close: float = CLOSE
) -> Advice:
    """The mode for the workload's requests. Without `simulated` by formula alone."""
    habits = habits_of(workload, terms.instance_type, seed)
    work = work_on(workload, terms.instance_type)
    found = {mode: _formula(mode, workload, work, habits, terms, book) for mode in _MODES}
    if simulated:
        found = _tried(found, workload, terms, book, seed, close)
    priced = {mode: one.micro_usd for mode, one in found.items() if one.micro_usd is not None}
    best = min(priced, key=lambda mode: priced[mode], default=None)
    return Advice(mode=best, estimates=tuple(found.values()), why=_why(best, priced, habits))


_MODES: Final = (Mode.REAL_TIME, Mode.SERVERLESS, Mode.ASYNC, Mode.BATCH)


# --- by formula ------------------------------------------------------------------------------------------------------


def _formula(mode: Mode, workload: Workload, work: Work, habits: Habits, terms: Terms, book: Book) -> Estimate:
    why_not = forbidden(workload, mode) or _misses(mode, workload, habits, terms)
    if why_not:
        return Estimate(mode=mode, micro_usd=None, why_not=why_not)
    usd = _cost(mode, habits, terms, book)
    if usd is None:
        return Estimate(mode=mode, micro_usd=None, why_not="its price is not known")
    return Estimate(mode=mode, micro_usd=round(usd * MICRO))


def _cost(mode: Mode, habits: Habits, terms: Terms, book: Book) -> float | None:
    if mode is Mode.SERVERLESS:
        price = book.serverless(terms.memory_mb, terms.region)
        billed_s = habits.work_s + habits.requests * _ROUND_UP_S / 2
        return None if price is None else float(price.usd) * billed_s
    price = book.instance(terms.instance_type, _USES[mode], terms.region)
    return None if price is None else float(price.usd) * replica_s(mode, habits, terms) / _HOUR_S


_USES: Final[Mapping[Mode, Use]] = {Mode.REAL_TIME: "hosting", Mode.ASYNC: "async", Mode.BATCH: "batch-transform"}


def replica_s(mode: Mode, habits: Habits, terms: Terms) -> float:
    """Replica-seconds of a mode that is served by replicas."""
    if mode is Mode.BATCH:
        runs = max(1, round(habits.span_s / _DAY_S))
        return float(habits.busy.sum()) * _BIN_S + runs * terms.start_s
    minutes = _per_minute(habits.busy)
    needed = np.array([replicas_for(ceil(busy * 8) / 8, _IN_HAND, _MOST) for busy in minutes])
    if mode is Mode.REAL_TIME:
        return float(np.maximum(needed, 1).sum()) * _BIN_S * _MINUTE * habits.span_s / _span_of(minutes)
    there_s = float(np.minimum(habits.gaps_s, _STABLE_S + terms.start_s).sum())
    more_s = float(np.maximum(needed - 1, 0).sum()) * _BIN_S * _MINUTE
    wakes = habits.pauses(_STABLE_S)
    return min(there_s + more_s + wakes * terms.start_s, habits.span_s + more_s)


def _span_of(minutes: Floats) -> float:
    return len(minutes) * _BIN_S * _MINUTE


def _per_minute(busy: Floats) -> Floats:
    """The most of each minute's ten seconds."""
    padded = np.pad(busy, (0, -len(busy) % _MINUTE))
    most: Floats = padded.reshape(-1, _MINUTE).max(axis=1)
    return most


def _misses(mode: Mode, workload: Workload, habits: Habits, terms: Terms) -> str:
    """Why the SLO, or a limit of AWS's, is not kept in a mode; "" where it may be."""
    longest_s = {Mode.SERVERLESS: SERVERLESS_S, Mode.REAL_TIME: REAL_TIME_S}.get(mode, ASYNC_S)
    if habits.slowest_s > longest_s:
        return f"requests take up to {habits.slowest_s:.3g} s; at most {longest_s:g} s are given"
    if mode is Mode.SERVERLESS and terms.memory_mb not in SERVERLESS_MB:
        return f"there is no serverless endpoint with {terms.memory_mb} MB"
    if mode is Mode.SERVERLESS and workload.memory_bytes > terms.memory_mb * MIB:
        return f"its model of {workload.memory_bytes / MIB:.0f} MiB does not fit into {terms.memory_mb} MB"
    slo = workload.slo
    if slo is None or not habits.requests:
        return ""
    if mode is Mode.BATCH and slo.within_s < _DAY_S:
        return f"answers within {slo.within_s:g} s; a run a day is later"
    longest_pause_s = {Mode.SERVERLESS: _WARM_S, Mode.ASYNC: _STABLE_S}.get(mode)
    if longest_pause_s is None or slo.within_s > terms.start_s + habits.slowest_s:
        return ""
    cold = habits.pauses(longest_pause_s)
    if cold > (1 - slo.kept) * habits.requests:
        return f"{cold:,} of {habits.requests:,} requests come after a pause, and a start takes {terms.start_s:g} s"
    return ""


# --- by simulation ---------------------------------------------------------------------------------------------------


def serving_for(mode: Mode, workload: Workload, work: Work, habits: Habits, terms: Terms) -> Serving:
    """An endpoint that serves the workload in a mode, as a careful operator would set it up."""
    peak = max(1, ceil(float(habits.busy.max(initial=0.0))))
    base = Serving(
        name=f"{workload.name}-{mode}",
        mode=mode,
        workloads=(workload.name,),
        instance_type=terms.instance_type,
        start_s=terms.start_s,
        max_replicas=2 * peak + 2,
        timeout_s=ASYNC_S if mode in (Mode.ASYNC, Mode.BATCH) else REAL_TIME_S,
        queue=10**9 if mode in (Mode.ASYNC, Mode.BATCH) else 10_000,
    )
    if mode is Mode.SERVERLESS:
        most = min(200, 2 * peak * work.slots + 5)
        return replace(base, instance_type="", memory_mb=terms.memory_mb, max_concurrency=most, min_replicas=0)
    if mode is Mode.BATCH:
        return replace(base, runs_at="cron(0 0 * * ? *)", max_replicas=1)
    policy = tracked(
        base.name, Signal.EVENT, _IN_HAND * work.slots, scale_in_s=0.0, settings={STABLE: f"{_STABLE_S:g}"}
    )
    least = 0 if mode is Mode.ASYNC else 1
    return replace(base, policies=(policy,), min_replicas=least, initial_replicas=least)


def _tried(
    found: dict[Mode, Estimate], workload: Workload, terms: Terms, book: Book, seed: int, close: float
) -> dict[Mode, Estimate]:
    """The same, where modes have been simulated: from the cheapest one by formula up to one that keeps the SLO there,
    and those that the formulas have close to it."""
    known = sorted((one.micro_usd, mode) for mode, one in found.items() if one.micro_usd is not None)
    best: int | None = None
    for cost, mode in known:
        if mode not in MODES or (best is not None and cost > close * best):
            continue
        found = found | {mode: simulated(mode, workload, terms, book, seed)}
        kept = found[mode].micro_usd
        best = kept if best is None or (kept is not None and kept < best) else best
    return found


def simulated(mode: Mode, workload: Workload, terms: Terms, book: Book, seed: int) -> Estimate:
    """What a mode costs in the simulator; without a price where it misses the SLO there."""
    habits = habits_of(workload, terms.instance_type, seed)
    serving = serving_for(mode, workload, work_on(workload, terms.instance_type), habits, terms)
    scenario = Scenario(name=workload.name, workloads=(workload,), architectures=(), region=terms.region)
    outcome = simulate(scenario, Architecture(name=str(mode), endpoints=(serving,)), seed=seed)
    bill = bill_of(outcome, book, terms.region)
    (served,) = outcome.served
    if workload.slo is not None and served.within_slo is not None and served.within_slo < workload.slo.kept:
        why_not = f"{served.within_slo:.2%} within {workload.slo.within_s:g} s; {workload.slo.kept:.2%} are wanted"
        return Estimate(mode=mode, micro_usd=None, why_not=why_not, is_simulated=True)
    return Estimate(mode=mode, micro_usd=bill.micro_usd, is_simulated=True)


def _why(best: Mode | None, priced: Mapping[Mode, int], habits: Habits) -> str:
    if best is None:
        return "no mode keeps the SLO"
    mean = habits.work_s / habits.span_s
    others = ", ".join(
        f"{mode} {cost / max(priced[best], 1):.3g} x" for mode, cost in priced.items() if mode is not best
    )
    against = others or "nothing else is allowed"
    return f"{habits.requests:,} requests keep {mean:.3g} slots busy on average; against it: {against}"
