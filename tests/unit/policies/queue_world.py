"""A variant as a queue with replicas that an event policy scales: by events, seeded, without a clock."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any

from trimtab.policies.scaling.event import EventState, observe
from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, TargetTracking

Service = Callable[[random.Random], float]
Observe = Callable[..., tuple[Any, Wish | None]]  # event.observe, or what it is compared with
EPOCH_S = 1_800_000_000.0


def tracking(target_value: float = 1.0, cooldown_s: float = 0.0, **dimensions: object) -> TargetTracking:
    """An event policy; `dimensions` as StableWindowSeconds=60. What is scaled in within the cooldown is not decided here."""
    named = {"EndpointName": "e", "VariantName": "v"} | {name: str(value) for name, value in dimensions.items()}
    stat = MetricStat("trimtab/Endpoints", SIGNAL_EVENT, tuple(sorted(named.items())), 0, "Average")
    return TargetTracking(target_value=target_value, stat=stat, scale_in_cooldown_s=cooldown_s)


def target(least: int = 1, most: int = 4) -> ScalableTarget:
    """Bounds."""
    return ScalableTarget(endpoint="e", variant="v", min_capacity=least, max_capacity=most, created_s=0.0)


def constant(service_s: float) -> Service:
    """Each request takes as long."""
    return lambda _: service_s


def exponential(service_s: float) -> Service:
    """Requests take as long on average, and vary much."""
    return lambda rng: rng.expovariate(1 / service_s)


def poisson(rng: random.Random, rates: Iterable[tuple[float, float]]) -> list[float]:
    """Arrivals for (seconds, rate) after one another."""
    arrivals, begin_s = [], 0.0
    for length_s, rate in rates:
        at_s = begin_s
        while rate > 0 and (at_s := at_s + rng.expovariate(rate)) < begin_s + length_s:
            arrivals.append(at_s)
        begin_s += length_s
    return arrivals


@dataclass
class Change:
    """One that was made."""

    at_s: float
    before: int
    wanted: int
    wish: Wish


@dataclass
class World:
    """`run` lets arrivals come; the rest says what came of it."""

    tracking: TargetTracking
    target: ScalableTarget
    service: Service
    rng: random.Random
    capacity: int = 1
    start_s: float = 0.05
    tell_s: float = 0.02
    together: int = 1  # requests that a replica does at once
    changes: list[Change] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    replica_s: float = 0.0
    calls: int = 0
    observe: Observe = observe
    state: Any = field(default_factory=EventState)

    def run(self, arrivals: list[float], until_s: float) -> World:
        """From second 0 to `until_s`, once."""
        self._starting: list[float] = []
        self._ends: list[float] = []
        self._queue: deque[float] = deque()
        self._ready, self._serving = self.capacity, 0
        self._now_s = self._told_s = self._held = self._work_s = 0.0
        self._held_s, self._arrived, self._ended, self._changed_s = 0.0, 0, 0, -inf
        next_tick_s, tell_at_s, index = 1.0, 0.0, 0
        while True:
            arrival_s = arrivals[index] if index < len(arrivals) else inf
            end_s = self._ends[0] if self._ends else inf
            start_s = self._starting[0] if self._starting else inf
            at_s = min(arrival_s, end_s, start_s, next_tick_s, tell_at_s)
            if at_s > until_s:
                return self
            self._pass(at_s)
            if at_s == tell_at_s:
                tell_at_s = inf
                self._tell()
                continue
            if at_s == next_tick_s:
                next_tick_s += 1.0
                self._given(Tick(at_s=EPOCH_S + at_s, capacity=self.capacity))
                continue
            if at_s == arrival_s:
                index += 1
                self._arrived += 1
                self._queue.append(at_s)
            elif at_s == end_s:
                heappop(self._ends)
                self._serving -= 1
                self._ended += 1
            else:
                heappop(self._starting)
                self._ready += 1
            self._serve()
            tell_at_s = min(tell_at_s, max(at_s, self._told_s + self.tell_s))

    def _pass(self, at_s: float) -> None:
        gone_s = at_s - self._now_s
        self._held_s += gone_s * (len(self._queue) + self._serving)
        self._work_s += gone_s * min(self._serving, max(self._ready, 1))
        self.replica_s += gone_s * self.capacity
        self._now_s = at_s

    def _serve(self) -> None:
        while self._queue and self._serving < self._ready * self.together:
            self.waits_s.append(self._now_s - self._queue.popleft())
            heappush(self._ends, self._now_s + self.service(self.rng))
            self._serving += 1

    def _tell(self) -> None:
        span_s = self._now_s - self._told_s
        now = len(self._queue) + self._serving
        load = Load(
            at_s=EPOCH_S + self._now_s, capacity=self.capacity, ready=self._ready,
            in_hand=(self._held_s - self._held) / span_s if span_s > 0 else float(now), now=now,
            waiting=len(self._queue), arrived=self._arrived, ended=self._ended, work_s=self._work_s,
            start_s=self.start_s,
        )  # fmt: skip
        self._told_s, self._held = self._now_s, self._held_s
        self._given(load)

    def _given(self, given: Load | Tick) -> None:
        self.calls += 1
        self.state, wish = self.observe(self.tracking, self.target, self.state, given, policy="p")
        if wish is None:
            return
        wanted = min(max(wish.capacity, self.target.min_capacity), self.target.max_capacity)
        if wanted == self.capacity:
            return
        if wanted < self.capacity and self._now_s - self._changed_s < self.tracking.scale_in_cooldown_s:
            return
        self._changed_s = self._now_s
        self.changes.append(Change(self._now_s, self.capacity, wanted, wish))
        for _ in range(wanted - self.capacity):
            heappush(self._starting, self._now_s + self.start_s)
        while self._ready + len(self._starting) > wanted:
            if self._starting:
                self._starting.pop()
            else:
                self._ready -= 1
        self.capacity = wanted
