"""Imports that the nursery makes before anybody asks, so that workers are born with them.

Modules that users named are tried in a child first: an import that raises, crashes, hangs or starts threads (which a
fork would lose) must not touch the nursery. The child also tells what each import brought in, so that the nursery can
make it in many small steps, innermost module first, and take orders between them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from trimtab.logs import fields

logger = logging.getLogger(__name__)

TRIAL_LIMIT_S = 120.0
# Thread pools that start with the import would be lost in every child, and cost the parent memory.
NO_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1"}
_MOST_NEW_THREADS = 0
_STARTS_THREADS = 4
_GOOD, _RAISED, _BROUGHT_IN = "=", "!", "+"  # how a trial's lines begin


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Import here. The variables are gone afterwards: workers are to see the user's, not ours."""
    before = {name: os.environ.get(name) for name in NO_THREADS}
    os.environ.update(NO_THREADS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def import_all(modules: Iterable[str]) -> None:
    """Import `modules` into this process and freeze what they made, so that children share its pages."""
    for module in modules:
        started_s = time.monotonic()
        try:
            with no_threads():
                importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - customers' packages raise anything; workers import it themselves
            logger.warning("cannot import %s", fields(module=module, error=f"{type(error).__name__}: {error}"))
        else:
            logger.info("imported %s", fields(module=module, seconds=time.monotonic() - started_s))
    gc.collect()
    gc.freeze()


def import_step(module: str) -> None:
    """Import one of the many that a trial brought in. What was made under way and has no file is no loss."""
    try:
        with no_threads():
            importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - as above; the import that matters comes last, and says so
        logger.debug("skipped %s", fields(module=module, error=repr(error)))


class Learner:
    """Modules still to learn, tried in a child: as many as it gets through, one after the other."""

    def __init__(self) -> None:
        """Nothing to learn yet."""
        self._report = -1
        self._wanted: deque[str] = deque()
        self._known: set[str] = set()
        self._trial_pid = 0
        self._trying: list[str] = []
        self._trial_deadline_s = 0.0

    def want(self, modules: Sequence[str]) -> None:
        """Remember modules that were never heard of before."""
        for module in modules:
            if module not in self._known and module not in sys.modules:
                self._known.add(module)
                self._wanted.append(module)

    @property
    def busy(self) -> bool:
        """Whether `step` should be called again soon."""
        return bool(self._wanted or self._trial_pid)

    def step(self, close_fds: Iterable[int], *, urgent: bool = False) -> None:
        """Start the next trial, or end one that hangs. Quick. `urgent`: somebody waits; it gives way to nobody."""
        if self._trial_pid:
            if time.monotonic() > self._trial_deadline_s:
                os.kill(self._trial_pid, signal.SIGKILL)
            return
        self._trying = [module for module in self._wanted if module not in sys.modules]  # others may have come with one
        self._wanted.clear()
        if self._trying:
            self._trial_deadline_s = time.monotonic() + TRIAL_LIMIT_S
            self._report = os.memfd_create("trial")
            self._trial_pid = _fork_trial(self._trying, self._report, close_fds, niceness=0 if urgent else 10)

    def stop(self) -> None:
        """Give up a trial under way."""
        if self._trial_pid:
            os.kill(self._trial_pid, signal.SIGKILL)

    def ended(self, pid: int, status: int) -> list[list[str]] | None:
        """A child ended: if it was a trial, what to import for each module that went well, in this order, the module
        itself last; else None. Those after the one that a trial came to grief on are tried again."""
        if pid != self._trial_pid:
            return None
        self._trial_pid = 0
        with os.fdopen(self._report, "rb") as report:
            report.seek(0)
            lines = report.read().decode().splitlines()
        found = _read(lines)
        for module, brought_in in found.items():
            if brought_in is None:
                logger.warning("not learned %s", fields(module=module, why="it raises"))
        left = self._trying[len(found) :]
        if status != 0 and left:
            code = os.waitstatus_to_exitcode(status)
            why = "it starts threads" if code == _STARTS_THREADS else f"the trial ended with {code}"
            logger.warning("not learned %s", fields(module=left[0], why=why))
            self._wanted.extendleft(reversed(left[1:]))
        return [[*reversed(brought_in), module] for module, brought_in in found.items() if brought_in is not None]


def _read(lines: Iterable[str]) -> dict[str, list[str] | None]:
    """What each module that was tried brought in, in order; None: it raised. A line that was begun only is no word."""
    found: dict[str, list[str] | None] = {}
    brought_in: list[str] = []
    for line in lines:
        kind, name = line[:1], line[1:]
        if kind == _BROUGHT_IN:
            brought_in.append(name)
        elif kind in (_GOOD, _RAISED):
            found[name] = brought_in if kind == _GOOD else None
            brought_in = []
    return found


def _fork_trial(modules: Sequence[str], report: int, close_fds: Iterable[int], *, niceness: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in close_fds:
            os.close(fd)
        os.nice(niceness)
        code = 0 if all(_try(module, report) for module in modules) else _STARTS_THREADS
    finally:
        os._exit(code)


def _try(module: str, report: int) -> bool:
    """Import it and say what that brought in; False: it started threads, and nothing is said of it."""
    before = set(sys.modules)
    try:
        with no_threads():
            importlib.import_module(module)
    except Exception:  # noqa: BLE001 - customers' packages raise anything; the line says that it did
        os.write(report, f"{_RAISED}{module}\n".encode())
        return True
    threads = len(os.listdir("/proc/self/task")) - 1  # the forked child began with one
    if threads > _MOST_NEW_THREADS:
        return False
    brought_in = [f"{_BROUGHT_IN}{name}" for name in sys.modules if name not in before and name != module]
    os.write(report, "\n".join([*brought_in, f"{_GOOD}{module}", ""]).encode())
    return True
