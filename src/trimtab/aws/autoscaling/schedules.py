"""PutScheduledAction, DescribeScheduledActions, DeleteScheduledAction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trimtab.aws.autoscaling.pages import page_of
from trimtab.aws.autoscaling.places import Place, chosen, described_place, missing, order_of, place_of
from trimtab.aws.autoscaling.targets import capacities_of, registered_place
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid, NotFound
from trimtab.resources.scaling import ScheduledAction


class Schedules:
    """The scheduled actions of scalable targets."""

    def __init__(self, scaling: ScalingApi, pager: Pager) -> None:
        self._scaling = scaling
        self._pager = pager

    @operation("application-autoscaling", "PutScheduledAction")
    def put(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Make an action, or change what is given of one; start and end that are not given are forgotten (AWS)."""
        place, name = registered_place(self._scaling, place_of(params)), params["ScheduledActionName"]
        actions = (action for action in self._scaling.actions() if place.is_of(action))
        known = next((action for action in actions if action.name == name), None)
        self._scaling.put_action(_action(place, name, params, known))
        return {}

    @operation("application-autoscaling", "DescribeScheduledActions")
    def describe(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of actions, by endpoint, variant and name."""
        names = params.get("ScheduledActionNames")
        wanted = (action for action in chosen(self._scaling.actions(), params) if not names or action.name in names)
        page, token = page_of(self._pager, call, params, wanted, lambda action: (*order_of(action), action.name))
        return {"ScheduledActions": [_described(action) for action in page], **token}

    @operation("application-autoscaling", "DeleteScheduledAction")
    def delete(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Forget an action."""
        place, name = place_of(params), params["ScheduledActionName"]
        try:
            self._scaling.delete_action(place.endpoint, place.variant, place.dimension, name)
        except NotFound:
            more = f", scheduled action name: {name}"
            raise missing("scheduled-action", "scheduled action found", place, more) from None
        return {}


def _action(place: Place, name: str, params: Mapping[str, Any], known: ScheduledAction | None) -> ScheduledAction:
    schedule = params.get("Schedule") or (known.schedule if known is not None else "")
    if not schedule:
        raise Invalid("Schedule is required for a new scheduled action: at(...), rate(...) or cron(...).")
    start_s, end_s = _seconds(params.get("StartTime")), _seconds(params.get("EndTime"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise Invalid("EndTime must be later than StartTime.")
    least, most = _capacities(params, known)
    return ScheduledAction(
        name=name,
        arn="",
        endpoint=place.endpoint,
        variant=place.variant,
        dimension=place.dimension,
        schedule=schedule,
        created_s=0.0,  # ARN and time are given where it is recorded
        timezone=params.get("Timezone") or (known.timezone if known is not None else "UTC"),
        start_s=start_s,
        end_s=end_s,
        min_capacity=least,
        max_capacity=most,
    )


def _capacities(params: Mapping[str, Any], known: ScheduledAction | None) -> tuple[int | None, int | None]:
    given = params.get("ScalableTargetAction")
    if given is None and known is not None:
        return known.min_capacity, known.max_capacity
    least, most = capacities_of(given or {})
    if least is None and most is None:
        raise Invalid("ScalableTargetAction must have MinCapacity, MaxCapacity or both.")
    return least, most


def _seconds(time: datetime | None) -> float | None:
    return time.timestamp() if time is not None else None


def _described(action: ScheduledAction) -> dict[str, Any]:
    bounds = {"MinCapacity": action.min_capacity, "MaxCapacity": action.max_capacity}
    answer = {
        "ScheduledActionName": action.name,
        "ScheduledActionARN": action.arn,
        **described_place(action),
        "Schedule": action.schedule,
        "Timezone": action.timezone,
        "StartTime": action.start_s,
        "EndTime": action.end_s,
        "ScalableTargetAction": {member: value for member, value in bounds.items() if value is not None},
        "CreationTime": action.created_s,
    }
    return {key: value for key, value in answer.items() if value is not None}
