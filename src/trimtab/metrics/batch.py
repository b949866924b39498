"""Batch: what has been recorded and is not in the file yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct, field

from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey

Points = dict[int, dict[int, Sketch]]
"""Series to start to sketch."""


class Series(Struct, gc=False):
    """One metric in one unit."""

    id: int
    key: MetricKey
    unit: str
    last_s: int  # start of its newest sample
    stored_s: int = -1  # the same, in the file; may lag by a minute


class Batch(Struct):
    """Points and notes of one commit. `generation` is the file's once it is committed."""

    generation: int = 0
    seconds: Points = field(default_factory=dict)
    direct: Points = field(default_factory=dict)  # those that came as 60 s
    notes: dict[str, bytes | None] = field(default_factory=dict)
    made: list[Series] = field(default_factory=list)
    touched: dict[int, Series] = field(default_factory=dict)
    committed: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0  # points
    durable: bool = False  # it has been written, and not even a power cut takes it back

    def add(self, points: Points, series: Series, start_s: int, sketch: Sketch) -> None:
        """Add a point to `points` (`seconds` or `direct` of this batch)."""
        self.touched[series.id] = series
        of_series = points.setdefault(series.id, {})
        held = of_series.get(start_s)
        if held is None:
            of_series[start_s] = sketch  # it is its maker's: never changed here
            self.size += 1
        else:
            of_series[start_s] = together = held.copy()
            together.merge(sketch)

    def of(self, series: int, start_s: int, end_s: int) -> Iterator[tuple[int, Sketch]]:
        """The points of a series that begin in [start_s, end_s)."""
        for points in (self.seconds, self.direct):
            for start, sketch in points.get(series, {}).items():
                if start_s <= start < end_s:
                    yield start, sketch

    def take_back(self, earlier: Batch) -> None:
        """Add what could not be committed."""
        for mine, theirs in ((self.seconds, earlier.seconds), (self.direct, earlier.direct)):
            for series, points in theirs.items():
                for start, sketch in points.items():
                    self.add(mine, earlier.touched[series], start, sketch)
        self.notes = {**earlier.notes, **self.notes}
        self.made = earlier.made + self.made
        self.committed = earlier.committed + self.committed

    def __bool__(self) -> bool:
        return bool(self.size or self.notes or self.made or self.committed)
