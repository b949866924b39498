"""Answers that go on: one thread pulls each from the model and sends it, as fast as the caller takes it.

Flow control: a stream may send INITIAL_CREDIT_BYTES, then what CREDIT frames allow. A cancelled stream stops at its
next piece and has its generator closed; code that computes between two pieces cannot be interrupted. One thread each,
because a generator may compute or wait in between for as long as it likes, and all of it must run in one thread.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from trimtab.wire.frames import HEADER, INITIAL_CREDIT_BYTES, MAX_STREAMS, AnswerMeta, Kind, pack
from trimtab.worker.answers import Streamed
from trimtab.worker.connection import Connection
from trimtab.worker.faults import failure_frame, fault_of

_PIECE_BYTES = 256 * 1024
_JOINED_BYTES = 16 * 1024  # a first piece up to this size goes in one write with the head
_PATIENCE_S = 0.25  # between looks for credit that others may have read
_PATIENCE_WHILE_BUSY_S = 0.02
_STACK_BYTES = 2 * 2**20  # of a thread: all of them together take of a replica's memory limit what 64 usual ones do
_SWITCH_S = 0.0005  # how long one stream's Python code may keep the others, and the main thread, waiting

_encode = msgspec.msgpack.Encoder().encode


class Host(Protocol):
    """The loop, as streams need it."""

    def send(self, connection: Connection, *buffers: bytes | bytearray | memoryview) -> None:
        """Send now, or as soon as the connection takes it."""
        ...

    def read_if_busy(self) -> bool:
        """Read frames in the main thread's place when a request keeps it; whether it is so kept."""
        ...


class _Stream:
    def __init__(self, connection: Connection, number: int, streamed: Streamed) -> None:
        self.connection = connection
        self.number = number
        self.streamed = streamed
        self.changed = threading.Condition()
        self.credit_bytes = INITIAL_CREDIT_BYTES
        self.cancelled = False
        self.waiting_since_s = 0.0  # for the model's next piece; 0 = not now


class _Seat:
    """A thread that has no stream just now."""

    __slots__ = ("called", "stream")

    def __init__(self) -> None:
        self.called = threading.Lock()  # released by who gives it a stream: the cheapest signal there is
        self.called.acquire()
        self.stream: _Stream | None = None


