"""Which replica of a multi-model endpoint holds which model: the live cache policy and placement decide.

Hosts hear of their models as live ones do: of loads and evictions at once, of use by what gateways tell every 0.2 s.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

import numpy as np
from msgspec import Struct, field

from trimtab.errors import Invalid
from trimtab.policies.models.actions import Action, FetchModel, Load, Refuse, Unload
from trimtab.policies.models.cache import ModelCache
from trimtab.policies.models.copies import UNSEEN_S, Copies, Seen
from trimtab.policies.models.forecast import BASE, RATIO
from trimtab.policies.models.inputs import Asked, Ended, Fetched, Input, Loaded, Set, Tick, Used
from trimtab.policies.models.placement import Member, holds, next_replica, order
from trimtab.resources.hosting import ModelSetting
from trimtab.sim.kernels import books as b
from trimtab.sim.models import hosting as h
from trimtab.sim.world import PastLoad, Serving, Workload

FETCH_S: Final = 0.005  # the artifact is on the disk
TELL_S: Final = 0.2  # live: gateways tell hosts so often how their models are used, and look whether one is hot
_MARGIN: Final = 1.01  # forecasts of a model's size are as told, but for rounding
_ROUNDS: Final = 400_000  # of telling, in one run: a longer one is told of more rarely, down to UNSEEN_S


class _Host(Struct):
    """One replica: its cache, what it loads, and what it has been told of models in use."""

    name: str
    cache: ModelCache
    loading: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)  # of these: models that it has had before
    told: dict[int, int] = field(default_factory=dict)  # in hand, by model
    lost: set[int] = field(default_factory=set)  # models that it has given up
    tick_s: float = inf


class _Model(Struct):
    """One model, as gateways know it."""

    copies: Copies
    asked: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    load_s: float = 1.0
    loads: int = 0  # of it, so far


class HostedModels:
    """The models of all replicas, and the books that tell of both. `span` is when the run begins and ends.

    Invalid for a model that has no room, not even alone.
    """

    def __init__(
        self, serving: Serving, workloads: Sequence[Workload], books: h.Hosts, span: tuple[float, float]
    ) -> None:
        for one in workloads:
            if one.memory_bytes > serving.models_bytes:
                raise Invalid(f"The model of {one.name} has no room on {serving.name}, not even alone.")
        start_s, end_s = span
        self.books = books
        self.serving, self.workloads = serving, workloads
        self.loads = self.evictions = 0
        self._row = {one.name: row for row, one in enumerate(workloads)}
        self._hosts: dict[int, _Host] = {}
        self._models = [_Model(Copies(start_s), load_s=max(0.001, one.load_s)) for one in workloads]
        self._lacking: set[int] = set()
        self._settings = tuple(ModelSetting(model=name, pinned=True) for name in serving.pinned)
        self._events: list[tuple[float, int, str, Input]] = []
        self._count = itertools.count()
        self._is_roomy = _is_roomy(workloads, serving.models_bytes)
        self._every_s = min(max(TELL_S, (end_s - start_s) / _ROUNDS), UNSEEN_S)
        self._tell_s = start_s + self._every_s

    # --- time

    @property
    def now_s(self) -> float:
        """Seconds since the epoch."""
        return float(self.books.f[b.NOW])

    @property
    def next_s(self) -> float:
        """When something is due."""
        next_s = min([self._tell_s, *(host.tick_s for host in self._hosts.values())])
        return min(next_s, self._events[0][0]) if self._events else next_s

    def pace(self, next_arrival: Callable[[], float]) -> None:
        """With nothing in hand and nothing to tell, the next telling is after the next request."""
        if self.now_s >= self._tell_s or not self.books.i[b.HAND]:
            if self.books.i[b.HAND] or self.books.sent.any():
                self._tell_s = max(self._tell_s, self.now_s)
            else:
                self._tell_s = max(self._tell_s, next_arrival() + self._every_s)

    def due(self) -> None:
        """All that is due."""
        now_s = self.now_s
        while self._events and self._events[0][0] <= now_s:
            _, _, name, given = heapq.heappop(self._events)
            self._happen(name, given)
        for replica, host in list(self._hosts.items()):
            if host.tick_s <= now_s and replica in self._hosts:
                self._tell(replica, Tick())
        if now_s >= self._tell_s:
            self._tell_s = now_s + self._every_s
            for replica in list(self._hosts):
                self._use(replica)
            if len(self._hosts) > 1:
                for model in np.flatnonzero(self.books.hand.any(axis=0)).tolist():
                    self._look(model)
            for model in list(self._lacking):
                self._ask(model)

    # --- replicas

    @property
    def replicas(self) -> list[int]:
        """Those that take requests, oldest first."""
        return list(self._hosts)

    def join(self, replica: int) -> None:
        """A replica without models. `settle` once all have come."""
        self._hosts[replica] = _Host(f"replica-{next(self._count)}", ModelCache(self.serving.models_bytes))

    def settle(self) -> None:
        """Replicas have come: they hold what they are to, and are asked for what requests wait for."""
        self.hold()
        for model in list(self._lacking):
            self._ask(model)

    def forget(self, replica: int) -> None:
        """Nothing new goes to it, and what it loads comes to nothing."""
        host = self._hosts.pop(replica)
        self._events = [event for event in self._events if event[2] != host.name]
        heapq.heapify(self._events)
        for model in list(host.loading):
            h.loading(self.books, replica, -1, model in host.again)
        self.books.sent[replica] = 0
        for model, of in enumerate(self._models):
            waited = replica in of.asked
            of.asked.discard(replica)
            of.refused.discard(replica)
            if self.books.copy[replica, model] == h.HELD:
                self.books.copy[replica, model] = h.LEAVING
                self._place(model)
            if waited and self.books.wait_head[model] != b.NOBODY and not self.books.held[model]:
                self.lack(model)

    def hold(self) -> None:
        """What each replica holds unasked: pinned models."""
        if not self._settings:
            return
        names = {host.name: replica for replica, host in self._hosts.items()}
        for name, hold in holds(self._settings, names).items():
            self._tell(names[name], Set(self._settings, hold))

    # --- models

    def _tell(self, replica: int, given: Input) -> None:
        self._use(replica)
        self._step(replica, given)

    def _step(self, replica: int, given: Input) -> None:
        host = self._hosts[replica]
        for action in host.cache.step(given, self.now_s):
            self._act(replica, host, action)
        due_s = host.cache.next_s(self.now_s)
        host.tick_s = inf if due_s is None else max(due_s, self.now_s + 1e-6)
        # With a model on its way, one that falls idle may be what makes room: it is told at once.
        self.books.watched[replica] = bool(host.tick_s < inf or host.loading)

    def _use(self, replica: int) -> None:
        """Tell a host how its models are used."""
        host = self._hosts.get(replica)
        if host is None:
            return
        if self._is_roomy and host.tick_s == inf and not host.loading:  # nobody will ever ask how they were used
            self.books.sent[replica] = 0
            return
        sent, hand = self.books.sent[replica], self.books.hand[replica]
        for model in np.flatnonzero(sent).tolist():
            host.told.setdefault(model, -1)
        for model, told in list(host.told.items()):
            requests, in_hand = int(sent[model]), int(hand[model])
            sent[model] = 0
            if in_hand:
                host.told[model] = in_hand
            else:
                del host.told[model]
            if requests or told != in_hand:
                self._step(replica, Used(self.workloads[model].name, requests, in_hand))

    def idled(self, replica: int, model: int) -> None:
        """A model has nothing in hand any more there."""
        if replica not in self._hosts:
            return
        if self.books.copy[replica, model] == h.LEAVING:
            self._later(self.serving.unload_s, replica, Ended(self.workloads[model].name, "1"))
        self._use(replica)

    def _later(self, after_s: float, replica: int, given: Input) -> None:
        name = self._hosts[replica].name
        heapq.heappush(self._events, (self.now_s + after_s, next(self._count), name, given))

    def _act(self, replica: int, host: _Host, action: Action) -> None:
        match action:
            case FetchModel(name):
                workload = self.workloads[self._row[name]]
                artifact_bytes = workload.artifact_bytes or max(1, int((workload.memory_bytes - BASE) / RATIO))
                self._later(FETCH_S, replica, Fetched(name, "1", artifact_bytes, "sized"))
            case Load(name):
                model = self._row[name]
                load = self._next_load(model)
                self.loads += 1
                host.loading.add(model)
                if model in host.lost:
                    host.again.add(model)
                h.loading(self.books, replica, 1, model in host.again)
                self._later(load.took_s, replica, Loaded(name, "1", load.memory_bytes, load.took_s))
            case Unload(name):
                model = self._row[name]
                self.evictions += 1
                host.lost.add(model)
                self.books.copy[replica, model] = h.LEAVING
                self._place(model)
                if not self.books.hand[replica, model]:
                    self._later(self.serving.unload_s, replica, Ended(name, "1"))
            case Refuse(name):
                self._refused(replica, self._row[name])

    def _next_load(self, model: int) -> PastLoad:
        """What the next load of a model takes."""
        of, workload = self._models[model], self.workloads[model]
        of.loads += 1
        if of.loads <= len(workload.loads):
            return workload.loads[of.loads - 1]
        return PastLoad(workload.load_s, workload.memory_bytes)

    def _happen(self, name: str, given: Input) -> None:
        replica = next((number for number, host in self._hosts.items() if host.name == name), None)
        if replica is None:
            return
        if isinstance(given, Loaded):
            model, host = self._row[given.model], self._hosts[replica]
            if model in host.loading:
                host.loading.discard(model)
                h.loading(self.books, replica, -1, model in host.again)
                host.again.discard(model)
            self.books.copy[replica, model] = h.HELD
            self.books.fresh[replica, model] = 1
            of = self._models[model]
            of.asked.discard(replica)
            of.refused.clear()
            of.load_s = given.took_s + FETCH_S
            self._place(model)
            self._lacking.discard(model)
            h.release(self.books, model)
        elif isinstance(given, Ended):
            self.books.copy[replica, self._row[given.model]] = h.NONE
        self._tell(replica, given)

    def _place(self, model: int) -> None:
        """Those that hold a model, as it prefers them."""
        names = {self._hosts[r].name: r for r in self._hosts if self.books.copy[r, model] == h.HELD}
        ordered = order(self.workloads[model].name, names)
        self.books.held[model] = len(ordered)
        for place, name in enumerate(ordered):
            self.books.holders[model, place] = names[name]
        if not ordered and self.books.wait_head[model] != b.NOBODY:
            self._lacking.add(model)

    def lack(self, model: int) -> None:
        """Requests wait for a model that nobody holds."""
        self._lacking.add(model)
        self._ask(model)

    def _ask(self, model: int) -> None:
        """Ask for a model that requests wait for, if nobody is at it."""
        of = self._models[model]
        if self.books.held[model] or self.books.wait_head[model] == b.NOBODY:
            self._lacking.discard(model)
        elif not of.asked:
            self._want(model, {*of.asked, *of.refused}, "asked")

    def _want(self, model: int, having: set[int], why: str) -> None:
        members = [
            Member(
                host.name,
                int((self.books.copy[replica] == h.HELD).sum()) + len(host.loading),
                float(self.books.all_hand[replica]),
                len(host.loading),
            )
            for replica, host in self._hosts.items()
        ]
        names = {host.name: replica for replica, host in self._hosts.items()}
        name = self.workloads[model].name
        chosen = next_replica(name, members, {self._hosts[one].name for one in having if one in self._hosts})
        if chosen is not None:
            self._models[model].asked.add(names[chosen])
            self._tell(names[chosen], Asked(name, why))

    def _refused(self, replica: int, model: int) -> None:
        of = self._models[model]
        of.asked.discard(replica)
        of.refused.add(replica)
        if self.books.held[model]:
            of.copies.refused(self.now_s)
        elif set(self._hosts) - of.refused:
            self._want(model, {*of.asked, *of.refused}, "asked")
        else:
            of.refused.clear()
            self._lacking.discard(model)
            h.refuse(self.books, model)

    def _look(self, model: int) -> None:
        """Whether a model is to have more copies, or use fewer."""
        of, books = self._models[model], self.books
        holders = {replica for replica in self._hosts if books.copy[replica, model] == h.HELD}
        if not holders:
            return
        coming = {replica for replica, host in self._hosts.items() if model in host.loading} | of.asked
        hand = sum(int(books.hand[replica, model]) for replica in holders)
        slots = int(books.i[b.SLOTS])
        verdict = of.copies.look(
            self.now_s,
            Seen(
                in_hand=min(hand, slots * len(holders)), waiting=max(0, hand - slots * len(holders)),
                ready=len(holders), coming=len(coming - holders), slots=slots, replicas=len(self._hosts),
                least=int(self.workloads[model].name in self.serving.pinned), most=0, load_s=of.load_s,
            ),
        )  # fmt: skip
        books.use[model] = verdict.use
        if verdict.want:
            refused = set(of.refused)
            of.refused.clear()
            self._want(model, coming | holders | refused, "hot")


def _is_roomy(workloads: Sequence[Workload], models_bytes: int) -> bool:
    """Whether all models fit side by side, whatever the cache takes them for before they are loaded: then none ever
    leaves, and what a cache knows of their use changes nothing."""
    if any(one.loads or one.artifact_bytes for one in workloads):
        return False
    sizes = [one.memory_bytes for one in workloads]
    return min(sizes) >= 2 * BASE and sum(sizes) * _MARGIN <= models_bytes
