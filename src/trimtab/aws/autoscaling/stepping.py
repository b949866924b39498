"""StepScalingPolicyConfiguration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.aws.autoscaling.numbers import seconds
from trimtab.errors import Invalid
from trimtab.policies.scaling.step_scaling import check
from trimtab.resources.scaling import StepAdjustment, StepScaling

_DEFAULT_COOLDOWN_S: Final = 300.0  # AWS
_REQUIRED: Final = ("AdjustmentType", "StepAdjustments")


def stepping_of(config: Mapping[str, Any]) -> StepScaling:
    """The policy that `config` declares. Raises Invalid, as AWS does for steps that overlap or leave a gap."""
    for member in _REQUIRED:
        if not config.get(member):
            raise Invalid(f"StepScalingPolicyConfiguration needs {member}.")
    found = StepScaling(
        adjustment_type=config["AdjustmentType"],
        steps=tuple(_step(step) for step in config["StepAdjustments"]),
        cooldown_s=seconds(config, "Cooldown", _DEFAULT_COOLDOWN_S),
        aggregation=config.get("MetricAggregationType", "Average"),
        min_magnitude=config.get("MinAdjustmentMagnitude", 0),
    )
    check(found)
    return found


def _step(declared: Mapping[str, Any]) -> StepAdjustment:
    return StepAdjustment(
        lower=declared.get("MetricIntervalLowerBound"),
        upper=declared.get("MetricIntervalUpperBound"),
        adjustment=declared["ScalingAdjustment"],
    )
