"""Counters of one variant in this process: cheap to add to, read by whoever exports metrics."""

from __future__ import annotations

_SUB_BITS = 2  # four buckets to each doubling: a quantile is right to within 12.5 %
_BUCKETS = (32 - _SUB_BITS) << _SUB_BITS


class LatencyHistogram:
    """Latencies in microseconds, in buckets that grow with the value (up to about 35 minutes)."""

    __slots__ = ("buckets", "count", "sum_us")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0
        self.sum_us = 0

    def add(self, seconds: float) -> None:
        """Count one latency."""
        latency_us = int(seconds * 1e6)
        self.count += 1
        self.sum_us += latency_us
        shift = latency_us.bit_length() - 1 - _SUB_BITS
        if shift <= 0:
            self.buckets[latency_us if latency_us > 0 else 0] += 1
            return
        index = (shift << _SUB_BITS) + (latency_us >> shift)
        self.buckets[index if index < _BUCKETS else -1] += 1

    def quantile_us(self, q: float) -> int:
        """The upper bound of the bucket that holds the `q`-quantile (0 <= q <= 1). ValueError when empty."""
        if not self.count:
            raise ValueError("no latency has been counted")
        rank = max(1, -(-int(q * self.count * 1_000_000) // 1_000_000))
        seen = 0
        for index, count in enumerate(self.buckets):
            seen += count
            if seen >= rank:
                return upper_bound_us(index)
        return upper_bound_us(_BUCKETS - 1)


def upper_bound_us(index: int) -> int:
    """The largest latency, in microseconds, that bucket `index` counts."""
    shift = (index >> _SUB_BITS) - 1
    if shift <= 0:
        return index
    return (((index & ((1 << _SUB_BITS) - 1)) + (1 << _SUB_BITS) + 1) << shift) - 1


class VariantCounters:
    """What happened to one variant's requests since this process began. Only ever grow, but for the two gauges."""

    __slots__ = ("errors", "in_flight", "latency", "model_latency", "queued", "requests", "retried")

    def __init__(self) -> None:
        self.requests = 0  # taken in, or refused
        self.errors: dict[str, int] = {}  # by TrimtabError.reason; ClientGone where the caller left
        self.retried = 0  # sent to a lane that handed them back untouched
        self.latency = LatencyHistogram()  # of answers without error: arrival to answer
        self.model_latency = LatencyHistogram()  # of these: sent to a lane until answered
        self.in_flight = 0  # gauge: in lanes' hands
        self.queued = 0  # gauge: waiting for a lane

    def failed(self, reason: str) -> None:
        """Count one failure."""
        self.errors[reason] = self.errors.get(reason, 0) + 1
