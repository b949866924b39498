"""trimtab's own metrics of what is in hand per wanted replica, every second, of variants that are scaled by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from trimtab.control.scaling.book import Place, place_of
from trimtab.control.signal_server import Total
from trimtab.metrics.names import ENDPOINT, TRIMTAB, VARIANT
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.policies.scaling.windows import SILENT_S, TOLD_WITHIN_S
from trimtab.resources.scaling import ScalableTarget

CLOSES_S: Final = 0.15  # after its end, a second's last levels are here: gateways tell ten times a second at least


class _Hand(Struct):
    """What one variant has in hand, in request-seconds of each second."""

    last_s: float
    now: float = 0.0
    area: dict[int, float] = {}

    def until(self, at_s: float, in_hand: float) -> None:
        """So many were in hand since the last time, as a mean."""
        while self.last_s < at_s:
            second = int(self.last_s)
            end_s = min(at_s, second + 1.0)
            self.area[second] = self.area.get(second, 0.0) + in_hand * (end_s - self.last_s)
            self.last_s = end_s


class SignalMeter:
    """Adds up levels; `samples` makes those of one second. `connected`: whether a gateway is there to tell levels: what
    nobody tells of is not zero."""

    def __init__(self, connected: Callable[[], bool]) -> None:
        self._connected = connected
        self._hands: dict[Place, _Hand] = {}

    def level(self, place: Place, total: Total, now_s: float) -> None:
        """A variant's new total."""
        hand = self._hands.get(place)
        if hand is None or not 0 <= now_s - hand.last_s < 10.0:  # new, or the wall clock has jumped
            hand = self._hands[place] = _Hand(now_s, float(total.now), {})
            return
        if hand.now == 0 and now_s - hand.last_s > SILENT_S:
            hand.until(now_s - TOLD_WITHIN_S, 0.0)
            hand.until(now_s, total.now)
        hand.until(now_s, total.in_hand)
        hand.now = float(total.now)

    def samples(self, second_s: int, wanted: Iterable[tuple[ScalableTarget, tuple[str, ...], int]]) -> list[Sample]:
        """Of the second that began then: `wanted` are targets, metric names, and how many replicas are wanted."""
        made: list[Sample] = []
        if not self._connected():
            self._hands.clear()
            return made
        places = set()
        for target, names, capacity in wanted:
            place = place_of(target.endpoint, target.variant)
            places.add(place)
            sketch = Sketch.of([self._take(place, second_s) / max(1, capacity)])
            dimensions = ((ENDPOINT, target.endpoint), (VARIANT, target.variant))
            made += [Sample(MetricKey(TRIMTAB, name, dimensions), second_s, sketch, "Count") for name in names]
        for gone in self._hands.keys() - places:
            del self._hands[gone]
        return made

    def _take(self, place: Place, second_s: int) -> float:
        """The mean of a second that is over."""
        hand = self._hands.get(place)
        if hand is None:
            return 0.0
        hand.until(second_s + 1.0, hand.now)
        mean = hand.area.pop(second_s, 0.0)
        for old in [second for second in hand.area if second < second_s]:
            del hand.area[old]
        return mean
