"""Requests answered in batches: two threads take turns at reading, and the main thread asks the model.

The main thread reads while the model is idle. When a batch is worth it, it lends the reading to the reader, who sends
the answers of the batch before, receives and decodes what will be the next one, while this one is in the model
(onnxruntime, numpy, PyTorch and the tree libraries let go of the interpreter while they compute). When the main thread
has nothing left, the reader hands the reading back together with the next news. A request that comes alone never meets
the second thread.

What belongs to whom: `_pool` to the main thread; `_inbox` is filled by whoever decodes and emptied by the main thread;
`_lent` and `_wanted` change under `_turn`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import msgspec

from trimtab.policies.batching import Batching
from trimtab.wire.frames import HEADER, AnswerMeta, Kind, RequestMeta
from trimtab.worker.answers import Answer, Buffer, Fault, Streamed
from trimtab.worker.attendant import BROKEN_EXIT
from trimtab.worker.batchable import Batchable, Failed, Inseparable, Prepared, results
from trimtab.worker.connection import LARGE_BYTES, Connection
from trimtab.worker.faults import failure_frame, said
from trimtab.worker.serve import Loop

_AHEAD = 4  # batches that are decoded before their turn
_AHEAD_BYTES = 128 * 2**20
_SWITCH_S = 0.0001  # how long the reader may decode while the main thread wants the interpreter; measured
_SAMPLE = 8  # of requests that come alone, one in so many tells what one costs
_LATE = 504

_ANSWER = int(Kind.ANSWER)
_encode = msgspec.msgpack.Encoder().encode


class Item:
    """A decoded request on its way through the model."""

    __slots__ = (
        "arrived_s",
        "body_bytes",
        "cancelled",
        "connection",
        "deadline_s",
        "key",
        "meta",
        "prepared",
        "rows",
        "size_bytes",
        "stream",
    )

    def __init__(
        self, connection: Connection, stream: int, meta: RequestMeta, body_bytes: int, arrived_s: float, one: Prepared
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.meta = meta
        self.body_bytes = body_bytes
        self.arrived_s = arrived_s
        self.deadline_s = arrived_s + meta.timeout_s
        self.prepared = one
        self.cancelled = False
        self.key: Hashable = one.key
        self.rows: int = one.rows
        self.size_bytes: int = one.size_bytes


class Answered(NamedTuple):
    """A batch that has been through the model. Results are the model's, or Failed."""

    items: list[Item]
    results: list[Any]
    began_s: float
    compute_s: float


