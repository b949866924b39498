"""Crew: generating processes, run from outside of them.

They are processes of their own even when there is one: whatever the caller does (draw progress, serve an API) must not
make requests late.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from types import FrameType, TracebackType
from typing import Any, Final, Self

from msgspec import Struct

from trimtab.errors import Broken, Unavailable
from trimtab.jobs.loadtest import child
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.sender import Sender
from trimtab.jobs.loadtest.tally import Tally

_LOOK_S: Final = 0.2
_HEAD_START_S: Final = 0.05  # between the order to start and the first request
_END_S: Final = 5.0
INTERRUPTED: Final = "interrupted"  # why a run was stopped by Ctrl-C

Watch = Callable[[Tally, float], str]
"""Given the tally and the seconds so far; a text that is not empty is why to stop."""


class Run(Struct):
    """What a run came to. `elapsed_s` is the time in which requests were sent (the planned time, unless it was
    stopped); `stopped` says why it was, if it was."""

    tally: Tally
    started_at_s: float  # wall time
    elapsed_s: float
    stopped: str = ""


def never(_tally: Tally, _elapsed_s: float) -> str:
    """A `Watch` that lets the test run to its end."""
    return ""


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """While this lasts, a first Ctrl-C is only noted in the list; a second one is KeyboardInterrupt, as ever.

    An exception from anywhere would leave a message read by half. Threads other than the main one get no signals.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


class Crew:
    """`with Crew(2) as crew: crew.run(plan, sender)`. One run at a time."""

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._children: list[subprocess.Popen[bytes]] = []
        self._pipes: list[Pipe] = []

    def __enter__(self) -> Self:
        for _ in range(self._processes):
            ours, theirs = socket.socketpair()
            with theirs:
                argv = [sys.executable, "-m", child.__name__, str(theirs.fileno())]
                # A group of its own: the terminal's Ctrl-C is for us alone.
                self._children.append(subprocess.Popen(argv, pass_fds=(theirs.fileno(),), process_group=0))
            self._pipes.append(Pipe(ours.detach()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.close()
        deadline_s = time.monotonic() + _END_S
        for process in self._children:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, plan: LoadPlan, sender: Sender, watch: Watch = never) -> Run:
        """Do what `plan` says. Raises Unavailable when nobody answers at the start, Broken when a process dies.

        Ctrl-C (KeyboardInterrupt) ends the test and gives what was measured; a second one is raised.
        """
        for share, pipe in enumerate(self._pipes):
            self._send(pipe, child.PLAN, plan, sender, share)
        for pipe in self._pipes:
            kind, *said = self._receive(pipe)
            if kind == child.FAILED:
                raise Unavailable(str(said[0]))
        start = time.monotonic() + _HEAD_START_S
        run = Run(Tally(), time.time() + _HEAD_START_S, plan.duration_s)
        self._order(child.START, start)
        running = set(self._pipes)
        with _interrupts() as interrupted:
            while running:
                self._collect(running, run, _LOOK_S)
                elapsed_s = min(time.monotonic() - start, plan.duration_s)
                why = run.tally.hopeless or watch(run.tally, elapsed_s) or (INTERRUPTED if interrupted else "")
                if why and not run.stopped:
                    run.stopped = why
                    run.elapsed_s = max(1e-3, elapsed_s)
                    self._order(child.STOP)
        return run

    def _collect(self, running: set[Pipe], run: Run, timeout_s: float) -> None:
        for pipe in wait(list(running), timeout_s):
            assert isinstance(pipe, Pipe)
            kind, *said = self._receive(pipe)
            if kind == child.TALLY:
                run.tally.merge(said[0])
            elif kind == child.DONE:
                running.discard(pipe)

    def _order(self, *message: Any) -> None:
        for pipe in self._pipes:
            self._send(pipe, *message)

    def _send(self, pipe: Pipe, *message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # reading tells of it
            pipe.send(message)

    def _receive(self, pipe: Pipe) -> tuple[Any, ...]:
        try:
            message: tuple[Any, ...] = pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise Broken("A process that makes the load has ended; what it said is on stderr.") from error
        return message
