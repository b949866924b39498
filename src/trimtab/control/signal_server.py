"""SignalServer: what all gateways together have of each variant that is scaled by events (`wire/signals.py`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.control.local_server import LocalConnection, LocalServer
from trimtab.logs import fields
from trimtab.wire.signals import MAX_BYTES, Level, Signal
from trimtab.wire.sized import SizedReader

logger = logging.getLogger(__name__)

_decode = msgspec.msgpack.Decoder(Signal).decode

Place = tuple[str, str]
"""Endpoint and variant."""


class Total(Struct, frozen=True, gc=False, kw_only=True):
    """What all connected gateways have of one variant. Counters count from this control's start and only grow."""

    in_hand: float  # in progress and queued: each gateway's mean since it told the level before
    now: int  # in progress and queued
    waiting: int  # of these, queued
    arrived: int  # counter: requests, refused ones included
    ended: int  # counter: of these, answered, failed, or left by their caller
    busy_s: float  # counter: replica-seconds with a request in hand
    oldest_s: float  # for how long the oldest queued request had waited, when no replica is there to take it; else 0
    sent_monotonic_s: float  # when a gateway sent what made this the total


NOTHING: Final = Total(
    in_hand=0.0, now=0, waiting=0, arrived=0, ended=0, busy_s=0.0, oldest_s=0.0, sent_monotonic_s=0.0
)


class SignalServer:
    """`on_level` is told of each variant's new total at once: several times in one turn of the loop, at most 50 times a
    second for each gateway and variant. `totals` has the newest of each.

    A gateway that goes takes what it had in hand out of the totals; what it counted stays. A variant that no gateway
    tells of any more is told once with nothing in hand, and forgotten.
    """

    def __init__(self, socket: Path, on_level: Callable[[str, str, Total], None] = lambda *_: None) -> None:
        self.on_level = on_level
        self.totals: dict[Place, Total] = {}
        self.connections = LocalServer(socket, lambda: _Connection(self))
        self._levels: dict[Place, dict[_Connection, Level]] = {}  # the newest of each connected gateway

    async def open(self) -> None:
        """Listen, owner only."""
        await self.connections.open()

    async def close(self) -> None:
        """Take nothing more. `on_level` is not called any more."""
        self.on_level = lambda *_: None
        await self.connections.close()

    def forget(self, endpoint: str, variant: str) -> None:
        """Drop a variant's total; if a gateway tells of it still, it counts from zero."""
        self.totals.pop((endpoint, variant), None)
        if not self._levels.get((endpoint, variant)):
            self._levels.pop((endpoint, variant), None)

    def take(self, connection: _Connection, signal: Signal) -> None:
        """A gateway has told its levels."""
        for level in signal.levels:
            place = (level.endpoint, level.variant)
            levels = self._levels.setdefault(place, {})
            before = levels.get(connection)
            if level.over:
                levels.pop(connection, None)
            else:
                levels[connection] = level
            self._add(place, signal.sent_monotonic_s, level, before)
            if level.over and not levels:
                self.forget(*place)

    def gone(self, connection: _Connection) -> None:
        """A connection is over: nothing is in hand there."""
        for place, levels in list(self._levels.items()):
            level = levels.pop(connection, None)
            if level is not None and (level.now or level.in_hand) and place in self.totals:
                self._add(place, self.totals[place].sent_monotonic_s)

    def _add(self, place: Place, sent_s: float, level: Level | None = None, before: Level | None = None) -> None:
        """Sum up anew, and add to the counters by what `level` is above the one `before` it."""
        total = self.totals.get(place, NOTHING)
        arrived, ended, busy_s = total.arrived, total.ended, total.busy_s
        if level is not None:
            arrived += max(0, level.arrived - (before.arrived if before else 0))
            ended += max(0, level.ended - (before.ended if before else 0))
            busy_s += max(0.0, level.busy_s - (before.busy_s if before else 0.0))
        levels = self._levels[place].values()
        self.totals[place] = total = Total(
            in_hand=sum(level.in_hand for level in levels),
            now=sum(level.now for level in levels),
            waiting=sum(level.waiting for level in levels),
            arrived=arrived,
            ended=ended,
            busy_s=busy_s,
            oldest_s=max((level.oldest_s for level in levels), default=0.0),
            sent_monotonic_s=sent_s,
        )
        self.on_level(*place, total)


class _Connection(LocalConnection):
    def __init__(self, signals: SignalServer) -> None:
        super().__init__(signals.connections)
        self._signals = signals
        self._reader = SizedReader(MAX_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._signals.take(self, _checked(_decode(message)))
                if not self.connected:
                    return
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("gateway sent a signal that cannot be read %s", fields(error=error))
            self.drop()

    def gone(self) -> None:
        """See LocalConnection."""
        self._signals.gone(self)


def _checked(signal: Signal) -> Signal:
    """ValueError for what no gateway says."""
    if not isfinite(signal.sent_monotonic_s):
        raise ValueError("a signal of no time")
    for level in signal.levels:
        _check(level)
    return signal


def _check(level: Level) -> None:
    """ValueError for numbers that no gateway has."""
    numbers = (level.in_hand, level.now, level.waiting, level.arrived, level.ended, level.busy_s, level.oldest_s)
    if not all(isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(f"a level that cannot be: {level}")
