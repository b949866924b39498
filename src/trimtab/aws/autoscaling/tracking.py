"""TargetTrackingScalingPolicyConfiguration, checked as AWS checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from trimtab.aws.autoscaling.numbers import seconds, target_value
from trimtab.aws.autoscaling.places import Place
from trimtab.aws.autoscaling.signals import is_signal, signal_of
from trimtab.aws.cloudwatch.alarm_shapes import check_queries
from trimtab.aws.cloudwatch.shapes import dimensions_of, queries_of
from trimtab.aws.registry import AwsError
from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.errors import Invalid, NotSupported
from trimtab.policies.scaling.tracking import PREDEFINED, PREDEFINED_OF
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import TargetTracking

T = TypeVar("T")
PERIOD_S: Final = 60  # AWS: of customized metrics
_SINGLE: Final = ("MetricName", "Namespace", "Statistic")
_DEFAULT_COOLDOWN_S: Final = 300.0  # AWS: SageMaker variants


def tracking_of(config: Mapping[str, Any], place: Place) -> TargetTracking:
    """The policy that `config` declares for the variant at `place`. Raises Invalid."""
    predefined = config.get("PredefinedMetricSpecification")
    customized = config.get("CustomizedMetricSpecification")
    if (predefined is None) == (customized is None):
        raise Invalid("Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification must be given.")
    return TargetTracking(
        target_value=target_value(config),
        predefined=predefined_of(predefined, place.dimension) if predefined is not None else "",
        **(_customized(customized, place) if customized is not None else {}),
        scale_out_cooldown_s=seconds(config, "ScaleOutCooldown", _DEFAULT_COOLDOWN_S),
        scale_in_cooldown_s=seconds(config, "ScaleInCooldown", _DEFAULT_COOLDOWN_S),
        disable_scale_in=config.get("DisableScaleIn", False),
    )


def metric_of(tracking: TargetTracking) -> tuple[object, ...]:
    """What is tracked, whatever the target: one policy of a target may track it."""
    stat = tracking.stat
    if tracking.is_event and stat is not None:  # its further dimensions are settings
        stat = replace(stat, dimensions=())
    return (tracking.predefined, stat, tracking.queries)


def predefined_of(spec: Mapping[str, Any], dimension: str) -> str:
    """PredefinedMetricType. Raises Invalid for those that variants do not have."""
    kind: str = spec["PredefinedMetricType"]
    if spec.get("ResourceLabel"):
        raise Invalid("You cannot specify a resource label unless the metric type is ALBRequestCountPerTarget.")
    known = PREDEFINED_OF[dimension]
    if kind in known:
        return kind
    if kind.startswith("SageMaker") and kind not in PREDEFINED:
        raise not_supported_yet(f"The predefined metric type {kind[:100]}", f"Use {' or '.join(known)}.")
    raise Invalid(  # AWS's words
        f"Scalable dimension {dimension} only supports the following predefined metric types: "
        f"{', '.join(known)}; not {kind[:100]}."
    )


def _customized(spec: Mapping[str, Any], place: Place) -> dict[str, Any]:
    if "Metrics" in spec:
        for member in (*_SINGLE, "Dimensions", "Unit"):
            if spec.get(member):
                raise Invalid(f"CustomizedMetricSpecification has both Metrics and {member}: give one of them.")
        for query in spec["Metrics"]:
            if is_signal(metric := query.get("MetricStat", {}).get("Metric", {})):
                raise Invalid(f"{metric['MetricName']} cannot be part of metric math: track it alone.")
        return {"queries": tracked_queries(spec["Metrics"], "CustomizedMetricSpecification.Metrics")}
    for member in _SINGLE:
        if not spec.get(member):
            raise Invalid(f"CustomizedMetricSpecification needs {member}, or Metrics.")
    if is_signal(spec):
        return {"stat": signal_of(spec, place)}
    return {
        "stat": MetricStat(
            namespace=spec["Namespace"],
            name=spec["MetricName"],
            dimensions=_said(lambda: dimensions_of(spec)),
            period_s=PERIOD_S,
            stat=spec["Statistic"],
            unit=spec.get("Unit", ""),
        )
    }


def tracked_queries(declared: Sequence[Mapping[str, Any]], member: str) -> tuple[MetricQuery, ...]:
    """Metric math with one result, over metrics of `PERIOD_S`. Raises Invalid."""
    queries = _said(lambda: queries_of([_with_period(query) for query in declared], member))
    _said(lambda: check_queries(queries))
    return queries


def _with_period(query: Mapping[str, Any]) -> dict[str, Any]:
    stat = query.get("MetricStat")
    return {**query, "MetricStat": {**stat, "Period": PERIOD_S}} if stat is not None else dict(query)


def _said(check: Callable[[], T]) -> T:
    """What CloudWatch would refuse, Application Auto Scaling refuses with a code of its own."""
    try:
        return check()
    except (AwsError, NotSupported) as error:
        raise Invalid(str(error)) from None
