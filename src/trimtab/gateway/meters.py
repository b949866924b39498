"""Meters: what happened to the requests of one variant, cheap to add to, and taken once a second to be reported.

The hot path appends two numbers to arrays (lists, which keep the floats themselves, cost more).
From time to time these are folded into distributions, by loops that run in C: a float of 32 bits has its bucket
(`metrics.sketch`) in its upper half, one bit too many. A request that was sent at once, as most are, has no time in the
queue, so that its latency is its model's: counted once for both.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from math import ceil
from sys import byteorder

from trimtab.errors import ModelFailed, QueueFull, ReplicaLost, TrimtabError
from trimtab.metrics.sketch import OFFSET, PER_DOUBLING, ZERO, bucket_of
from trimtab.wire.merging import merge_tallies
from trimtab.wire.reports import ModelsReport, Range, Tally, VariantReport, VersionReport

_LEAST_US = 1e-3  # clocks do not tell less; zero and less have no bucket among the halves
_UPPER = 1 if byteorder == "little" else 0
_HALVES_BEGIN = OFFSET - 126 * PER_DOUBLING  # the bucket of a float's upper half h is h // 2 + this


class Values:
    """A distribution: like `Sketch`, but fed in bulk."""

    __slots__ = ("count", "halves", "max", "min", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.min = 0.0
        self.max = 0.0
        self.halves: Counter[int] = Counter()

    def add(self, values: Sequence[float]) -> None:
        """Count `values` (each at least 0 and finite)."""
        if not values:
            return
        low, high = min(values), max(values)
        if low < _LEAST_US:
            values = [value if value > _LEAST_US else _LEAST_US for value in values]
            low = max(low, 0.0)
        self.min = low if not self.count or low < self.min else self.min
        self.max = high if high > self.max else self.max
        self.count += len(values)
        self.sum += sum(values)
        self.halves.update(memoryview(array("f", values)).cast("B").cast("H")[_UPPER::2])

    def take(self) -> Tally:
        """All that was counted; counts from zero again."""
        if not self.count:
            return Tally()
        buckets: dict[int, int] = {}
        for half, count in self.halves.items():
            bucket = (half >> 1) + _HALVES_BEGIN
            buckets[bucket] = buckets.get(bucket, 0) + count
        taken = Tally(self.count, self.sum, self.min, self.max, buckets)
        self.count, self.sum, self.min, self.max = 0, 0.0, 0.0, 0.0
        self.halves.clear()
        return taken


class Whole:
    """A distribution of whole numbers of which few differ: cheaper than `Values`."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: Counter[float] = Counter()

    def take(self) -> Tally:
        """All that was counted, but zeros: they say that there is nothing to count; counts from zero again."""
        counts, self.counts = self.counts, Counter()
        counts.pop(0, None)
        if not counts:
            return Tally()
        buckets: dict[int, int] = {}
        for value, count in counts.items():
            bucket = bucket_of(value)
            buckets[bucket] = buckets.get(bucket, 0) + count
        total = sum(value * count for value, count in counts.items())
        return Tally(counts.total(), total, min(counts), max(counts), buckets)


