"""The thread that answers control, also while the model computes; and that ends the worker when it is time.

It accepts every connection. The first frame says whose it is: control's stay here, gateways' go to the loop.
"""

from __future__ import annotations

import _thread
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import msgspec

from trimtab.logfile import LogFile
from trimtab.resources.replica import ReplicaState
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, pack
from trimtab.worker.connection import REQUEST_KINDS
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop

BROKEN_EXIT = 70  # EX_SOFTWARE: an invariant of the worker's own does not hold; the log has the traceback
_TICK_S = 1.0
_SLOW_S = 1.0  # a request that has been in hand so long is worth a word to control
_SHORT_LOAD_S = 0.01  # a load that takes no longer need not be told about while it lasts
_OWNER_WITHIN_S = 10.0  # whoever ordered it and lives has long connected by then
_READ = selectors.EVENT_READ
_CONTROL_KINDS = frozenset({Kind.DESCRIBE, Kind.DRAIN, Kind.STOP})
_MAX_CONTROL_BYTES = 64 * 1024
_encode = msgspec.msgpack.Encoder().encode


class _Control:
    """A connection of control: orders in, descriptions out. One that does not read gets only the newest."""

    def __init__(self, sock: socket.socket, prefix: bytes) -> None:
        self.sock = sock
        self.received = bytearray(prefix)
        self.unsent = b""
        self.subscribed = False
        self.stale = False  # something newer than what it was sent


