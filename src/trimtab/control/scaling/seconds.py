"""What autoscaling does each second: follow the endpoints, let time pass for event policies, publish its metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from trimtab.clock import Clock
from trimtab.control.alarms import Alarms
from trimtab.control.scaling.book import Book, place_of
from trimtab.control.scaling.loads import Loads
from trimtab.control.scaling.managed import Managed
from trimtab.control.scaling.scaler import RETRY_S, Scaler
from trimtab.control.scaling.scalers import Records, Scalers
from trimtab.control.scaling.service import Scaling
from trimtab.control.scaling.signal_metrics import CLOSES_S, SignalMeter
from trimtab.control.scaling.starts import Starts
from trimtab.control.scaling.wanting import signals_of
from trimtab.metrics.store import MetricStore

logger = logging.getLogger(__name__)

_MADE_UP_S: Final = 5  # seconds whose signals are still published when control was busy


class Seconds:
    """`run` until cancelled. What fails in one second is logged and does not keep the next from being done."""

    def __init__(
        self,
        scaling: Scaling,
        managed: Managed,
        book: Book,
        records: Records,
        scalers: Scalers,
        starts: Starts,
        alarms: Alarms,
        meter: SignalMeter,
        loads: Loads,
        metrics: MetricStore,
        room_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        """`room_s`: wall time when a replica that had not failed last left the machine, and made room."""
        self._scaling = scaling
        self._managed = managed
        self._book = book
        self._records = records
        self._scalers = scalers
        self._starts = starts
        self._alarms = alarms
        self._meter = meter
        self._loads = loads
        self._metrics = metrics
        self._room_s = room_s
        self._clock = clock
        self._failing = False
        self._room_seen_s = 0.0
        self._published_s = 0  # the newest second whose signals are published

    async def run(self) -> None:
        """Once in each second, soon after it has begun."""
        while True:
            await asyncio.sleep(1.0 - (self._clock.now_s() - CLOSES_S) % 1.0)
            try:
                self.step()
            except Exception:
                if not self._failing:  # one traceback, not one a second
                    logger.exception("autoscaling: a second's work failed")
                self._failing = True
            else:
                self._failing = False

    def step(self) -> None:
        """One second's work."""
        now_s, room_s = self._clock.now_s(), self._room_s()
        self.follow(now_s)
        self._publish(round(now_s - CLOSES_S) - 1)
        for _, scaler in self._scalers.live():
            if scaler.is_event and not scaler.blocked:
                self._loads.second(scaler)
            self._try_again(scaler, room_s if room_s > self._room_seen_s else 0.0)
        self._room_seen_s = room_s

    def follow(self, now_s: float) -> None:
        """Targets of endpoints that are gone are forgotten, those of ManagedInstanceScaling made; records are looked at
        in case that nobody has told of them."""
        self._scaling.forget_gone()
        records = self._records.list_endpoints()
        self._managed.sync(records, now_s)
        self._scalers.follow(records)
        self._starts.keep(place_of(r.endpoint.name, v.name) for r in records for v in r.endpoint.variants)

    def _try_again(self, scaler: Scaler, room_s: float) -> None:
        """What failed is asked for once more: after a pause, and at once when room has come since."""
        has_room = room_s > scaler.state.failed_s
        scaler.restore_bounds(has_room=has_room)
        if scaler.retries_s is not None and (has_room or self._clock.monotonic_s() >= scaler.retries_s):
            asked = self._retry({policy.arn for policy in scaler.rules.policies})
            scaler.retries_s = self._clock.monotonic_s() + RETRY_S if asked else None

    def _retry(self, arns: set[str]) -> bool:
        """Have the policies' alarms act again that still are in their state: there may be room now. False: none is."""
        alarms = [alarm for alarm in self._alarms.list() if arns.intersection(alarm.actions)]
        for alarm in alarms:
            self._alarms.runner.repeat(alarm)
        return bool(alarms)

    def _publish(self, newest_s: int) -> None:
        """The signals of the seconds up to that one: also those in which control was busy."""
        wanted = []
        for place, scaler in self._scalers.live():
            if names := signals_of(self._book.policies_of(place)):
                wanted.append((scaler.rules.target, names, scaler.capacity))
        first_s = max(newest_s - _MADE_UP_S, min(self._published_s, newest_s)) + 1
        self._published_s = newest_s
        samples = [
            sample for second_s in range(first_s, newest_s + 1) for sample in self._meter.samples(second_s, wanted)
        ]
        if samples:
            self._metrics.record(samples)
