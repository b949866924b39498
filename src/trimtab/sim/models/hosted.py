"""Replicas that hold many models each, as a Station."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from trimtab.policies.costs.split import IDLE_AFTER_S
from trimtab.sim.kernels import books as b
from trimtab.sim.kernels import queue
from trimtab.sim.models import hosting as h
from trimtab.sim.models.hosted_models import HostedModels
from trimtab.sim.replicas.standing import Feed, Standing
from trimtab.sim.replicas.station import work_on
from trimtab.sim.world import Serving, Workload


class HostedStation(Standing):
    """`ready` replicas serve from the start, at `start_s`; all models together have `models_bytes` of each."""

    def __init__(
        self, serving: Serving, workloads: Sequence[Workload], requests: Feed, start_s: float, end_s: float
    ) -> None:
        super().__init__(serving, requests)
        works = [work_on(one, serving.instance_type) for one in workloads]
        like = b.books(
            slots=serving.slots or max(work.slots for work in works),
            batch=np.array([1 for _ in works]),
            row_s=np.zeros(len(works)),
            within_s=np.array([inf if one.slo is None else one.slo.within_s for one in workloads]),
            replicas=1,
            queue=1,
        )
        most = [work.slots if serving.slots else int(like.i[b.SLOTS]) for work in works]
        books = h.hosts(like, most=most, first_s=[work.first_s for work in works])
        self._models = HostedModels(serving, workloads, books, (start_s, end_s))
        whole, seconds = self.books.i, self.books.f
        seconds[b.NOW] = start_s
        seconds[b.QUIET_AFTER], seconds[b.QUIET_FROM] = IDLE_AFTER_S, start_s + IDLE_AFTER_S
        whole[b.QUEUE_MOST] = serving.queue
        seconds[b.WAIT_LIMIT] = seconds[b.ANSWER_LIMIT] = serving.timeout_s

    # --- how it is

    @property
    def books(self) -> h.Hosts:
        """See Standing."""
        return self._models.books

    @property
    def loads(self) -> int:
        """Of models into replicas."""
        return self._models.loads

    @property
    def evictions(self) -> int:
        """Of models out of replicas."""
        return self._models.evictions

    def idle_s(self) -> float:
        """Replica-seconds so far while the endpoint had had no request for long."""
        return float(self.books.f[b.IDLE_S])

    # --- time

    def run(self, until_s: float) -> int:
        """See Standing."""
        while True:
            self._models.pace(lambda: self.next_arrival_s)
            stop_s = min(until_s, max(self._models.next_s, self.now_s))
            why = h.run(self.books, self._at, self._takes, self._which, stop_s, self._is_last)
            if why == queue.MORE:
                self._more()
            elif why == h.CROWDED:
                self._models.books = h.with_nodes(self.books, 2 * len(self.books.node_at))
            elif why == h.MISSED:
                self._models.lack(int(self.books.at[h.WHAT]))
            elif why == h.IDLED:
                self._models.idled(int(self.books.at[h.WHERE]), int(self.books.at[h.WHAT]))
            elif why != queue.DONE:
                return why
            else:
                self._models.due()
                if self.now_s >= until_s:
                    return why

    def finish(self, until_s: float) -> None:
        """See Standing."""
        self._close()
        while self.now_s < until_s and self.books.i[b.HAND]:
            self.run(min(until_s, self.next_s, self.now_s + 1.0))
            self.turn()

    # --- replicas

    def turn(self) -> None:
        """Starts that are over by now."""
        self._begin()

    def add(self, count: int) -> None:
        """Replicas that are ready at once, without models but those that they are to hold."""
        for _ in range(count):
            free = np.flatnonzero(self.books.state == b.GONE)
            if not len(free):
                self._models.books = h.with_replicas(self.books, 2 * len(self.books.state))
                free = np.flatnonzero(self.books.state == b.GONE)
            replica = int(free[0])
            for rows in (self.books.hand, self.books.sent, self.books.copy, self.books.working, self.books.fresh):
                rows[replica] = 0
            self.books.loads[replica] = self.books.reloads[replica] = self.books.watched[replica] = 0
            self.books.state[replica] = b.IS_READY
            self.books.i[b.READY] += 1
            self._models.join(replica)
        self._models.settle()

    def scale(self, wanted: int) -> None:
        """See Standing."""
        self._call_off(wanted)
        for replica in self._models.replicas[: wanted - self.capacity - 1 : -1] if self.capacity > wanted else ():
            self._models.forget(replica)
            h.leave(self.books, replica)
        if self.capacity < wanted:
            self.start(wanted - self.capacity)
        self._models.hold()

    def chosen(self, count: int, chance: np.random.Generator) -> list[int]:
        """See Standing."""
        there = np.array(self._models.replicas, dtype=np.int64)
        return [int(one) for one in chance.choice(there, size=min(count, len(there)), replace=False)]

    def kill(self, replica: int) -> None:
        """It is dead, with all that it has in hand."""
        if replica in self._models.replicas:
            self._models.forget(replica)
        if self.books.state[replica] != b.GONE:
            h.kill(self.books, replica)
        self._models.hold()

    def dismiss(self, replica: int) -> bool:
        """See Standing."""
        self._models.forget(replica)
        h.leave(self.books, replica)
        self._models.hold()
        return self.is_draining(replica)

    def is_draining(self, replica: int) -> bool:
        """See Standing."""
        return bool(self.books.state[replica] == b.IS_DRAINING)
