"""Sketch: the distribution of some values, small enough to send each second and to add up over months.

Values fall into buckets: each doubling is divided into `PER_DOUBLING` equal ones (the scheme of HdrHistogram and of
OpenTelemetry's log-linear histograms). The value told for a bucket is within `RELATIVE_ERROR` of every value in it, so
any quantile is. Sum, count, minimum and maximum are exact. A bucket is the first bits of a float's own representation:
gateways find it without arithmetic (`gateway/meters.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp, ldexp

from msgspec import Struct, field

PER_DOUBLING = 64
RELATIVE_ERROR = 1 / (2 * PER_DOUBLING + 1)  # 0.78 %
ZERO = 0
OFFSET = 1100 * PER_DOUBLING  # so that the bucket of every positive float is positive, and its sign its values' sign


def bucket_of(value: float) -> int:
    """The bucket of a finite value: negative, `ZERO` or positive as the value is; larger for larger values."""
    if value == 0.0:
        return ZERO
    part, power = frexp(value)  # 0.5 <= |part| < 1
    if value > 0.0:
        return power * PER_DOUBLING + int(part * (2 * PER_DOUBLING)) + (OFFSET - PER_DOUBLING)
    return -(power * PER_DOUBLING + int(part * (-2 * PER_DOUBLING)) + (OFFSET - PER_DOUBLING))


def value_of(bucket: int) -> float:
    """The value told for a bucket: within `RELATIVE_ERROR` of every value that falls into it."""
    if bucket == ZERO:
        return 0.0
    power, part = divmod(abs(bucket) - OFFSET, PER_DOUBLING)
    low, high = PER_DOUBLING + part, PER_DOUBLING + part + 1  # of the bucket, in units of 2**(power-1) / PER_DOUBLING
    size = ldexp(2.0 * low * high / (low + high) / (2 * PER_DOUBLING), power)
    return size if bucket > 0 else -size


class Sketch(Struct, array_like=True, gc=False):
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

    @classmethod
    def times(cls, value: float, count: float) -> Sketch:
        """The sketch of `value`, counted `count` times (0 or more)."""
        return cls(float(count), value * count, value, value, {bucket_of(value): float(count)}) if count else cls()

    @classmethod
    def evenly(cls, total: float, count: float) -> Sketch:
        """The sketch of `count` (0 or more) equal values whose sum is `total`, to the last bit."""
        made = cls.times(total / count, count) if count else cls()
        made.sum = float(total)
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
