"""Signalled: what control has been told of one variant, and when to tell it again. Time is passed in."""

from __future__ import annotations

from typing import Final, Protocol

from trimtab.wire.signals import Level

EVERY_S: Final = 0.1  # while anything is in hand or happens
PART: Final = 4  # a change of one in so many is told without waiting for that
_LEAST_BUSY_S: Final = 1e-6  # less is rounding


class Source(Protocol):
    """A variant: what it has in hand now, and what it did so far."""

    @property
    def in_hand(self) -> int:
        """Calls in the queue and with lanes."""
        ...

    @property
    def waiting(self) -> int:
        """Of these, in the queue."""
        ...

    def counted(self) -> tuple[int, int]:
        """Calls that came so far, and of these that are here no more."""
        ...

    def busy_so_far_s(self) -> float:
        """Replica-seconds with a call in hand."""
        ...

    def starving_s(self) -> float:
        """For how long the oldest call has waited without a lane; else 0."""
        ...


class Signalled:
    """Call `look` often; when it says so, send what `tell` makes. Counters count from the making of this."""

    __slots__ = ("_endpoint", "_looks", "_seen", "_source", "_start", "_told_s", "_variant", "told")

    def __init__(self, endpoint: str, variant: str, source: Source, now_s: float) -> None:
        self._endpoint, self._variant = endpoint, variant
        self._source = source
        self._start = (*source.counted(), source.busy_so_far_s())
        self._seen = self._looks = 0
        self._told_s = now_s
        self.told = Level(
            endpoint=endpoint, variant=variant, in_hand=0.0, now=0, waiting=0, arrived=0, ended=0, busy_s=0.0
        )

    def look(self, now_s: float) -> bool:
        """Note what is in hand; whether it is time to tell."""
        source, told = self._source, self.told
        now = source.in_hand
        self._seen += now
        self._looks += 1
        change = abs(now - told.now)
        if change and change * PART >= told.now:
            return True
        if source.waiting and not told.waiting:
            return True
        return now_s - self._told_s >= EVERY_S and not (now == 0 and self.is_quiet)

    @property
    def is_quiet(self) -> bool:
        """Whether control knows that nothing is in hand, and of all that was."""
        told = self.told
        if told.now or told.in_hand:
            return False
        _, ended, busy_s = self._counted()
        return ended == told.ended and busy_s - told.busy_s < _LEAST_BUSY_S

    @property
    def is_starving(self) -> bool:
        """Whether control was told last that a call waits without a lane."""
        return self.told.oldest_s > 0

    def tell(self, now_s: float) -> Level:
        """What is to be sent, and is taken to be."""
        source = self._source
        now = source.in_hand
        arrived, ended, busy_s = self._counted()
        self.told = Level(
            endpoint=self._endpoint,
            variant=self._variant,
            in_hand=self._seen / self._looks if self._looks else float(now),
            now=now,
            waiting=source.waiting,
            arrived=arrived,
            ended=ended,
            busy_s=busy_s,
            oldest_s=source.starving_s(),
        )
        self._seen = self._looks = 0
        self._told_s = now_s
        return self.told

    def tell_last(self) -> Level:
        """That nothing more will be told."""
        arrived, ended, busy_s = self._counted()
        return Level(
            endpoint=self._endpoint,
            variant=self._variant,
            in_hand=0.0,
            now=0,
            waiting=0,
            arrived=max(arrived, self.told.arrived),  # what waited may have gone to another variant
            ended=ended,
            busy_s=busy_s,
            over=True,
        )

    def _counted(self) -> tuple[int, int, float]:
        """Arrived, ended and busy since this was made."""
        start_arrived, start_ended, start_s = self._start
        arrived, ended = self._source.counted()
        busy_s = self._source.busy_so_far_s() - start_s
        return arrived - start_arrived, ended - start_ended, max(busy_s, self.told.busy_s)
