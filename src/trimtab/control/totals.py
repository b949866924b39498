"""Totals: what gateways have counted since a variant exists, for Prometheus. They go on over restarts of control.

Durations are kept in microseconds, as reported.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import msgspec
from msgspec import Struct, field

from trimtab.metrics.families import BOUNDS_S
from trimtab.metrics.sketch import bucket_of
from trimtab.wire.reports import Tally, VariantReport, VersionReport

# The histogram's bounds as buckets of sketches; a bucket that a bound is in counts as below it (0.8 % at most).
_BOUNDS: Final = tuple(bucket_of(bound_s * 1e6) for bound_s in BOUNDS_S)
VERSIONS_KEPT: Final = 8  # of one variant: the newest


class Sum(Struct, array_like=True, gc=False):
    """How many values, and their sum."""

    count: float = 0
    sum: float = 0.0

    def add(self, tally: Tally) -> None:
        """Add a distribution's."""
        self.count += tally.count
        self.sum += tally.sum


class VersionTotals(Struct, array_like=True, gc=False):
    """Of one version of a variant."""

    errors: dict[str, int] = field(default_factory=dict)
    client_faults: int = 0
    server_faults: int = 0
    model_faults: int = 0
    broken_streams: int = 0
    duration: Sum = field(default_factory=Sum)
    below: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))  # by bound; the last: above all
    model: Sum = field(default_factory=Sum)
    queue: Sum = field(default_factory=Sum)
    compute: Sum = field(default_factory=Sum)
    first_chunk: Sum = field(default_factory=Sum)
    batches: Sum = field(default_factory=Sum)

    def add(self, report: VersionReport) -> None:
        """Add what a gateway counted."""
        for reason, count in report.errors.items():
            self.errors[reason] = self.errors.get(reason, 0) + count
        self.client_faults += report.client_faults
        self.server_faults += report.server_faults
        self.model_faults += report.model_faults
        self.broken_streams += report.broken_streams
        self.duration.add(report.latency)
        for bucket, count in report.latency.buckets.items():
            self.below[bisect_left(_BOUNDS, bucket)] += count
        self.model.add(report.model_latency)
        self.queue.add(report.queue_time)
        self.compute.add(report.compute_time)
        self.first_chunk.add(report.first_chunk)
        for size, answers in report.batched.items():
            self.batches.count += answers / size
            self.batches.sum += answers


class VariantTotals(Struct, array_like=True, gc=False):
    """Of one variant. `sampled` holds what others recorded: counters and summaries by the metric's name."""

    received: int = 0
    throttled: int = 0
    retried: int = 0
    clients_gone: int = 0
    versions: dict[str, VersionTotals] = field(default_factory=dict)
    sampled: dict[str, Sum] = field(default_factory=dict)
    model_hits: int = 0
    model_misses: int = 0
    model_wait: Sum = field(default_factory=Sum)

    def add(self, report: VariantReport) -> None:
        """Add what a gateway counted."""
        self.received += report.received
        self.throttled += report.throttled
        self.retried += report.retried
        self.clients_gone += report.clients_gone
        if (models := report.models) is not None:
            self.model_hits += models.hits
            self.model_misses += models.misses
            self.model_wait.add(models.waits)
        for version in report.versions:
            held = self.versions.pop(version.version, None) or VersionTotals()
            held.add(version)
            self.versions[version.version] = held  # the newest last
        while len(self.versions) > VERSIONS_KEPT:
            del self.versions[next(iter(self.versions))]


packed = msgspec.msgpack.Encoder().encode
unpacked = msgspec.msgpack.Decoder(VariantTotals).decode
