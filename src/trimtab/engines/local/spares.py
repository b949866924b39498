"""Workers forked ahead of any order: each waits on a socket for a launch, and is then what a fork would have been.

A spare is nobody's replica: it has no birth record until it is launched. It ends when the nursery lets go of its socket
(by closing it, or by dying), and with the supervisor's lifeline. Launching is one message that carries the claim on the
birth record, so that a nursery that dies in the middle has either launched it or not.
"""

from __future__ import annotations

import array
import logging
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from trimtab.engines.local import records, strays
from trimtab.engines.local.birth import RunChild, fork_child
from trimtab.engines.local.memory import available_memory, total_memory
from trimtab.engines.local.orders import Bear, BirthRecord
from trimtab.logs import fields
from trimtab.policies import spares as policy
from trimtab.resources.launch import WorkerLaunch

logger = logging.getLogger(__name__)

Rehearse = Callable[[], None]

_QUIET_S = 0.1  # after an order: its worker is to be on its way before others are made
_LOOK_S = 5.0  # how often memory and the time since the last order are looked at
_REHEARSAL_LIMIT_S = 20.0
_MESSAGE_BYTES = 64 * 1024  # a longer launch does not go into one message for sure: its worker is forked
_FD_BYTES = array.array("i").itemsize
_READY = b"\1"
_OOM_SCORE = "1000"  # the first to go when memory is gone


class _Handed(msgspec.Struct, frozen=True, array_like=True):
    """What a spare becomes."""

    record: BirthRecord
    launch: WorkerLaunch


class _Spare:
    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.sock = sock
        self.made_s = time.monotonic()
        self.ready = False


