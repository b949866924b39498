"""Recorder: notes of each request in a list or two, made into a `Tally` a few times a second, many at once."""

from __future__ import annotations

import math
import time

import numpy as np

from trimtab.jobs.loadtest.connection import Connection
from trimtab.jobs.loadtest.tally import Tally, sketch_of


class Recorder:
    """Counts for one process. Times are of the monotonic clock."""

    def __init__(self, step_s: float, limit_s: float) -> None:
        self._step_s = step_s
        self._limit_s = limit_s
        self._start = 0.0
        self._end = math.inf
        self._due: list[float] = []  # due, lag; due, lag; ...
        self._good: list[float] = []  # due, sent, done; ...
        self._first_chunks: list[float] = []
        self._cpu_s = time.process_time()
        self._most_outstanding = 0
        self.tally = Tally()

    def rehearse(self) -> Tally:
        """Do everything once: what numpy does for the first time takes 10 ms, in which no request would leave."""
        self.begin(0.0, 1.0)
        for at in (0.1, 1.5):
            self._due += (at, at)
            self._good += (at, at, at + 0.1)
            self._first_chunks.append(at)
        return self.take()

    def begin(self, start: float, end: float) -> None:
        """Forget everything; the test begins at `start` and is planned to end at `end`."""
        self._start, self._end = start, end
        self._due, self._good, self._first_chunks = [], [], []
        self._cpu_s = time.process_time()
        self._most_outstanding = 0
        self.tally = Tally()

    def due(self, due: float, now: float, outstanding: int) -> None:
        """The time of a request has come (`due`) and is noticed (`now`)."""
        self._due += (due, now - due)
        if outstanding > self._most_outstanding:  # told as increases, which add up
            self.tally.most_outstanding += outstanding - self._most_outstanding
            self._most_outstanding = outstanding

    def sent(self, size_bytes: int) -> None:
        """A request was sent."""
        tally = self.tally
        tally.sent += 1
        tally.bytes_sent += size_bytes

    def succeeded(self, connection: Connection, now: float) -> None:
        """A good answer."""
        self._good += (connection.due, connection.sent, now)
        tally = self.tally
        tally.bytes_received += connection.bytes_received
        if connection.chunks:
            tally.chunks += connection.chunks
            self._first_chunks.append(connection.first_chunk - connection.due)

    def failed(self, now: float, kind: str, status: int, why: str) -> None:
        """A failure."""
        self.tally.fail(kind, status, why)
        self.tally.step(self._number(now)).failed += 1

    def _number(self, at: float) -> int:
        return int(max(0.0, at - self._start) / self._step_s)

    def take(self) -> Tally:
        """What has been counted since the last time."""
        tally = self.tally
        self._count_due(tally)
        self._count_good(tally)
        if self._first_chunks:
            tally.first_chunk = sketch_of(np.asarray(self._first_chunks))
            self._first_chunks = []
        cpu_s = time.process_time()
        tally.cpu_s = cpu_s - self._cpu_s
        self._cpu_s = cpu_s
        self.tally = Tally(hopeless=tally.hopeless)
        return tally

    def _count_due(self, tally: Tally) -> None:
        if not self._due:
            return
        noted = np.asarray(self._due).reshape(-1, 2)
        self._due = []
        tally.due = len(noted)
        tally.lag = sketch_of(noted[:, 1])
        numbers, counts = np.unique(self._numbers(noted[:, 0]), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            tally.step(number).due += count

    def _count_good(self, tally: Tally) -> None:
        if not self._good:
            return
        noted = np.asarray(self._good).reshape(-1, 3)
        self._good = []
        due, sent, done = noted[:, 0], noted[:, 1], noted[:, 2]
        latency = done - due
        tally.answered = len(noted)
        tally.answered_in_time = int((done <= self._end).sum())
        tally.late_answers = int((latency > self._limit_s).sum())
        tally.service = sketch_of(done - sent)
        numbers, counts = np.unique(self._numbers(done), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            tally.step(number).answered += count
        steps = self._numbers(due)
        for number in np.unique(steps).tolist():
            tally.step(number).latency.merge(sketch_of(latency[steps == number]))

    def _numbers(
        self, times: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return (np.maximum(0.0, times - self._start) / self._step_s).astype(np.int64)
