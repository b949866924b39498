"""What gateways have in hand, as the reducer is told of it: at once, and one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.scaling.book import place_of
from trimtab.control.scaling.scaler import Scaler
from trimtab.control.scaling.scalers import Scalers
from trimtab.control.scaling.signal_metrics import SignalMeter
from trimtab.control.scaling.starts import Starts
from trimtab.control.signal_server import NOTHING, Total
from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.windows import SILENT_S, TOLD_WITHIN_S


class Loads:
    """`SignalServer.on_level`. `ready` counts the replicas of a variant that take requests; `totals` are what gateways
    have told last, by endpoint and variant; `connected`: whether all of them are there to tell."""

    def __init__(
        self,
        scalers: Scalers,
        starts: Starts,
        meter: SignalMeter,
        ready: Callable[[str, str], int],
        totals: Callable[[], Mapping[tuple[str, str], Total]],
        connected: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._scalers = scalers
        self._starts = starts
        self._meter = meter
        self._ready = ready
        self._totals = totals
        self._connected = connected
        self._clock = clock

    def __call__(self, endpoint: str, variant: str, total: Total) -> None:
        """All gateways together have this of a variant now. While one of them is away, its part is not known: what the
        others have can show that more is needed, not that less is enough."""
        place = place_of(endpoint, variant)
        scaler = self._scalers.find(place)
        if scaler is None:
            return
        now_s = self._clock.now_s()
        self._meter.level(place, total, now_s)
        if not scaler.looks_at_load:
            return
        if not (self._connected() or total.waiting or not scaler.capacity):
            scaler.last_load = None  # what is so once all are there is said in the next second
        else:
            self._feed(scaler, total, now_s, max(0.0, self._clock.monotonic_s() - total.sent_monotonic_s))

    def second(self, scaler: Scaler) -> None:
        """A second has passed for an event policy. Gateways tell nothing of what is idle: while all are there, that is
        known to be idle, and said once; after that time passes. While one is away nothing is said: it is not known."""
        now_s = self._clock.now_s()
        if not self._connected():
            scaler.last_load = None
            return
        if scaler.last_load is not None:
            scaler.feed(Tick(at_s=now_s, capacity=scaler.capacity))
            return
        target = scaler.rules.target
        total = self._totals().get((target.endpoint, target.variant), NOTHING)
        self._feed(scaler, replace(total, in_hand=float(total.now), oldest_s=0.0), now_s, 0.0)

    def _feed(self, scaler: Scaler, total: Total, now_s: float, on_its_way_s: float) -> None:
        target = scaler.rules.target
        load = Load(
            at_s=now_s,
            capacity=scaler.capacity,
            ready=self._ready(target.endpoint, target.variant),
            in_hand=_since(scaler.last_load, total, now_s),
            now=total.now,
            waiting=total.waiting,
            arrived=total.arrived,
            ended=total.ended,
            work_s=total.busy_s,
            start_s=self._starts.of(place_of(target.endpoint, target.variant)),
        )
        scaler.feed(load, detect_s=on_its_way_s + total.oldest_s)


def _since(before: Load | None, total: Total, now_s: float) -> float:
    """What was in hand on average since the Load before. A gateway tells what it saw since it began to look, which is
    when a request came: one after a silence must not stand for all of that."""
    if before is None or before.now or now_s - before.at_s <= SILENT_S:
        return total.in_hand
    return total.now * TOLD_WITHIN_S / (now_s - before.at_s)
