"""Scaling policies, alarms and scheduled actions as the calls of Application Auto Scaling and CloudWatch take them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import (
    Predictive,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)

_COOLDOWN_S: Final = 300.0  # AWS: the default for SageMaker variants
_STATISTICS: Final = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")


def configuration_of(policy: ScalingPolicy) -> dict[str, Any]:
    """As it was declared, or else what PutScalingPolicy would have to be given for it."""
    if policy.document:
        return policy.document
    if policy.tracking is not None:
        return tracking_document(policy.tracking)
    if policy.step is not None:
        return _step_document(policy.step)
    return {} if policy.predictive is None else _predictive_document(policy.predictive)


def tracking_document(tracking: TargetTracking) -> dict[str, Any]:
    """TargetTrackingScalingPolicyConfiguration."""
    made: dict[str, Any] = {"TargetValue": tracking.target_value, "ScaleInCooldown": int(tracking.scale_in_cooldown_s)}
    if tracking.scale_out_cooldown_s != _COOLDOWN_S:
        made["ScaleOutCooldown"] = int(tracking.scale_out_cooldown_s)
    if tracking.disable_scale_in:
        made["DisableScaleIn"] = True
    if tracking.predefined:
        return made | {"PredefinedMetricSpecification": {"PredefinedMetricType": tracking.predefined}}
    if tracking.stat is None:
        return made | {"CustomizedMetricSpecification": {"Metrics": [_query(one) for one in tracking.queries]}}
    return made | {"CustomizedMetricSpecification": _metric(tracking.stat) | _statistic(tracking.stat)}


def _metric(stat: MetricStat) -> dict[str, Any]:
    return {
        "Namespace": stat.namespace,
        "MetricName": stat.name,
        "Dimensions": [{"Name": name, "Value": value} for name, value in stat.dimensions],
    }


def _statistic(stat: MetricStat) -> dict[str, Any]:
    return {"Statistic": stat.stat} | ({"Unit": stat.unit} if stat.unit else {})


def _query(query: MetricQuery, *, period: bool = False) -> dict[str, Any]:
    """`period`: where the call lets it be said (alarms; policies have a minute)."""
    made: dict[str, Any] = {"Id": query.id, "ReturnData": query.return_data}
    if query.label is not None:
        made["Label"] = query.label
    if query.stat is None:
        return (
            made | {"Expression": query.expression} | ({"Period": query.period_s} if period and query.period_s else {})
        )
    stat: dict[str, Any] = {"Metric": _metric(query.stat), "Stat": query.stat.stat}
    if query.stat.unit:
        stat["Unit"] = query.stat.unit
    if period:
        stat["Period"] = query.stat.period_s
    return made | {"MetricStat": stat}


def _step_document(step: StepScaling) -> dict[str, Any]:
    made: dict[str, Any] = {
        "AdjustmentType": step.adjustment_type,
        "StepAdjustments": [_adjustment(one) for one in step.steps],
        "Cooldown": int(step.cooldown_s),
        "MetricAggregationType": step.aggregation,
    }
    return made | ({"MinAdjustmentMagnitude": step.min_magnitude} if step.min_magnitude else {})


def _adjustment(one: StepAdjustment) -> dict[str, Any]:
    edges = {"MetricIntervalLowerBound": one.lower, "MetricIntervalUpperBound": one.upper}
    given = {name: edge for name, edge in edges.items() if edge is not None}
    return given | {"ScalingAdjustment": one.adjustment}


def _predictive_document(predictive: Predictive) -> dict[str, Any]:
    spec: dict[str, Any] = {"TargetValue": predictive.target_value}
    if predictive.predefined:
        spec["PredefinedScalingMetricSpecification"] = {"PredefinedMetricType": predictive.predefined}
    elif predictive.stat is not None:
        query = _query(MetricQuery(id="load", stat=predictive.stat))
        spec["CustomizedScalingMetricSpecification"] = {"MetricDataQueries": [query]}
    made: dict[str, Any] = {
        "MetricSpecifications": [spec],
        "Mode": predictive.mode,
        "SchedulingBufferTime": int(predictive.buffer_s),
        "MaxCapacityBreachBehavior": predictive.max_capacity_breach,
    }
    if predictive.max_capacity_breach == "IncreaseMaxCapacity":
        made["MaxCapacityBuffer"] = predictive.max_capacity_buffer
    return made


def alarm_document(watched: Watched) -> dict[str, Any]:
    """What PutMetricAlarm takes, beside a name and what it does."""
    made: dict[str, Any] = {
        "ComparisonOperator": watched.comparison,
        "Threshold": watched.threshold,
        "EvaluationPeriods": watched.evaluation_periods,
        "DatapointsToAlarm": watched.needed,
        "TreatMissingData": watched.treat_missing,
    }
    stat = watched.stat
    if stat is None:
        return made | {"Metrics": [_query(one, period=True) for one in watched.queries]}
    if stat.stat in _STATISTICS:
        return made | _metric(stat) | _statistic(stat) | {"Period": stat.period_s}
    percentile = {"ExtendedStatistic": stat.stat, "EvaluateLowSampleCountPercentile": watched.low_samples}
    return made | _metric(stat) | percentile | ({"Unit": stat.unit} if stat.unit else {}) | {"Period": stat.period_s}


def action_document(action: ScheduledAction) -> dict[str, Any]:
    """What PutScheduledAction takes, beside of what. Times are in ISO 8601, as boto3 reads them."""
    bounds = {"MinCapacity": action.min_capacity, "MaxCapacity": action.max_capacity}
    ends = {"StartTime": action.start_s, "EndTime": action.end_s}
    return {
        "ScheduledActionName": action.name,
        "Schedule": action.schedule,
        "Timezone": action.timezone,
        "ScalableTargetAction": {name: bound for name, bound in bounds.items() if bound is not None},
        **{name: datetime.fromtimestamp(at_s, UTC).isoformat() for name, at_s in ends.items() if at_s is not None},
    }
