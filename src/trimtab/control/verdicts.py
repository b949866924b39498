"""Whether what is under way has failed, and what it was that did. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from trimtab.control.fleet import Crew, Loss
from trimtab.control.turn import Turn
from trimtab.errors import NoCapacity
from trimtab.policies.restart import streak
from trimtab.policies.rollout import has_failed
from trimtab.resources.deployment import Crash, Deployment
from trimtab.resources.endpoint import VariantState


def hopeless(turn: Turn, deployment: Deployment) -> Loss | None:
    """The loss that shows that the deployment under way has failed, if one does."""
    losses = (hopeless_crew(turn, crew, turn.crashes(crew.demand)) for crew in turn.fleet.crews_of(deployment))
    return next((loss for loss in losses if loss is not None), None)


def hopeless_crew(turn: Turn, crew: Crew, crashes: Sequence[Crash]) -> Loss | None:
    """The same of one variant, by those of its `crashes` that speak of what is under way.

    That there was no room is no reason while others are leaving: the plan starts it again when they have left.
    """
    losses = [loss for loss in turn.fleet.losses if loss.demand == crew.demand]
    if turn.seen.room_coming:
        crashes = [crash for crash in crashes if crash.reason != NoCapacity.reason]
    return losses[-1] if losses and has_failed(crashes, count=crew.demand.count) else None


def times_failed(turn: Turn, lost: Loss) -> int:
    """How many starts have failed in a row."""
    return len(streak(turn.crashes(lost.demand)))


def settled(variants: Sequence[VariantState]) -> tuple[VariantState, ...]:
    """Desired sizes and weights have become the current ones."""
    return tuple(
        replace(
            v,
            current_count=v.desired_count,
            current_weight=v.desired_weight,
            current_serverless=v.serverless,
        )
        for v in variants
    )
