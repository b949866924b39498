"""What DescribeScalingActivities tells of decisions, in AWS's words. Pure but for the ids."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from msgspec.structs import replace

from trimtab.policies.scaling import words
from trimtab.policies.scaling.decisions import Decision
from trimtab.policies.scaling.inputs import Scheduled
from trimtab.resources.scaling import ActivityStatus, NotScaled, ScalableTarget, ScalingActivity

UNSCALABLE = "TargetServicePutResourceAsUnscalable"  # AWS's code: the endpoint cannot be scaled now


def begun(target: ScalableTarget, decision: Decision) -> ScalingActivity:
    """A change that was ordered."""
    return replace(
        _activity(target, decision),
        status=ActivityStatus.IN_PROGRESS,
        status_message=words.waiting(decision.wanted, target.dimension),
    )


def moved(target: ScalableTarget, decision: Decision, given: Scheduled) -> ScalingActivity:
    """A scheduled action has moved the bounds."""
    return replace(
        _activity(target, decision),
        description=words.bounds_description(given.min_capacity, given.max_capacity),
        cause=words.schedule_cause(given.action),
        status=ActivityStatus.SUCCESSFUL,
        status_message=words.bounds_done(given.min_capacity, given.max_capacity),
        end_s=decision.at_s,
    )


def refused(target: ScalableTarget, decision: Decision, why: str, capacity: int) -> ScalingActivity:
    """A change that the endpoint does not take now. AWS tries again at the next alarm action, and so do we."""
    return replace(
        failed(_activity(target, decision), decision.at_s, why),
        not_scaled=(NotScaled(code=UNSCALABLE, current_capacity=capacity),),
    )


def left(target: ScalableTarget, decision: Decision) -> ScalingActivity:
    """A change that a policy asked for and that was not made."""
    return replace(
        _activity(target, decision),
        description="Attempting to scale due to alarm triggered" if decision.policy else "Attempting to scale",
        status=ActivityStatus.FAILED,
        status_message=decision.reason,
        end_s=decision.at_s,
        not_scaled=decision.not_scaled,
    )


def succeeded(activity: ScalingActivity, now_s: float) -> ScalingActivity:
    """The replicas are there, or gone."""
    return replace(
        activity,
        status=ActivityStatus.SUCCESSFUL,
        status_message=words.fulfilled(wanted_of(activity), activity.dimension),
        end_s=max(now_s, activity.start_s),
    )


def failed(activity: ScalingActivity, now_s: float, why: str) -> ScalingActivity:
    """It came to nothing."""
    return replace(
        activity,
        status=ActivityStatus.FAILED,
        status_message=words.failed(wanted_of(activity), why, activity.dimension),
        end_s=max(now_s, activity.start_s),
    )


def overridden(activity: ScalingActivity, now_s: float, by: str) -> ScalingActivity:
    """Another change took its place before it was over."""
    return replace(
        activity,
        status=ActivityStatus.OVERRIDDEN,
        status_message=words.overridden(wanted_of(activity), by, activity.dimension),
        end_s=max(now_s, activity.start_s),
    )


def wanted_of(activity: ScalingActivity) -> int:
    """The capacity that it was to lead to."""
    return int(_details(activity)["desired"])


def before_of(activity: ScalingActivity) -> int:
    """The capacity that there was."""
    return int(_details(activity)["before"])


def _details(activity: ScalingActivity) -> dict[str, Any]:
    return msgspec.json.decode(activity.details, type=dict[str, Any])


def _activity(target: ScalableTarget, decision: Decision) -> ScalingActivity:
    details = {"before": decision.before, "desired": decision.wanted, "policy": decision.policy}
    return ScalingActivity(
        id=str(uuid.uuid4()),
        endpoint=target.endpoint,
        variant=target.variant,
        dimension=target.dimension,
        description=words.description(decision.wanted, target.dimension),
        cause=decision.cause or decision.reason,
        start_s=decision.at_s,
        status=ActivityStatus.PENDING,
        details=msgspec.json.encode(details).decode(),
    )
