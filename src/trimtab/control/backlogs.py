"""Backlogs: what waits in the queues of asynchronous endpoints, as AWS's metrics of an endpoint, and as it is now.

Source: SageMaker developer guide, "Monitor asynchronous endpoints". A second's sample is how the queue was at its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.samples import MINUTE_S
from trimtab.metrics.names import ENDPOINT, SAGEMAKER
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.queues.model import Depth
from trimtab.resources.asynchronous import queue_of
from trimtab.resources.routing import EndpointRoute, RouteTable

logger = logging.getLogger(__name__)

_UNITS: Final = {
    "ApproximateBacklogSize": "Count",
    "ApproximateBacklogSizePerInstance": "Count",
    "ApproximateAgeOfOldestRequest": "Seconds",
    "HasBacklogWithoutCapacity": "None",
}
_AFTER_S: Final = 0.03  # others sample and report at a second's beginning, too


class Records(Protocol):
    """A metric store."""

    def record(self, samples: Sequence[Sample]) -> None: ...


class _Published(Struct):
    """What one endpoint's metrics have of the minute that began at `minute_s`."""

    minute_s: int = 0
    seconds: bool = False  # one for each second, since something was there in it


class Backlogs:
    """`told` hears of every queue of an asynchronous endpoint; `run` until cancelled."""

    def __init__(self, metrics: Records, table: Callable[[], RouteTable], clock: Clock) -> None:
        self._metrics = metrics
        self._table = table
        self._clock = clock
        self._depths: dict[str, Depth] = {}  # by queue
        self._published: dict[str, _Published] = {}  # by endpoint

    def told(self, depth: Depth) -> None:
        """How a queue is."""
        if depth.settings.attributes:
            self._depths[depth.queue] = depth
        else:
            self._depths.pop(depth.queue, None)  # dropped

    def size(self, endpoint: str) -> int | None:
        """Requests that wait or are worked on. None of an endpoint without a queue."""
        depth = self._depths.get(queue_of(endpoint))
        return depth.waiting + depth.leased if depth is not None else None

    async def run(self) -> None:
        """Once in each second, soon after it has begun, of the second before."""
        while True:
            await asyncio.sleep(1.0 - self._clock.now_s() % 1.0 + _AFTER_S)
            try:
                self.sample(int(self._clock.now_s() + 0.5) - 1)
            except Exception:  # the next second is another one
                logger.exception("backlogs could not be published")

    def sample(self, second_s: int) -> None:
        """Publish each endpoint's backlog as that of a second."""
        samples: list[Sample] = []
        routes = {route.name: route for route in self._table().endpoints if route.asynchronous is not None}
        for route in routes.values():
            samples += self._of(route, second_s)
        for gone in self._published.keys() - routes.keys():
            del self._published[gone]
        if samples:
            self._metrics.record(samples)

    def _of(self, route: EndpointRoute, second_s: int) -> list[Sample]:
        """Each second of a minute from when there is something, so that its mean is that of the minute; of an idle one
        a single zero, for which the seconds before are made up when there is something after all."""
        published = self._published.setdefault(route.name, _Published())
        made: list[Sample] = []
        minute_s = second_s - second_s % MINUTE_S
        if published.minute_s != minute_s:
            published.minute_s, published.seconds = minute_s, False
            if not self.size(route.name):
                return _zeros(route.name, minute_s, 1, MINUTE_S)
            published.seconds = True
        elif not published.seconds:
            if not self.size(route.name):
                return made
            published.seconds = True
            made = _zeros(route.name, minute_s, second_s - minute_s - 1, MINUTE_S)
        return made + self._now(route, second_s)

    def _now(self, route: EndpointRoute, second_s: int) -> list[Sample]:
        size, depth = self.size(route.name) or 0, self._depths.get(queue_of(route.name))
        ready = len({lane.replica_id for variant in route.variants for lane in variant.lanes})
        oldest_s = max(0.0, second_s + 1 - depth.oldest_put_s) if size and depth is not None else 0.0
        values = (float(size), size / max(1, ready), oldest_s, 1.0 if size and not ready else 0.0)
        return [
            Sample(_key(route.name, name), second_s, Sketch.of([value]), unit, 1)
            for (name, unit), value in zip(_UNITS.items(), values, strict=True)
        ]


def _zeros(endpoint: str, start_s: int, count: int, resolution_s: int) -> list[Sample]:
    if count <= 0:
        return []
    zeros = Sketch.of([0.0] * count)
    return [Sample(_key(endpoint, name), start_s, zeros, unit, resolution_s) for name, unit in _UNITS.items()]


def _key(endpoint: str, name: str) -> MetricKey:
    return MetricKey(SAGEMAKER, name, ((ENDPOINT, endpoint),))
