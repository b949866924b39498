"""Imports that the nursery makes before anybody asks, so that workers are born with them.

A module that users named is tried in a child first: an import that raises, crashes, hangs or starts threads (which a
fork would lose) must not touch the nursery. The child also tells what the import brought in, so that the nursery can
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
_RAISED, _STARTS_THREADS = 3, 4


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
    """Modules still to learn, tried one at a time in a child."""

    def __init__(self) -> None:
        """Nothing to learn yet."""
        self._report = -1
        self._wanted: deque[str] = deque()
        self._known: set[str] = set()
        self._trial_pid = 0
        self._trial_module = ""
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

    def step(self, close_fds: Iterable[int]) -> None:
        """Start the next trial, or end one that hangs. Quick."""
        if self._trial_pid:
            if time.monotonic() > self._trial_deadline_s:
                os.kill(self._trial_pid, signal.SIGKILL)
            return
        while self._wanted and self._wanted[0] in sys.modules:  # another one has brought it in meanwhile
            self._wanted.popleft()
        if self._wanted:
            self._trial_module = self._wanted.popleft()
            self._trial_deadline_s = time.monotonic() + TRIAL_LIMIT_S
            self._report = os.memfd_create("trial")
            self._trial_pid = _fork_trial(self._trial_module, self._report, close_fds)

    def stop(self) -> None:
        """Give up a trial under way."""
        if self._trial_pid:
            os.kill(self._trial_pid, signal.SIGKILL)

    def ended(self, pid: int, status: int) -> list[str] | None:
        """A child ended: if it was a trial, what to import, in this order (nothing when it went badly); else None."""
        if pid != self._trial_pid:
            return None
        self._trial_pid = 0
        with os.fdopen(self._report, "rb") as report:
            report.seek(0)
            brought_in = report.read().decode().splitlines()
        if status == 0:
            return [*reversed(brought_in), self._trial_module]
        code = os.waitstatus_to_exitcode(status)
        why = {_RAISED: "it raises", _STARTS_THREADS: "it starts threads"}.get(code, f"the trial ended with {code}")
        logger.warning("not learned %s", fields(module=self._trial_module, why=why))
        return []


def _fork_trial(module: str, report: int, close_fds: Iterable[int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = _RAISED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in close_fds:
            os.close(fd)
        os.nice(10)
        before = set(sys.modules)
        with no_threads():
            importlib.import_module(module)
        os.write(report, "\n".join(name for name in sys.modules if name not in before).encode())
        threads = len(os.listdir("/proc/self/task")) - 1  # the forked child began with one
        code = _STARTS_THREADS if threads > _MOST_NEW_THREADS else 0
    except BaseException:  # noqa: BLE001 - the exit status says it
        code = _RAISED
    finally:
        os._exit(code)
