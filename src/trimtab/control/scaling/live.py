"""LiveScaling: autoscaling's parts put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from trimtab.clock import Clock
from trimtab.control.alarms import Alarms
from trimtab.control.scaling.alarm_action import ScalingActions
from trimtab.control.scaling.arns import Arns
from trimtab.control.scaling.book import Book
from trimtab.control.scaling.decided import Decided
from trimtab.control.scaling.forecasts import Forecasts
from trimtab.control.scaling.loads import Loads
from trimtab.control.scaling.managed import Managed
from trimtab.control.scaling.means import Means, Notes, Scales
from trimtab.control.scaling.scalers import Scalers
from trimtab.control.scaling.schedules import Schedules
from trimtab.control.scaling.seconds import Seconds
from trimtab.control.scaling.service import Scaling
from trimtab.control.scaling.signal_metrics import SignalMeter
from trimtab.control.scaling.starts import Starts
from trimtab.control.scaling.tracking_alarms import TrackingAlarms
from trimtab.control.scaling.writer import Writer
from trimtab.control.signal_server import SignalServer, Total
from trimtab.metrics.store import MetricStore
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import ReplicaStatus
from trimtab.store.store import Store


class Plane(Protocol):
    """What autoscaling does to endpoints (`Control`)."""

    @property
    def scale(self) -> Scales:
        """See ControlApi."""
        ...

    @property
    def room_s(self) -> float:
        """Wall time when a replica that had not failed last left the machine, and made room; 0: not seen."""
        ...

    def wake(self, name: str) -> None:
        """Plan the endpoint anew."""
        ...

    def list_replicas(self) -> Sequence[ReplicaStatus]:
        """What runs."""
        ...


class LiveScaling:
    """`open` once the engine has been asked what runs; `run` until cancelled; `close` last.

    `ready` counts the replicas of a variant that take requests; `gateways` is how many tell what they have in hand.
    `api` is what callers reach, and what control asks of its variants; `act` is what alarms do; control calls `told`.
    """

    def __init__(
        self,
        *,
        store: Store,
        plane: Plane,
        alarms: Alarms,
        metrics: MetricStore,
        clock: Clock,
        note: Notes,
        arns: Arns,
        ready: Callable[[str, str], int],
        signals: SignalServer,
        gateways: int,
        hears: Callable[[str, str, Total], None] = lambda endpoint, variant, total: None,
        writer: Writer | None = None,
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`hears` is told of each level, too. `writer` and `soon` are for tests that have no event loop."""
        self._plane = plane
        self._signals = signals
        self._hears = hears
        self._writer = writer or Writer()
        book = Book(store.scaling)
        means = Means(
            store=store.scaling,
            scale=plane.scale,
            note=note,
            clock=clock,
            later=self._writer.later,
            moved=book.save_target,
            decided=Decided(metrics),
        )
        self.scalers = Scalers(book, store, means, soon or _soon)
        self._starts = Starts()
        tracking = TrackingAlarms(alarms, arns)
        self.api = Scaling(
            book, store.scaling, store, tracking, self.scalers, arns, clock, plane.wake, self._writer.flush
        )
        self.scalers.on_gone = self.api.forget_gone

        def connected() -> bool:
            return signals.connections.count >= gateways

        meter = SignalMeter(connected)
        self.act = ScalingActions(book, self.scalers, metrics, clock)
        self.loads = Loads(self.scalers, self._starts, meter, ready, lambda: signals.totals, connected, clock)
        self.schedules = Schedules(book, self.scalers, clock)
        self.api.on_schedule = self.schedules.changed
        self.forecasts = Forecasts(book, self.scalers, metrics, clock)
        managed = Managed(self.api, book, arns)
        self.seconds = Seconds(
            self.api,
            managed,
            book,
            store,
            self.scalers,
            self._starts,
            alarms,
            meter,
            self.loads,
            metrics,
            lambda: plane.room_s,
            clock,
        )
        self._book, self._tracking = book, tracking

    def told(self, endpoint: str, events: Sequence[Event]) -> None:
        """An endpoint's events are recorded, or (without events) a caller has changed it."""
        self._starts.told(endpoint, events)
        self.scalers.told(endpoint, events)

    async def open(self) -> None:
        """Take over, then hear what gateways have in hand."""
        self.start()
        self._signals.on_level = self._level
        await self._signals.open()

    def _level(self, endpoint: str, variant: str, total: Total) -> None:
        self.loads(endpoint, variant, total)
        self._hears(endpoint, variant, total)

    def start(self) -> None:
        """Take over from the control before."""
        self._starts.found(self._plane.list_replicas())
        self.api.forget_gone()
        self._tracking.mend(self._book.policies())
        self.scalers.start()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for work in (self.seconds.run(), self.schedules.run(), self.forecasts.run()):
                tasks.create_task(work)

    async def close(self) -> None:
        """Hear no more; write what waits."""
        await self._signals.close()
        self._writer.close()


def _soon(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(call)
