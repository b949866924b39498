"""What autoscaling can be told and asked. `aws` translates to and from it; nothing in it knows AWS's shapes.

Calls are synchronous and quick: one transaction each. They raise `trimtab.errors.RequestError`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from trimtab.resources.scaling import ScalableTarget, ScalingActivity, ScalingPolicy, ScheduledAction, Suspended


class ScalingApi(Protocol):
    """Targets are found by endpoint, variant and dimension; names of policies and actions are unique in a target."""

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
        """Make a target, or change what is given of it; capacity outside the bounds is moved inside at once.

        NotFound("endpoint" | "variant"); Invalid for min > max, a new target without both, min below 0; LimitExceeded.
        """
        ...

    def deregister(self, endpoint: str, variant: str, dimension: str) -> None:
        """Forget it with its policies, their alarms and scheduled actions. NotFound("scalable-target")."""
        ...

    def targets(self) -> Sequence[ScalableTarget]:
        """All, those that ManagedInstanceScaling made included."""
        ...

    def put_policy(self, policy: ScalingPolicy) -> ScalingPolicy:
        """Make it, or configure it anew (ARN and creation time stay); returns it with its ARN and alarms.

        `arn`, `created_s` and `alarms` of what is given do not count. NotFound("scalable-target"); LimitExceeded.
        """
        ...

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """And its alarms. NotFound("scaling-policy")."""
        ...

    def policies(self) -> Sequence[ScalingPolicy]:
        """All."""
        ...

    def put_action(self, action: ScheduledAction) -> None:
        """Make it, or change what is given. `arn` and `created_s` do not count. NotFound("scalable-target"); Invalid
        for a schedule that cannot be read or is over; LimitExceeded."""
        ...

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """NotFound("scheduled-action")."""
        ...

    def actions(self) -> Sequence[ScheduledAction]:
        """All."""
        ...

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """Newest first, of a target that is no more, too; those older than the one with the id `before`."""
        ...

    def set_tags(self, target_id: str, tags: Mapping[str, str]) -> None:
        """Replace a target's tags. NotFound("scalable-target"); LimitExceeded."""
        ...
