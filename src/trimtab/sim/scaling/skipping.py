"""Long times in which nothing comes, passed over: what an event policy remembers is then the same but for the hour.

Once nothing has come for as long as its memory reaches, each look leaves an event policy with what the look before left
it, all moments later by the time between them. So the moments are moved instead, by whole looks.
"""

from __future__ import annotations

from math import ceil, floor

from msgspec.structs import replace

from trimtab.policies.scaling.event import EventState
from trimtab.policies.scaling.headroom import HISTORY_S, POINT_S
from trimtab.policies.scaling.state import State
from trimtab.policies.scaling.windows import Mark, Seen

_HELD: int = 12  # stable windows: longer than what came again and again is held, and remembered to be (event_more)


def quiet_for_s(stable_s: float, look_s: float) -> float:
    """After so long without a request and without a decision nothing changes any more, if it looks so often."""
    points = ceil(HISTORY_S / POINT_S) + 2
    return points * ceil(POINT_S / look_s) * look_s + _HELD * stable_s + 120.0


def leap_s(now_s: float, until_s: float, look_s: float) -> float:
    """How much of the time until then may be passed over."""
    return max(0.0, floor((until_s - now_s) / look_s - 2) * look_s)


def later(state: State, by_s: float) -> State:
    """What its event policies would remember so much later."""
    return replace(state, events={arn: _moved(event, by_s) for arn, event in state.events.items()})


def _moved(event: EventState, by_s: float) -> EventState:
    seen, levels = event.seen, event.levels
    if seen is None:
        return event
    moved = Seen(
        seen.began_s + by_s,
        replace(seen.told, at_s=seen.told.at_s + by_s),
        _mark(seen.at, by_s),
        seen.held_told_s,
        tuple(_mark(mark, by_s) for mark in seen.fine),
        tuple(_mark(mark, by_s) for mark in seen.steps),
    )
    return replace(
        event,
        seen=moved,
        levels=replace(
            levels, point_s=levels.point_s + by_s, rise_s=levels.rise_s + by_s, swell_s=levels.swell_s + by_s
        ),
    )


def _mark(mark: Mark, by_s: float) -> Mark:
    return Mark(mark.at_s + by_s, mark.arrived, mark.ended, mark.work_s, mark.held_s)
