"""Autoscaling's durable part: targets, policies, scheduled actions, activities, and what cooldowns go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trimtab.resources.scaling import ScalableTarget, ScalingActivity, ScalingPolicy, ScheduledAction

ACTIVITIES_KEPT_S = 42 * 86_400  # AWS: six weeks


class ScalingStore(Protocol):
    """Each call is one transaction: all of it is durable when the call returns, or none of it is.

    Endpoints and variants are found without regard to case.
    """

    def targets(self) -> Sequence[ScalableTarget]:
        """All, in no particular order; so are the following."""
        ...

    def policies(self) -> Sequence[ScalingPolicy]: ...

    def actions(self) -> Sequence[ScheduledAction]: ...

    def save_target(self, target: ScalableTarget) -> None:
        """Add or replace it."""
        ...

    def delete_target(self, endpoint: str, variant: str, dimension: str) -> None:
        """With its policies, actions and state; activities stay. No effect when it is not there."""
        ...

    def save_policy(self, policy: ScalingPolicy) -> None:
        """Add or replace it."""
        ...

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """No effect when it is not there."""
        ...

    def save_action(self, action: ScheduledAction) -> None:
        """Add or replace it."""
        ...

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """No effect when it is not there."""
        ...

    def save_activity(self, activity: ScalingActivity) -> None:
        """Add it, or replace the one with its id; activities older than ACTIVITIES_KEPT_S are forgotten."""
        ...

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """Newest first ("" is any endpoint, any variant), those older than the one with the id `before`."""
        ...

    def save_state(self, endpoint: str, variant: str, state: bytes) -> None:
        """What `policies.scaling.state.pack` made: kept with the target."""
        ...

    def state(self, endpoint: str, variant: str) -> bytes | None: ...
