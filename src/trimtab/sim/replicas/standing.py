"""What stations have in common, whatever their replicas hold: the requests that come, and starts that take time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import inf
from typing import Final

import numpy as np

from trimtab.sim.kernels import books as b
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints, Serving

_NOTHING: Final = np.empty(0)
_NOBODY: Final = np.empty(0, dtype=np.int64)

Feed = Iterator[tuple[Floats, Floats, Ints]]
"""Requests in order of time: when they come, what they take, whose they are."""


class Standing(ABC):
    """Replicas of one endpoint and what waits in front of them. It goes on by `run`; what is due then, by `turn`."""

    def __init__(self, serving: Serving, requests: Feed) -> None:
        self.start_s, self.drain_s = serving.start_s, serving.drain_s
        self.starting: list[float] = []  # when each is ready
        self.busy_share = 1.0  # of the time in which its slots are taken, a replica has something to do
        self._requests = requests
        self._at, self._takes, self._which, self._is_last = _NOTHING, _NOTHING, _NOBODY, False

    # --- how it is

    @property
    @abstractmethod
    def books(self) -> b.Counted:
        """All figures; the arrays are others when there must be more room."""

    @property
    def now_s(self) -> float:
        """Seconds since the epoch."""
        return float(self.books.f[b.NOW])

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return int(self.books.i[b.READY])

    @property
    def busy_s(self) -> float:
        """Replica-seconds so far of replicas that had something to do."""
        return float(self.books.f[b.BUSY_S]) * self.busy_share

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
        return self.starting[0] if self.starting else inf

    @property
    def next_arrival_s(self) -> float:
        """When the next request comes; infinite: none."""
        while self.books.i[b.POSITION] >= len(self._at):
            if not self._more():
                return inf
        return float(self._at[self.books.i[b.POSITION]])

    @abstractmethod
    def idle_s(self) -> float:
        """Replica-seconds so far without a request for long."""

    # --- time

    @abstractmethod
    def run(self, until_s: float) -> int:
        """Until then, or one of `queue.TRIPPED`, `queue.SETTLED`."""

    @abstractmethod
    def turn(self) -> None:
        """What is over by now: starts above all."""

    @abstractmethod
    def finish(self, until_s: float) -> None:
        """Let what has come be answered by the replicas that there are or will be; no more comes."""

    def _more(self) -> bool:
        found = next(self._requests, None)
        self.books.i[b.POSITION] = 0
        if found is None:
            self._at, self._takes, self._which, self._is_last = _NOTHING, _NOTHING, _NOBODY, True
            return False
        self._at, self._takes, self._which = found
        return True

    def _close(self) -> None:
        """No more comes, and nothing is to be told of."""
        self._requests = iter(())
        self._more()
        self.books.i[b.TRIP] = np.iinfo(np.int64).max

    # --- replicas

    @abstractmethod
    def add(self, count: int) -> None:
        """Replicas that are ready at once."""

    @abstractmethod
    def scale(self, wanted: int) -> None:
        """Go for `wanted` replicas. The youngest go first: those that have not started serve nobody yet."""

    def start(self, count: int, ready_s: float | None = None) -> None:
        """Order replicas that will be ready then; without: as long from now as a start takes."""
        self.starting += [self.now_s + self.start_s if ready_s is None else ready_s] * count
        self.starting.sort()
        self.books.i[b.STARTING] += count

    def _begin(self) -> int:
        """Starts that are over by now are replicas; how many."""
        now_s = self.now_s
        over = sum(at_s <= now_s for at_s in self.starting)
        if over:
            del self.starting[:over]
            self.books.i[b.STARTING] -= over
            self.add(over)
        return over

    def _call_off(self, wanted: int) -> None:
        """Starts that are not needed for `wanted` replicas, the youngest first."""
        while self.capacity > wanted and self.starting:
            self.starting.pop()
            self.books.i[b.STARTING] -= 1

    @abstractmethod
    def chosen(self, count: int, chance: np.random.Generator) -> list[int]:
        """So many ready replicas, by chance."""

    @abstractmethod
    def kill(self, replica: int) -> None:
        """It is dead at once; what it had in hand is tried again, or lost."""

    @abstractmethod
    def dismiss(self, replica: int) -> bool:
        """It takes nothing more. Whether it still has something in hand."""

    @abstractmethod
    def is_draining(self, replica: int) -> bool:
        """Whether it finishes what it has."""
