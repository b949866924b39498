"""A ScalingApi in memory: what tests of the edge talk to. Nothing is scaled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.errors import Invalid, LimitExceeded, NotFound
from trimtab.resources.names import key_of
from trimtab.resources.scaling import (
    PolicyAlarm,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    Suspended,
)

Key = tuple[str, str, str]


class FakeScaling:
    """Keeps what it is told of `variants` (endpoint and name of each, case-folded). A test adds what else there is."""

    def __init__(self, clock: Clock, variants: Iterable[tuple[str, str]]) -> None:
        self._clock = clock
        self._variants = set(variants)
        self.known: dict[Key, ScalableTarget] = {}
        self.held_policies: dict[tuple[str, ...], ScalingPolicy] = {}
        self.held_actions: dict[tuple[str, ...], ScheduledAction] = {}
        self.held_activities: list[ScalingActivity] = []  # newest first
        self.most_policies = 50

    def register(
        self,
        endpoint: str,
        variant: str,
        dimension: str,
        *,
        min_capacity: int | None,
        max_capacity: int | None,
        role_arn: str,
        suspended: Suspended | None,
        tags: Mapping[str, str],
    ) -> ScalableTarget:
        """Make it, or change what is given."""
        key = _key(endpoint, variant, dimension)
        if endpoint.lower() not in {name for name, _ in self._variants}:
            raise NotFound("endpoint", endpoint)
        if key[:2] not in self._variants:
            raise NotFound("variant", variant)
        before = self.known.get(key)
        least, most = min_capacity, max_capacity
        if before is not None:
            least = least if least is not None else before.min_capacity
            most = most if most is not None else before.max_capacity
        if least is None or most is None:
            raise Invalid("You must supply a minimum and a maximum capacity for a new scalable target.")
        if least > most:
            raise Invalid("Maximum capacity cannot be less than minimum capacity.")
        made = before or ScalableTarget(
            endpoint=endpoint, variant=variant, dimension=dimension, min_capacity=least, max_capacity=most,
            created_s=self._clock.now_s(), id=f"0a{len(self.known)}", tags=dict(tags),
        )  # fmt: skip
        made = replace(made, min_capacity=least, max_capacity=most, suspended=suspended or made.suspended)
        self.known[key] = made
        return made

    def deregister(self, endpoint: str, variant: str, dimension: str) -> None:
        """Forget it with its policies and actions."""
        self._target(endpoint, variant, dimension)
        key = _key(endpoint, variant, dimension)
        del self.known[key]
        self.held_policies = {place: policy for place, policy in self.held_policies.items() if place[:3] != key}
        self.held_actions = {place: action for place, action in self.held_actions.items() if place[:3] != key}

    def targets(self) -> Sequence[ScalableTarget]:
        """All."""
        return list(self.known.values())

    def put_policy(self, policy: ScalingPolicy) -> ScalingPolicy:
        """Keep it, with an ARN, and two alarms if it tracks something."""
        target = self._target(policy.endpoint, policy.variant, policy.dimension)
        if len(self.held_policies) >= self.most_policies:
            raise LimitExceeded("The target has too many scaling policies.")
        where = f"resource/sagemaker/{target.resource_id}:policyName/{policy.name}"
        alarms = tuple(
            PolicyAlarm(f"TargetTracking-{side}", f"arn:aws:cloudwatch:us-east-1:111122223333:alarm:{side}")
            for side in (("AlarmHigh", "AlarmLow") if policy.tracking is not None else ())
        )
        key = (*_key(policy.endpoint, policy.variant, policy.dimension), policy.name)
        before = self.held_policies.get(key)
        self.held_policies[key] = replace(
            policy,
            arn=f"arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:6d8972f3:{where}",
            created_s=before.created_s if before else self._clock.now_s(),
            alarms=alarms,
        )
        return self.held_policies[key]

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """Forget it."""
        if self.held_policies.pop((*_key(endpoint, variant, dimension), name), None) is None:
            raise NotFound("scaling-policy", name)

    def policies(self) -> Sequence[ScalingPolicy]:
        """All."""
        return list(self.held_policies.values())

    def put_action(self, action: ScheduledAction) -> None:
        """Keep it, with an ARN."""
        target = self._target(action.endpoint, action.variant, action.dimension)
        where = f"resource/sagemaker/{target.resource_id}:scheduledActionName/{action.name}"
        arn = f"arn:aws:autoscaling:us-east-1:111122223333:scheduledAction:6d8972f3:{where}"
        key = (*_key(action.endpoint, action.variant, action.dimension), action.name)
        self.held_actions[key] = replace(action, arn=arn, created_s=self._clock.now_s())

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """Forget it."""
        if self.held_actions.pop((*_key(endpoint, variant, dimension), name), None) is None:
            raise NotFound("scheduled-action", name)

    def actions(self) -> Sequence[ScheduledAction]:
        """All."""
        return list(self.held_actions.values())

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """Those that the test gave it."""
        found = [
            activity
            for activity in self.held_activities
            if key_of(endpoint) in ("", key_of(activity.endpoint)) and key_of(variant) in ("", key_of(activity.variant))
        ]
        ids = [activity.id for activity in self.held_activities]
        rest = ids[ids.index(before) + 1 :] if before else ids
        return [activity for activity in found if activity.id in rest][:limit]

    def set_tags(self, target_id: str, tags: Mapping[str, str]) -> None:
        """Replace them."""
        [key] = [key for key, target in self.known.items() if target.id == target_id]
        self.known[key] = replace(self.known[key], tags=dict(tags))

    def _target(self, endpoint: str, variant: str, dimension: str) -> ScalableTarget:
        try:
            return self.known[_key(endpoint, variant, dimension)]
        except KeyError:
            raise NotFound("scalable-target", f"{endpoint}/{variant}") from None


def _key(endpoint: str, variant: str, dimension: str) -> Key:
    return key_of(endpoint), key_of(variant), dimension
