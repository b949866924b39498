"""What a gateway tells control at once of variants that are scaled by events, over a Unix socket, one way.

    gateway -> control: u32 little-endian size, MessagePack of Signal. Nothing is acknowledged: the next one says more.

A gateway whose connection has gone has nothing in hand. Metrics do not come from here (`wire/reports.py`).

Counters begin with the connection, so that what control adds up only grows, and never jumps when a gateway or control
begins anew: what happened while they were apart is in no counter.
"""

from __future__ import annotations

from msgspec import Struct

MAX_BYTES = 1 << 20
LEVELS_MOST = 1000  # in one Signal


class Level(Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """What this gateway has of one variant. `arrived - ended` grows as `now` does. Nothing is negative."""

    endpoint: str
    variant: str
    in_hand: float  # in progress and queued: the mean since the last level that was told
    now: int
    waiting: int
    arrived: int  # counter: requests, refused ones included
    ended: int  # counter: of these, answered, failed, or left by their caller
    busy_s: float  # counter: replica-seconds with a request in hand
    oldest_s: float = 0.0  # for how long the oldest queued request has waited, when no replica is there to take it
    over: bool = False  # nothing more will be told: the variant is no more, or not scaled by events any more


class Signal(Struct, array_like=True, frozen=True, gc=False, kw_only=True):
    """Levels that have changed. `sent_monotonic_s` is of the machine's clock, which control shares."""

    sent_monotonic_s: float
    levels: tuple[Level, ...]
