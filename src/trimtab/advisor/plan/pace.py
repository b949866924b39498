"""How long a plan still takes, reckoned from how long its parts have taken so far; never a guess beforehand."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from msgspec import Struct

EVENT: Final = "event"  # candidates that are told of every change: each takes many times as long as another one
OTHER: Final = "other"
WHOLE: Final = "whole"  # on all requests, where candidates are compared on a part of them;
WHOLE_EVENT: Final = "whole, event"


class Left(Struct, frozen=True):
    """Seconds until the end. `is_least`: something is to come of which nothing has been measured yet."""

    seconds: float
    is_least: bool


class Pace:
    """What was measured, and what is still to do. Times are those that simulations took, each in its process."""

    def __init__(self, at_once: int) -> None:
        """`at_once`: simulations that run beside each other."""
        self.simulated = 0
        self.is_open = False  # more may come of which nobody knows how much
        self.waiting: Counter[str] = Counter()  # ways of this step, by kind
        self.later: Counter[str] = Counter()  # ways of steps to come
        self.coming: Counter[str] = Counter()  # simulations on all requests
        self._at_once = at_once
        self._took_s: defaultdict[str, float] = defaultdict(float)
        self._trials: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()  # ways

    def took(self, kind: str, seconds: float) -> None:
        """A simulation has ended."""
        self.simulated += 1
        self._took_s[kind] += seconds
        self._trials[kind] += 1
        if self.coming[kind] > 0:
            self.coming[kind] -= 1

    def ended(self, kind: str) -> None:
        """A way was climbed, or ruled out."""
        self._ended[kind] += 1

    def each_s(self, kind: str) -> float | None:
        """What a simulation takes on average; None: not measured."""
        return self._took_s[kind] / self._trials[kind] if self._trials[kind] else None

    def left(self, whole_is: float = 1.0) -> Left | None:
        """None while nothing has been measured of what is to come. `whole_is`: how many times as long all requests
        last as the part of them that candidates are compared on."""
        parts: list[float | None] = []
        for kind in (OTHER, EVENT):
            if ways := self.waiting[kind] + self.later[kind]:
                parts.append(ways * self._took_s[kind] / self._ended[kind] if self._ended[kind] else None)
        for kind in (WHOLE, WHOLE_EVENT):
            if count := self.coming[kind]:
                each_s = self.each_s(kind)
                if each_s is None and kind == WHOLE_EVENT and (on_part_s := self.each_s(EVENT)) is not None:
                    each_s = on_part_s * whole_is
                parts.append(None if each_s is None else count * each_s)
        known = sum(part for part in parts if part is not None)
        return Left(known / self._at_once, self.is_open or None in parts) if known else None


def words(left: Left | None) -> str:
    """`about 40 s left`, `more than 3 min left`; "" where that is not known."""
    if left is None:
        return ""
    rounded_s = max(5, round(left.seconds / 5) * 5)
    told = f"{rounded_s} s" if rounded_s < 90 else f"{round(rounded_s / 60)} min"
    return f"{'more than' if left.is_least else 'about'} {told} left"


def kind_of(*, is_event: bool, is_whole: bool = False) -> str:
    """Of a simulation or a way."""
    if is_whole:
        return WHOLE_EVENT if is_event else WHOLE
    return EVENT if is_event else OTHER
