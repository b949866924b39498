"""AWS's words for scaling activities (Application Auto Scaling user guide, "Scaling activities")."""

from __future__ import annotations

from trimtab.resources.scaling import PROVISIONED


def measure(dimension: str) -> str:
    """What AWS calls capacity in that dimension. Of provisioned concurrency it shows no example: as it is named."""
    return "provisioned concurrency" if dimension == PROVISIONED else "instance count"


def units(dimension: str) -> str:
    """What capacity in that dimension is a number of."""
    return "provisioned environments" if dimension == PROVISIONED else "replicas"


def alarm_cause(alarm: str, policy: str) -> str:
    """An alarm made a policy act."""
    return f"monitor alarm {alarm} in state ALARM triggered policy {policy}"


def minimum_cause(capacity: int) -> str:
    """Capacity was below the least that a target allows."""
    return f"minimum capacity was set to {capacity}"


def maximum_cause(capacity: int) -> str:
    """Capacity was above the most that a target allows."""
    return f"maximum capacity was set to {capacity}"


def schedule_cause(action: str) -> str:
    """A scheduled action was due."""
    return f"scheduled action name {action} was triggered"


def event_cause(policy: str) -> str:
    """A policy that decides on every change of load (trimtab's own) asked for it."""
    return f"change of load triggered policy {policy}"


def forecast_cause(policy: str) -> str:
    """A predictive policy foresees load."""
    return f"forecast of load triggered policy {policy}"


WAKE_CAUSE = "request arrived while desired instance count was 0"


def description(capacity: int, dimension: str) -> str:
    """Of an activity that changes capacity."""
    return f"Setting desired {measure(dimension)} to {capacity}."


def bounds_description(min_capacity: int | None, max_capacity: int | None) -> str:
    """Of a scheduled action's activity. None: that bound stays."""
    parts = [f"min capacity to {min_capacity}"] if min_capacity is not None else []
    parts += [f"max capacity to {max_capacity}"] if max_capacity is not None else []
    return f"Setting {' and '.join(parts)}"


def bounds_done(min_capacity: int | None, max_capacity: int | None) -> str:
    """StatusMessage of a scheduled action's activity."""
    parts = [f"min capacity to {min_capacity}"] if min_capacity is not None else []
    parts += [f"max capacity to {max_capacity}"] if max_capacity is not None else []
    return f"Successfully set {' and '.join(parts)}"


def waiting(capacity: int, dimension: str) -> str:
    """StatusMessage of a change that was accepted and is under way."""
    return f"{_set(capacity, dimension)}. Waiting for change to be fulfilled by sagemaker."


def fulfilled(capacity: int, dimension: str) -> str:
    """StatusMessage of a change that is done."""
    return f"{_set(capacity, dimension)}. Change successfully fulfilled by sagemaker."


def failed(capacity: int, reason: str, dimension: str) -> str:
    """StatusMessage of a change that was refused or came to nothing; `reason` is the refusal's message."""
    return f"Failed to set desired {measure(dimension)} to {capacity}. Reason: {reason}"


def overridden(capacity: int, by: str, dimension: str) -> str:
    """StatusMessage of a change that another one took the place of."""
    return f"Setting desired {measure(dimension)} to {capacity} was overridden by {by}."


def _set(capacity: int, dimension: str) -> str:
    return f"Successfully set desired {measure(dimension)} to {capacity}"


def alarm_description(policy_arn: str) -> str:
    """AlarmDescription of an alarm that target tracking made."""
    return f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy_arn}."
