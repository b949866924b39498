"""Sampler: what replicas take, once a second, into the metric store; and what is known of each replica now."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from trimtab.clock import Clock
from trimtab.control.fleet import wanted_of
from trimtab.control.replica_metrics import count_samples, event_samples, usage_samples
from trimtab.engines.engine import Engine
from trimtab.metrics.store import MetricStore, Sample
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import ReplicaState
from trimtab.resources.usage import ReplicaUsage
from trimtab.store.store import Store

logger = logging.getLogger(__name__)

_AFTER_S = 0.05  # gateways report at the beginning of a second: not all at once
COUNTS_EVERY_S = 10  # numbers of replicas are published when they change, and so often while they do not


class Sampler:
    """`run` until cancelled. What fails in one second is logged and does not keep the next from being sampled."""

    def __init__(self, engine: Engine, store: Store, metrics: MetricStore, clock: Clock) -> None:
        self._engine = engine
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._usages: dict[str, ReplicaUsage] = {}
        self._counts: dict[tuple[str, str], tuple[int, int, int]] = {}  # desired, ready, published in which second
        self._failing = False

    @property
    def usages(self) -> Mapping[str, ReplicaUsage]:
        """The last reading of each replica, by its id."""
        return self._usages

    def told(self, endpoint: str, events: Sequence[Event]) -> None:
        """Count an endpoint's events."""
        if samples := event_samples(endpoint, events):
            self._metrics.record(samples)

    async def run(self) -> None:
        """Once in each second, soon after it has begun, of the second before."""
        while True:
            await asyncio.sleep(1.0 - self._clock.now_s() % 1.0 + _AFTER_S)
            try:
                await self.sample(int(self._clock.now_s() + 0.5) - 1)
            except Exception:
                if not self._failing:  # one traceback, not one a second
                    logger.exception("replicas could not be measured")
                self._failing = True
            else:
                self._failing = False

    async def sample(self, second_s: int) -> None:
        """Read all replicas, and publish that as the second's."""
        usages = await self._engine.measure()
        self._usages = {usage.replica_id: usage for usage in usages}
        self._metrics.record([*usage_samples(usages, second_s), *self._count(second_s)])

    def _count(self, second_s: int) -> list[Sample]:
        replicas = self._engine.observe()
        desired = {
            (record.endpoint.name, variant.name): wanted_of(variant, record.endpoint.name, replicas)
            for record in self._store.list_endpoints()
            for variant in record.endpoint.variants
        }
        ready = Counter(
            (replica.endpoint, replica.variant) for replica in replicas if replica.state is ReplicaState.READY
        )
        due = {}
        for key, count in desired.items():
            before = self._counts.get(key)
            if before is None or before[:2] != (count, ready[key]) or second_s - before[2] >= COUNTS_EVERY_S:
                due[key] = count
                self._counts[key] = (count, ready[key], second_s)
        for key in self._counts.keys() - desired.keys():
            del self._counts[key]
        return list(count_samples(due, ready, second_s))
