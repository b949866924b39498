"""Scaling policies and scheduled actions as the calls of Application Auto Scaling take them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from trimtab.resources.metric_documents import metric_document, query_document, statistic_document
from trimtab.resources.metric_query import MetricQuery
from trimtab.resources.scaling import (
    Predictive,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)

_COOLDOWN_S: Final = 300.0  # AWS: the default for SageMaker variants


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
        queries = [query_document(one, periods=False) for one in tracking.queries]
        return made | {"CustomizedMetricSpecification": {"Metrics": queries}}
    return made | {"CustomizedMetricSpecification": metric_document(tracking.stat) | statistic_document(tracking.stat)}


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
        query = query_document(MetricQuery(id="load", stat=predictive.stat), periods=False)
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
