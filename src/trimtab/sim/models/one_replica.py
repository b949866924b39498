"""One replica of a multi-model endpoint under a virtual clock: the live cache policy, a trace, loads that take time."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from trimtab.policies.models.actions import Action, FetchModel, Load, Refuse, Unload
from trimtab.policies.models.inputs import Asked, Ended, Fetched, Input, Loaded, Tick, Used
from trimtab.sim.load import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]


class SimModel(Struct, frozen=True, kw_only=True):
    """What a model is like, as a host finds it."""

    name: str
    kind: str
    artifact_bytes: int
    footprint_bytes: int
    load_s: float


class Trace(Struct, frozen=True):
    """Request `i` comes at `at_s[i]` (never falling) for `models[which[i]]`."""

    models: Sequence[SimModel]
    at_s: Floats
    which: Ints


class Timing(Struct, frozen=True, kw_only=True):
    """How long the rest takes."""

    fetch_s: float = 0.005  # the artifact is on the disk
    serve_s: float = 0.01  # a request
    unload_s: float = 0.05  # from the order until the memory is back


class Policy(Protocol):
    """ModelCache, or a rival of it."""

    used_bytes: int

    def step(self, given: Input, now_s: float) -> tuple[Action, ...]:
        """What to do after `given`."""
        ...

    def next_s(self, now_s: float) -> float | None:
        """When to call with a Tick."""
        ...


@dataclass
class ModelRun:
    """What came of a trace."""

    loads: int = 0
    load_s: float = 0.0
    evictions: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    waits_s: Floats = field(default_factory=lambda: np.zeros(0))  # of each request, for its model
    late_s: float = 0.0  # the longest from a request to the order of the load that it waits for
    most_bytes: int = 0


def run(
    trace: Trace, policy: Policy, timing: Timing | None = None, *, first: Sequence[Input] = (), start_s: float = 0.0
) -> ModelRun:
    """Let `policy` serve all of `trace`, told `first` at the start. Fetches, loads and unloads take their time."""
    world = _World(trace, policy, timing or Timing())
    for given in first:
        world.tell(given, start_s)
    return world.run()


class _World:
    def __init__(self, trace: Trace, policy: Policy, timing: Timing) -> None:
        self.trace, self.policy, self.timing = trace, policy, timing
        self.by_name = {model.name: model for model in trace.models}
        self.found = ModelRun(waits_s=np.zeros(len(trace.at_s)))
        self.ready: set[str] = set()
        self.waiting: dict[str, list[int]] = {}
        self.in_hand: dict[str, deque[float]] = {}
        self.leaving: set[str] = set()
        self.order = itertools.count()
        self.events: list[tuple[float, int, Input | None, str]] = []

    def run(self) -> ModelRun:
        tick_s = float("inf")
        coming, times, which = 0, self.trace.at_s, self.trace.which
        while True:
            next_s = float(times[coming]) if coming < len(times) else float("inf")
            event_s = self.events[0][0] if self.events else float("inf")
            if next_s == float("inf") and event_s == float("inf"):
                return self.found
            now_s = min(next_s, event_s, tick_s)
            if now_s == tick_s < min(next_s, event_s):
                self.tell(Tick(), now_s)
            elif now_s == event_s:
                _, _, given, served = heapq.heappop(self.events)
                self.happen(given, served, now_s)
            else:
                self.request(coming, self.trace.models[which[coming]].name, now_s)
                coming += 1
            due_s = self.policy.next_s(now_s)
            tick_s = float("inf") if due_s is None else max(due_s, now_s)

    def request(self, index: int, name: str, now_s: float) -> None:
        if name in self.ready:
            self.serve(name, 1, now_s)
            return
        waiters = self.waiting.setdefault(name, [])
        waiters.append(index)
        if len(waiters) == 1:
            self.tell(Asked(name), now_s)

    def serve(self, name: str, count: int, now_s: float) -> None:
        hand = self.in_hand.setdefault(name, deque())
        hand.extend([now_s + self.timing.serve_s] * count)
        self.later(now_s + self.timing.serve_s, None, name)
        self.tell(Used(name, count, len(hand)), now_s)

    def happen(self, given: Input | None, served: str, now_s: float) -> None:
        if given is None:
            hand = self.in_hand[served]
            while hand and hand[0] <= now_s:
                hand.popleft()
            if not hand and served in self.ready:
                self.tell(Used(served, 0, 0), now_s)
            return
        if isinstance(given, Loaded):
            self.ready.add(given.model)
        self.tell(given, now_s)
        if isinstance(given, Loaded):
            waiters = self.waiting.pop(given.model, [])
            for index in waiters:
                self.found.waits_s[index] = now_s - self.trace.at_s[index]
            if waiters and given.model in self.ready:  # else it leaves already, and answers them while it drains
                self.serve(given.model, len(waiters), now_s)

    def tell(self, given: Input, now_s: float) -> None:
        for action in self.policy.step(given, now_s):
            self.act(action, now_s)
        self.found.most_bytes = max(self.found.most_bytes, self.policy.used_bytes)

    def act(self, action: Action, now_s: float) -> None:
        match action:
            case FetchModel(name):
                model = self.by_name[name]
                self.later(now_s + self.timing.fetch_s, Fetched(name, "1", model.artifact_bytes, model.kind))
            case Load(name):
                model = self.by_name[name]
                self.found.loads += 1
                self.found.load_s += model.load_s
                first_s = float(self.trace.at_s[self.waiting[name][0]]) if self.waiting.get(name) else now_s
                self.found.late_s = max(self.found.late_s, now_s - first_s)
                self.later(now_s + model.load_s, Loaded(name, "1", model.footprint_bytes, model.load_s))
            case Unload(name):
                self.found.evictions[name] = self.found.evictions.get(name, 0) + 1
                self.ready.discard(name)
                hand = self.in_hand.get(name)
                idle_s = max(now_s, hand[-1]) if hand else now_s
                self.later(idle_s + self.timing.unload_s, Ended(name, "1"))
            case Refuse(name):
                self.found.refused += len(self.waiting.pop(name, []))

    def later(self, at_s: float, given: Input | None, served: str = "") -> None:
        heapq.heappush(self.events, (at_s, next(self.order), given, served))
