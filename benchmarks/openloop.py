"""An open-loop HTTP client: requests leave when they are due, whatever became of those before.

A request's latency counts from when it was due, so that a stall is seen. Connections are kept open and reused; a new one
is made when all are busy. Costs about 20 us of CPU a request, so that it reaches some ten thousand a second.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import cast

HOST = "127.0.0.1"
_TICK_S = 0.001


@dataclass
class Outcome:
    """What came back. Latencies are in seconds, from when a request was due."""

    statuses: Counter[int] = field(default_factory=Counter)  # 0: the connection broke
    ok_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)  # by the error's type
    wrong: int = 0  # answers of 200 that are not the right ones
    in_time: int = 0  # right answers that came before the load's end
    sent: int = 0
    last_sent_late_s: float = 0.0  # the most that this client itself was late


class _Connection(asyncio.Protocol):
    def __init__(self, client: Client) -> None:
        self._client = client
        self._received = b""
        self.due_s = 0.0  # of the request in hand; 0: idle
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, which is not asyncio's

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = received[:end]
        length = int(header(head, b"content-length") or 0)
        if len(received) < end + 4 + length:
            return
        self._received = b""
        due_s, self.due_s = self.due_s, 0.0
        self._client.answered(self, due_s, int(head[9:12]), head, received[end + 4 :])

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost(self)


class Client:
    """Sends requests to `port` of this machine: one over and over, or an endless row of them."""

    def __init__(
        self, port: int, request: bytes | Iterator[bytes], *, is_right: Callable[[bytes], bool], most_connections: int
    ) -> None:
        self.outcome = Outcome()
        self._port = port
        self._requests = repeat(request) if isinstance(request, bytes) else request
        self._is_right = is_right
        self._most = most_connections
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening = 0
        self._ends_s = 0.0
        self._progress = asyncio.Event()
        self._waiting: deque[float] = deque()  # when each was due
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_ok: Callable[[float, float], None] = lambda due_s, latency_s: None  # each answer of 200

    async def run_at(self, times_s: Sequence[float], began_s: float) -> Outcome:
        """A request at each of `times_s` (ascending) after `began_s` (of `time.perf_counter`), then as `run`."""
        due = 0
        while due < len(times_s):
            now_s = time.perf_counter() - began_s
            while due < len(times_s) and times_s[due] <= now_s:
                self._send(began_s + times_s[due])
                due += 1
            await asyncio.sleep(_TICK_S)
        await self.drained(70)
        return self.outcome

    async def run(self, rate: float, seconds: float) -> Outcome:
        """`rate` requests/s for `seconds`, evenly. Returns once every answer is there, or after 30 s more."""
        began_s = time.perf_counter()
        self._ends_s = began_s + seconds
        due = 0
        while (now_s := time.perf_counter()) < began_s + seconds:
            while began_s + due / rate <= now_s:
                self._send(began_s + due / rate)
                due += 1
            await asyncio.sleep(_TICK_S)
        await self.drained(30)
        return self.outcome

    async def drained(self, patience_s: float) -> None:
        """Until nothing is in hand."""
        try:
            async with asyncio.timeout(patience_s):
                while self._in_hand():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            pass  # what is missing is missing in the counts

    def _in_hand(self) -> bool:
        return bool(self._waiting) or self._opening > 0 or len(self._idle) < len(self._open)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            if connection.transport is not None:
                connection.transport.abort()

    def _send(self, due_s: float) -> None:
        self.outcome.sent += 1
        if self._idle:
            self._write(self._idle.pop(), due_s)
            return
        self._waiting.append(due_s)
        self._open_more()

    def _open_more(self) -> None:
        if len(self._open) + self._opening < self._most and self._opening < len(self._waiting):
            self._opening += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _write(self, connection: _Connection, due_s: float) -> None:
        assert connection.transport is not None
        connection.due_s = due_s
        self.outcome.last_sent_late_s = max(self.outcome.last_sent_late_s, time.perf_counter() - due_s)
        connection.transport.write(next(self._requests))

    async def _connect(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), HOST, self._port
            )
        except OSError:
            self.outcome.statuses[0] += 1
            self._opening -= 1
            self._progress.set()
            if self._waiting:
                self._waiting.popleft()
            self._open_more()
            return
        self._opening -= 1
        self._open.add(connection)
        self._next(connection)

    def _next(self, connection: _Connection) -> None:
        if self._waiting:
            self._write(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def answered(self, connection: _Connection, due_s: float, status: int, head: bytes, body: bytes) -> None:
        """An answer came."""
        outcome, latency_s = self.outcome, time.perf_counter() - due_s
        outcome.statuses[status] += 1
        if status == 200:
            outcome.ok_s.append(latency_s)
            self.on_ok(due_s, latency_s)
            right = self._is_right(body)
            outcome.wrong += not right
            outcome.in_time += right and due_s + latency_s <= self._ends_s
        else:
            outcome.refused_s.append(latency_s)
            outcome.refusals[header(head, b"x-amzn-errortype").decode() or str(status)] += 1
        self._next(connection)
        self._progress.set()

    def lost(self, connection: _Connection) -> None:
        """A connection ended."""
        self._open.discard(connection)
        if connection.due_s:
            self.outcome.statuses[0] += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        self._open_more()
        self._progress.set()


def header(head: bytes, name: bytes) -> bytes:
    """The value of the header `name` (in lower case), or nothing."""
    at = head.lower().find(b"\r\n" + name + b":")
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""


def request(path: str, body: bytes, headers: str = "") -> bytes:
    """A POST of JSON without a signature. `headers`: further ones, each ending in CRLF."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body
