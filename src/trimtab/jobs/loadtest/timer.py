"""Alarm: wakes an event loop at a time of the monotonic clock, to within some 50 us.

asyncio's and uvloop's own timers count whole milliseconds, in which a quick endpoint answers ten times. Linux's timerfd
does better; the standard library has it from Python 3.13 on only.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1
_PR_SET_TIMERSLACK: Final = 29


class _Spec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns")]


_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """Calls `ring` in `loop` soon after each time that it was last set to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._spec = _Spec()
        self._loop = loop
        self._ring = ring
        loop.add_reader(self._fd, self._rung)

    def set(self, at_s: float) -> None:
        """Ring at `at_s` of time.monotonic() (at once, if that has passed) instead of any time set before."""
        spec = self._spec
        spec.value_s = int(at_s)
        spec.value_ns = max(1, int(math.modf(at_s)[0] * 1e9))  # all zero would disarm it
        _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None)

    def close(self) -> None:
        """Never ring again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _rung(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew between the wake-up and now
        self._ring()


def exact_wakes() -> None:
    """Let the kernel not delay this thread's wake-ups (by 50 us, by default) to join them with others."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
