"""What an endpoint has of what nobody said, by its mode."""

from __future__ import annotations

from typing import Final

from trimtab.sim.world import Mode

_QUEUE: Final = 10_000
_QUEUES: Final = {Mode.ASYNC: 1_000_000_000, Mode.BATCH: 1_000_000_000, Mode.SERVERLESS: 0}
_TIMEOUT_S: Final = 60.0  # AWS: of an invocation
_TIMEOUTS_S: Final = {Mode.ASYNC: 6 * 3600.0, Mode.BATCH: 28 * 86_400.0}  # AWS: RequestTTLSeconds; MaxRuntimeInSeconds


def queue_of(mode: Mode) -> int:
    """Requests that may wait, all together."""
    return _QUEUES.get(mode, _QUEUE)


def timeout_s_of(mode: Mode) -> float:
    """Seconds of waiting and work together."""
    return _TIMEOUTS_S.get(mode, _TIMEOUT_S)
