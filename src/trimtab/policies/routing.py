"""Routing: which variant, which lane, and how much a lane may hold. Pure: randomness comes in as an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

WINDOW_WORK_S = 0.002  # a lane holds about so much work; the rest waits in the gateway, where it can still be moved
WINDOW_MOST = 256
_GAP_WEIGHT = 1 / 16  # of the newest sample in the average


class Load(Protocol):
    """A lane as routing sees it."""

    outstanding: int
    window: int
    ready: bool


LoadT = TypeVar("LoadT", bound=Load)


def least_outstanding(lanes: Sequence[LoadT], random: Callable[[], float]) -> LoadT | None:
    """The ready lane with the fewest outstanding requests and room in its window; ties are drawn. None: all full."""
    best: LoadT | None = None
    ties = 1
    for lane in lanes:
        outstanding = lane.outstanding
        if not lane.ready or outstanding >= lane.window:
            continue
        if best is None or outstanding < best.outstanding:
            best, ties = lane, 1
        elif outstanding == best.outstanding:
            ties += 1
            if random() * ties < 1.0:  # each of the ties is equally likely to remain
                best = lane
    return best


class Pace:
    """How quickly a lane answers, and hence how many requests it should hold at once.

    `gap_s` averages the time per answer while the lane is busy. The window is what the lane answers in
    `WINDOW_WORK_S`: quick models are pipelined deep, slow ones get one request at a time (for each that they work on
    at once), so that little is lost with them and least-outstanding tells the truth. One that batches holds two full
    batches at least: one that it works on, and the next, which is read and decoded meanwhile.
    """

    __slots__ = ("_least", "_most", "gap_s", "window")

    def __init__(self, concurrency: int, batch_size: int = 0, *, alone: bool = False) -> None:
        """`alone`: the window is one, whatever is measured."""
        self._least = 1 if alone else max(1, concurrency, 2 * batch_size)
        self._most = 1 if alone else WINDOW_MOST
        self.gap_s = 0.0  # nothing measured yet
        self.window = self._least

    def observe(self, gap_s: float) -> int:
        """Note the time of one answer since the one before, or since it was sent if that is later. The new window."""
        average_s = self.gap_s
        self.gap_s = average_s = average_s + (gap_s - average_s) * _GAP_WEIGHT if average_s else gap_s
        most = self._most
        window = int(WINDOW_WORK_S / average_s) if average_s * most > WINDOW_WORK_S else most
        self.window = window if window > self._least else self._least
        return self.window


class SmoothWeighted:
    """Smooth weighted round robin: exact shares, evenly interleaved, no randomness (as nginx does it)."""

    __slots__ = ("_current", "_total", "_weights")

    def __init__(self, weights: Iterable[float]) -> None:
        self._weights = tuple(weights)
        self._current = [0.0] * len(self._weights)
        self._total = sum(self._weights)

    def next(self) -> int | None:
        """The index whose turn it is; never one of weight 0. None when no weight is positive."""
        if self._total <= 0:
            return None
        best = -1
        for index, weight in enumerate(self._weights):
            if weight <= 0:
                continue
            self._current[index] += weight
            if best < 0 or self._current[index] > self._current[best]:
                best = index
        self._current[best] -= self._total
        return best
