"""Target tracking that decides on every change of what a variant has in hand, rather than by alarms.

docs/decisions/011-event-scaling.md has the reasons and the measurements.
"""

from __future__ import annotations

from msgspec import Struct

from trimtab.policies.scaling.inputs import Load, Tick
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.scaling import ScalableTarget, TargetTracking


class EventState(Struct, frozen=True, kw_only=True):
    """What has been seen of one variant. `EventState()` is a fresh one."""

    last: Load | None = None


def observe(
    tracking: TargetTracking, target: ScalableTarget, state: EventState, given: Load | Tick, *, policy: str = ""
) -> tuple[EventState, Wish | None]:
    """See what came, or that time has passed; say how many replicas there should be. None: nothing is known yet.

    `policy` is the name that the wish bears. A wish equals `given.capacity` while the policy is content.
    """
    if isinstance(given, Load):
        state = EventState(last=given)
    return state, None
