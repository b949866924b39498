"""One gateway's connection: frames in, frames out, nothing that waits.

Small frames are cut out of one buffer, so that a burst costs one system call; a large body is received straight into
a buffer of its own size and handed on without a copy.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind
from trimtab.worker.answers import Buffer
from trimtab.worker.memory import unfilled_bytes

BUFFER_BYTES = 128 * 1024  # holds the longest possible meta beside its header
LARGE_BYTES = 64 * 1024  # frames over this are received, and sent, apart from the burst
REQUEST_KINDS = frozenset({Kind.REQUEST, Kind.CANCEL, Kind.CREDIT})
MAX_BODY_BYTES = 1 << 30  # AWS: asynchronous input objects may have 1 GB
_SEND_BUFFER_BYTES = 2**20  # asked for: large answers wake the reader less often; the kernel may give less
_VECTORS = 64  # buffers given to one sendmsg

Take = Callable[["Connection", int, int, memoryview, bytes], None]
"""Called with connection, kind, stream, meta (valid during the call only) and payload of each frame."""


class Malformed(Exception):
    """The peer broke the framing: its connection is closed, and no other."""


class Connection:
    """A non-blocking stream socket that speaks frames. Received by one thread at a time; written by any."""

    def __init__(self, sock: socket.socket, prefix: bytes = b"") -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.sock = sock
        self.fd = sock.fileno()
        self.burst: list[bytes] = []  # small frames of the main thread, not yet handed to the kernel
        self.backlog: deque[Buffer] = deque()  # what the kernel would not take
        self.backlog_bytes = 0
        self.cancelled: set[int] = set()  # streams whose request still waits in the queue
        self.paused = False  # not read from until the queue is shorter
        self.closed = False
        self.watching = threading.Lock()  # held while the kernel is told what to watch for; see Loop
        self._lock = threading.Lock()
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._buffer[: len(prefix)] = prefix
        self._start, self._end = 0, len(prefix)
        self._body: tuple[bytes, memoryview] | None = None  # a large body that is arriving
        self._body_filled = 0
        self._body_of: tuple[int, int, bytes] = (0, 0, b"")  # kind, stream, meta

    def receive(self, take: Take) -> bool:
        """Read what is there and hand on each whole frame. False = the peer has gone. Raises Malformed."""
        try:
            if self._body is not None:
                return self._receive_body(take)
            count = self.sock.recv_into(self._view[self._end :])
        except BlockingIOError:
            return True
        except OSError:
            return False
        if count == 0:
            return False
        self._end += count
        return self.cut(take)

    def _receive_body(self, take: Take) -> bool:
        assert self._body is not None
        body, view = self._body
        while self._body_filled < len(body):
            count = self.sock.recv_into(view[self._body_filled :])
            if count == 0:
                return False
            self._body_filled += count
        kind, stream, meta = self._body_of
        self._body = None
        take(self, kind, stream, memoryview(meta), body)
        return True

    def cut(self, take: Take) -> bool:
        """Hand on the whole frames of the buffer; go over to receiving a large body where one begins."""
        start, end, view = self._start, self._end, self._view
        while end - start >= HEADER_SIZE:
            size, stream, meta_size, kind, _flags = HEADER.unpack_from(view, start)
            payload_at = start + HEADER_SIZE + meta_size
            stop = payload_at + size
            if stop <= end:
                take(self, kind, stream, view[start + HEADER_SIZE : payload_at], bytes(view[payload_at:stop]))
                start = stop
            elif kind not in REQUEST_KINDS or size > MAX_BODY_BYTES:
                raise Malformed(f"a frame of kind {kind} announces {size} bytes")  # before waiting for them
            elif stop - start > LARGE_BYTES and payload_at <= end:
                self._body = unfilled_bytes(size)
                self._body[1][: end - payload_at] = view[payload_at:end]
                self._body_filled = end - payload_at
                self._body_of = kind, stream, bytes(view[start + HEADER_SIZE : payload_at])
                self._start = self._end = 0
                try:
                    return self._receive_body(take)
                except BlockingIOError:
                    return True
            else:
                break
        if start == end:
            start = end = 0
        elif start:
            self._buffer[: end - start] = self._buffer[start:end]
            start, end = 0, end - start
        self._start, self._end = start, end
        return True

    def flush_burst(self) -> bool:
        """Send the collected small frames in one call. False = something is left in the backlog."""
        burst = self.burst
        data = burst[0] if len(burst) == 1 else b"".join(burst)
        burst.clear()
        return self.write((data,))

    def write(self, buffers: Sequence[Buffer]) -> bool:
        """Send buffers as one unbroken run. False = something is left, to be sent when the socket takes it."""
        with self._lock:
            if self.closed:
                return True
            if not self.backlog and len(buffers) == 1:
                data = buffers[0]
                sent = self._send(data)
                if sent == len(data):
                    return True
                self._keep(memoryview(data)[sent:])
                return False
            for data in buffers:
                self._keep(data)
            return self._drain()

    def flush_backlog(self) -> bool:
        """Send what is left, as far as the socket takes it. True = nothing is left."""
        with self._lock:
            return self.closed or self._drain()

    def close(self) -> None:
        """Close the socket and forget what was not sent."""
        with self._lock:
            self.closed = True
            self.backlog.clear()
            self.backlog_bytes = 0
            self.sock.close()

    def _keep(self, data: Buffer) -> None:
        if len(data):
            self.backlog.append(data)
            self.backlog_bytes += len(data)

    def _drain(self) -> bool:
        backlog = self.backlog
        while backlog:
            batch = list(islice(backlog, _VECTORS))
            try:
                sent = self.sock.sendmsg(batch)
            except BlockingIOError:
                return False
            except OSError:
                self._abandon()
                return True
            self.backlog_bytes -= sent
            while backlog and sent >= len(backlog[0]):
                sent -= len(backlog.popleft())
            if sent:
                backlog[0] = memoryview(backlog[0])[sent:]
        return True

    def _send(self, data: Buffer) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._abandon()
            return len(data)

    def _abandon(self) -> None:
        """The peer does not read any more. Shut down, so that the loop's next look finds the connection over."""
        self.backlog.clear()
        self.backlog_bytes = 0
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is already over