class Spares:
    """The pool. Everything here is quick but `step`, which forks (some 3 ms)."""

    def __init__(self, run_child: RunChild, rehearse: Rehearse | None, lifeline_fd: int) -> None:
        """`rehearse` is done by each spare before it counts as ready; None means that there are to be no spares."""
        self._run_child = run_child
        self._rehearse = rehearse
        self._lifeline_fd = lifeline_fd
        self._nursery_pid = os.getpid()
        self._waiting: list[_Spare] = []
        self._dismissed: set[int] = set()  # told to end, not reaped yet
        self._births_s: deque[float] = deque(maxlen=256)
        self._failures = 0
        self._failed_s = float("-inf")  # the last of them
        self._not_before_s = 0.0
        self._wanted = 0
        self._look_at_s = 0.0  # when memory and the orders are to be looked at next
        self._total_bytes = total_memory()

    def __len__(self) -> int:
        return len(self._waiting)

    def fds(self) -> list[int]:
        """The nursery's ends: no child may hold them, or a spare would outlive the nursery."""
        return [spare.sock.fileno() for spare in self._waiting]

    def ordered(self) -> None:
        """A worker was ordered just now, whoever becomes it."""
        now_s = time.monotonic()
        self._births_s.append(now_s)
        self._look_at_s = now_s + _QUIET_S

    def launch(self, order: Bear, claim: int, launch: WorkerLaunch) -> int:
        """Make a spare that has rehearsed the worker of `order`. Returns its process id; 0: there is none, fork one.

        The claim on the birth record and the launch's listener go along; the caller closes its own.
        """
        message = msgspec.msgpack.encode(_Handed(order.record, launch))
        if len(message) > _MESSAGE_BYTES:
            return 0
        while (spare := next((spare for spare in self._waiting if self._is_ready(spare)), None)) is not None:
            self._waiting.remove(spare)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [claim, launch.listener_fd]))
            try:
                spare.sock.sendmsg([message], [rights])
            except OSError:  # it has just ended; whoever reaps it counts that
                self._lost(spare)
                continue
            finally:
                spare.sock.close()
            self._failures = 0
            return spare.pid
        return 0

    def patience_s(self) -> float | None:
        """How long the nursery may wait for events before `step` has something to do; None: for ever."""
        if self._rehearse is None or not self._births_s:
            return None
        due_s = self._look_at_s
        if len(self._waiting) < self._wanted:
            due_s = min(due_s, max(self._births_s[-1] + _QUIET_S, self._not_before_s))
        return max(0.0, due_s - time.monotonic())

    def step(self, close_fds: Sequence[int]) -> None:
        """When nothing else is to be done: look at memory, and make one spare or let some go."""
        if self.patience_s() != 0.0:
            return
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look(now_s)
        for spare in [s for s in self._waiting if not self._is_ready(s) and now_s - s.made_s > _REHEARSAL_LIMIT_S]:
            logger.warning("a spare worker hangs in its rehearsal %s", fields(pid=spare.pid))
            os.kill(spare.pid, signal.SIGKILL)  # a child of ours that is not reaped: the id is its own
        if len(self._waiting) < self._wanted and now_s >= max(self._not_before_s, self._births_s[-1] + _QUIET_S):
            self._make(close_fds)

    def retire(self) -> None:
        """Let all go: they lack what the nursery has learned since, or nobody wants them any more."""
        self._shrink(0)

    def ended(self, pid: int, status: int) -> bool:
        """A child of the nursery ended: whether it was a spare, which nobody else knows."""
        if pid in self._dismissed:
            self._dismissed.discard(pid)
            return True
        spare = next((spare for spare in self._waiting if spare.pid == pid), None)
        if spare is None:
            return False
        self._waiting.remove(spare)
        spare.sock.close()
        self._failed(pid, status, spare.made_s)
        return True

    def _lost(self, spare: _Spare) -> None:
        self._dismissed.add(spare.pid)
        self._failed(spare.pid, None, spare.made_s)

    def _failed(self, pid: int, status: int | None, made_s: float) -> None:
        """Each that ends although it was made after the last one had makes the pause longer; several that end at once
        (memory was short) say no more than one."""
        if made_s > self._failed_s:
            self._failures += 1
            self._failed_s = time.monotonic()
            self._not_before_s = self._failed_s + policy.pause_s(self._failures)
        how = "unknown" if status is None else os.waitstatus_to_exitcode(status)
        pause_s = policy.pause_s(self._failures)
        logger.warning("a spare worker ended %s", fields(pid=pid, how=how, none_for_s=pause_s))

    def _look(self, now_s: float) -> None:
        self._look_at_s = now_s + _LOOK_S
        wanted = policy.wanted(
            self._births_s,
            waiting=len(self._waiting),
            now_s=now_s,
            available_bytes=available_memory(),
            total_bytes=self._total_bytes,
        )
        if wanted != self._wanted:
            logger.info("spare workers %s", fields(wanted=wanted, before=self._wanted))
        self._wanted = wanted
        self._shrink(wanted)

    def _shrink(self, count: int) -> None:
        for spare in self._waiting[count:]:
            spare.sock.close()
            self._dismissed.add(spare.pid)
        del self._waiting[count:]

    def _is_ready(self, spare: _Spare) -> bool:
        if not spare.ready:
            try:
                spare.ready = spare.sock.recv(1) == _READY
            except OSError:  # nothing said yet, or ended: it is reaped soon
                return False
        return spare.ready

    def _make(self, close_fds: Iterable[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                pid = fork_child(lambda: self._live(theirs), [*close_fds, ours.fileno()])
            except OSError as error:  # no process to be had
                ours.close()
                self._failed(0, None, time.monotonic())
                logger.warning("no spare worker could be made %s", fields(error=error))
                return
        self._waiting.append(_Spare(pid, ours))

    def _live(self, theirs: socket.socket) -> None:
        """In the child."""
        from setproctitle import setproctitle

        assert self._rehearse is not None
        setproctitle("trimtab: spare, rehearsing")
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
        strays.end_with_parent(True)  # it looks at its socket only when it has rehearsed, and that may take for ever
        if os.getppid() != self._nursery_pid:
            return
        self._rehearse()
        strays.end_with_parent(False)
        try:
            theirs.send(_READY)
        except BrokenPipeError:  # dismissed meanwhile
            return
        setproctitle("trimtab: spare")
        handed = _await_launch(theirs, self._lifeline_fd)
        theirs.close()
        if handed is not None:
            message, claim, listener_fd = handed
            setproctitle("trimtab: worker")
            records.fill(claim, message.record)
            self._run_child(msgspec.structs.replace(message.launch, listener_fd=listener_fd))


def _await_launch(theirs: socket.socket, lifeline_fd: int) -> tuple[_Handed, int, int] | None:
    """Wait for a launch, with its claim and its listener; None when the nursery or the supervisor has gone."""
    poll = select.poll()
    poll.register(theirs, select.POLLIN)
    if lifeline_fd >= 0:
        poll.register(lifeline_fd, select.POLLIN)
    ready = [fd for fd, _ in poll.poll()]
    if theirs.fileno() not in ready:
        return None
    try:
        message, rights, _, _ = theirs.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(2 * _FD_BYTES))
    except ConnectionResetError:  # gone without having asked whether this one is ready
        return None
    if not message:
        return None
    claim, listener_fd = array.array("i", rights[0][2])
    return msgspec.msgpack.decode(message, type=_Handed), claim, listener_fd
