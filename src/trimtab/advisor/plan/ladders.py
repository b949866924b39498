"""Endpoints that could serve a group of workloads, one way of scaling each: a ladder from the cheapest to the safest.

A rung that keeps the SLOs is looked for by galloping from the likely one and halving back: some 2 log2 n simulations.
That a dearer rung is the safer one holds nearly always; where it does not, a dearer rung than needed may be taken, but
never one that breaks an SLO.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.advisor.plan.demand import Demand, busy, most_busy, work_of, work_on
from trimtab.advisor.plan.guess import likely, unit_of
from trimtab.advisor.plan.keeping import SCALED, kept, pins_of
from trimtab.advisor.plan.limits import (
    ASYNC_S,
    MIB,
    REAL_TIME_S,
    SERVERLESS_MB,
    SERVERLESS_MOST,
    SERVERLESS_S,
    WAKE_S,
    Limits,
    forbidden,
    least_replicas,
)
from trimtab.advisor.plan.schedules import times
from trimtab.advisor.plan.signals import Signal, Where, tracked
from trimtab.advisor.plan.trials import Trial
from trimtab.advisor.prices.shapes import shape_of
from trimtab.resources.scaling import ScheduledAction
from trimtab.sim.world import Mode, Serving, Work, Workload

Search = Generator[Serving, Trial | None, Trial | None]
"""Yields an endpoint to try; is sent its trial, or None where it cannot be the cheapest; returns the best one."""

_SHARES: Final = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of a replica's time that a policy keeps it busy
_SAFE: Final = (0.5, 0.3)  # with more replicas at the least
_SCALE_IN_S: Final = {Signal.EVENT: 60.0}
_SPARE_MEMORY: Final = 1.5  # of a serverless environment: times its model
_PIN_ROUNDS: Final = 3
_SCHEDULED: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # times the capacity of a schedule
_ONE_MINUTE: Final = 60


class Way(Struct, frozen=True):
    """A way of serving a group: the rungs, cheapest first. `near`: where no SLO can be kept, what is late by no more
    (times what the SLO allows) is as near as anybody comes; 0: that is not known."""

    name: str
    rungs: tuple[Serving, ...]
    near: float = 0.0


class Place(Struct, frozen=True, kw_only=True):
    """Who is to be served, and what is known of them."""

    name: str
    workloads: tuple[Workload, ...]
    demands: Mapping[str, Demand]
    before: Serving | None = None  # what serves them now, where one endpoint does
    present: tuple[Serving, ...] = ()  # all that serve any of them now

    @property
    def names(self) -> tuple[str, ...]:
        """The workloads'."""
        return tuple(workload.name for workload in self.workloads)

    def endpoint(self, mode: Mode) -> str:
        """Its name. One that is served otherwise is another endpoint: AWS changes no endpoint's mode."""
        if self.before is None or self.before.mode is mode:
            return self.name
        return f"{self.name[: 62 - len(mode)]}-{mode}"

    def works(self, instance_type: str) -> dict[str, Work] | None:
        """What requests take on a type; None where that is not known of all."""
        found = {workload.name: work_on(workload, instance_type) for workload in self.workloads}
        known = {name: work for name, work in found.items() if work is not None}
        return known if len(known) == len(found) else None


def ways(place: Place, mode: Mode, instance_type: str, limits: Limits) -> list[Way]:
    """Every way of serving the group in a mode, on instances of a type ("" for serverless)."""
    if any(forbidden(workload, mode) for workload in place.workloads):
        return []
    works = place.works(instance_type)
    is_served_so = place.before is not None and place.before.mode is mode
    if works is None or (mode is not Mode.MULTI_MODEL and len(place.workloads) > 1 and not is_served_so):
        return []
    if mode is Mode.SERVERLESS:
        return [] if _needs_accelerator(place) else _serverless(place, works, limits)
    if mode is Mode.MULTI_MODEL and not _fits(place, instance_type, limits):
        return []
    longest_s = max(work.quantiles_s[-1] for work in works.values())
    if longest_s > (ASYNC_S if mode in (Mode.ASYNC, Mode.BATCH) else REAL_TIME_S):
        return []
    if mode is Mode.BATCH:
        return _batch(place, works, instance_type, limits)
    return _replicas(place, works, mode, instance_type, limits)


def _needs_accelerator(place: Place) -> bool:
    """Whether what is said of any machine was measured on one with an accelerator, which serverless has not."""
    if place.before is None or not place.before.instance_type:
        return False
    shape = shape_of(place.before.instance_type)
    is_measured_there = all(place.before.instance_type in workload.work for workload in place.workloads)
    return shape is not None and bool(shape.accelerator) and not is_measured_there


def _fits(place: Place, instance_type: str, limits: Limits) -> bool:
    room = limits.model_bytes.get(instance_type, 0)
    return all(workload.memory_bytes <= room for workload in place.workloads)


