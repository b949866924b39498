"""What alarms and plots see of a station: differences of its sums between two moments."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf
from typing import Final

import numpy as np

from trimtab.policies.alarms import LATE_S, step_s
from trimtab.sim.kernels import books as b
from trimtab.sim.latency import quantile
from trimtab.sim.load import Floats
from trimtab.sim.replicas.standing import Standing
from trimtab.sim.replicas.station import Station
from trimtab.sim.replicas.watching import FIRES
from trimtab.sim.scaling.foresight import LOOK_EVERY_S, Foresight
from trimtab.sim.scaling.metrics import Sample, SimAlarm
from trimtab.sim.world import Series

POINTS: Final = 1000  # of a plot

Watch = tuple[str, SimAlarm, bool]
"""A policy's ARN, an alarm that calls it, and whether that is about too much."""


def next_multiple(step: float, after_s: float) -> float:
    """The first multiple of `step` after that."""
    return (floor(after_s / step) + 1) * step


class Sampler:
    """Samples for alarms and forecasts, each within one of their steps; and when alarms are evaluated."""

    def __init__(self, station: Standing, watches: list[Watch], foresees: Sequence[Foresight] = ()) -> None:
        self.watches = watches
        self._foresees = foresees
        self._station = station
        self._step_s = min((step_s(alarm.watched) for _, alarm, _ in watches), default=0)
        self._since_s = station.now_s
        self._before = (0.0, 0.0, 0.0, 0)
        is_plain = bool(watches) and all(alarm.is_plain for _, alarm, _ in watches) and not foresees
        self._watched = station if is_plain and isinstance(station, Station) else None  # looks at alarms itself
        self._is_steady = False

    def next_s(self, now_s: float) -> float:
        """When there is something to do: a step's end, or the moment when it is looked at."""
        if not self.watches:
            return next_multiple(LOOK_EVERY_S, now_s) if self._foresees else inf
        start_s = now_s // self._step_s * self._step_s
        late_s = start_s + LATE_S  # of the step that ended there
        return late_s if now_s < late_s else start_s + self._step_s

    def run(self, until_s: float, in_vain: Sequence[bool]) -> tuple[int, list[Watch]]:
        """Let the station run until then, looking at alarms on the way; why it stopped, and whose policies are told.
        Only where `is_quick`. `in_vain`: which alarms' policies could do nothing, and so need not be told."""
        assert self._watched is not None
        marks = np.array([self._since_s, *self._before])
        rows = np.array(
            [[*alarm.row(), float(vain)] for (_, alarm, _), vain in zip(self.watches, in_vain, strict=True)]
        )
        why = self._watched.run(until_s, (rows, marks))
        since_s, hand_s, queued_s, busy_s, arrived = marks.tolist()
        self._since_s, self._before = since_s, (hand_s, queued_s, busy_s, int(arrived))
        found = []
        for watch, row in zip(self.watches, rows.tolist(), strict=True):
            watch[1].after(row)
            if row[FIRES]:
                found.append(watch)
        return why, found

    @property
    def is_quick(self) -> bool:
        """Whether alarms can be looked at in machine code."""
        if self._watched is not None and not self._is_steady:
            self._is_steady = all(alarm.is_steady for _, alarm, _ in self.watches)
        return self._is_steady

    def cut(self, wanted: int) -> None:
        """A sample ends here: of a step that is over, or because the replicas become others."""
        if not self.watches and not self._foresees:
            return
        station = self._station
        whole, seconds = station.books.i, station.books.f
        now_s, span_s = station.now_s, station.now_s - self._since_s
        if span_s <= 0:
            return
        hand_s, queued_s, busy_s, arrived = self._before
        self._before = (
            float(seconds[b.HAND_S]),
            float(seconds[b.QUEUED_S]),
            station.busy_s,
            int(whole[b.ARRIVED]),
        )
        sample = Sample(
            arrivals=self._before[3] - arrived,
            in_hand=(self._before[0] - hand_s) / span_s,
            waiting=(self._before[1] - queued_s) / span_s,
            busy_s=self._before[2] - busy_s,
            ready=station.ready,
            wanted=wanted,
            span_s=span_s,
            least_hand=float(whole[b.LEAST_HAND]),
            most_hand=float(whole[b.MOST_HAND]),
        )
        whole[b.LEAST_HAND] = whole[b.MOST_HAND] = whole[b.HAND]
        adds, added = None, (0.0, 0.0, 0.0, 0.0)
        for _, alarm, _ in self.watches:
            if alarm.adds is not adds:  # those of one policy watch the same metric
                adds = alarm.adds
                added = adds(sample)
            alarm.take(self._since_s, added)
        for one in self._foresees:
            one.see(self._since_s, sample)
        self._since_s = now_s


class Curves:
    """An endpoint over time, for plots."""

    def __init__(self, station: Standing, start_s: float, end_s: float) -> None:
        self._station = station
        self._start_s = start_s
        self._step_s = max((end_s - start_s) / POINTS, 1e-9)
        self._rows: list[tuple[float, float, float, float]] = []
        self._before = (0, 0.0)
        self._wanted, self._wanted_s, self._wanted_sum = 0, start_s, 0.0

    @property
    def next_s(self) -> float:
        """When the present point is over."""
        return self._start_s + (len(self._rows) + 1) * self._step_s

    def wants(self, wanted: int) -> None:
        """From now on so many replicas are wanted."""
        now_s = self._station.now_s
        self._wanted_sum += self._wanted * (now_s - self._wanted_s)
        self._wanted, self._wanted_s = wanted, now_s

    def cut(self) -> None:
        """The present point is over."""
        books = self._station.books
        self.wants(self._wanted)
        arrived, ready_s = int(books.i[b.ARRIVED]), float(books.f[b.READY_S])
        span_s = self._step_s
        p99_s = quantile(books.lately, 0.99) if books.lately.any() else float("nan")
        self._rows.append(
            (
                (arrived - self._before[0]) / span_s,
                (ready_s - self._before[1]) / span_s,
                self._wanted_sum / span_s,
                p99_s,
            )
        )
        self._before, self._wanted_sum = (arrived, ready_s), 0.0
        books.lately[:] = 0.0

    def series(self) -> Series:
        """All points."""
        rows: Floats = np.array(self._rows).reshape(-1, 4)
        return Series(self._step_s, self._start_s, *(rows[:, column].copy() for column in range(4)))
