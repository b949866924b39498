"""What alarms do whose action is a scaling policy: the metric is read as the alarm reads it, and the policy acts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.alarm_actions import is_scaling_policy, not_there
from trimtab.control.alarm_points import points_of
from trimtab.control.scaling.book import Book, place_of
from trimtab.control.scaling.scalers import Scalers
from trimtab.errors import Invalid, NotFound, Unavailable
from trimtab.metrics.store import MetricStore
from trimtab.policies.alarm_words import COMPARISONS, AlarmPoint
from trimtab.policies.alarms import window_of
from trimtab.policies.scaling.inputs import AlarmFired
from trimtab.resources.alarm import Alarm, Watched
from trimtab.resources.scaling import StepScaling

_HIGH: Final = "Greater"  # how the comparisons begin that look for too much


class Reading(Struct, frozen=True):
    """The metric's value, and for how long it has been beyond the threshold at least."""

    value: float
    beyond_s: float


class ScalingActions:
    """`trimtab.control.alarm_actions.Actions`: scaling policies are carried out, everything else is refused by name."""

    def __init__(self, book: Book, scalers: Scalers, metrics: MetricStore, clock: Clock) -> None:
        self._book = book
        self._scalers = scalers
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, alarm: Alarm, action: str) -> None:
        """NotFound for a policy that is not there; Unavailable when the metric has no value; NotSupported."""
        if not is_scaling_policy(action):
            await not_there(alarm, action)
            return
        policy = self._book.policy_with_arn(action)
        if policy is None:
            raise NotFound("scaling-policy", action, f"There is no scaling policy {action}.")
        if alarm.watched is None:
            raise Invalid("A composite alarm has no metric that a scaling policy could act upon.")
        now_s = self._clock.now_s()
        # In a thread: an alarm may look at a day of seconds.
        found = await asyncio.to_thread(read, alarm.watched, self._metrics, now_s, policy.step)
        if found is None:
            raise Unavailable("The alarm's metric has no data now: there is nothing to scale by.")
        policy = self._book.policy_with_arn(action)  # calls were answered meanwhile
        scaler = self._scalers.fresh(place_of(policy.endpoint, policy.variant)) if policy is not None else None
        if scaler is None:
            raise NotFound("scaling-policy", action, f"There is no scaling policy {action} any more.")
        fired = AlarmFired(
            at_s=self._clock.now_s(),
            capacity=scaler.capacity,
            policy=action,
            alarm=alarm.name,
            is_high=alarm.watched.comparison.startswith(_HIGH),
            value=found.value,
            threshold=alarm.watched.threshold,
        )
        scaler.feed(fired, detect_s=found.beyond_s)


def read(watched: Watched, metrics: MetricStore, now_s: float, step: StepScaling | None) -> Reading | None:
    """What the alarm sees: its newest point; for a step policy the points that it judges by, aggregated as that says.

    An alarm that was set by hand may have none yet: then the period that is not over counts.
    """
    start_s, end_s = window_of(watched, now_s)
    points = list(points_of(watched, metrics, start_s, end_s, now_s))
    if not points:
        points = list(points_of(watched, metrics, end_s, int(now_s) + 1, now_s))
    if not points:
        return None
    compare, _ = COMPARISONS[watched.comparison]
    beyond_since_s = now_s
    for point in reversed(points):
        if not compare(point.value, watched.threshold):
            break
        beyond_since_s = point.start_s
    return Reading(_value(points, watched, step), max(0.0, now_s - beyond_since_s))


def _value(points: Sequence[AlarmPoint], watched: Watched, step: StepScaling | None) -> float:
    if step is None:
        return points[-1].value
    values = [point.value for point in points[-watched.evaluation_periods :]]
    if step.aggregation == "Minimum":
        return min(values)
    return max(values) if step.aggregation == "Maximum" else sum(values) / len(values)
