"""What one policy asks for, before bounds, cooldowns and the other policies have had their say."""

from __future__ import annotations

from msgspec import Struct, field


class Wish(Struct, frozen=True, kw_only=True):
    """`capacity` replicas, and why. Equal to what there is: the policy is content, and agrees to no less."""

    policy: str  # name
    capacity: int
    reason: str  # in words, with the numbers
    arithmetic: str  # `ceil(4.2 / 1) = 5`
    inputs: dict[str, float] = field(default_factory=dict)
    may_scale_in: bool = True  # false with DisableScaleIn
