"""Tally: what has happened so far. Each generating process sends the changes of its own; they add up."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from trimtab.metrics.sketch import OFFSET, PER_DOUBLING, ZERO, Sketch

_EXAMPLE_CHARACTERS: Final = 300


class ErrorCount(Struct):
    """Failures of one kind; `status` is HTTP's (0: there was no answer), `example` what the first one said."""

    kind: str
    status: int = 0
    count: int = 0
    example: str = ""


class Step(Struct):
    """A second (or a longer step) of the test. `latency` is of requests that were due in it, whenever they ended."""

    due: int = 0
    answered: int = 0  # good answers that came in it
    failed: int = 0  # failures that came in it
    latency: Sketch = field(default_factory=Sketch)


class Tally(Struct):
    """Counts and distributions, in seconds and bytes. Latencies are of good answers."""

    due: int = 0  # requests whose time has come
    sent: int = 0
    answered: int = 0
    answered_in_time: int = 0  # before the test's planned end: what throughput is counted by
    waited: int = 0  # sent late because every connection was in use
    unfinished: int = 0  # neither answered nor failed when the test was stopped
    late_answers: int = 0  # good answers slower than the SLO's limit, where there is one
    errors: dict[tuple[str, int], ErrorCount] = field(default_factory=dict)
    service: Sketch = field(default_factory=Sketch)  # from the moment of sending: what a closed loop would tell
    lag: Sketch = field(default_factory=Sketch)  # how late the generator itself was
    first_chunk: Sketch = field(default_factory=Sketch)  # streams: from the intended time
    chunks: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    connections_opened: int = 0
    most_outstanding: int = 0
    cpu_s: float = 0.0  # of the generator
    steps: dict[int, Step] = field(default_factory=dict)
    hopeless: str = ""  # why going on is of no use

    @property
    def failed(self) -> int:
        """Failures of all kinds."""
        return sum(error.count for error in self.errors.values())

    @property
    def finished(self) -> int:
        """Requests whose end is known."""
        return self.answered + self.failed

    def latency(self) -> Sketch:
        """Of all good answers, from the intended time."""
        whole = Sketch()
        for step in self.steps.values():
            whole.merge(step.latency)
        return whole

    def step(self, number: int) -> Step:
        """The step of that number, made if there is none yet."""
        found = self.steps.get(number)
        if found is None:
            found = self.steps[number] = Step()
        return found

    def fail(self, kind: str, status: int = 0, example: str = "", count: int = 1) -> None:
        """Count failures."""
        error = self.errors.get((kind, status))
        if error is None:
            error = self.errors[kind, status] = ErrorCount(kind, status, 0, example[:_EXAMPLE_CHARACTERS])
        error.count += count

    def merge(self, other: Tally) -> None:
        """Add what another process, or a later moment, has counted."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("service", "lag", "first_chunk"):
            getattr(self, name).merge(getattr(other, name))
        for error in other.errors.values():
            self.fail(error.kind, error.status, error.example, error.count)
        for number, theirs in other.steps.items():
            mine = self.step(number)
            mine.due += theirs.due
            mine.answered += theirs.answered
            mine.failed += theirs.failed
            mine.latency.merge(theirs.latency)
        self.hopeless = self.hopeless or other.hopeless


_SUMS: Final = (
    "due", "sent", "answered", "answered_in_time", "waited", "unfinished", "late_answers", "chunks", "bytes_sent",
    "bytes_received", "connections_opened", "most_outstanding", "cpu_s",
)  # fmt: skip


def sketch_of(values: NDArray[np.float64]) -> Sketch:
    """`Sketch.of` for many values at once (none negative)."""
    if not values.size:
        return Sketch()
    parts, powers = np.frexp(values)  # as `bucket_of` does for one
    numbers = powers * PER_DOUBLING + (parts * (2 * PER_DOUBLING)).astype(np.int64) + (OFFSET - PER_DOUBLING)
    found, counts = np.unique(np.where(values > 0, numbers, ZERO), return_counts=True)
    buckets = {bucket: float(count) for bucket, count in zip(found.tolist(), counts.tolist(), strict=True)}
    return Sketch(float(values.size), float(values.sum()), float(values.min()), float(values.max()), buckets)
