"""Answers that go on: one thread pulls each from the model and sends it, as fast as the caller takes it.

Flow control: a stream may send INITIAL_CREDIT_BYTES, then what CREDIT frames allow. A cancelled stream stops at its
next piece and has its generator closed; code that computes between two pieces cannot be interrupted.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec

from trimtab.wire.frames import HEADER, INITIAL_CREDIT_BYTES, AnswerMeta, FailureMeta, Kind, pack
from trimtab.worker.answers import Fault, Streamed
from trimtab.worker.connection import Connection
from trimtab.worker.faults import fault_of

MAX_STREAMS = 64  # at the same time; further ones wait for a thread
_PIECE_BYTES = 256 * 1024
_PATIENCE_S = 0.25  # between looks for credit that others may have read
_PATIENCE_WHILE_BUSY_S = 0.02

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


class Streams:
    """All streams of this worker."""

    def __init__(self, host: Host, on_end: Callable[[], None]) -> None:
        self._host = host
        self._on_end = on_end
        self._active: dict[tuple[int, int], _Stream] = {}  # by connection's fd and stream number
        self._threads = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="stream")

    def __len__(self) -> int:
        return len(self._active)

    def oldest_wait_s(self) -> float:
        """Since when the model owes the oldest awaited piece, monotonic; 0 = none is awaited."""
        return min((s.waiting_since_s for s in list(self._active.values()) if s.waiting_since_s), default=0.0)

    def start(self, connection: Connection, number: int, streamed: Streamed) -> None:
        """Begin to send."""
        stream = _Stream(connection, number, streamed)
        self._active[connection.fd, number] = stream
        self._threads.submit(self._run, stream).add_done_callback(_check)

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

    def _run(self, stream: _Stream) -> None:
        try:
            self._send_all(stream)
        except BaseException as error:  # noqa: BLE001 the model's failure, whatever it is, goes to its caller
            fault = error if isinstance(error, Fault) else fault_of(error)
            meta = _encode(FailureMeta(fault.status, fault.content_type, fault.custom_attributes))
            if not stream.cancelled:
                self._host.send(stream.connection, pack(Kind.FAILURE, stream.number, meta, bytes(fault.body)))
        finally:
            stream.waiting_since_s = 0.0
            if self._active.get((stream.connection.fd, stream.number)) is stream:
                del self._active[stream.connection.fd, stream.number]
            self._on_end()

    def _send_all(self, stream: _Stream) -> None:
        chunks = stream.streamed.chunks
        begun = False
        try:
            while not stream.cancelled:
                stream.waiting_since_s = time.monotonic()
                chunk = next(chunks, None)
                stream.waiting_since_s = 0.0
                if not begun:
                    begun = True
                    meta = _encode(AnswerMeta(*stream.streamed.head()))
                    self._host.send(stream.connection, pack(Kind.HEAD, stream.number, meta))
                if chunk is None:
                    self._host.send(stream.connection, pack(Kind.END, stream.number))
                    return
                self._send_chunk(stream, memoryview(chunk))
                self._host.read_if_busy()
        finally:
            if close := getattr(chunks, "close", None):
                close()

    def _send_chunk(self, stream: _Stream, rest: memoryview) -> None:
        while len(rest) and (allowed := self._await_credit(stream)):
            piece = rest[: min(allowed, _PIECE_BYTES)]
            rest = rest[len(piece) :]
            with stream.changed:
                stream.credit_bytes -= len(piece)
            head = HEADER.pack(len(piece), stream.number, 0, Kind.CHUNK, 0)
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


def _check(ended: Future[None]) -> None:
    """`_run` answers every failure of the model; one that comes out of it is ours, and must be seen."""
    if error := ended.exception():
        traceback.print_exception(error)
        sys.stderr.flush()
