"""What a connection waits for, and how long that may take."""

from __future__ import annotations

import enum

from trimtab.aws.server.limits import Limits


class Phase(enum.IntEnum):
    """What a connection is waiting for; decides which time limit holds."""

    IDLE = 0  # the next request
    HEAD = 1  # the rest of a head
    BODY = 2  # the rest of a body
    BUSY = 3  # us
    WRITE = 4  # the client, to take its answer
    LINGER = 5  # the client, to stop sending


class Stopwatch:
    """How long a connection has been in one phase without progress. Looked at about once a second, never reset."""

    __slots__ = ("_phase", "_progress", "_since_s")

    def __init__(self, now_s: float) -> None:
        self._phase = Phase.IDLE
        self._progress = 0
        self._since_s = now_s

    def held_s(self, phase: Phase, progress: int, now_s: float) -> float:
        """Seconds since phase or progress was first seen as it is now."""
        if phase is not self._phase or progress != self._progress:
            self._phase, self._progress, self._since_s = phase, progress, now_s
        return now_s - self._since_s


def overdue(phase: Phase, held_s: float, body_bytes: int, limits: Limits) -> bool:
    """Whether a connection has been in `phase` for too long; `body_bytes` have come of the body it waits for."""
    if phase is Phase.IDLE:
        return held_s > limits.idle_timeout_s
    if phase is Phase.HEAD:
        return held_s > limits.head_timeout_s
    if phase is Phase.BODY:
        return held_s > limits.body_grace_s + body_bytes / limits.body_bytes_per_s
    if phase is Phase.WRITE:
        return held_s > limits.write_timeout_s
    return phase is Phase.LINGER and held_s > limits.linger_s