class Batches:
    """Serves a Batchable for a Loop.

    `note` writes a line to the replica's log; `on_stop` is told why the model turned out not to be batched; `on_first`
    how many seconds the first batch took.
    """

    def __init__(
        self,
        loop: Loop,
        model: Batchable,
        batching: Batching,
        note: Callable[[str], None],
        on_stop: Callable[[str], None],
        on_first: Callable[[float], None] | None = None,
    ) -> None:
        self._loop, self._model, self._batching = loop, model, batching
        self._note, self._on_stop, self._on_first = note, on_stop, on_first
        self._inbox: deque[Item] = deque()
        self._pool: list[Item] = []
        self._items: dict[tuple[Connection, int], Item] = {}  # decoded, not yet in the model
        self._answered: deque[Answered] = deque()  # by the model; the reader is to send them
        # Requests that went into the model, and those sent: three counts that each have one writer.
        self._begun = self._sent = self._sent_apart = 0
        self._preparing = threading.Lock()
        self._prepared_rows = self._prepared_bytes = 0  # so far; written under `_preparing`
        self._left_rows = self._left_bytes = 0  # of those no longer waiting; written by the main thread
        self._turn = threading.Lock()
        self._lent = False  # the reader reads
        self._wanted = False  # the main thread waits for the reading, or for news
        self._go, self._handed = _signal(), _signal()
        self._over = False
        self._alone = 0  # requests that were answered so
        self._failed_together = False
        self._told_failure = False

    def run(self) -> None:
        """Serve until the loop is told to leave."""
        if self._model.apart:
            sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
        reader = threading.Thread(target=self._read_for_ever, name="reader", daemon=True)
        reader.start()
        self._loop.run_apart(self)  # returns to a main thread that has the reading: the reader waits for its turn
        self._over = True
        self._go.release()
        reader.join()

    # What the loop asks

    def in_hand(self) -> int:
        """Requests decoded, in the model, or answered and not sent."""
        return len(self._items) + self._begun - self._sent - self._sent_apart

    def cancel(self, connection: Connection, stream: int | None) -> None:
        """Leave out what is not in the model yet."""
        if stream is not None:
            if item := self._items.get((connection, stream)):
                item.cancelled = True
            return
        for item in list(self._items.values()):
            item.cancelled = item.cancelled or item.connection is connection

    # The main thread

    def work(self) -> None:
        """Answer batch after batch, until nothing waits and the main thread has the reading."""
        batching, loop, clock = self._batching, self._loop, time.monotonic
        waiting = loop.waiting
        if len(waiting) == 1 and waiting[0][2].alone and not self._lent and batching.alone(clock()):
            # One caller alone: all that is below would be for nothing, and is slow while the model has the caches.
            loop.answer_waiting(self._answer_alone)
            return
        while True:
            self._gather()
            pool = self._pool
            if not pool:
                if not self._lent:
                    return
                self._await_news(None)
                continue
            places = batching.next_batch(pool)
            rows = sum(pool[place].rows for place in places)
            wait_s = batching.wait_s(pool, rows=rows, oldest_s=pool[0].arrived_s, now_s=clock())
            if wait_s > 0 and len(places) == len(pool) and not loop.waiting:
                self._await_news(wait_s)
                continue
            self._answer(self._taken(places))

    def _gather(self) -> None:
        """Bring what has come into the pool; decode it here, unless the reader already did."""
        inbox, pool, loop = self._inbox, self._pool, self._loop
        if loop.waiting and self._prepared_rows - self._left_rows < self._batching.rows:
            loop.busy_since_s = time.monotonic()  # a script's input_fn may be what takes long
            self._prepare()
            loop.busy_since_s = 0.0
        if not inbox:
            return
        came = len(inbox)
        for _ in range(came):
            pool.append(inbox.popleft())
        self._batching.arrivals.observe(came, time.monotonic())

    def _taken(self, places: list[int]) -> list[Item]:
        """Take the items at these places out of the pool; those that nobody waits for any more are dropped."""
        pool, now_s = self._pool, time.monotonic()
        taken = [pool[place] for place in places]
        if len(places) == len(pool):
            pool.clear()
        else:
            for place in reversed(places):
                del pool[place]
        self._left_rows += sum([item.rows for item in taken])
        self._left_bytes += sum([item.size_bytes for item in taken])
        self._loop.done(sum([item.body_bytes for item in taken]))
        self._loop.resume()
        wanted, items = [], self._items
        for item in taken:
            items.pop((item.connection, item.stream), None)
            if item.cancelled:
                continue
            if item.deadline_s <= now_s:
                late = Fault(_LATE, "The request's time was up before the model could begin with it.")
                self._loop.send(item.connection, failure_frame(item.stream, late))
                continue
            wanted.append(item)
        return wanted

    def _answer(self, items: list[Item]) -> None:
        if not items:
            return
        loop, clock = self._loop, time.monotonic
        rows = sum([item.rows for item in items])
        loop.busy_since_s = began_s = clock()
        self._begun += len(items)
        alone = len(items) == 1 and items[0].meta.alone and not self._pool
        if not self._lent and not alone and self._batching.worth_lending(rows):
            self._lend()
        self._failed_together = False
        found = results(self._model.predict, [item.prepared for item in items], self._batch_failed)
        compute_s = clock() - began_s
        if not self._failed_together:
            self._batching.observe(rows, compute_s)
        batch = Answered(items, found, began_s, compute_s)
        if self._lent and self._model.apart and (self._pool or self._inbox):
            self._answered.append(batch)  # the next batch shall not wait for this one's answers to be written
            loop.wake()
        else:
            self._sent += self._send(batch)
        loop.busy_since_s = 0.0
        if self._on_first is not None:
            self._on_first(clock() - began_s)
            self._on_first = None
        if not self._lent and self._pool:
            with loop.reading:
                loop.look(0)

    def _answer_alone(self, body: bytes, meta: RequestMeta) -> Answer | Streamed:
        began_s = time.monotonic()
        answer = self._model.answer_alone(body, meta)
        self._alone += 1
        if self._alone % _SAMPLE == 0:
            self._batching.observe(1, time.monotonic() - began_s)
        if self._on_first is not None:
            self._on_first(time.monotonic() - began_s)
            self._on_first = None
        return answer

    def _batch_failed(self, error: BaseException) -> None:
        self._failed_together = True
        if isinstance(error, Inseparable):
            if not self._batching.off:
                self._batching.stop()
                self._on_stop(str(error))
        elif not self._told_failure:
            self._told_failure = True
            self._note(
                f"a batch failed ({type(error).__name__}: {said(error)}). Its requests are asked again in halves, so "
                "that only those fail that fail alone. This is said once."
            )

    # Turns

    def _lend(self) -> None:
        self._lent = True
        self._go.release()

    def _await_news(self, wait_s: float | None) -> None:
        """Wait until something has come, or `wait_s` are over; for ever (None) only while the reader reads."""
        if not self._lent:
            with self._loop.reading:
                self._loop.look_soon(wait_s or 0.0)
            return
        with self._turn:
            if self._inbox or self._loop.waiting:
                return
            self._wanted = True
        if self._loop.leaving:
            self._loop.wake()  # the reader may have looked at that before it was wanted
        if self._handed.acquire(timeout=-1 if wait_s is None else wait_s):
            return
        with self._turn:
            if self._wanted:
                self._wanted = False
                return
        self._handed.acquire()  # the reader has handed over just now

    # The reader

    def _read_for_ever(self) -> None:
        try:
            while True:
                self._go.acquire()
                if self._over:
                    return
                self._read()
        except BaseException:  # noqa: BLE001 without its reader the worker hears nothing: end, and be replaced
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(BROKEN_EXIT)

    def _read(self) -> None:
        """Read and decode until the main thread wants the reading and there is something for it."""
        loop = self._loop
        while True:
            with loop.reading:
                loop.look(-1)
            self._send_answered()
            if self._model.apart:
                self._prepare(reader=True)
            with self._turn:
                # With answers still to send, the main thread's wake is on its way: once more around.
                if self._wanted and not self._answered and (self._inbox or loop.waiting or loop.leaving):
                    self._wanted = False
                    self._lent = False
                    self._handed.release()
                    return

    # Either

    def _send(self, batch: Answered) -> int:
        """Write the answers of a batch and send them, each connection's together; how many they were."""
        outgoing: dict[Connection, list[Buffer]] = {}
        for item, result in zip(batch.items, batch.results, strict=True):
            outgoing.setdefault(item.connection, []).extend(self._frames(batch, item, result))
        for connection, frames in outgoing.items():
            if sum(map(len, frames)) <= LARGE_BYTES:
                self._loop.send(connection, b"".join(frames))
            else:
                self._loop.send(connection, *frames)
        return len(batch.items)

    def _frames(self, batch: Answered, item: Item, result: Any) -> tuple[Buffer, ...]:
        """One result as it travels; where it cannot be written, its request alone fails. A stream begins by itself."""
        try:
            if type(result) is Failed:
                return (failure_frame(item.stream, self._model.fault_of(result.error)),)
            outcome = self._model.finish(item.prepared, result)
            if type(outcome) is not tuple:
                assert isinstance(outcome, Streamed)
                self._loop.stream(item.connection, item.stream, outcome)
                return ()
            payload, content_type, attributes = outcome
            compute_us, wait_us = int(batch.compute_s * 1e6) + 1, int((batch.began_s - item.arrived_s) * 1e6) + 1
            meta = _encode(AnswerMeta(content_type, attributes, compute_us, wait_us, len(batch.items)))
            return HEADER.pack(len(payload), item.stream, len(meta), _ANSWER, 0) + meta, payload
        except BaseException as error:  # noqa: BLE001 the model's code, a value that cannot be written, too long a meta
            return (failure_frame(item.stream, self._model.fault_of(error)),)

    def _send_answered(self) -> None:
        """The reader's: send what the main thread left to it."""
        while self._answered:
            self._sent_apart += self._send(self._answered.popleft())

    def _prepare(self, *, reader: bool = False) -> None:
        """Decode what waits, as far ahead as is useful. What cannot be decoded fails at once."""
        loop, model, most = self._loop, self._model, self._batching.rows * _AHEAD
        waiting = loop.waiting
        with self._preparing:
            while waiting and self._prepared_rows - self._left_rows < most:
                if self._prepared_bytes - self._left_bytes > _AHEAD_BYTES:
                    return
                if reader and self._answered:
                    self._send_answered()  # first: callers wait for it
                connection, stream, meta, body, read_s = waiting.popleft()
                if connection.cancelled and stream in connection.cancelled:
                    connection.cancelled.discard(stream)
                    loop.skipped(len(body))
                    continue
                try:
                    one = model.prepare(body, meta)
                except BaseException as error:  # noqa: BLE001 a body that cannot be decoded fails its request alone
                    loop.send(connection, failure_frame(stream, model.fault_of(error)))
                    loop.skipped(len(body))
                    continue
                item = Item(connection, stream, meta, len(body), read_s, one)
                self._prepared_rows += one.rows
                self._prepared_bytes += one.size_bytes
                self._items[connection, stream] = item
                self._inbox.append(item)


def _signal() -> threading.Lock:
    """A lock that one thread releases to wake the other, who waits in `acquire`: the cheapest signal there is."""
    lock = threading.Lock()
    lock.acquire()
    return lock
