"""Target tracking: which metric it keeps, the alarms it needs, and the capacity that a metric asks for.

Source: Application Auto Scaling user guide, "Target tracking scaling policies"; SageMaker developer guide, "Auto
scaling policy options". AWS does not publish the formula: what is known of it is that scale-out is fast, scale-in
careful, and that it rounds towards more capacity.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.policies.scaling import words
from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import (
    PROVISIONED,
    SIGNAL_1S,
    SIGNAL_10S,
    SIGNAL_NAMESPACE,
    VARIANT_COUNT,
    ScalingPolicy,
    TargetTracking,
)

# As `metrics.names` has them, which is above this package.
_ENDPOINT: Final = "EndpointName"
_VARIANT: Final = "VariantName"
_SAGEMAKER: Final = "AWS/SageMaker"

# AWS's PredefinedMetricType, by dimension: the metric's name, period and statistic.
PREDEFINED_OF: Final = {
    VARIANT_COUNT: {
        "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", 60, "Sum"),
        "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("ConcurrentRequestsPerModel", 10, "Maximum"),
    },
    PROVISIONED: {
        "SageMakerVariantProvisionedConcurrencyUtilization": (
            "ServerlessProvisionedConcurrencyUtilization",
            60,
            "Maximum",
        ),
    },
}
PREDEFINED: Final = {kind: metric for of_one in PREDEFINED_OF.values() for kind, metric in of_one.items()}
SIGNALS: Final = {SIGNAL_1S: 1, SIGNAL_10S: 10}  # trimtab's own: their periods

LOW_SHARE: Final = 0.9  # AWS: AlarmLow's threshold is this part of the target
HIGH_PERIODS: Final = 3
LOW_S: Final = 900  # AWS: below the threshold for a quarter of an hour, whatever the period
LOW_SIGNAL_S: Final = 60  # of the 1 s signal

_SLACK: Final = 1e-9  # of rounding: 3 * 0.1 / 0.3 is one replica, not two
_MOST: Final = 1_000_000  # replicas


class TrackingAlarm(Struct, frozen=True, kw_only=True):
    """An alarm that a policy needs: in ALARM it calls for more (`is_high`) or for less. Its action is the policy."""

    name: str
    description: str
    is_high: bool
    watched: Watched


def capacity(current: int, metric: float, target: float) -> int:
    """The least capacity at which a metric that falls as capacity grows is at or below `target`.

    `metric` was measured with `current` replicas. From 0 it cannot leave 0 (AWS: a step policy is needed for that).
    """
    asked = current * metric / target
    if not isfinite(asked) or asked >= _MOST:
        return _MOST if asked > 0 and current else current
    return max(1 if current and metric > 0 else 0, ceil(asked - _SLACK * max(1.0, asked)))


def arithmetic(current: int, metric: float, target: float) -> str:
    """The same, in figures."""
    return f"ceil({current} * {metric:g} / {target:g}) = {capacity(current, metric, target)}"


def metric_of(tracking: TargetTracking, endpoint: str, variant: str) -> MetricStat | tuple[MetricQuery, ...]:
    """What it tracks: one statistic, or metric math. KeyError for a PredefinedMetricType that is not in PREDEFINED."""
    if tracking.predefined:
        name, period_s, stat = PREDEFINED[tracking.predefined]
        return MetricStat(_SAGEMAKER, name, ((_ENDPOINT, endpoint), (_VARIANT, variant)), period_s, stat)
    if tracking.stat is None:
        return tracking.queries
    if tracking.stat.namespace == SIGNAL_NAMESPACE and tracking.stat.name in SIGNALS:
        return msgspec.structs.replace(tracking.stat, period_s=SIGNALS[tracking.stat.name])
    return tracking.stat


def period_s(tracking: TargetTracking) -> int:
    """Of each point of the metric."""
    metric = metric_of(tracking, "", "")
    if isinstance(metric, MetricStat):
        return metric.period_s or 60
    return Watched(queries=metric, comparison="", threshold=0, evaluation_periods=1).period_s


def is_per_wanted(tracking: TargetTracking) -> bool:
    """Whether the metric is divided by the replicas that are wanted (trimtab's signals), not by those that serve."""
    return tracking.stat is not None and tracking.stat.namespace == SIGNAL_NAMESPACE and tracking.stat.name in SIGNALS


def alarms_of(policy: ScalingPolicy, high_id: str, low_id: str) -> tuple[TrackingAlarm, ...]:
    """AlarmHigh and AlarmLow of a target-tracking policy, named with these UUIDs; none for one that decides by events.

    AWS makes both with DisableScaleIn, too: AlarmLow then has no effect.
    """
    tracking = policy.tracking
    if tracking is None or tracking.is_event:
        return ()
    return _alarm(policy, tracking, high_id, is_high=True), _alarm(policy, tracking, low_id, is_high=False)


def _alarm(policy: ScalingPolicy, tracking: TargetTracking, alarm_id: str, *, is_high: bool) -> TrackingAlarm:
    metric = metric_of(tracking, policy.endpoint, policy.variant)
    each_s = period_s(tracking)
    low_s = LOW_SIGNAL_S if each_s < 10 else LOW_S
    resource = f"endpoint/{policy.endpoint}/variant/{policy.variant}"
    return TrackingAlarm(
        name=f"TargetTracking-{resource}-{'AlarmHigh' if is_high else 'AlarmLow'}-{alarm_id}",
        description=words.alarm_description(policy.arn),
        is_high=is_high,
        watched=Watched(
            stat=metric if isinstance(metric, MetricStat) else None,
            queries=() if isinstance(metric, MetricStat) else metric,
            comparison="GreaterThanThreshold" if is_high else "LessThanThreshold",
            threshold=tracking.target_value if is_high else LOW_SHARE * tracking.target_value,
            evaluation_periods=HIGH_PERIODS if is_high else max(1, low_s // each_s),
        ),
    )
