"""Replicas of one endpoint and what waits in front of them: the queue's machine code, with starts that take time."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final
from zlib import crc32

import numpy as np

from trimtab.errors import Invalid
from trimtab.policies.costs.split import IDLE_AFTER_S
from trimtab.sim.arrivals import interleaved
from trimtab.sim.kernels import books as b
from trimtab.sim.kernels import fleet, queue
from trimtab.sim.load import Floats
from trimtab.sim.replicas import watching
from trimtab.sim.replicas.standing import Feed, Standing
from trimtab.sim.world import Serving, Work, Workload

EXPIRES_S: Final = 6 * 3600.0  # AWS: of an asynchronous request that waits (RequestTTLSeconds)


def work_on(workload: Workload, instance_type: str) -> Work:
    """What a request of it takes there. Invalid where that is not known."""
    work = workload.work.get(instance_type) or workload.work.get("*")
    if work is None:
        known = ", ".join(sorted(workload.work)) or "none"
        raise Invalid(
            f"What a request of workload {workload.name} takes on {instance_type} is not known, only: {known}"
        )
    return work


def feed(workloads: Sequence[Workload], works: Sequence[Work], seed: int) -> Feed:
    """All requests of the workloads. Chance depends upon a workload's name and the seed, not on who serves it."""
    points = np.zeros((len(works), max(len(work.quantiles_s) for work in works)))
    for row, work in enumerate(works):
        points[row, : len(work.quantiles_s)] = work.quantiles_s
    sizes = np.array([len(work.quantiles_s) for work in works])
    streams = [one.arrivals.chunks(crc32(one.name.encode(), seed & 0xFFFFFFFF)) for one in workloads]
    if len(streams) == 1:
        for chunk in streams[0]:
            nobody = np.zeros(len(chunk.at_s), dtype=np.int64)
            yield chunk.at_s, queue.taken(chunk.uniform, nobody, points, sizes), nobody
        return
    for at_s, uniform, which in interleaved(streams):
        yield at_s, queue.taken(uniform, which, points, sizes), which


class Station(Standing):
    """`ready` replicas serve from the start, at `start_s`; the feed's requests come."""

    def __init__(
        self, serving: Serving, workloads: Sequence[Workload], requests: Feed, start_s: float, *, waits: bool
    ) -> None:
        """`waits`: requests may wait for long (asynchronous), and are tried again when a replica dies with them."""
        works = [work_on(one, serving.instance_type) for one in workloads]
        within_s = [inf if one.slo is None else one.slo.within_s for one in workloads]
        super().__init__(serving, requests)
        self.busy_share = sum(work.busy_share for work in works) / len(works)
        self._books = b.books(
            slots=min(work.slots for work in works),
            batch=np.array([work.batch for work in works]),
            row_s=np.array([work.row_s for work in works]),
            within_s=np.array(within_s),
        )
        whole, seconds = self.books.i, self.books.f
        seconds[b.NOW] = start_s
        seconds[b.IDLE_AFTER] = IDLE_AFTER_S
        if waits:
            whole[b.REPEATS] = 1
            seconds[b.WAIT_LIMIT], seconds[b.WORK_LIMIT] = EXPIRES_S, serving.timeout_s
        else:
            whole[b.QUEUE_MOST] = serving.queue
            seconds[b.WAIT_LIMIT] = seconds[b.ANSWER_LIMIT] = serving.timeout_s
        self.releases_s = inf  # when a draining replica may go

    # --- how it is

    @property
    def books(self) -> b.Books:
        """See Standing."""
        return self._books

    @property
    def next_s(self) -> float:
        """See Standing."""
        return min(super().next_s, self.releases_s)

    def idle_s(self) -> float:
        """Replica-seconds so far of replicas that had had no request for long."""
        return fleet.idle(self.books)

    # --- time

    def run(self, until_s: float, alarms: tuple[Floats, Floats] | None = None) -> int:
        """Until then, or one of TRIPPED, SETTLED. `next_s` must not lie before it.

        `alarms`: rows and marks of `watching`, by which it looks at alarms on the way; FIRED, then, too.
        """
        while True:
            if alarms is None:
                why = queue.run(self.books, self._at, self._takes, self._which, until_s, self._is_last)
            else:
                why = watching.watched(self.books, self._at, self._takes, self._which, until_s, self._is_last, *alarms)
            if why == queue.MORE:
                self._more()
            elif why == queue.FULL:
                self.make_room(2 * len(self.books.queue_at))
            else:
                return why

    def make_room(self, requests: int) -> None:
        """For so many to wait."""
        if requests > len(self.books.queue_at):
            self._books = b.with_queue(self.books, requests)

    def finish(self, until_s: float) -> None:
        """See Standing."""
        self._close()
        while self.now_s < until_s and self.books.i[b.HAND]:
            self.run(min(until_s, self.next_s))
            self.turn()

    def turn(self) -> None:
        """Starts that are over by now, and replicas that may go."""
        now_s = self.now_s
        if self._begin():
            self.run(now_s)  # they take what waits
        if self.releases_s <= now_s:
            self.releases_s = fleet.release(self.books)

    # --- replicas

    def add(self, count: int) -> None:
        """See Standing."""
        missing = count - int(self.books.i[b.FREE_REPLICAS])
        if missing > 0:
            had = len(self.books.replica)
            self._books = b.with_replicas(self.books, max(2 * had, had + missing))
        fleet.join(self.books, count)

    def scale(self, wanted: int) -> None:
        """See Standing."""
        self._call_off(wanted)
        if self.capacity > wanted:
            self.drain(self.capacity - wanted)
        elif self.capacity < wanted:
            self.start(wanted - self.capacity)

    def drain(self, count: int) -> None:
        """So many ready replicas take nothing more."""
        may_go_s = self.now_s + (self.drain_s or 0.0)
        fleet.leave(self.books, count, may_go_s)
        if may_go_s > self.now_s:
            self.releases_s = min(self.releases_s, may_go_s)

    def chosen(self, count: int, chance: np.random.Generator) -> list[int]:
        """See Standing."""
        ready = np.flatnonzero(self.books.replica[:, b.STATE] == b.IS_READY)
        return [int(replica) for replica in chance.choice(ready, size=min(count, len(ready)), replace=False)]

    def kill(self, replica: int) -> None:
        """See Standing."""
        fleet.kill(self.books, replica)

    def dismiss(self, replica: int) -> bool:
        """See Standing."""
        fleet.dismiss(self.books, replica, self.now_s)
        return self.is_draining(replica)

    def is_draining(self, replica: int) -> bool:
        """See Standing."""
        return bool(self.books.replica[replica, b.STATE] == b.IS_DRAINING)
