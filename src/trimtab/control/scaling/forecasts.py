"""Predictive policies: forecasts from the metric store's history, each hour; what they ask for now, each minute."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.alarm_points import points_of_stat
from trimtab.control.scaling.book import Book, place_of
from trimtab.control.scaling.scalers import Scalers
from trimtab.logs import fields
from trimtab.metrics.names import ENDPOINT, TRIMTAB, VARIANT
from trimtab.metrics.store import MetricStore
from trimtab.policies.scaling.inputs import Forecast
from trimtab.policies.scaling.predictive import forecast, wanted
from trimtab.policies.scaling.tracking import PREDEFINED, is_per_wanted, metric_of
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import Predictive, ScalingPolicy, TargetTracking

logger = logging.getLogger(__name__)

HISTORY_S: Final = 14 * 86_400  # AWS
STEP_S: Final = 300
HORIZON_S: Final = 48 * 3600.0  # AWS: forecasts reach two days
MADE_ANEW_S: Final = 3600.0  # here each hour; AWS: each six hours
LOOK_EVERY_S: Final = 60.0
_SUMS: Final = ("Sum", "SampleCount")


class _Made(Struct):
    policy: ScalingPolicy
    at_s: float
    load: list[tuple[float, float]]
    told: float | None = None
    told_s: float = 0.0


class Forecasts:
    """`run` until cancelled."""

    def __init__(self, book: Book, scalers: Scalers, metrics: MetricStore, clock: Clock) -> None:
        self._book = book
        self._scalers = scalers
        self._metrics = metrics
        self._clock = clock
        self._made: dict[str, _Made] = {}

    async def run(self) -> None:
        """Each minute, every predictive policy."""
        while True:
            for policy in self._book.policies():
                if policy.predictive is not None:
                    try:
                        await self.look(policy, policy.predictive)
                    except Exception:
                        logger.exception("a forecast could not be followed %s", fields(policy=policy.arn))
            arns = {policy.arn for policy in self._book.policies()}
            self._made = {arn: made for arn, made in self._made.items() if arn in arns}
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, policy: ScalingPolicy, predictive: Predictive) -> None:
        """Say what the policy asks for now, when that is something new, or an hour has passed."""
        now_s = self._clock.now_s()
        made = self._made.get(policy.arn)
        if made is None or made.policy != policy or not 0 <= now_s - made.at_s < MADE_ANEW_S:
            try:
                load = await asyncio.to_thread(self._forecast, policy, predictive, now_s)
            except Exception:  # the next one is tried in an hour
                logger.exception("a forecast failed %s", fields(policy=policy.arn))
                load = []
            made = self._made[policy.arn] = _Made(policy, now_s, load)
        scaler = self._scalers.fresh(place_of(policy.endpoint, policy.variant))
        if scaler is None:
            return
        most = scaler.rules.target.max_capacity
        replicas = wanted(predictive, made.load, now_s, max_capacity=most)
        if replicas is None or (replicas == made.told and now_s - made.told_s < MADE_ANEW_S):
            return
        made.told, made.told_s = replicas, now_s
        scaler.feed(Forecast(at_s=now_s, capacity=scaler.capacity, policy=policy.arn, wanted=replicas))

    def _forecast(self, policy: ScalingPolicy, predictive: Predictive, now_s: float) -> list[tuple[float, float]]:
        return forecast(history(policy, predictive, self._metrics, now_s), now_s, HORIZON_S)


def history(
    policy: ScalingPolicy, predictive: Predictive, metrics: MetricStore, now_s: float
) -> list[tuple[float, float]]:
    """The load of whole steps, oldest first: the metric, which is per replica, times the replicas that there were."""
    tracking = TargetTracking(target_value=1.0, predefined=predictive.predefined, stat=predictive.stat)
    if predictive.predefined and predictive.predefined not in PREDEFINED:
        return []
    stat = metric_of(tracking, policy.endpoint, policy.variant)
    if not isinstance(stat, MetricStat):
        return []
    end_s = int(now_s // STEP_S * STEP_S)
    start_s = end_s - HISTORY_S
    name = "ReplicasDesired" if is_per_wanted(tracking) else "ReplicasReady"
    dimensions = ((ENDPOINT, policy.endpoint), (VARIANT, policy.variant))
    counts = points_of_stat(MetricStat(TRIMTAB, name, dimensions, STEP_S, "Average"), metrics, start_s, end_s)
    replicas = {point.start_s: max(1.0, point.value) for point in counts}
    of_step = MetricStat(stat.namespace, stat.name, stat.dimensions, STEP_S, stat.stat, stat.unit)
    scale = (stat.period_s or STEP_S) / STEP_S if stat.stat in _SUMS else 1.0
    return [
        (point.start_s, point.value * scale * replicas[point.start_s])
        for point in points_of_stat(of_step, metrics, start_s, end_s)
        if point.start_s in replicas
    ]
