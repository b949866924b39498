"""The loop that answers gateways: read what has come, run the model in this thread, send answers in bursts.

One thread reads, computes and writes, because handing a request to another costs more than a small model's answer.
What must go on while the model computes is elsewhere: control is answered by the attendant, streams by their threads
(which also read in this thread's place when one request keeps it long, so that credit and cancels arrive). A model that
is asked in batches is worked by `worker/batches.py`, which has a thread that reads while a batch is in the model.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from trimtab.policies.patience import Gaps, look_s
from trimtab.wire.frames import HEADER, AnswerMeta, Kind, RequestMeta, pack
from trimtab.worker.answers import Answer, Buffer, Fault, Streamed
from trimtab.worker.connection import LARGE_BYTES, Connection, Malformed, Take
from trimtab.worker.faults import failure_frame, fault_of
from trimtab.worker.streams import Streams

AnswerFn = Callable[[bytes, RequestMeta], Answer | Streamed]

_BURST_S = 0.0002  # answers wait for each other at most this long
_LOOK_S = 0.001  # between looks at the sockets while requests are waiting
_KEPT_S = 0.005  # a request that takes longer keeps the main thread: others read in its place
_MAX_BACKLOG_BYTES = 16 * 2**20  # unsent answers of a gateway beyond which nothing more is read from it
_MAX_WAITING_BYTES = 512 * 2**20  # bodies in the queue beyond which nothing more is read from anyone
_MAX_WAITING = 8192
_FAREWELL_S = 1.0  # how long gateways may take to hang up on a worker that leaves

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_CREDIT = struct.Struct("<I")
_REQUEST, _ANSWER = int(Kind.REQUEST), int(Kind.ANSWER)

Waiting = tuple[Connection, int, RequestMeta, bytes, float]
"""Connection, stream, meta, body, and when it was read (monotonic)."""


class Work(Protocol):
    """Who answers what the loop reads, if not the loop itself."""

    def work(self) -> None:
        """Answer what waits; return when nothing does. Called by the main thread, which reads until then."""
        ...

    def in_hand(self) -> int:
        """Requests taken over from the loop and not answered yet."""
        ...

    def cancel(self, connection: Connection, stream: int | None) -> None:
        """Nobody wants the answer to this request (None: to any of this connection's) any more."""
        ...


class Loop:
    """Requests of all gateways, one after the other. `run` belongs to the main thread; the rest to any thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, _IN)
        self._connections: dict[int, Connection] = {}
        self._arrivals: deque[tuple[socket.socket, bytes]] = deque()
        self.waiting: deque[Waiting] = deque()
        self.reading = threading.Lock()
        self._read_s = 0.0  # when what is being read was there
        # Three counts that each have one writer: whoever reads, the main thread, and whoever decodes apart from it.
        self._taken_bytes = 0
        self._done_bytes = 0
        self._skipped_bytes = 0
        self._work_apart: Work | None = None
        self._together = 0  # requests that are worked on together when one is; 0: the worker does not batch
        self.busy_since_s = 0.0
        self._gaps = Gaps()
        self._alone_in_a_row = 0  # requests that were the gateway's only one
        self._refusing = False
        self.leaving = False
        self._leave_by_s = 0.0
        self.strangers: Callable[[], int] = lambda: 0  # connections that have not said yet what they are
        self._streams = Streams(self, on_end=self.wake)
        self._decode_meta = msgspec.msgpack.Decoder(RequestMeta).decode
        self._encode = msgspec.msgpack.Encoder().encode

    # What other threads may ask

    def adopt(self, sock: socket.socket, prefix: bytes) -> None:
        """Take over a gateway's connection, of which `prefix` has been read already."""
        self._arrivals.append((sock, prefix))
        self.wake()

    def refuse(self) -> None:
        """From now on answer new requests with REFUSED."""
        self._refusing = True

    def leave(self, *, told: bool = False) -> None:
        """Refuse what is new; `run` returns once nothing is in hand and every answer is sent.

        `told`: gateways have been told, and hang up. What they had sent before is refused, too: it is waited, a while,
        until all have.
        """
        self._refusing = True
        self._leave_by_s = time.monotonic() + _FAREWELL_S if told else 0.0
        self.leaving = True
        self.wake()

    def load(self) -> tuple[int, float]:
        """Requests in hand, and since when (monotonic) the model owes the oldest its answer; 0 = it is idle."""
        busy, streams = self.busy_since_s, self._streams.oldest_wait_s()
        apart = self._work_apart
        in_hand = (apart.in_hand() if apart is not None else 0) or (1 if busy else 0)
        count = len(self.waiting) + len(self._streams) + in_hand
        return count, min(busy or streams, streams or busy)

    def send(self, connection: Connection, *buffers: Buffer) -> None:
        """Send now, or as soon as the connection takes it."""
        if not connection.write(buffers):
            self._watch(connection)

    def read_if_busy(self) -> bool:
        """Read in the main thread's place if a request has kept it a while; whether it is so kept."""
        since = self.busy_since_s
        if not since or time.monotonic() - since < _KEPT_S:
            return False
        if self.reading.acquire(blocking=False):
            try:
                self.look(0)
            finally:
                self.reading.release()
        return True

    def forsake(self) -> None:
        """In a child that the model's code has forked: let go of the sockets, so that this worker's end shows."""
        for connection in self._connections.values():
            connection.sock.close()
        os.close(self._wake_fd)
        self._epoll.close()

    # The main thread

    def run(self, answer: AnswerFn, *, on_first: Callable[[float], None] | None = None) -> None:
        """Serve until `leave` was called and everything in hand is done.

        `on_first` is told how many seconds the first requests took, once they are answered.
        """
        while not self._is_over():
            self._await_news()
            if not self.waiting:
                continue
            if on_first is None:
                self.answer_waiting(answer)
            else:
                began_s = time.monotonic()
                self.answer_waiting(answer)
                on_first(time.monotonic() - began_s)
                on_first = None

    def run_apart(self, work: Work) -> None:
        """As `run`, with requests answered by `work`."""
        self._work_apart, self._together = work, 1
        while not self._is_over():
            self._await_news()
            if self.waiting:
                work.work()

    def done(self, size_bytes: int) -> None:
        """So many bytes of bodies that were taken in are out of the way. Main thread only."""
        self._done_bytes += size_bytes

    def skipped(self, size_bytes: int) -> None:
        """So many bytes of bodies were left out before the main thread saw them. By one thread at a time."""
        self._skipped_bytes += size_bytes
        self.resume()

    def _await_news(self) -> None:
        """Sleep until something comes; while requests come one at a time, look for the next one first."""
        clock = time.monotonic
        idle_since_s = clock()
        with self.reading:
            until_s = idle_since_s + look_s(self._gaps.average_s, self._alone_in_a_row)
            while clock() < until_s:
                if self.look(0):
                    break
                os.sched_yield()  # whoever else wants this processor comes first
            else:
                farewell = self.leaving and self._is_done()
                self.look(max(0.0, self._leave_by_s - clock()) if farewell else -1)
        waiting = self.waiting
        if waiting:
            self._gaps.observe(clock() - idle_since_s)
            self._alone_in_a_row = self._alone_in_a_row + 1 if len(waiting) == 1 and waiting[0][2].alone else 0

    def _is_over(self) -> bool:
        """Whether to end: told to, nothing in hand, and whatever had been sent by now is refused."""
        if not (self.leaving and self._is_done()):
            return False
        with self.reading:
            while self.look(0):  # gateways that are refused send no more
                pass
        return self._is_done() and (time.monotonic() >= self._leave_by_s or not self._is_connected())

    def _is_connected(self) -> bool:
        return bool(self._connections or self._arrivals or self.strangers())

    def _is_done(self) -> bool:
        backlog = any(c.backlog for c in list(self._connections.values()))
        apart = self._work_apart
        return not (self.waiting or len(self._streams) or backlog or (apart is not None and apart.in_hand()))

    def answer_waiting(self, answer: AnswerFn) -> None:
        """Answer all that waits, one by one; send in bursts, and look for news between requests that take long."""
        waiting, clock = self.waiting, time.monotonic
        began_s = sent_s = looked_s = clock()
        burst_of: Connection | None = None
        while waiting:
            connection, stream, meta, body, read_s = waiting.popleft()
            self._done_bytes += len(body)
            if connection.cancelled and stream in connection.cancelled:
                connection.cancelled.discard(stream)
                continue
            if burst_of is not None and burst_of is not connection:
                self.flush(burst_of)
            burst_of = connection
            self.busy_since_s = began_s
            try:
                result = answer(body, meta)
                if type(result) is tuple:
                    self.answer(connection, stream, result, clock() - began_s, began_s - read_s)
                else:
                    assert isinstance(result, Streamed)
                    self.stream(connection, stream, result)
            except BaseException as error:  # noqa: BLE001 sys.exit too: it fails its request, not the worker
                self.fail(connection, stream, fault_of(error))
            del body
            now_s = clock()
            if now_s - sent_s > _BURST_S:
                self.flush(connection)
                sent_s = now_s
            began_s = now_s
            if now_s - looked_s > _LOOK_S and waiting:
                self.busy_since_s = 0.0
                with self.reading:
                    self.look(0)
                looked_s = began_s = clock()
        self.busy_since_s = 0.0
        if burst_of is not None:
            self.flush(burst_of)
        self.resume()

    def answer(self, connection: Connection, stream: int, result: Answer, compute_s: float, wait_s: float) -> None:
        """Put an answer into its connection's burst; a large one is sent at once."""
        payload, content_type, custom_attributes = result
        meta = self._encode(
            AnswerMeta(content_type, custom_attributes, int(compute_s * 1e6) + 1, int(wait_s * 1e6) + 1, self._together)
        )
        size = len(payload)
        head = HEADER.pack(size, stream, len(meta), _ANSWER, 0) + meta
        if size <= LARGE_BYTES:
            connection.burst.append(head + payload)
        else:
            self.flush(connection)
            self.send(connection, head, payload)

    def stream(self, connection: Connection, stream: int, result: Streamed) -> None:
        """Send an answer piece by piece, by a thread of its own."""
        self._streams.start(connection, stream, result)

    def fail(self, connection: Connection, stream: int, fault: Fault) -> None:
        """Put a failure into its connection's burst."""
        connection.burst.append(failure_frame(stream, fault))

    def flush(self, connection: Connection) -> None:
        """Send its burst."""
        if connection.burst and not connection.flush_burst():
            self._watch(connection)

    # Reading (whoever holds `reading`)

    def look(self, timeout_s: float) -> bool:
        """Take what has come; whether anything had."""
        events = self._epoll.poll(timeout_s)
        self._read_s = time.monotonic()
        for fd, mask in events:
            if fd == self._wake_fd:
                os.eventfd_read(fd)
                self._admit()
                continue
            connection = self._connections.get(fd)
            if connection is None:
                continue
            if mask & _OUT and connection.flush_backlog():
                self._watch(connection)
            if mask & ~_OUT and not self._whole(connection.receive):
                self._drop(connection)
        return bool(events)

    def look_soon(self, timeout_s: float) -> None:
        """`look` with a time-out of less than a millisecond, which epoll does not know."""
        select.select([self._epoll], (), (), timeout_s)
        self.look(0)

    def _whole(self, read: Callable[[Take], bool]) -> bool:
        """Read frames by `read`; False when the connection is over, by its peer's will or fault."""
        try:
            return read(self._take)
        except (Malformed, msgspec.DecodeError, struct.error, MemoryError) as error:
            print(f"trimtab: a connection was closed: {type(error).__name__}: {error}", flush=True)
            return False

    def _take(self, connection: Connection, kind: int, stream: int, meta: memoryview, payload: bytes) -> None:
        if kind == _REQUEST:
            if self._refusing:
                self.send(connection, pack(Kind.REFUSED, stream))
                return
            self.waiting.append((connection, stream, self._decode_meta(meta), payload, self._read_s))
            self._taken_bytes += len(payload)
            if self._is_overfull():
                connection.paused = True
                self._watch(connection)
        elif kind == Kind.CANCEL:
            self._streams.cancel(connection, stream)
            if any(c is connection and s == stream for c, s, *_ in list(self.waiting)):
                connection.cancelled.add(stream)
            if self._work_apart is not None:
                self._work_apart.cancel(connection, stream)
        elif kind == Kind.CREDIT:
            self._streams.credit(connection, stream, _CREDIT.unpack(payload)[0])
        else:
            raise Malformed(f"a frame of kind {kind} is not for a connection that carries requests")

    def _is_overfull(self) -> bool:
        return len(self.waiting) > _MAX_WAITING or (
            self._taken_bytes - self._done_bytes - self._skipped_bytes > _MAX_WAITING_BYTES
        )

    def _admit(self) -> None:
        while self._arrivals:
            sock, prefix = self._arrivals.popleft()
            connection = Connection(sock, prefix)
            self._connections[connection.fd] = connection
            self._epoll.register(connection.fd, _IN)
            if not self._whole(connection.cut):  # the prefix may be a whole frame
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """The gateway is gone: skip what waits of it, stop its streams, close."""
        connection.cancelled.update(s for c, s, *_ in list(self.waiting) if c is connection)
        if self._work_apart is not None:
            self._work_apart.cancel(connection, None)
        self._streams.cancel_all(connection)
        with connection.watching:  # nobody watches a descriptor whose number may soon be another's
            del self._connections[connection.fd]
            self._epoll.unregister(connection.fd)
            connection.close()

    def _watch(self, connection: Connection) -> None:
        """Ask the kernel for what this connection now waits for.

        Under a lock from the look at what it waits for until the kernel knows: else one thread's older wish could
        overwrite another's newer one, and what is left to send would never be sent.
        """
        with connection.watching:
            if connection.closed:
                return
            unread = connection.paused or connection.backlog_bytes > _MAX_BACKLOG_BYTES
            self._epoll.modify(connection.fd, (0 if unread else _IN) | (_OUT if connection.backlog else 0))

    def resume(self) -> None:
        """Read again from those whose requests were too many."""
        if self._is_overfull():
            return
        for connection in list(self._connections.values()):
            if connection.paused:
                connection.paused = False
                self._watch(connection)

    def wake(self) -> None:
        """Make whoever waits in `look` come out."""
        os.eventfd_write(self._wake_fd, 1)