class Attendant:
    """Owns the listening socket. `start` it once; it ends with the process."""

    def __init__(
        self,
        listener: socket.socket,
        report: Report,
        loop: Loop,
        *,
        end: Callable[[], NoReturn],
        lifeline_fd: int = -1,
        orphan_grace_s: float = 60.0,
        log: LogFile | None = None,
        owned: bool = False,
    ) -> None:
        """`owned`: it is no use without a control connection, and ends soon when there is none."""
        self._listener, self._report, self._loop = listener, report, loop
        self._end, self._lifeline_fd, self._orphan_grace_s, self._log = end, lifeline_fd, orphan_grace_s, log
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._unknown: dict[socket.socket, bytes] = {}  # connections whose first frame is still on its way
        self._controls: dict[socket.socket, _Control] = {}
        self._told_slow_s = 0.0
        self._deadline_s = float("inf")
        self._owned = owned
        self._owner_by_s = time.monotonic() + _OWNER_WITHIN_S if owned else float("inf")
        report.on_change = self._announce
        loop.strangers = lambda: len(self._unknown)

    def start(self) -> None:
        """Begin to answer; take SIGTERM as an order to drain. Call it from the main thread."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, _READ, self._accept)
        self._selector.register(self._wake_r, _READ, self._woken)
        if self._lifeline_fd >= 0:
            self._selector.register(self._lifeline_fd, _READ, self._lifeline_changed)
        # The C half of Python's handler writes to the pipe at once, even while the main thread is inside C code.
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        _thread.start_new_thread(self._run, ())  # threading's would have the main thread wait until it runs

    def forsake(self) -> None:
        """In a child that the model's code has forked: let go of the sockets, so that this worker's end shows."""
        self._listener.close()
        for sock in (*self._unknown, *self._controls):
            sock.close()
        if self._lifeline_fd >= 0:
            os.close(self._lifeline_fd)

    def drain(self) -> None:
        """Finish what is in hand, then end; at once where nothing can be in hand."""
        if self._report.state is ReplicaState.READY:
            self._report.move(ReplicaState.DRAINING)
            self._loop.leave(told=self._owned)
        elif self._report.state is not ReplicaState.DRAINING:
            self._end()

    def _run(self) -> None:
        try:
            self._stand_back()
            while True:
                for key, mask in self._selector.select(_TICK_S):
                    key.data(key.fileobj, mask)
                self._tick()
        except BaseException:  # noqa: BLE001 a worker that control cannot ask is no use: end, and be replaced
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(BROKEN_EXIT)

    def _stand_back(self) -> None:
        """Leave the interpreter to the main thread until it has something to tell, or its load is no short one.

        Whoever ordered this worker has connected by now: to be told that it is starting would slow the start.
        """
        poll = select.poll()
        poll.register(self._wake_r, select.POLLIN)
        poll.poll(_SHORT_LOAD_S * 1000)

    def _tick(self) -> None:
        now_s = time.monotonic()
        if now_s > self._deadline_s:
            self._end()
        if now_s > self._owner_by_s:
            self._orphaned()
        if self._log is not None:
            self._log.tick()
        _, busy_since_s = self._loop.load()
        slow_s = busy_since_s if busy_since_s and now_s - busy_since_s > _SLOW_S else 0.0
        if slow_s != self._told_slow_s:
            self._told_slow_s = slow_s
            self._tell_all()

    def _announce(self) -> None:
        os.write(self._wake_w, b"\0")

    def _woken(self, _file: object, _mask: int) -> None:
        if signal.SIGTERM in os.read(self._wake_r, 4096):
            self.drain()
        self._tell_all()

    def _lifeline_changed(self, _file: object, _mask: int) -> None:
        """Nobody writes to the lifeline: readable means that its other end is closed."""
        self._selector.unregister(self._lifeline_fd)
        self._orphaned()

    def _orphaned(self) -> None:
        """Nobody needs it any more but who waits for an answer."""
        self._owner_by_s = float("inf")
        self._deadline_s = min(self._deadline_s, time.monotonic() + self._orphan_grace_s)
        self.drain()

    def _accept(self, _file: object, _mask: int) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self._unknown[sock] = b""
            self._selector.register(sock, _READ, self._first_bytes)

    def _first_bytes(self, sock: socket.socket, _mask: int) -> None:
        """Read no further than the first header, so that the loop can go on from there."""
        prefix = self._unknown[sock]
        try:
            data = sock.recv(HEADER_SIZE - len(prefix))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        prefix += data
        if data and len(prefix) < HEADER_SIZE:
            self._unknown[sock] = prefix
            return
        del self._unknown[sock]
        self._selector.unregister(sock)
        if not data:
            sock.close()
            self._loop.wake()
        elif HEADER.unpack(prefix)[3] in _CONTROL_KINDS:
            self._owner_by_s = float("inf")
            self._controls[sock] = _Control(sock, prefix)
            self._selector.register(sock, _READ, self._control_ready)
            self._obey(self._controls[sock])
        elif HEADER.unpack(prefix)[3] in REQUEST_KINDS:
            self._loop.adopt(sock, prefix)
        else:
            print("trimtab: a connection began with something that is no frame; closed", flush=True)
            sock.close()

    def _control_ready(self, sock: socket.socket, mask: int) -> None:
        control = self._controls.get(sock)
        if control is None:
            return  # forgotten by an event of the same round
        try:
            if mask & selectors.EVENT_WRITE:
                self._send(control)
            if mask & _READ:
                data = sock.recv(_MAX_CONTROL_BYTES)
                if not data:
                    raise ConnectionResetError
                control.received += data
                self._obey(control)
        except BlockingIOError:
            return
        except OSError:
            self._forget(control)

    def _obey(self, control: _Control) -> None:
        received = control.received
        while len(received) >= HEADER_SIZE:
            size, _stream, meta_size, kind, _flags = HEADER.unpack_from(received)
            total = HEADER_SIZE + meta_size + size
            if kind not in _CONTROL_KINDS or total > _MAX_CONTROL_BYTES:
                print(f"trimtab: a control connection sent a frame of kind {kind}, {total} bytes; closed", flush=True)
                self._forget(control)
                return
            if len(received) < total:
                return
            del received[:total]
            if kind == Kind.STOP:
                self._end()
            if kind == Kind.DRAIN:
                self.drain()
            control.subscribed = True
            control.stale = True
            self._send(control)

    def _tell_all(self) -> None:
        for control in list(self._controls.values()):
            if control.subscribed:
                control.stale = True
                self._send(control)

    def _send(self, control: _Control) -> None:
        try:
            while control.unsent or control.stale:
                if not control.unsent:
                    control.stale = False
                    control.unsent = pack(Kind.DESCRIPTION, 0, payload=_encode(self._report.describe()))
                control.unsent = control.unsent[control.sock.send(control.unsent) :]
            self._selector.modify(control.sock, _READ, self._control_ready)
        except BlockingIOError:
            self._selector.modify(control.sock, _READ | selectors.EVENT_WRITE, self._control_ready)
        except OSError:
            self._forget(control)

    def _forget(self, control: _Control) -> None:
        if self._controls.pop(control.sock, None) is not None:
            self._selector.unregister(control.sock)
            control.sock.close()
            if self._owned and not self._controls:
                self._orphaned()
