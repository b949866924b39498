"""What Application Auto Scaling does with endpoints' variants, and how often its alarms look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from trimtab.advisor.audit.account import Scaling
from trimtab.advisor.audit.reading.reader import Answer, Reader
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import (
    PolicyAlarm,
    ScalableTarget,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    Suspended,
    TargetTracking,
)

_SERVICE: Final = "application-autoscaling"
_NAMESPACE: Final = "sagemaker"
_ALARMS_A_CALL: Final = 100  # AWS
STANDARD_S: Final = 60
HIGH_RESOLUTION_S: Final = 10
Key = tuple[str, str]  # endpoint, variant


def read_scaling(reader: Reader) -> dict[Key, Scaling] | None:
    """By endpoint and variant, of those that have any; None when a part of it could not be seen."""
    targets = _all(reader, "describe_scalable_targets", "ScalableTargets", "Which endpoints scale")
    policies = _all(reader, "describe_scaling_policies", "ScalingPolicies", "Scaling policies")
    schedule = _all(reader, "describe_scheduled_actions", "ScheduledActions", "Scheduled scaling")
    if targets is None or policies is None or schedule is None:
        return None
    periods_s = _alarm_periods_s(reader, policies)
    policies_of, schedule_of = _by_variant(policies), _by_variant(schedule)
    return {
        key: Scaling(
            target=_target(key, target),
            policies=tuple(policy_of(key, each) for each in policies_of[key]),
            schedule=tuple(_action(key, each) for each in schedule_of[key]),
            periods_s={each["PolicyName"]: _period_s(each, periods_s) for each in policies_of[key]},
        )
        for key, (target, *_) in _by_variant(targets).items()
    }


def _all(reader: Reader, operation: str, member: str, what: str) -> list[Answer] | None:
    return reader.pages(_SERVICE, operation, member, what, ServiceNamespace=_NAMESPACE)


def _by_variant(documents: Iterable[Answer]) -> defaultdict[Key, list[Answer]]:
    """Those of variants; inference components have another resource id."""
    found: defaultdict[Key, list[Answer]] = defaultdict(list)
    for document in documents:
        parts = document["ResourceId"].split("/")
        if len(parts) == 4 and parts[0] == "endpoint":
            found[parts[1], parts[3]].append(document)
    return found


def _alarm_periods_s(reader: Reader, policies: Iterable[Answer]) -> dict[str, int]:
    """Of those policies' alarms for which the policy's kind does not say it; without them the usual is assumed."""
    names = [alarm["AlarmName"] for policy in policies if not _predefined(policy) for alarm in policy.get("Alarms", ())]
    found: dict[str, int] = {}
    for first in range(0, len(names), _ALARMS_A_CALL):
        some = names[first : first + _ALARMS_A_CALL]
        alarms = reader.pages("cloudwatch", "describe_alarms", "MetricAlarms", "Alarms of policies", AlarmNames=some)
        for alarm in alarms or ():
            parts = [each.get("MetricStat", {}).get("Period", 0) for each in alarm.get("Metrics", ())]
            found[alarm["AlarmName"]] = alarm.get("Period") or max(parts, default=0)
    return found


def _predefined(policy: Answer) -> str:
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    return str((tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType", ""))


def _period_s(policy: Answer, alarms_s: Mapping[str, int]) -> int:
    if predefined := _predefined(policy):
        return HIGH_RESOLUTION_S if predefined.endswith("HighResolution") else STANDARD_S
    known = [alarms_s[alarm["AlarmName"]] for alarm in policy.get("Alarms", ()) if alarms_s.get(alarm["AlarmName"])]
    return min(known, default=STANDARD_S)


def _target(key: Key, document: Answer) -> ScalableTarget:
    suspended = document.get("SuspendedState") or {}
    return ScalableTarget(
        endpoint=key[0],
        variant=key[1],
        min_capacity=document["MinCapacity"],
        max_capacity=document["MaxCapacity"],
        created_s=_seconds(document.get("CreationTime")),
        dimension=document["ScalableDimension"],
        role_arn=document.get("RoleARN", ""),
        suspended=Suspended(
            scale_in=suspended.get("DynamicScalingInSuspended", False),
            scale_out=suspended.get("DynamicScalingOutSuspended", False),
            scheduled=suspended.get("ScheduledScalingSuspended", False),
        ),
    )


def policy_of(key: Key, document: Answer) -> ScalingPolicy:
    """A policy of a variant, as DescribeScalingPolicies has it."""
    tracking = document.get("TargetTrackingScalingPolicyConfiguration")
    step = document.get("StepScalingPolicyConfiguration")
    return ScalingPolicy(
        name=document["PolicyName"],
        arn=document.get("PolicyARN", ""),
        endpoint=key[0],
        variant=key[1],
        created_s=_seconds(document.get("CreationTime")),
        dimension=document["ScalableDimension"],
        tracking=_tracking(tracking, key) if tracking else None,
        step=_step(step) if step else None,
        alarms=tuple(PolicyAlarm(each["AlarmName"], each["AlarmARN"]) for each in document.get("Alarms", ())),
        document=dict(tracking or step or {}),
    )


def _tracking(document: Mapping[str, Any], key: Key) -> TargetTracking:
    custom = document.get("CustomizedMetricSpecification") or {}
    return TargetTracking(
        target_value=document["TargetValue"],
        predefined=(document.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType", ""),
        stat=_stat(custom, custom["MetricName"], custom.get("Statistic", "Average"))
        if "MetricName" in custom
        else None,
        queries=tuple(_query(each) for each in custom.get("Metrics", ())),
        scale_out_cooldown_s=document.get("ScaleOutCooldown", 300),
        scale_in_cooldown_s=document.get("ScaleInCooldown", 300),
        disable_scale_in=document.get("DisableScaleIn", False),
    )


def _query(document: Mapping[str, Any]) -> MetricQuery:
    stat = document.get("MetricStat")
    metric = (stat or {}).get("Metric", {})
    return MetricQuery(
        id=document["Id"],
        stat=_stat(metric, metric.get("MetricName", ""), stat["Stat"]) if stat else None,
        expression=document.get("Expression", ""),
        return_data=document.get("ReturnData", True),
    )


def _stat(document: Mapping[str, Any], name: str, stat: str) -> MetricStat:
    dimensions = sorted((each["Name"], each["Value"]) for each in document.get("Dimensions", ()))
    return MetricStat(
        document.get("Namespace", ""), name, tuple(dimensions), STANDARD_S, stat, document.get("Unit", "")
    )


def _step(document: Mapping[str, Any]) -> StepScaling:
    return StepScaling(
        adjustment_type=document.get("AdjustmentType", "ChangeInCapacity"),
        steps=tuple(
            StepAdjustment(
                each.get("MetricIntervalLowerBound"), each.get("MetricIntervalUpperBound"), each["ScalingAdjustment"]
            )
            for each in document.get("StepAdjustments", ())
        ),
        cooldown_s=document.get("Cooldown", 300),
        aggregation=document.get("MetricAggregationType", "Average"),
        min_magnitude=document.get("MinAdjustmentMagnitude", 0),
    )


def _action(key: Key, document: Answer) -> ScheduledAction:
    change = document.get("ScalableTargetAction") or {}
    return ScheduledAction(
        name=document["ScheduledActionName"],
        arn=document.get("ScheduledActionARN", ""),
        endpoint=key[0],
        variant=key[1],
        schedule=document["Schedule"],
        created_s=_seconds(document.get("CreationTime")),
        timezone=document.get("Timezone", "UTC"),
        start_s=_seconds(document["StartTime"]) if document.get("StartTime") else None,
        end_s=_seconds(document["EndTime"]) if document.get("EndTime") else None,
        min_capacity=change.get("MinCapacity"),
        max_capacity=change.get("MaxCapacity"),
    )


def _seconds(moment: Any) -> float:
    return float(moment.timestamp()) if moment is not None else 0.0
