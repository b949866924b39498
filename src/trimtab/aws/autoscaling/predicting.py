"""PredictiveScalingPolicyConfiguration: what AWS has for ECS, for variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trimtab.aws.autoscaling.numbers import seconds, target_value
from trimtab.aws.autoscaling.places import Place
from trimtab.aws.autoscaling.signals import is_signal, signal_of
from trimtab.aws.autoscaling.tracking import predefined_of, tracked_queries
from trimtab.aws.sagemaker.refusals import not_supported_yet
from trimtab.errors import Invalid
from trimtab.policies.scaling.tracking import SIGNALS
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, VARIANT_COUNT, Predictive

_DEFAULT_BUFFER_S: Final = 300.0  # AWS: SchedulingBufferTime
_PREDEFINED: Final = ("PredefinedMetricPairSpecification", "PredefinedScalingMetricSpecification")
_CUSTOMIZED: Final = "CustomizedScalingMetricSpecification"
_REFUSED: Final = (
    "PredefinedLoadMetricSpecification",
    "CustomizedLoadMetricSpecification",
    "CustomizedCapacityMetricSpecification",
)
_INCREASE: Final = "IncreaseMaxCapacity"


def predictive_of(config: Mapping[str, Any], place: Place) -> Predictive:
    """The policy that `config` declares for the variant at `place`. Raises Invalid."""
    if place.dimension != VARIANT_COUNT:
        raise not_supported_yet(
            f"Predictive scaling of {place.dimension}", "Use TargetTrackingScaling, or scheduled actions."
        )
    specs = config["MetricSpecifications"]
    if len(specs) != 1:
        raise Invalid(f"MetricSpecifications must have one element; it has {len(specs)}.")
    predefined, stat = _metric(specs[0], place)
    breach = config.get("MaxCapacityBreachBehavior", "HonorMaxCapacity")
    if ("MaxCapacityBuffer" in config) != (breach == _INCREASE):
        raise Invalid(f"MaxCapacityBuffer must be given with MaxCapacityBreachBehavior {_INCREASE}, and only then.")
    return Predictive(
        target_value=target_value(specs[0]),
        predefined=predefined,
        stat=stat,
        mode=config.get("Mode", "ForecastOnly"),
        buffer_s=seconds(config, "SchedulingBufferTime", _DEFAULT_BUFFER_S),
        max_capacity_breach=breach,
        max_capacity_buffer=config.get("MaxCapacityBuffer", 0),
    )


def _metric(spec: Mapping[str, Any], place: Place) -> tuple[str, MetricStat | None]:
    """What is forecast: per replica; the load is this times the replicas that there were."""
    for member in _REFUSED:
        if member in spec:
            raise not_supported_yet(member, "Leave it out: the load is forecast from the scaling metric.")
    given = [member for member in (*_PREDEFINED, _CUSTOMIZED) if member in spec]
    if len(given) != 1:
        raise Invalid(f"Exactly one of {', '.join((*_PREDEFINED, _CUSTOMIZED))} must be given.")
    if given[0] in _PREDEFINED:
        return predefined_of(spec[given[0]], place.dimension), None
    return "", _customized(spec[_CUSTOMIZED]["MetricDataQueries"], place)


def _customized(declared: Sequence[Mapping[str, Any]], place: Place) -> MetricStat:
    queries = tracked_queries(declared, f"{_CUSTOMIZED}.MetricDataQueries")
    stat = queries[0].stat
    if len(queries) != 1 or stat is None:
        raise not_supported_yet("Metric math in a predictive policy", "Give one MetricStat.")
    metric = declared[0]["MetricStat"]["Metric"]
    if not is_signal(metric):
        return stat
    found = signal_of({**metric, "Statistic": stat.stat, "Unit": stat.unit}, place)
    if found.name == SIGNAL_EVENT:
        raise Invalid(f"{SIGNAL_EVENT} has no history to forecast from: use {', '.join(SIGNALS)}.")
    return found