def _replicas(place: Place, works: Mapping[str, Work], mode: Mode, instance_type: str, limits: Limits) -> list[Way]:
    """A fixed number, then each signal."""
    load = busy(place.demands, works)
    bin_s = next(iter(place.demands.values())).bin_s
    peak = max(1, ceil(most_busy(load, ceil(_ONE_MINUTE / bin_s))))
    most = min(limits.max_replicas, max(2 * peak + 2, limits.min_replicas, 4))
    room = limits.model_bytes.get(instance_type, 0) if mode is Mode.MULTI_MODEL else 0
    base = Serving(
        name=place.endpoint(mode),
        mode=mode,
        workloads=place.names,
        instance_type=instance_type,
        models_bytes=room,
        pinned=pins_of(place.present, place.workloads, room) if room else (),
        **kept(mode, place.present, place.workloads, limits),
    )
    if mode is Mode.ASYNC and limits.where is Where.AWS:
        base = replace(base, start_s=base.start_s + WAKE_S)
    mean = max(1, ceil(float(load.mean())))
    least = max(1, least_replicas(limits, mode))
    few, many = range(least, min(most, least + 8)), range(least, most + 1, max(1, most // 24))
    counts = sorted({*few, *many, mean, peak, most})
    fixed = [replace(base, min_replicas=n, max_replicas=n, initial_replicas=n) for n in counts if least <= n <= most]
    schedule = _schedule(place, base, works, limits)
    found = [Way(f"{mode} {instance_type} fixed", tuple(fixed))]
    if schedule:
        found.append(Way(f"{mode} {instance_type} scheduled", _scheduled(base, place, schedule, limits)))
    signals = limits.signals
    if mode is Mode.ASYNC and limits.where is Where.AWS:
        signals = (Signal.BACKLOG,)
    for signal in signals:
        name, rungs = f"{mode} {instance_type} {signal}", _tracked(base, works, signal, peak, most, limits)
        found.append(Way(name, tuple(rungs)))
        if schedule:
            found.append(Way(f"{name}, scheduled", tuple(replace(rung, schedule=schedule) for rung in rungs)))
    return found


def _schedule(place: Place, base: Serving, works: Mapping[str, Work], limits: Limits) -> tuple[ScheduledAction, ...]:
    """Scheduled scaling as the one endpoint that is there has it, for as many replicas as do the same work."""
    before = place.before
    if before is None or before.mode not in SCALED or not before.schedule:
        return ()
    now = place.works(before.instance_type)
    factor = work_of(works) / work_of(now) if now is not None and work_of(now) > 0 else 1.0
    return _allowed(times(before.schedule, factor), base, limits)


def _allowed(actions: Iterable[ScheduledAction], base: Serving, limits: Limits) -> tuple[ScheduledAction, ...]:
    least, most = least_replicas(limits, base.mode), limits.max_replicas

    def bounded(capacity: int | None) -> int | None:
        return None if capacity is None else min(max(capacity, least), most)

    return tuple(
        replace(
            one,
            endpoint=base.name,
            min_capacity=bounded(one.min_capacity),
            max_capacity=bounded(one.max_capacity),
        )
        for one in actions
    )


def _scheduled(
    base: Serving, place: Place, schedule: tuple[ScheduledAction, ...], limits: Limits
) -> tuple[Serving, ...]:
    """By nothing but the schedule: with less and with more capacity than it has."""
    assert place.before is not None
    rungs: list[Serving] = []
    for factor in _SCHEDULED:
        count = min(
            max(ceil(place.before.min_replicas * factor), least_replicas(limits, base.mode)), limits.max_replicas
        )
        most = min(max(ceil(place.before.max_replicas * factor), count, 1), limits.max_replicas)
        rung = replace(
            base,
            min_replicas=count,
            max_replicas=most,
            initial_replicas=count,
            schedule=_allowed(times(schedule, factor), base, limits),
        )
        if rung not in rungs:
            rungs.append(rung)
    return tuple(rungs)


def _tracked(
    base: Serving, works: Mapping[str, Work], signal: Signal, peak: int, most: int, limits: Limits
) -> list[Serving]:
    """By how busy replicas are kept; then with more of them at the least."""
    unit = unit_of(works, signal)
    least = least_replicas(limits, base.mode)
    if signal is not Signal.EVENT and base.mode is not Mode.ASYNC:
        least = max(1, least)  # alarms cannot wake an endpoint
    mins = [least, max(1, least)] if least == 0 else [least]
    pairs = [(n, share) for n in mins for share in (_SHARES if n == mins[-1] else _SHARES[:3])]
    more = sorted({max(1, least) + 1, ceil(peak / 2), peak})
    pairs += [(n, share) for n in more if n > max(1, least) for share in _SAFE]
    scale_in_s = _SCALE_IN_S.get(signal, 300.0)
    return [
        replace(
            base,
            min_replicas=n,
            max_replicas=most,
            initial_replicas=max(n, 1),
            policies=(tracked(base.name, signal, unit * share, scale_in_s=scale_in_s),),
        )
        for n, share in pairs
        if n <= most
    ]


def _serverless(place: Place, works: Mapping[str, Work], limits: Limits) -> list[Way]:
    """The least memory that its model fits in, and no less than it has now: nobody knows how fast it is with less. (Of
    provisioned environments no price is known.)"""
    workload, work = place.workloads[0], works[place.names[0]]
    if work.quantiles_s[-1] > SERVERLESS_S:
        return []
    fields = kept(Mode.SERVERLESS, place.present, place.workloads, limits)
    needed_mb = max(workload.memory_bytes * _SPARE_MEMORY / MIB, fields.pop("memory_mb"), 1.0)
    memory_mb = next((size for size in SERVERLESS_MB if size >= needed_mb), None)
    if memory_mb is None:
        return []
    together = most_busy(busy(place.demands, works) * work.slots, 1)
    most = min(SERVERLESS_MOST, max(5, ceil(2 * together) + 2))
    base = Serving(
        name=place.endpoint(Mode.SERVERLESS),
        mode=Mode.SERVERLESS,
        workloads=place.names,
        memory_mb=memory_mb,
        max_concurrency=most,
        max_replicas=most,
        min_replicas=0,
        **fields,
    )
    return [Way(f"serverless {memory_mb} MB", (base,))]


def _batch(place: Place, works: Mapping[str, Work], instance_type: str, limits: Limits) -> list[Way]:
    """Runs at fixed times, seldom first; no seldomer than the SLO lets its requests wait."""
    workload = place.workloads[0]
    within_s = workload.slo.within_s if workload.slo is not None else 86_400.0
    fields = kept(Mode.BATCH, place.present, place.workloads, limits)
    base = Serving(
        name=place.endpoint(Mode.BATCH),
        mode=Mode.BATCH,
        workloads=place.names,
        instance_type=instance_type,
        **fields | {"timeout_s": max(within_s, fields["timeout_s"])},
    )
    every = [("cron(0 0 * * ? *)", 86_400.0), ("cron(0 0/6 * * ? *)", 21_600.0), ("cron(0 * * * ? *)", 3600.0)]
    if place.before is not None and place.before.runs_at:  # whatever its times are: somebody has chosen them
        every.insert(0, (place.before.runs_at, 0.0))
    rungs = [
        replace(base, runs_at=cron, min_replicas=n, max_replicas=n)
        for cron, period_s in every
        if period_s < within_s
        for n in (1, 2, 4, 8)
        if n <= limits.max_replicas
    ]
    return [Way(f"batch {instance_type}", tuple(rungs))] if rungs else []


def climb(way: Way, place: Place) -> Search:
    """The cheapest rung that keeps the SLOs (or comes as near as can be); where none does, the one that comes nearest.

    Begins where it is likely, goes on in growing steps until it is between one that keeps them and one that does not,
    and halves what is between.
    """
    works = place.works(way.rungs[0].instance_type)
    assert works is not None  # a way is made of nothing else
    best: Trial | None = None
    low, high, step = -1, len(way.rungs), 1
    index = likely(way.rungs, place.demands, works)
    while low + 1 < high:
        trial = yield from _pinned(way.rungs[index], place)
        if trial is not None:
            best = _better(best, trial)
        # What is dearer than the best one is dearer still further up.
        if trial is None or trial.kept or trial.late <= way.near:
            high = index
        else:
            low = index
        if low >= 0 and high < len(way.rungs):
            index = (low + high) // 2
        else:
            index = max(high - step, 0) if low < 0 else min(low + step, high - 1)
            step *= 2
    return best


def _pinned(serving: Serving, place: Place) -> Search:
    """Of a shared endpoint: pin the models whose SLO is broken while they are cold, as long as that helps."""
    trial = yield serving
    if serving.mode is not Mode.MULTI_MODEL or trial is None:
        return trial
    best = trial
    for _ in range(_PIN_ROUNDS):
        if best.kept:
            break
        pins = _more_pins(best, place)
        if pins == best.serving.pinned:
            break
        trial = yield replace(best.serving, pinned=pins)
        if trial is None or trial.rank >= best.rank:
            break
        best = trial
    return best


def _more_pins(trial: Trial, place: Place) -> tuple[str, ...]:
    """Models that miss their SLO and were found cold, the most asked for first; the largest of the others must fit."""
    by_name = {workload.name: workload for workload in place.workloads}
    pins = set(trial.serving.pinned)
    hot = sorted(trial.outcome.served, key=lambda served: -served.requests)
    for served in hot:
        workload = by_name[served.workload]
        slo = workload.slo
        misses = slo is not None and served.within_slo is not None and served.within_slo < slo.kept
        if not misses or not served.cold or served.workload in pins:
            continue
        wanted = pins | {served.workload}
        bytes_pinned = sum(by_name[name].memory_bytes for name in wanted)
        largest = max((w.memory_bytes for w in place.workloads if w.name not in wanted), default=0)
        if bytes_pinned + largest <= trial.serving.models_bytes:
            pins = wanted
    return tuple(sorted(pins))


def _better(best: Trial | None, trial: Trial) -> Trial:
    return trial if best is None or trial.rank < best.rank else best
