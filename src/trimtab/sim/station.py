"""Replicas of one endpoint and what waits in front of them: the queue's machine code, with starts that take time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final
from zlib import crc32

import numpy as np

from trimtab.errors import Invalid
from trimtab.policies.costs.split import IDLE_AFTER_S
from trimtab.sim import books as b
from trimtab.sim import fleet, queue, watching
from trimtab.sim.arrivals import interleaved
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints, Serving, Work, Workload

EXPIRES_S: Final = 6 * 3600.0  # AWS: of an asynchronous request that waits (RequestTTLSeconds)

_NOTHING: Final = np.empty(0)
_NOBODY: Final = np.empty(0, dtype=np.int64)

Feed = Iterator[tuple[Floats, Floats, Ints]]
"""Requests in order of time: when they come, what they take, whose they are."""


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


class Station:
    """`ready` replicas serve from the start, at `start_s`; the feed's requests come."""

    def __init__(
        self, serving: Serving, workloads: Sequence[Workload], requests: Feed, start_s: float, *, waits: bool
    ) -> None:
        """`waits`: requests may wait for long (asynchronous), and are tried again when a replica dies with them."""
        works = [work_on(one, serving.instance_type) for one in workloads]
        within_s = [inf if one.slo is None else one.slo.within_s for one in workloads]
        self.books = b.books(
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
        self.start_s = serving.start_s
        self.drain_s = serving.drain_s
        self.starting: list[float] = []  # when each is ready
        self.releases_s = inf  # when a draining replica may go
        self._requests = requests
        self._at, self._takes, self._which, self._is_last = _NOTHING, _NOTHING, _NOBODY, False

    # --- how it is

    @property
    def now_s(self) -> float:
        """Seconds since the epoch."""
        return float(self.books.f[b.NOW])

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return int(self.books.i[b.READY])

    @property
    def capacity(self) -> int:
        """Replicas that there are or will be."""
        return self.ready + len(self.starting)

    @property
    def is_settled(self) -> bool:
        """Whether no change is under way."""
        return not self.starting and not self.books.i[b.DRAINING]

    @property
    def next_s(self) -> float:
        """When something happens to a replica that is known now."""
        return min(self.starting[0] if self.starting else inf, self.releases_s)

    @property
    def next_arrival_s(self) -> float:
        """When the next request comes; infinite: none."""
        while self.books.i[b.POSITION] >= len(self._at):
            if not self._more():
                return inf
        return float(self._at[self.books.i[b.POSITION]])

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
                self.books = b.with_queue(self.books, 2 * len(self.books.queue_at))
            else:
                return why

    def finish(self, until_s: float) -> None:
        """Let what has come be answered by the replicas that there are or will be; no more comes."""
        self._at, self._takes, self._which, self._is_last = _NOTHING, _NOTHING, _NOBODY, True
        self.books.i[b.POSITION] = 0
        self.books.i[b.TRIP] = np.iinfo(np.int64).max
        while self.now_s < until_s and self.books.i[b.HAND]:
            self.run(min(until_s, self.next_s))
            self.turn()

    def _more(self) -> bool:
        found = next(self._requests, None)
        self.books.i[b.POSITION] = 0
        if found is None:
            self._at, self._takes, self._which, self._is_last = _NOTHING, _NOTHING, _NOBODY, True
            return False
        self._at, self._takes, self._which = found
        return True

    def turn(self) -> None:
        """Starts that are over by now, and replicas that may go."""
        now_s = self.now_s
        if self.starting and self.starting[0] <= now_s:
            over = sum(at_s <= now_s for at_s in self.starting)
            del self.starting[:over]
            self.books.i[b.STARTING] -= over
            self.add(over)
            self.run(now_s)  # they take what waits
        if self.releases_s <= now_s:
            self.releases_s = fleet.release(self.books)

    # --- replicas

    def add(self, count: int) -> None:
        """Replicas that are ready at once."""
        missing = count - int(self.books.i[b.FREE_REPLICAS])
        if missing > 0:
            had = len(self.books.replica)
            self.books = b.with_replicas(self.books, max(2 * had, had + missing))
        fleet.join(self.books, count)

    def start(self, count: int, ready_s: float | None = None) -> None:
        """Order replicas that will be ready then; without: as long from now as a start takes."""
        self.starting += [self.now_s + self.start_s if ready_s is None else ready_s] * count
        self.starting.sort()
        self.books.i[b.STARTING] += count

    def scale(self, wanted: int) -> None:
        """Go for `wanted` replicas. The youngest go first: those that have not started serve nobody yet."""
        while self.capacity > wanted and self.starting:
            self.starting.pop()
            self.books.i[b.STARTING] -= 1
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
        """So many ready replicas, by chance."""
        ready = np.flatnonzero(self.books.replica[:, b.STATE] == b.IS_READY)
        return [int(replica) for replica in chance.choice(ready, size=min(count, len(ready)), replace=False)]

    def kill(self, replica: int) -> None:
        """It is dead at once; what it had in hand is tried again, or lost."""
        fleet.kill(self.books, replica)

    def dismiss(self, replica: int) -> bool:
        """It takes nothing more. Whether it still has something in hand."""
        fleet.dismiss(self.books, replica, self.now_s)
        return self.is_draining(replica)

    def is_draining(self, replica: int) -> bool:
        """Whether it finishes what it has."""
        return bool(self.books.replica[replica, b.STATE] == b.IS_DRAINING)