class VersionMeter:
    """What came of the requests of one version of a variant: the deployment that its lanes belong to.

    `log_latency` and `log_compute` (us) are called by `Variant.answered` for each answer to a request that was sent at
    once; it adds to `request_bytes` and `response_bytes` itself.
    """

    __slots__ = ("_at_once", "_billed", "_compute", "_computed", "_counts", "_first", "_first_model", "_latencies",
                 "_latency", "_model", "_queue", "_sizes",
                 "_waited", "batches", "bills", "log_compute", "log_latency", "request_bytes", "response_bytes",
                 "version")  # fmt: skip

    def __init__(self, version: str) -> None:
        self.version = version
        self.bills = False  # each request for its time in a replica's hands (serverless)
        self._billed = Values()
        self._latencies, self._computed = array("d"), array("d")
        self.log_latency, self.log_compute = self._latencies.append, self._computed.append
        self.request_bytes = self.response_bytes = 0  # bodies of answers without error, and of what they answer
        self.batches: list[int] = []  # for each answer that was one of a batch, the size of that
        self._waited = array("d")  # of each other answer without error: latency, in the queue, compute time
        self._at_once = Values()  # latency, and of these the model's
        self._latency = Values()
        self._model = Values()
        self._queue = Values()
        self._compute = Whole()
        self._first = Values()
        self._first_model = Values()
        self._sizes: Counter[int] = Counter()
        self._counts = VersionReport(version=version)

    def waited(self, received_s: float, sent_s: float, answered_s: float, compute_us: int) -> None:
        """An answer without error, to a request that may have waited for a lane."""
        note = self._waited.append
        note((answered_s - received_s) * 1e6)
        note((sent_s - received_s) * 1e6)
        note(compute_us)

    def fold(self) -> None:
        """Empty the arrays into the distributions: 0.1 us for each answer."""
        if self._latencies:
            self._at_once.add(self._latencies)
            if self.bills:
                self._billed.add([ceil(us / 1000) for us in self._latencies])
            self._ended(self._computed)
            del self._latencies[:], self._computed[:]
        if waited := self._waited:
            latencies, queued, computed = waited[0::3], waited[1::3], waited[2::3]
            del waited[:]
            self._latency.add(latencies)
            self._queue.add(queued)
            by_model = [whole - before for whole, before in zip(latencies, queued, strict=True)]
            self._model.add(by_model)
            if self.bills:
                self._billed.add([ceil(us / 1000) for us in by_model])
            self._ended(computed)
        if batches := self.batches:
            self._sizes.update(batches)
            batches.clear()

    def wasted(self, took_s: float) -> None:
        """A replica had a request in hand for so long, and nobody had the answer."""
        self._counts.wasted_us += took_s * 1e6

    def tokens(self, told: tuple[int, int]) -> None:
        """The model told how many tokens came in and went out."""
        self._counts.input_tokens += told[0]
        self._counts.output_tokens += told[1]

    def bill(self, took_s: float) -> None:
        """A request that was not answered was with a replica for so long."""
        self._billed.add([ceil(took_s * 1000)])

    def _ended(self, computed: Sequence[float]) -> None:
        self._counts.ended += len(computed)
        if any(computed):
            self._compute.counts.update(computed)

    @property
    def ended(self) -> int:
        """Requests that were answered or failed, since the last `take`."""
        return self._counts.ended + len(self._latencies) + len(self._waited) // 3

    def began(self, received_s: float, sent_s: float, now_s: float) -> None:
        """A stream's first piece is here."""
        self._first.add([(now_s - received_s) * 1e6])
        self._first_model.add([(now_s - sent_s) * 1e6])

    def failed(self, error: TrimtabError, *, streaming: bool) -> None:
        """A request ended in `error`; `streaming`: after its answer had begun."""
        counts = self._counts
        counts.ended += 1
        counts.errors[error.reason] = counts.errors.get(error.reason, 0) + 1
        counts.broken_streams += streaming
        if isinstance(error, ModelFailed):
            counts.model_faults += 1
            if 400 <= error.status < 500:
                counts.client_faults += 1
            elif error.status == 0 or error.status >= 500:  # 0: not in time
                counts.server_faults += 1
        elif isinstance(error, ReplicaLost):
            counts.model_faults += 1
            counts.server_faults += 1

    def take(self) -> VersionReport | None:
        """All since the last time; None when there was nothing."""
        self.fold()
        taken = self._counts
        taken.first_chunk = self._first.take()
        if not (taken.ended or taken.first_chunk.count or taken.wasted_us or taken.input_tokens):
            return None
        taken.latency, taken.model_latency = self._latency.take(), self._model.take()
        taken.queue_time, taken.compute_time = self._queue.take(), self._compute.take()
        if (at_once := self._at_once.take()).count:
            merge_tallies(taken.latency, at_once)
            merge_tallies(taken.model_latency, at_once)
            merge_tallies(taken.queue_time, Tally(at_once.count, 0.0, 0.0, 0.0, {ZERO: at_once.count}))
        taken.first_chunk_model = self._first_model.take()
        taken.billed_ms = self._billed.take()
        taken.request_bytes, taken.response_bytes = self.request_bytes, self.response_bytes
        self.request_bytes = self.response_bytes = 0
        taken.batched, self._sizes = dict(self._sizes), Counter()
        self._counts = VersionReport(version=self.version)
        return taken


class Meter:
    """What happens at one variant. `in_hand` is the requests that wait or are with replicas.

    The hot path (`Variant.admit`, `Variant.answered`) changes the public numbers itself.
    """

    __slots__ = ("_before", "_taken", "_waiting", "clients_gone", "in_hand", "least", "most", "retried", "spilled",
                 "throttled", "versions", "waiting_most")  # fmt: skip

    def __init__(self) -> None:
        self.versions: dict[str, VersionMeter] = {}
        self.in_hand = self.least = self.most = 0
        self.throttled = self.retried = self.clients_gone = self.spilled = 0
        self.waiting_most = 0
        self._taken = 0  # ended, in all reports
        self._before = 0  # `in_hand` at the last report
        self._waiting = 0  # waited at the last report

    def version(self, name: str) -> VersionMeter:
        """The meter of a version, made when it is new."""
        return self.versions.get(name) or self.versions.setdefault(name, VersionMeter(name))

    def fold(self) -> None:
        """Let nothing grow long: called some times a second while there are requests."""
        for version in self.versions.values():
            version.fold()

    def left(self) -> None:
        """A request is here no more, and was not answered."""
        self.in_hand = in_hand = self.in_hand - 1
        if in_hand < self.least:
            self.least = in_hand

    def ended_so_far(self) -> int:
        """Requests that are here no more, since the meter was made: answered, failed, or left by their caller."""
        return self._taken + self.clients_gone + sum(version.ended for version in self.versions.values())

    def failed(self, version: VersionMeter, error: TrimtabError, *, streaming: bool) -> None:
        """A request has ended in an error."""
        self.left()
        self.throttled += isinstance(error, QueueFull)
        version.failed(error, streaming=streaming)

    def take(
        self,
        endpoint: str,
        variant: str,
        *,
        waiting: int,
        busy_s: dict[str, float],
        current: set[str],
        models: ModelsReport | None = None,
    ) -> VariantReport | None:
        """All since the last time; None when nothing happened.

        `waiting` is the requests that wait now; versions other than `current` are forgotten. `models` is passed on.
        """
        versions = [taken for meter in self.versions.values() if (taken := meter.take()) is not None]
        ended = sum(taken.ended for taken in versions) + self.clients_gone
        report = VariantReport(
            endpoint=endpoint,
            variant=variant,
            received=ended + self.in_hand - self._before,
            throttled=self.throttled,
            retried=self.retried,
            clients_gone=self.clients_gone,
            in_hand=Range(self.least, self.most),
            waiting=Range(min(self._waiting, waiting), max(self.waiting_most, self._waiting, waiting)),
            busy_s=busy_s,
            versions=versions,
            models=models,
            spilled=self.spilled,
        )
        happened = bool(versions or ended or self.most or self._before or waiting or self.retried)
        self._before = self.least = self.most = self.in_hand
        self._waiting, self.waiting_most = waiting, waiting
        self._taken += ended
        self.throttled = self.retried = self.clients_gone = self.spilled = 0
        for name in [name for name in self.versions if name not in current]:
            del self.versions[name]
        return report if happened else None
