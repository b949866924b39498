"""Sketch: the distribution of some values, small enough to send each second and to add up over months.

Values fall into buckets that grow by `GAMMA` (the scheme of DDSketch: Masson, Rim, Lee, "DDSketch: a fast and
fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019). The value told for a bucket is within
`RELATIVE_ERROR` of every value in it, so any quantile is. Sum, count, minimum and maximum are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, exp, log

from msgspec import Struct, field

GAMMA = 1.0195  # (1 + e) / (1 - e) for an error e just below 1 %
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)
PER_LOG = 1 / log(GAMMA)
ZERO = 0
_OFFSET = 40_000  # beyond the index of any positive float, so that a bucket's sign is its values' sign


def bucket_of(value: float) -> int:
    """The bucket of a finite value: negative, `ZERO` or positive as the value is; larger for larger values."""
    if value > 0.0:
        return ceil(log(value) * PER_LOG) + _OFFSET
    if value < 0.0:
        return -(ceil(log(-value) * PER_LOG) + _OFFSET)
    return ZERO


def value_of(bucket: int) -> float:
    """The value told for a bucket: within `RELATIVE_ERROR` of every value that falls into it."""
    if bucket == ZERO:
        return 0.0
    size = 2.0 * exp((abs(bucket) - _OFFSET) / PER_LOG) / (1.0 + GAMMA)
    return size if bucket > 0 else -size


class Sketch(Struct, array_like=True):
    """Count, sum, minimum, maximum and buckets of some values. Empty: all zero.

    One made of a statistic set (AWS: StatisticValues) knows no distribution: `buckets` add up to less than `count`,
    and it has no quantiles.
    """

    count: float = 0.0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    buckets: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[float]) -> Sketch:
        """The sketch of `values`, each counted once."""
        made = cls()
        for value in values:
            made.add(value)
        return made

    def add(self, value: float, count: float = 1.0) -> None:
        """Count `value` (finite) `count` times."""
        if not self.count or value < self.min:
            self.min = value
        if not self.count or value > self.max:
            self.max = value
        self.count += count
        self.sum += value * count
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + count

    def merge(self, other: Sketch) -> None:
        """Count all that `other` has counted."""
        if not other.count:
            return
        self.min = min(self.min, other.min) if self.count else other.min
        self.max = max(self.max, other.max) if self.count else other.max
        self.count += other.count
        self.sum += other.sum
        buckets = self.buckets
        for bucket, count in other.buckets.items():
            buckets[bucket] = buckets.get(bucket, 0.0) + count

    def copy(self) -> Sketch:
        """One that can be changed apart."""
        return Sketch(self.count, self.sum, self.min, self.max, dict(self.buckets))

    @property
    def has_distribution(self) -> bool:
        """Whether every counted value is in a bucket, so that quantiles exist."""
        return self.count > 0 and abs(sum(self.buckets.values()) - self.count) <= 1e-9 * self.count

    def quantile(self, q: float) -> float:
        """The `q`-quantile (0 <= q <= 1), nearest rank, to within `RELATIVE_ERROR`, never outside [min, max].

        Raises ValueError when the sketch is empty or knows no distribution.
        """
        if not self.has_distribution:
            raise ValueError("a sketch that is empty, or made of a statistic set, has no quantiles")
        rank = q * self.count
        seen = 0.0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(max(value_of(bucket), self.min), self.max)
        return self.max
