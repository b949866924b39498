"""Time that goes on evenly over restarts: durations are never differences of wall clocks. Pure.

Wall clocks jump, and a ledger that charged by one would charge the jump. While a machine runs its monotonic clock tells
how long anything lasted, over every restart of a process; over a restart of the machine the wall clock must do, and
nothing is charged for that time anyway.
"""

from __future__ import annotations

from msgspec import Struct


class Mark(Struct, frozen=True, array_like=True):
    """A moment on three clocks' faces. `boot` names one life of the machine."""

    steady_us: int
    monotonic_us: int
    boot: str


class SteadyTime:
    """Microseconds that never go back and never jump while the machine runs; near the wall clock where it started."""

    def __init__(self, before: Mark | None, *, wall_us: int, monotonic_us: int, boot: str) -> None:
        """`before`: a mark of an earlier process."""
        self._boot = boot
        self._began_us = monotonic_us
        self.same_boot = before is not None and before.boot == boot and before.monotonic_us <= monotonic_us
        if before is None:
            self._base_us = wall_us
        elif self.same_boot:
            self._base_us = before.steady_us + monotonic_us - before.monotonic_us
        else:
            self._base_us = max(before.steady_us, wall_us)

    def at(self, monotonic_us: int) -> int:
        """The steady time of a moment of this life of the machine."""
        return self._base_us + monotonic_us - self._began_us

    def mark(self, monotonic_us: int) -> Mark:
        """For the next process."""
        return Mark(self.at(monotonic_us), monotonic_us, self._boot)
