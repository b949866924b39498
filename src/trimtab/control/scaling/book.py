"""Book: targets, policies and scheduled actions in memory; each change is on disk before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trimtab.errors import LimitExceeded, NotFound
from trimtab.policies.scaling.decisions import Rules
from trimtab.resources.names import key_of
from trimtab.resources.scaling import ScalableTarget, ScalingPolicy, ScheduledAction
from trimtab.store.scaling import ScalingStore

MAX_TARGETS: Final = 500  # AWS: SageMaker targets of an account and region
MAX_POLICIES: Final = 50  # AWS: of a target
MAX_ACTIONS: Final = 200  # AWS: of a target

Place = tuple[str, str]
"""Endpoint and variant, as names are compared."""


def place_of(endpoint: str, variant: str) -> Place:
    """What a variant is found by."""
    return key_of(endpoint), key_of(variant)


class Book:
    """Reads the store once. Limits are AWS's; a target that ManagedInstanceScaling made counts for nothing."""

    def __init__(self, store: ScalingStore) -> None:
        self._store = store
        self._targets = {place_of(target.endpoint, target.variant): target for target in store.targets()}
        self._policies: dict[Place, dict[str, ScalingPolicy]] = {}
        self._actions: dict[Place, dict[str, ScheduledAction]] = {}
        for policy in store.policies():
            self._policies.setdefault(place_of(policy.endpoint, policy.variant), {})[policy.name] = policy
        for action in store.actions():
            self._actions.setdefault(place_of(action.endpoint, action.variant), {})[action.name] = action

    # targets

    def targets(self) -> Sequence[ScalableTarget]:
        """All."""
        return list(self._targets.values())

    def find(self, place: Place) -> ScalableTarget | None:
        """The target of a variant, if it has one."""
        return self._targets.get(place)

    def target(self, endpoint: str, variant: str, dimension: str) -> ScalableTarget:
        """One that a caller registered. NotFound("scalable-target")."""
        target = self._targets.get(place_of(endpoint, variant))
        if target is None or target.managed or target.dimension != dimension:
            raise NotFound("scalable-target", f"endpoint/{endpoint}/variant/{variant}")
        return target

    def target_with_id(self, target_id: str) -> ScalableTarget:
        """NotFound("scalable-target")."""
        for target in self._targets.values():
            if target.id == target_id and not target.managed:
                return target
        raise NotFound("scalable-target", target_id)

    def save_target(self, target: ScalableTarget) -> None:
        """Add or replace. LimitExceeded."""
        place = place_of(target.endpoint, target.variant)
        known = self._targets.get(place)
        is_new = not target.managed and (known is None or known.managed)
        if is_new and sum(not other.managed for other in self._targets.values()) >= MAX_TARGETS:
            raise LimitExceeded(f"There are {MAX_TARGETS} scalable targets already; deregister some first.")
        self._store.save_target(target)
        self._targets[place] = target

    def drop_target(self, target: ScalableTarget) -> None:
        """With its policies and actions."""
        self._store.delete_target(target.endpoint, target.variant, target.dimension)
        place = place_of(target.endpoint, target.variant)
        self._targets.pop(place, None)
        self._policies.pop(place, None)
        self._actions.pop(place, None)

    def rules(self, place: Place) -> Rules:
        """What decisions about a target go by."""
        return Rules(target=self._targets[place], policies=tuple(self.policies_of(place)))

    # policies

    def policies(self) -> Sequence[ScalingPolicy]:
        """All."""
        return [policy for held in self._policies.values() for policy in held.values()]

    def policies_of(self, place: Place) -> Sequence[ScalingPolicy]:
        """A target's, in the order of their names: the order in which decisions look at them."""
        held = self._policies.get(place, {})
        return [held[name] for name in sorted(held)]

    def policy(self, target: ScalableTarget, name: str) -> ScalingPolicy | None:
        """One of a target's."""
        return self._policies.get(place_of(target.endpoint, target.variant), {}).get(name)

    def policy_with_arn(self, arn: str) -> ScalingPolicy | None:
        """The one that an alarm's action names."""
        return next((policy for policy in self.policies() if policy.arn == arn), None)

    def save_policy(self, policy: ScalingPolicy) -> None:
        """Add or replace. LimitExceeded."""
        held = self._policies.setdefault(place_of(policy.endpoint, policy.variant), {})
        if policy.name not in held and len(held) >= MAX_POLICIES:
            raise LimitExceeded(f"The target has {MAX_POLICIES} scaling policies already; delete some first.")
        self._store.save_policy(policy)
        held[policy.name] = policy

    def drop_policy(self, policy: ScalingPolicy) -> None:
        """Forget it."""
        self._store.delete_policy(policy.endpoint, policy.variant, policy.dimension, policy.name)
        self._policies[place_of(policy.endpoint, policy.variant)].pop(policy.name, None)

    # scheduled actions

    def actions(self) -> Sequence[ScheduledAction]:
        """All."""
        return [action for held in self._actions.values() for action in held.values()]

    def action(self, target: ScalableTarget, name: str) -> ScheduledAction | None:
        """One of a target's."""
        return self._actions.get(place_of(target.endpoint, target.variant), {}).get(name)

    def save_action(self, action: ScheduledAction) -> None:
        """Add or replace. LimitExceeded."""
        held = self._actions.setdefault(place_of(action.endpoint, action.variant), {})
        if action.name not in held and len(held) >= MAX_ACTIONS:
            raise LimitExceeded(f"The target has {MAX_ACTIONS} scheduled actions already; delete some first.")
        self._store.save_action(action)
        held[action.name] = action

    def drop_action(self, action: ScheduledAction) -> None:
        """Forget it."""
        self._store.delete_action(action.endpoint, action.variant, action.dimension, action.name)
        self._actions[place_of(action.endpoint, action.variant)].pop(action.name, None)
