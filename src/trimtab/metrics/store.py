"""MetricStore: series of sketches by name and dimensions, written once, read at any period."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from trimtab.metrics.sketch import Sketch

Dimensions = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


class MetricKey(Struct, frozen=True, array_like=True, cache_hash=True, gc=False):
    """Which metric: AWS's namespace (`AWS/SageMaker`), name (`ModelLatency`) and dimensions, sorted by name."""

    namespace: str
    name: str
    dimensions: Dimensions = ()


class Sample(Struct, frozen=True, gc=False):
    """What a metric was during `resolution_s` seconds from `start_s` (whole seconds since the epoch)."""

    key: MetricKey
    start_s: int
    sketch: Sketch
    unit: str = "None"  # AWS's StandardUnit
    resolution_s: int = 1  # 1 or 60: finer than a minute it is kept for 3 hours only (AWS: high resolution)


class Point(Struct, frozen=True, gc=False):
    """All samples of one period that begins at `start_s`, merged."""

    start_s: int
    sketch: Sketch
    unit: str


class MetricStore(Protocol):
    """Called from control's event loop, `query` and `keys` also from other threads; no call waits long.

    Retention is AWS's: below 60 s 3 h, 60 s 15 d, 300 s 63 d, 3600 s 455 d; an older or longer period is made of what
    is left.
    """

    def record(self, samples: Sequence[Sample], *, durable: bool = False) -> None:
        """Add samples; those of one series and start add up.

        The sketches are kept as they are: they must not change any more. Samples may share them. With `durable`, they
        are on disk on return; call it from another thread then, for it waits. Raises LimitExceeded (nothing is kept)
        and Unavailable then.
        """
        ...

    def query(self, key: MetricKey, start_s: int, end_s: int, period_s: int, *, unit: str = "") -> list[Point]:
        """Points with data, oldest first, of the whole periods that [start_s, end_s) touches.

        Periods are aligned to multiples of `period_s` since the epoch: the first is the one that `start_s` is in.
        `unit` "" takes any; points of different units are not merged.
        """
        ...

    def keys(self, namespace: str = "", name: str = "", *, since_s: int = 0) -> Iterable[MetricKey]:
        """The metrics that have had a sample since `since_s`, "" taking any namespace or name."""
        ...