class Streams:
    """All streams of this worker. At most `most` go on at once; further ones wait for a thread."""

    def __init__(self, host: Host, on_end: Callable[[], None], most: int = MAX_STREAMS) -> None:
        self._host = host
        self._on_end = on_end
        self._most = most
        self._active: dict[tuple[int, int], _Stream] = {}  # by connection's fd and stream number
        self._seating = threading.Lock()  # for the three below
        self._idle: list[_Seat] = []
        self._queue: deque[_Stream] = deque()
        self._threads = 0

    def __len__(self) -> int:
        return len(self._active)

    def oldest_wait_s(self) -> float:
        """Since when the model owes the oldest awaited piece, monotonic; 0 = none is awaited."""
        return min((s.waiting_since_s for s in list(self._active.values()) if s.waiting_since_s), default=0.0)

    def start(self, connection: Connection, number: int, streamed: Streamed) -> None:
        """Begin to send. Raises RuntimeError where the system gives not even one thread."""
        stream = _Stream(connection, number, streamed)
        self._active[connection.fd, number] = stream
        with self._seating:
            if self._idle:
                seat = self._idle.pop()
                seat.stream = stream
                seat.called.release()
                return
            if self._threads >= self._most:
                self._queue.append(stream)
                return
            self._threads += 1
        try:
            self._begin_thread(stream)
        except RuntimeError:  # no memory for a stack, or too many threads on this machine
            with self._seating:
                self._threads -= 1
                if self._threads:
                    self._queue.append(stream)
                    return
            del self._active[connection.fd, number]
            raise

    def credit(self, connection: Connection, number: int, more_bytes: int) -> None:
        """The caller takes so many bytes more. Unknown stream: it has ended, no effect."""
        if stream := self._active.get((connection.fd, number)):
            with stream.changed:
                stream.credit_bytes += more_bytes
                stream.changed.notify_all()

    def cancel(self, connection: Connection, number: int) -> None:
        """The caller has gone. Unknown stream: it has ended, no effect."""
        if stream := self._active.get((connection.fd, number)):
            with stream.changed:
                stream.cancelled = True
                stream.changed.notify_all()

    def cancel_all(self, connection: Connection) -> None:
        """The gateway has gone."""
        for fd, number in list(self._active):
            if fd == connection.fd:
                self.cancel(connection, number)
                self._active.pop((fd, number), None)  # its descriptor's number may be used again

    # Threads

    def _begin_thread(self, stream: _Stream) -> None:
        sys.setswitchinterval(min(_SWITCH_S, sys.getswitchinterval()))
        usual_bytes = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=self._serve, args=(stream,), name="stream", daemon=True).start()
        finally:
            threading.stack_size(usual_bytes)

    def _serve(self, stream: _Stream) -> None:
        """A thread's life: one stream after the other."""
        seat = _Seat()
        while True:
            self._run(stream)
            with self._seating:
                if self._queue:
                    stream = self._queue.popleft()
                    continue
                self._idle.append(seat)
            seat.called.acquire()
            assert seat.stream is not None
            stream, seat.stream = seat.stream, None

    def _run(self, stream: _Stream) -> None:
        try:
            self._send_all(stream)
        except BaseException as error:  # noqa: BLE001 the model's failure, whatever it is, goes to its caller
            if not stream.cancelled:
                self._host.send(stream.connection, failure_frame(stream.number, fault_of(error)))
        finally:
            stream.waiting_since_s = 0.0
            if self._active.get((stream.connection.fd, stream.number)) is stream:
                del self._active[stream.connection.fd, stream.number]
            self._on_end()

    # One stream

    def _send_all(self, stream: _Stream) -> None:
        chunks = stream.streamed.chunks
        try:
            head = b""
            begun = False
            while not stream.cancelled:
                stream.waiting_since_s = time.monotonic()
                chunk = next(chunks, None)
                stream.waiting_since_s = 0.0
                if not begun:
                    begun = True
                    head = pack(Kind.HEAD, stream.number, _encode(AnswerMeta(*stream.streamed.head())))
                if chunk is None:
                    self._host.send(stream.connection, head + pack(Kind.END, stream.number))
                    return
                self._send_chunk(stream, head, memoryview(chunk))
                head = b""
                self._host.read_if_busy()
        finally:
            _close(chunks)

    def _send_chunk(self, stream: _Stream, before: bytes, rest: memoryview) -> None:
        """Send a piece as credit allows, with `before` in front of it: what is sent together wakes its reader once."""
        if before and not len(rest):
            self._host.send(stream.connection, before)
        while len(rest) and (allowed := self._await_credit(stream)):
            piece = rest[: min(allowed, _PIECE_BYTES)]
            rest = rest[len(piece) :]
            with stream.changed:
                stream.credit_bytes -= len(piece)
            head = before + HEADER.pack(len(piece), stream.number, 0, Kind.CHUNK, 0)
            before = b""
            if len(piece) <= _JOINED_BYTES:
                self._host.send(stream.connection, head + piece)
            else:
                self._host.send(stream.connection, head, piece)

    def _await_credit(self, stream: _Stream) -> int:
        """Wait until bytes may be sent; how many. 0 = cancelled."""
        while True:
            busy = stream.credit_bytes <= 0 and self._host.read_if_busy()
            with stream.changed:
                if stream.cancelled:
                    return 0
                if stream.credit_bytes > 0:
                    return stream.credit_bytes
                stream.changed.wait(_PATIENCE_WHILE_BUSY_S if busy else _PATIENCE_S)


def _close(chunks: object) -> None:
    """Close a generator. What it raises then reaches nobody: its stream is over; the log has it."""
    if close := getattr(chunks, "close", None):
        try:
            close()
        except BaseException:  # noqa: BLE001 the model's own code
            traceback.print_exc()
            sys.stderr.flush()
