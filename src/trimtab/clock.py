"""Time as an argument. Only `app` makes a `SystemClock`; tests and the simulator bring their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Two readings: wall time for people and records, monotonic time for durations."""

    def now_s(self) -> float:
        """Seconds since the Unix epoch, UTC. May jump; never subtract two of these for a duration."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock shared by all processes of this machine that never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        """Seconds since the Unix epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC: the same in every process of the machine, so start budgets can cross processes."""
        return time.monotonic()


def boot_id() -> str:
    """Names this life of the machine: monotonic times of another one mean nothing in it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class ManualClock:
    """A clock that moves when told."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        """The wall time last set."""
        return self._now_s

    def monotonic_s(self) -> float:
        """The seconds advanced so far."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward."""
        if seconds < 0:
            raise ValueError("time does not go back; `seconds` must be >= 0")
        self._now_s += seconds
        self._monotonic_s += seconds

    def set_wall(self, now_s: float) -> None:
        """Set the wall clock, forward or back, as NTP or a person would; the monotonic one goes on."""
        self._now_s = now_s
