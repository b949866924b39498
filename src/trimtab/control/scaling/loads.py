"""What gateways have in hand, as the reducer is told of it: at once, and one after the other."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.clock import Clock
from trimtab.control.scaling.book import place_of
from trimtab.control.scaling.scalers import Scalers
from trimtab.control.scaling.signal_metrics import SignalMeter
from trimtab.control.scaling.starts import Starts
from trimtab.control.signal_server import Total
from trimtab.policies.scaling.inputs import Load


class Loads:
    """`SignalServer.on_level`. `ready` counts the replicas of a variant that take requests."""

    def __init__(
        self,
        scalers: Scalers,
        starts: Starts,
        meter: SignalMeter,
        ready: Callable[[str, str], int],
        clock: Clock,
    ) -> None:
        self._scalers = scalers
        self._starts = starts
        self._meter = meter
        self._ready = ready
        self._clock = clock

    def __call__(self, endpoint: str, variant: str, total: Total) -> None:
        """All gateways together have this of a variant now."""
        place = place_of(endpoint, variant)
        scaler = self._scalers.find(place)
        if scaler is None:
            return
        now_s = self._clock.now_s()
        self._meter.level(place, total, now_s)
        if scaler.blocked or not scaler.looks_at_load:
            return
        load = Load(
            at_s=now_s,
            capacity=scaler.capacity,
            ready=self._ready(endpoint, variant),
            in_hand=total.in_hand,
            now=total.now,
            waiting=total.waiting,
            arrived=total.arrived,
            ended=total.ended,
            work_s=total.busy_s,
            start_s=self._starts.of(place),
        )
        on_its_way_s = max(0.0, self._clock.monotonic_s() - total.sent_monotonic_s)
        scaler.feed(load, detect_s=on_its_way_s + total.oldest_s)
