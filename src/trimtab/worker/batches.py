"""Requests answered in batches: two threads take turns at reading, and the main thread asks the model.

The main thread reads while the model is idle. When a batch is worth it, it lends the reading to the reader, who receives
and decodes what will be the next batch while this one is in the model (onnxruntime, numpy, PyTorch and the tree
libraries let go of the interpreter while they compute). When the main thread has nothing left, the reader hands the
reading back together with the next news. A single request that comes alone never meets the second thread.

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

from trimtab.policies.batching import Batching
from trimtab.wire.frames import RequestMeta
from trimtab.worker.answers import Answer, Fault, Streamed
from trimtab.worker.attendant import BROKEN_EXIT
from trimtab.worker.batchable import Batchable, Failed, Inseparable, Prepared, results
from trimtab.worker.connection import Connection
from trimtab.worker.faults import said
from trimtab.worker.serve import Loop

_AHEAD = 4  # batches that are decoded before their turn
_AHEAD_BYTES = 128 * 2**20
_SWITCH_S = 0.0001  # how long the reader may decode while the main thread wants the interpreter
_LATE = 504


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


class Batches:
    """Serves a Batchable for a Loop. `note` writes a line to the replica's log."""

    def __init__(
        self,
        loop: Loop,
        model: Batchable,
        batching: Batching,
        note: Callable[[str], None],
        on_first: Callable[[float], None] | None = None,
    ) -> None:
        self._loop, self._model, self._batching, self._note, self._on_first = loop, model, batching, note, on_first
        self._inbox: deque[Item] = deque()
        self._pool: list[Item] = []
        self._items: dict[tuple[Connection, int], Item] = {}  # decoded and not yet in the model, by connection and stream
        self._in_model = 0
        self._preparing = threading.Lock()
        self._prepared_rows = self._prepared_bytes = 0  # so far; written under `_preparing`
        self._left_rows = self._left_bytes = 0  # of those no longer waiting; written by the main thread
        self._turn = threading.Lock()
        self._lent = False  # the reader reads
        self._wanted = False  # the main thread waits for the reading, or for news
        self._go, self._handed = _signal(), _signal()
        self._told: set[str] = set()

    def run(self) -> None:
        """Serve until the loop is told to leave."""
        sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
        threading.Thread(target=self._read_for_ever, name="reader", daemon=True).start()
        self._loop.run_apart(self)

    # What the loop asks

    def in_hand(self) -> int:
        """Requests decoded, or in the model."""
        return len(self._items) + self._in_model

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
            self._answer(self._taken(places), rows)

    def _gather(self) -> None:
        """Bring what has come into the pool; decode it here, unless the reader already did."""
        inbox, pool, loop = self._inbox, self._pool, self._loop
        if loop.waiting and self._prepared_rows - self._left_rows < self._batching.rows:
            self._prepare()
        if not inbox:
            return
        came = len(inbox)
        for _ in range(came):
            pool.append(inbox.popleft())
        self._batching.arrivals.observe(came, pool[-1].arrived_s)

    def _taken(self, places: list[int]) -> list[Item]:
        """Take the items at these places out of the pool; those that nobody waits for any more are dropped."""
        pool, now_s = self._pool, time.monotonic()
        taken = [pool[place] for place in places]
        if len(places) == len(pool):
            pool.clear()
        else:
            for place in reversed(places):
                del pool[place]
        wanted = []
        for item in taken:
            self._items.pop((item.connection, item.stream), None)
            self._left_rows += item.rows
            self._left_bytes += item.size_bytes
            self._loop.done(item.body_bytes)
            if item.cancelled:
                continue
            if item.deadline_s <= now_s:
                late = Fault(_LATE, "The request's time was up before the model could begin with it.")
                self._loop.fail(item.connection, item.stream, late, at_once=True)
                continue
            wanted.append(item)
        return wanted

    def _answer(self, items: list[Item], rows: int) -> None:
        if not items:
            return
        loop, clock = self._loop, time.monotonic
        loop.busy_since_s = began_s = clock()
        self._in_model = len(items)
        alone = len(items) == 1 and items[0].meta.alone and not self._pool
        if not self._lent and not alone and self._batching.worth_lending(rows):
            self._lend()
        outcomes = self._ask(items)
        compute_s = clock() - began_s
        flush = set()
        for item, outcome in zip(items, outcomes, strict=True):
            connection, stream = item.connection, item.stream
            flush.add(connection)
            if type(outcome) is tuple:
                loop.answer(connection, stream, outcome, compute_s, began_s - item.arrived_s, len(items))
            elif isinstance(outcome, Streamed):
                loop.stream(connection, stream, outcome)
            else:
                assert isinstance(outcome, Fault)
                loop.fail(connection, stream, outcome)
        loop.busy_since_s = 0.0
        self._in_model = 0
        for connection in flush:
            loop.flush(connection)
        if self._on_first is not None:
            self._on_first(clock() - began_s)
            self._on_first = None
        loop.resume()
        if not self._lent and self._pool:
            with loop.reading:
                loop.look(0)

    def _ask(self, items: list[Item]) -> list[Answer | Streamed | Fault]:
        """Predict, then encode each result."""
        model, began_s = self._model, time.monotonic()
        self._failed_together = False
        found = results(model.predict, [item.prepared for item in items], self._batch_failed)
        if not self._failed_together:
            self._batching.observe(sum(item.rows for item in items), time.monotonic() - began_s)
        outcomes: list[Answer | Streamed | Fault] = []
        for item, result in zip(items, found, strict=True):
            try:
                if type(result) is Failed:
                    outcomes.append(model.fault_of(result.error))
                else:
                    outcomes.append(model.finish(item.prepared, result))
            except BaseException as error:  # noqa: BLE001 an answer that cannot be written fails its request alone
                outcomes.append(model.fault_of(error))
        return outcomes

    def _batch_failed(self, error: BaseException) -> None:
        self._failed_together = True
        if isinstance(error, Inseparable):
            self._batching.stop()
            self._tell("apart", f"not batched from now on: {error}")
        else:
            self._tell(
                "again",
                f"a batch failed ({type(error).__name__}: {said(error)}). Its requests are asked again in halves, so that "
                "only those fail that fail alone. This is said once.",
            )

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._note(text)

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
            if self._model.prepares_apart:
                self._prepare()
            with self._turn:
                if self._wanted and (self._inbox or loop.waiting or loop.leaving):
                    self._wanted = False
                    self._lent = False
                    self._handed.release()
                    return

    # Either

    def _prepare(self) -> None:
        """Decode what waits, as far ahead as is useful. What cannot be decoded fails at once."""
        loop, model, most = self._loop, self._model, self._batching.rows * _AHEAD
        waiting = loop.waiting
        with self._preparing:
            while waiting and self._prepared_rows - self._left_rows < most:
                if self._prepared_bytes - self._left_bytes > _AHEAD_BYTES:
                    return
                connection, stream, meta, body, read_s = waiting.popleft()
                if connection.cancelled and stream in connection.cancelled:
                    connection.cancelled.discard(stream)
                    continue
                try:
                    one = model.prepare(body, meta)
                except BaseException as error:  # noqa: BLE001 a body that cannot be decoded fails its request alone
                    loop.fail(connection, stream, model.fault_of(error), at_once=True)
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
