"""RegisterScalableTarget, DescribeScalableTargets, DeregisterScalableTarget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.aws.arns import partition_of
from trimtab.aws.autoscaling.pages import page_of
from trimtab.aws.autoscaling.places import Place, chosen, described_place, missing, order_of, place_of, resource_id
from trimtab.aws.autoscaling.tags import checked_tags, target_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid, NotFound
from trimtab.resources.scaling import ScalableTarget, Suspended

_SUSPENDED = {
    "DynamicScalingInSuspended": "scale_in",
    "DynamicScalingOutSuspended": "scale_out",
    "ScheduledScalingSuspended": "scheduled",
}


class Targets:
    """The scalable targets that callers registered. Those of ManagedInstanceScaling are not among them, as on AWS."""

    def __init__(self, scaling: ScalingApi, pager: Pager) -> None:
        self._scaling = scaling
        self._pager = pager

    @operation(
        "application-autoscaling",
        "RegisterScalableTarget",
        missing="The service namespace sagemaker with the dimensions sagemaker:variant:DesiredInstanceCount and "
        "sagemaker:variant:DesiredProvisionedConcurrency. RoleARN has no effect: answers name the service-linked role. "
        "MinCapacity of an instance count may be 0 (AWS: of asynchronous endpoints): requests that come when there is "
        "no replica are held and answered",
    )
    def register(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Make a target, or change what is given of one."""
        place = place_of(params)
        least, most = capacities_of(params)
        known = registered(self._scaling, place)
        if known is not None and params.get("Tags"):
            raise Invalid(  # AWS's words
                "The scalable target that you tried to tag already exists. To update tags on an existing scalable"
                " target, use the TagResource API."
            )
        try:
            target = self._scaling.register(
                place.endpoint,
                place.variant,
                place.dimension,
                min_capacity=least,
                max_capacity=most,
                role_arn=params.get("RoleARN", ""),
                suspended=_suspended(params, known),
                tags=checked_tags(params.get("Tags") or {}),
            )
        except NotFound as error:
            raise Invalid(f"SageMaker endpoint variant doesn't exist: {resource_id(place)}. {error}") from None
        return {"ScalableTargetARN": target_arn(call, target)}

    @operation("application-autoscaling", "DescribeScalableTargets", missing="No PredictedCapacity")
    def describe(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of targets, by endpoint and variant."""
        targets = (target for target in self._scaling.targets() if not target.managed)
        page, token = page_of(self._pager, call, params, chosen(targets, params), order_of)
        return {"ScalableTargets": [_described(call, target) for target in page], **token}

    @operation("application-autoscaling", "DeregisterScalableTarget")
    def deregister(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Forget a target with its policies and scheduled actions; capacity stays as it is."""
        place = place_of(params)
        try:
            self._scaling.deregister(place.endpoint, place.variant, place.dimension)
        except NotFound:
            raise missing("scalable-target", "scalable target found", place) from None
        return {}


def registered(scaling: ScalingApi, place: Place) -> ScalableTarget | None:
    """The target that a caller registered at `place`."""
    return next((target for target in scaling.targets() if not target.managed and place.is_of(target)), None)


def registered_place(scaling: ScalingApi, place: Place) -> Place:
    """`place` with the names that its target was registered by. NotFound, in AWS's words, when it has none."""
    target = registered(scaling, place)
    if target is None:
        raise missing("scalable-target", "scalable target registered", place)
    return Place(target.endpoint, target.variant, target.dimension)


def capacities_of(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """MinCapacity and MaxCapacity, where given. Raises Invalid."""
    least, most = given.get("MinCapacity"), given.get("MaxCapacity")
    for name, value in (("MinCapacity", least), ("MaxCapacity", most)):
        if value is not None and value < 0:
            raise Invalid(f"{name} must be 0 or more; it is {value}.")
    if least is not None and most is not None and least > most:
        raise Invalid(f"Maximum capacity cannot be less than minimum capacity: {most} is less than {least}.")
    return least, most


def _suspended(params: Mapping[str, Any], known: ScalableTarget | None) -> Suspended | None:
    """AWS: what an update does not specify does not change; that holds for each of the three."""
    given = params.get("SuspendedState")
    if given is None:
        return None
    before = known.suspended if known is not None else Suspended()
    return Suspended(**{name: given.get(member, getattr(before, name)) for member, name in _SUSPENDED.items()})


def _described(call: Call, target: ScalableTarget) -> dict[str, Any]:
    return {
        **described_place(target),
        "MinCapacity": target.min_capacity,
        "MaxCapacity": target.max_capacity,
        "RoleARN": _role_arn(call),
        "CreationTime": target.created_s,
        "SuspendedState": {member: getattr(target.suspended, name) for member, name in _SUSPENDED.items()},
        "ScalableTargetARN": target_arn(call, target),
    }


def _role_arn(call: Call) -> str:
    """AWS: SageMaker has a service-linked role, whatever RoleARN was given."""
    service = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    role = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    return f"arn:{partition_of(call.region)}:iam::{call.account}:role/{service}/{role}"
