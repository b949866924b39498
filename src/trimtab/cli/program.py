"""Run one program in the foreground as if nothing stood between it and its caller: signals in, status out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

# Passed on when they come from a process. From the terminal, the kernel gives them to the whole foreground group.
FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_TAKEN: Final = (*FORWARDED, signal.SIGCHLD)
_FROM_KERNEL: Final = 0x80  # siginfo's si_code SI_KERNEL


@contextmanager
def signals_held() -> Iterator[set[signal.Signals]]:
    """Hold the signals that `wait` takes, in this thread and those it starts; yields the mask as it was."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
    try:
        yield {signal.Signals(number) for number in before}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(command: Sequence[str], environ: Mapping[str, str], mask: set[signal.Signals]) -> int:
    """Start `command`, found on PATH, in this process group and on this terminal; returns its process id.

    Raises OSError when it cannot be started, KeyboardInterrupt when a held signal already asks to stop.
    """
    if signal.sigpending() & set(FORWARDED):
        raise KeyboardInterrupt
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these two; a program must not start out so
    return os.posix_spawnp(command[0], list(command), dict(environ), setsigmask=mask, setsigdef=defaults)


def wait(pid: int) -> int:
    """Pass signals on to `pid` until it ends; returns its wait status. Call within `signals_held`."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        arrived = signal.sigwaitinfo(_TAKEN)
        if arrived.si_signo != signal.SIGCHLD and arrived.si_code != _FROM_KERNEL:
            os.kill(pid, arrived.si_signo)


def end_like(status: int) -> int:
    """The exit code to end with; does not return when the program was killed: this process then dies by that signal."""
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    number = os.WTERMSIG(status)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program's core is the one that matters
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    return 128 + number
