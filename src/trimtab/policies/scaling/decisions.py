"""What scaling decides, with everything that led to it."""

from __future__ import annotations

from msgspec import Struct, field

from trimtab.resources.scaling import NotScaled, ScalableTarget, ScalingPolicy


class Rules(Struct, frozen=True, kw_only=True):
    """A target and its policies: what `reducer.step` decides by. Changes when a caller changes it.

    `ceiling`: the variant cannot have more, whatever the target's bounds (MaxConcurrency of a serverless one).
    """

    target: ScalableTarget
    policies: tuple[ScalingPolicy, ...] = ()
    ceiling: int | None = None

    def capped(self, capacity: int) -> int:
        """At most the ceiling."""
        return capacity if self.ceiling is None else min(capacity, self.ceiling)


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a variant gets `wanted` replicas instead of `before`, or why it does not although a policy asked for them.

    `made`: capacity is to be changed. `inputs` are the numbers that went in; `arithmetic` shows them at work
    (`ceil(4.2 / 1 = 4.2) = 5, at most 4`); `reason` says it in words. `cause` is AWS's words for the activity.
    """

    at_s: float
    before: int
    wanted: int
    made: bool
    policy: str = ""  # name; "" for bounds, schedules, and waking from zero
    reason: str = ""
    arithmetic: str = ""
    cause: str = ""
    inputs: dict[str, float] = field(default_factory=dict)
    not_scaled: tuple[NotScaled, ...] = ()
    bounds: tuple[int, int] | None = None  # a scheduled action moves the target's bounds to these
