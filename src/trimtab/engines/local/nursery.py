"""The nursery: a fork server. Runtimes are imported once, here; a worker is born by fork, in milliseconds.

One thread, no asyncio: a process that forks must hold no locks. It takes orders over a Unix socket, makes the
processes, reaps those that are its own and tells whoever is connected how they ended. It keeps no state that anybody
would miss: killed at any moment, its workers live on (as children of the supervisor, which reaps them), and a new
nursery takes the next order. That an order is given twice because the first answer was lost does no harm: a birth
record is claimed before the fork.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from trimtab.engines.local import processes, records
from trimtab.engines.local.birth import RunChild, exec_worker, fork_worker, spawn_program
from trimtab.engines.local.learning import Learner, import_all, import_step
from trimtab.engines.local.orders import (
    Bear,
    BirthRecord,
    Born,
    Exited,
    Learn,
    Learned,
    Refused,
    Reply,
    Spawn,
    decode_order,
    encode,
    split,
)
from trimtab.engines.local.spares import Rehearse, Spares
from trimtab.logs import fields
from trimtab.resources.launch import WorkerLaunch
from trimtab.wire.listening import listen

logger = logging.getLogger(__name__)

# From 1.32 on, onnxruntime reports its use to its maker, by a thread that starts with the import, unless told not to.
# Users who want that set the variable themselves.
QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
WARM_IMPORTS = ("numpy", "numpy.random", "onnxruntime")  # numpy imports its random part only when it is used
PROGRAM_GRACE_S = 30.0  # AWS: SIGKILL follows SIGTERM after 30 s
_IDLE_BEFORE_LEARNING_S = 1.0  # an import holds up the orders that come during it: not while several may follow
_LEARNING_TICK_S = 0.05


def main(
    socket_path: Path,
    lifeline_fd: int,
    run_child: RunChild,
    warm_imports: Sequence[str] = WARM_IMPORTS,
    *,
    record_dirs: Sequence[Path] = (),
    house: str = "",
    rehearse: Rehearse | None = None,
    on_listening: Callable[[], None] | None = None,
) -> int:
    """Run the nursery until SIGTERM or the end of the lifeline. Returns the exit status.

    Listens first and imports then: orders that come meanwhile wait in the socket. `record_dirs` hold the birth
    records (default: `w` and `m` beside the socket); of the programs there, those of `house` end with this nursery.
    `lifeline_fd` -1 means none. `rehearse` is what a worker that is forked ahead of any order does meanwhile, so
    that it starts sooner; None: none is forked ahead.
    """
    from setproctitle import setproctitle

    setproctitle("trimtab: nursery")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # onnxruntime's idle one
    listener = _listen(socket_path)
    spares = Spares(run_child, rehearse, lifeline_fd)
    record_dirs = record_dirs or (socket_path.parent / "w", socket_path.parent / "m")
    nursery = Nursery(listener, lifeline_fd, run_child, record_dirs, house, spares)
    if on_listening:
        on_listening()
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    gc.disable()  # frozen pages must stay shared; what this process makes later has no cycles
    import_all(warm_imports)
    return nursery.run()


def _listen(socket_path: Path) -> socket.socket:
    socket_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket_path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.fspath(socket_path))
    os.chmod(socket_path, 0o600)
    listener.listen(64)
    listener.setblocking(False)
    return listener


class Nursery:
    """The loop. Everything happens in `run`."""

    def __init__(
        self,
        listener: socket.socket,
        lifeline_fd: int,
        run_child: RunChild,
        record_dirs: Sequence[Path],
        house: str,
        spares: Spares,
    ) -> None:
        """Take over `listener`; it is listening already."""
        self._listener = listener
        self._lifeline_fd = lifeline_fd
        self._run_child = run_child
        self._record_dirs = record_dirs
        self._house = house
        self._spares = spares
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._learner = Learner()
        self._to_import: deque[str] = deque()
        self._learned_with: set[str] = set()  # of those, the modules that somebody named: the others come with them
        self._learn_waiters: list[tuple[int, int]] = []  # connection, id of the order
        self._last_order_s = 0.0
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._wakeup = os.pipe()
        for fd in self._wakeup:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the selector
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)
        if lifeline_fd >= 0:
            os.set_inheritable(lifeline_fd, False)  # for forked workers only; programs have no use for it
            self._selector.register(lifeline_fd, selectors.EVENT_READ)

    def run(self) -> int:
        """Serve until told to stop."""
        self._reap()
        while not self._stopping:
            self._turn()
        self._learner.stop()
        self._spares.retire()
        self._end_programs()
        return 0

    def _turn(self) -> None:
        ready = self._selector.select(self._patience_s())
        for key, _ in ready:
            if key.fd == self._listener.fileno():
                self._accept()
            elif key.fd == self._wakeup[0]:
                _drain(self._wakeup[0])
                self._reap()
            elif key.fd == self._lifeline_fd:
                self._stopping = True
            else:
                self._receive(key.fd)
        if ready:
            return
        if self._learn_waiters or time.monotonic() - self._last_order_s > _IDLE_BEFORE_LEARNING_S:
            self._learn()
        if not self._to_import:  # what they would lack is on its way
            self._spares.step(self._own_fds())

    def _patience_s(self) -> float | None:
        """How long to wait for an event: not at all while there are imports to make and nobody has ordered lately."""
        if self._learn_waiters and (self._to_import or not self._learner.busy):
            return 0.0  # to import, or to say that there is nothing to learn
        if self._to_import:
            return max(0.0, self._last_order_s + _IDLE_BEFORE_LEARNING_S - time.monotonic())
        patience_s = self._spares.patience_s()
        if self._learner.busy:
            return _LEARNING_TICK_S if patience_s is None else min(patience_s, _LEARNING_TICK_S)
        return patience_s

    def _on_stop(self, *_: object) -> None:
        self._stopping = True

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        self._clients[client.fileno()] = (client, bytearray())
        self._selector.register(client, selectors.EVENT_READ)

    def _drop(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        self._learn_waiters = [(waiter, number) for waiter, number in self._learn_waiters if waiter != fd]
        self._selector.unregister(client)
        client.close()

    def _receive(self, fd: int) -> None:
        client, buffer = self._clients[fd]
        try:
            data = client.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._drop(fd)
            return
        buffer += data
        try:
            orders = [decode_order(message) for message in split(buffer)]
        except (msgspec.DecodeError, ValueError) as error:
            logger.error("dropped a client %s", fields(error=error))
            self._drop(fd)
            return
        for order in orders:
            if isinstance(order, Learn):
                self._learner.want(order.modules)
                if order.id:
                    self._learn_waiters.append((fd, order.id))
            else:
                self._last_order_s = time.monotonic()
                self._send(fd, self._fulfil(order))

    def _send(self, fd: int, reply: Reply) -> None:
        """Answers are small; a client that has let a whole socket buffer fill is not listening, and may come back."""
        if fd not in self._clients:
            return
        try:
            self._clients[fd][0].sendall(encode(reply))
        except OSError:
            self._drop(fd)

    def _fulfil(self, order: Bear | Spawn) -> Born | Refused:
        try:
            claim = records.claim(order.record_path)
            if claim < 0:
                return self._born_before(order)
            try:
                pid = self._make(order, claim)
            finally:
                os.close(claim)
        except OSError as error:
            records.forget(order.record_path)
            return Refused(id=order.id, message=_what_failed(error), missing=isinstance(error, FileNotFoundError))
        return Born(id=order.id, pid=pid, start_ticks=processes.start_ticks(pid) or 0)

    def _make(self, order: Bear | Spawn, claim: int) -> int:
        fds = [*self._own_fds(), *([self._lifeline_fd] if isinstance(order, Spawn) and self._lifeline_fd >= 0 else [])]
        if isinstance(order, Spawn):
            return spawn_program(order, claim, fds)
        launch = msgspec.msgpack.decode(order.launch, type=WorkerLaunch)
        launch = msgspec.structs.replace(launch, lifeline_fd=self._lifeline_fd)
        if order.fresh:
            return exec_worker(order, claim, launch, fds)
        self._spares.ordered()
        # It listens before the process is there: control connects at once, and need not look again and again.
        with listen(launch.socket_path) as listener:
            launch = msgspec.structs.replace(launch, listener_fd=listener.fileno())
            return self._spares.launch(order, claim, launch) or fork_worker(order, claim, launch, fds, self._run_child)

    def _born_before(self, order: Bear | Spawn) -> Born | Refused:
        record = records.read(order.record_path)
        if record is not None and records.is_alive(record):
            return Born(id=order.id, pid=record.pid, start_ticks=record.start_ticks)
        return Refused(id=order.id, message="an earlier order for it is under way", again=True)

    def _own_fds(self) -> list[int]:
        """What no child may hold: it would answer for the nursery, or keep its connections open."""
        own = [self._listener.fileno(), self._selector.fileno(), *self._wakeup, *self._clients]
        return [*own, *self._spares.fds()]

    def _reap(self) -> None:
        """Collect the dead. A leader's group is killed while its zombie still holds the id, so that id is its own."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            try:
                os.killpg(found.si_pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # it led no group, or nobody is left in it
            pid, status, usage = os.wait4(found.si_pid, 0)
            self._ended(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def _ended(self, pid: int, status: int, cpu_s: float, max_resident_bytes: int) -> None:
        learned = self._learner.ended(pid, status)
        if learned is not None:
            for modules in learned:
                self._to_import.extend(modules)
                self._learned_with.add(modules[-1])
            return
        if self._spares.ended(pid, status):
            return
        exited = Exited(pid=pid, status=status, cpu_s=cpu_s, max_resident_bytes=max_resident_bytes)
        for fd in list(self._clients):
            self._send(fd, exited)

    def _learn(self) -> None:
        """One small piece of learning, when nothing else is to be done."""
        if self._to_import:
            module = self._to_import.popleft()
            if module in self._learned_with:
                import_all([module])
                self._spares.retire()  # they were forked without it, and what comes next may take seconds
            else:
                import_step(module)
            if not self._to_import:
                self._learned_with.clear()
        else:
            self._learner.step([*self._own_fds()], urgent=bool(self._learn_waiters))
        if not self._to_import and not self._learner.busy:
            for fd, number in self._learn_waiters:
                self._send(fd, Learned(id=number))
            self._learn_waiters.clear()

    def _end_programs(self) -> None:
        """trimtab stops: end the programs, which know of no lifeline. Workers end by themselves."""
        folders = (records.all_records(folder) for folder in self._record_dirs)
        found = [record for folder in folders for _, record in folder if record and _is_program(record)]
        programs = [record for record in found if record.house == self._house]  # a successor may be at work already
        for record in programs:
            processes.signal_group(record.pid, record.start_ticks, signal.SIGTERM)
        deadline_s = time.monotonic() + PROGRAM_GRACE_S
        while programs := [record for record in programs if records.is_alive(record)]:
            if time.monotonic() > deadline_s:
                for record in programs:
                    processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
            self._selector.select(_LEARNING_TICK_S)
            _drain(self._wakeup[0])
            self._reap()


def _is_program(record: BirthRecord) -> bool:
    return record.address.startswith("tcp:")


def _what_failed(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass
