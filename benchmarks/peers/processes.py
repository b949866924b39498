"""All processes of the server under test: their CPU time, their memory, and their certain end.

This process makes itself the reaper of its orphans, so whatever a server starts, also in sessions of its own, stays
among its descendants. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import psutil

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36


class Memory(msgspec.Struct, frozen=True):
    """Of several processes. PSS counts a page shared by n processes as 1/n of it in each; RSS counts it n times."""

    pss_bytes: int
    rss_bytes: int


def adopt_orphans() -> None:
    """From now on processes whose parent ends become children of this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the reaper of orphans")


def descendants() -> list[psutil.Process]:
    """Every process that this one started, directly or not."""
    return psutil.Process().children(recursive=True)


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds used so far by these processes and by those of their children that have ended (10 ms resolution)."""
    return sum(_cpu_ticks(process.pid) for process in processes) / _TICKS_PER_S


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended; its parent has its time now
        return 0
    return sum(map(int, fields[11:15]))  # utime, stime, and both of children that were waited for


def memory(processes: Iterable[psutil.Process]) -> Memory:
    """Of these processes together."""
    pss = rss = 0
    for process in processes:
        try:
            found = process.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        pss, rss = pss + found.pss, rss + found.rss
    return Memory(pss, rss)


def busy_s() -> float:
    """CPU seconds that all cores of this machine have spent on anything, since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def end_all(grace_s: float = 2.0) -> None:
    """End every descendant: politely, and after `grace_s` by force. Returns once none is left."""
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave servers behind
    try:
        _signal_all(signal.SIGTERM)
        _wait(grace_s)
        while _reaped_and_left():
            _signal_all(signal.SIGKILL)
            _wait(1)
    finally:
        signal.signal(signal.SIGINT, usual)


def _signal_all(number: int) -> None:
    for process in descendants():
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            pass  # it was faster


def _wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    while _reaped_and_left() and time.monotonic() < until:
        time.sleep(0.02)


def _reaped_and_left() -> list[psutil.Process]:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
    return descendants()
