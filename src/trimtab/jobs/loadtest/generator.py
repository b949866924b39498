"""Generator: sends requests when they are due and counts what becomes of them. One per process.

It never waits for an answer before it sends the next request (open loop): a server that stalls finds what was due in
the meantime waiting, and each of those latencies counts from the moment at which the request was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator

from trimtab.jobs.loadtest.connection import Connection
from trimtab.jobs.loadtest.dialer import Dialer
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.recorder import Recorder
from trimtab.jobs.loadtest.sender import BAD_ANSWER, CLOSED, NOT_SENT, REFUSED, TIMEOUT, Sender
from trimtab.jobs.loadtest.tally import Tally
from trimtab.jobs.loadtest.timer import Alarm

TICK_S = 0.2  # how often time-outs are looked for and counts are given away
_AWAY_S = 2.0  # nobody has answered for so long, and connections fail: the server is away
_NEVER = float("inf")
_monotonic = time.monotonic


class Generator:
    """Runs one share of a plan. `on_delta` is given what has been counted since the last time."""

    def __init__(
        self,
        plan: LoadPlan,
        sender: Sender,
        on_delta: Callable[[Tally], None],
        *,
        share: int = 0,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._sender = sender
        self._on_delta = on_delta
        self._share = share
        self._wires = [sender.wire(payload) for payload in plan.payloads]
        self._wall_offset_s = wall_s() - _monotonic()
        self._dialer = Dialer(sender.address, max(1, plan.max_connections // plan.processes))
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._pending: deque[tuple[float, int]] = deque()  # due, payload: until there is a connection
        self._outstanding = 0  # due and neither answered nor failed
        self._recorder = Recorder(plan.step_s, plan.limit_s)
        self._blocks: Iterator[tuple[list[float], list[int]]] = iter(())
        self._times: list[float] = []
        self._chosen: list[int] = []
        self._at = 0
        self._start = 0.0
        self._next = _NEVER
        self._measured = False
        self._last_heard = 0.0
        self._settled = asyncio.Event()
        self._all_gone = asyncio.Event()

    # --- a run -------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Connect once, and warm up. Raises Unavailable when nobody answers."""
        self._recorder.rehearse()
        await self._dialer.find()
        if (warm_up := self._plan.warm_up()) is not None:
            self._blocks = warm_up.blocks(self._share, self._plan.processes)
            await self._run(_monotonic(), measured=False)
        blocks = self._plan.schedule.blocks(self._share, self._plan.processes)
        self._blocks = itertools.chain([next(blocks, ([], []))], blocks)  # the first ones are drawn before the start

    async def run(self, start: float) -> None:
        """Send what is due from `start` (monotonic clock) on, and wait for what becomes of it."""
        self._recorder.begin(start, start + self._plan.duration_s)
        await self._run(start, measured=True)
        self._flush()

    async def _run(self, start: float, *, measured: bool) -> None:
        self._measured = measured
        self._start = self._last_heard = start
        self._settled.clear()
        self._load_block()
        alarm = Alarm(asyncio.get_running_loop(), lambda: self._rung(alarm))
        gc.freeze()
        gc.disable()  # a collection takes milliseconds, and little here is garbage
        try:
            alarm.set(self._next if self._next < _NEVER else start)
            while not self._settled.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._settled.wait(), TICK_S)
                self._tick()
        finally:
            gc.enable()
            alarm.close()

    def stop(self, *, unfinished: bool = True) -> None:
        """Send nothing more. What is outstanding counts as unfinished."""
        self._blocks, self._next = iter(()), _NEVER
        self._times, self._at = [], 0
        if self._measured and unfinished:
            self._recorder.tally.unfinished += self._outstanding
        self._pending.clear()
        self._outstanding = 0
        for connection in list(self._open):
            if not connection.idle:
                connection.abandon()
        self._settled.set()

    async def close(self) -> None:
        """Close every connection."""
        await self._dialer.close()
        for connection in list(self._open):
            connection.abandon()
        if self._open:
            await self._all_gone.wait()

    # --- sending -----------------------------------------------------------------------------------------------

    def _load_block(self) -> None:
        self._times, self._chosen = next(self._blocks, ([], []))
        start = self._start
        self._times = [start + time_s for time_s in self._times]
        self._at = 0
        self._next = self._times[0] if self._times else _NEVER
        if not self._times:
            self._check_settled()

    def _rung(self, alarm: Alarm) -> None:
        self._send_due(_monotonic())
        if self._next < _NEVER:
            alarm.set(self._next)

    def _send_due(self, now: float) -> None:
        while self._next <= now:
            due, payload = self._next, self._chosen[self._at]
            self._at += 1
            self._outstanding += 1
            if self._measured:
                self._recorder.due(due, now, self._outstanding)
            if self._idle:
                self._send(self._idle.pop(), due, payload, now)
            else:
                self._pending.append((due, payload))
                self._dial()
            if self._at < len(self._times):
                self._next = self._times[self._at]
            else:
                self._load_block()

    def _send(self, connection: Connection, due: float, payload: int, now: float) -> None:
        request = self._wires[payload](int(now + self._wall_offset_s))
        reader = self._sender.stream_reader() if self._sender.streams else None
        connection.send(request, due, now, measured=self._measured, reader=reader)
        if self._measured:
            self._recorder.sent(len(request))

    # --- connections -------------------------------------------------------------------------------------------

    def _dial(self) -> None:
        if self._dialer.opening < len(self._pending):
            self._dialer.dial(lambda: Connection(self), self._dialed, self._not_dialed)

    def _dialed(self, connection: Connection) -> None:
        if self._measured:
            self._recorder.tally.connections_opened += 1
        if connection.transport.is_closing():
            self._fail_waiting(CLOSED, "the server closed the connection at once")
            return
        self._open.add(connection)
        self._all_gone.clear()
        self.free(connection, _monotonic())

    def _not_dialed(self, why: str) -> None:
        self._fail_waiting(REFUSED, why)
        if _monotonic() - self._last_heard > _AWAY_S:
            address = self._sender.address
            self._give_up(f"Nobody answers at {address.host}:{address.port} any more: {why}.")

    def _fail_waiting(self, kind: str, why: str) -> None:
        if self._pending:
            self._pending.popleft()
            self._failed(_monotonic(), self._measured, kind, 0, why)

    # --- Owner -------------------------------------------------------------------------------------------------

    def succeeded(self, connection: Connection, now: float) -> None:
        """See `connection.Owner`."""
        self._last_heard = now
        self._outstanding -= 1
        if connection.measured:
            self._recorder.succeeded(connection, now)
        if self._outstanding <= 0:
            self._check_settled()

    def refused(self, connection: Connection, now: float, status: int) -> None:
        """See `connection.Owner`."""
        self._last_heard = now
        if connection.measured:
            self._recorder.tally.bytes_received += connection.bytes_received
        reader = connection.reader
        failure = reader.failure if reader is not None and status < 300 else None
        if failure is None:
            failure = self._sender.failure(status, connection.error_type, connection.error_body)
        self._failed(now, connection.measured, failure.kind, status, failure.message)
        if failure.hopeless:
            self._give_up(failure.message)

    def broke(self, connection: Connection, now: float, why: str, *, bad_answer: bool) -> None:
        """See `connection.Owner`."""
        kind = BAD_ANSWER if bad_answer else CLOSED
        self._failed(now, connection.measured, kind, 0, why)

    def free(self, connection: Connection, now: float) -> None:
        """See `connection.Owner`."""
        if self._pending:
            due, payload = self._pending.popleft()
            if self._measured:
                self._recorder.tally.waited += 1
            self._send(connection, due, payload, now)
        else:
            self._idle.append(connection)
        if self._next <= now:
            self._send_due(now)

    def gone(self, connection: Connection) -> None:
        """See `connection.Owner`."""
        self._open.discard(connection)
        self._dialer.closed()
        if not self._open:
            self._all_gone.set()
        if connection in self._idle:
            self._idle.remove(connection)
        if self._pending:
            self._dial()

    # --- what becomes of requests ------------------------------------------------------------------------------

    def _failed(self, now: float, measured: bool, kind: str, status: int, why: str) -> None:
        self._outstanding -= 1
        if measured:
            self._recorder.failed(now, kind, status, why)
        if self._outstanding <= 0:
            self._check_settled()

    def _check_settled(self) -> None:
        if self._next == _NEVER and self._outstanding <= 0:
            self._settled.set()

    def _give_up(self, why: str) -> None:
        if not self._recorder.tally.hopeless:
            self._recorder.tally.hopeless = why
            self.stop()

    def _tick(self) -> None:
        now = _monotonic()
        before = now - self._plan.timeout_s
        while self._pending and self._pending[0][0] < before:
            self._fail_waiting(NOT_SENT, "no connection was free in time")
        for connection in [c for c in self._open if 0 <= c.due < before]:
            self._failed(now, connection.measured, TIMEOUT, 0, "there was no whole answer in time")
            connection.abandon()
        if self._measured:
            self._flush()

    def _flush(self) -> None:
        self._on_delta(self._recorder.take())
