"""trimtab's own signals, as a customized metric of a target tracking policy names them (resources/scaling.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.aws.autoscaling.places import Place
from trimtab.errors import Invalid
from trimtab.metrics.names import ENDPOINT, PER_VARIANT, TRIMTAB, VARIANT
from trimtab.policies.scaling.tracking import SIGNALS
from trimtab.policies.scaling.windows import windows_of
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.names import key_of
from trimtab.resources.scaling import SIGNAL_EVENT, VARIANT_COUNT, TargetTracking

NAMES: Final = (*SIGNALS, SIGNAL_EVENT)
_FAMILY: Final = "ConcurrencyPerReplica"
_SETTINGS: Final = (  # of SIGNAL_EVENT
    "StableWindowSeconds",
    "PanicWindowSeconds",
    "HeadroomQuantile",
    "PatienceSeconds",
)


def is_signal(metric: Mapping[str, Any]) -> bool:
    """Whether a metric is, or was meant to be, one of trimtab's signals."""
    return metric.get("Namespace") == TRIMTAB and str(metric.get("MetricName", "")).startswith(_FAMILY)


def signal_of(spec: Mapping[str, Any], place: Place) -> MetricStat:
    """The signal that a CustomizedMetricSpecification names, of the variant at `place`. Raises Invalid."""
    name = spec["MetricName"]
    if place.dimension != VARIANT_COUNT:
        raise Invalid(f"{name[:100]} is of replicas: a policy of {place.dimension} cannot track it.")
    if name not in NAMES:
        raise Invalid(f"{TRIMTAB} has no signal {name[:100]}; it has {', '.join(NAMES)}.")
    if spec["Statistic"] != "Average":
        raise Invalid(f"The Statistic of {name} is Average, not {spec['Statistic']}.")
    if spec.get("Unit"):
        raise Invalid(f"{name} has no Unit: leave it out.")
    given = {dimension["Name"]: dimension["Value"] for dimension in spec.get("Dimensions") or ()}
    if len(given) != len(spec.get("Dimensions") or ()):
        raise Invalid("No Metric may specify the same dimension name twice.")
    own = {ENDPOINT: place.endpoint, VARIANT: place.variant}
    if any(key_of(given.get(member, "")) != key_of(value) for member, value in own.items()):
        raise Invalid(
            f"{name} must have the dimensions {ENDPOINT}={place.endpoint} and {VARIANT}={place.variant}: a variant is"
            " scaled by its own load."
        )
    settings = {key: value for key, value in given.items() if key not in PER_VARIANT}
    _check_settings(name, settings)
    dimensions = tuple(sorted({**own, **settings}.items()))
    found = MetricStat(TRIMTAB, name, dimensions, SIGNALS.get(name, 0), "Average")
    try:
        windows_of(TargetTracking(target_value=1.0, stat=found))
    except ValueError as error:
        raise Invalid(f"{error}.") from None
    return found


def _check_settings(name: str, settings: Mapping[str, str]) -> None:
    """Raises Invalid for settings that the signal does not have."""
    known = _SETTINGS if name == SIGNAL_EVENT else ()
    if unknown := sorted(settings.keys() - known):
        more = f" and may have {', '.join(known)}" if known else ""
        raise Invalid(f"{name} has the dimensions {ENDPOINT} and {VARIANT}{more}; it has no {unknown[0][:100]}.")
