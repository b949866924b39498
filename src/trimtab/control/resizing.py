"""Changes of counts and weights under way. Pure.

One that a caller asked for (`scaled_from`) is made as a whole, or undone as a whole. Those that autoscaling decided
(`scalings`) are one per variant, and each is over by itself:

    all are ready and routed to, what leaves has drained    SCALED
    a start has failed for good                             the count becomes what there is, which goes on: it may be on
                                                            its way still; when it is there, SCALING_FAILED

The endpoint is InService again when nothing is left. Whoever decides to try again starts another change.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from trimtab.control.fleet import Crew, Loss
from trimtab.control.reasons import failure_reason, shortfall
from trimtab.control.turn import SCALED, SCALING_FAILED, Turn
from trimtab.control.verdicts import hopeless_crew, settled, times_failed
from trimtab.resources.deployment import Crash, Deployment, Scaling
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint import VariantState
from trimtab.resources.replica import StartCause

NO_CAPACITY = "InsufficientInstanceCapacity"  # AWS's word


def resize(turn: Turn, serving: Deployment) -> None:
    """Go on with the changes of counts and weights of an endpoint that is Updating."""
    if turn.record.scaled_from and (lost := _failed_as_a_whole(turn, serving)):
        _undo(turn, serving, lost)
        return
    if failed := _failing(turn, serving):
        _keep_what_there_is(turn, failed)
        return
    turn.start(serving, "scale out", StartCause.SCALE_OUT)
    turn.route_to(serving, turn.endpoint.variants, "counts or weights changed")
    turn.retire("scale in")
    if turn.routed:
        _finish(turn, serving)


def _finish(turn: Turn, serving: Deployment) -> None:
    record = turn.record
    over = [s for c in turn.fleet.crews_of(serving) if (s := record.scaling_of(c.demand.name)) and _is_over(turn, c, s)]
    left = tuple(scaling for scaling in record.scalings if scaling not in over)
    for scaling in over:
        if scaling.failure:
            turn.event(SCALING_FAILED, scaling.failure_text, variant=scaling.variant, failure=scaling.failure)
        else:
            turn.event(SCALED, f"{scaling.wanted} ready: {scaling.why}", variant=scaling.variant)
    if not left and (not record.scaled_from or (turn.fleet.complete(serving) and not turn.fleet.surplus)):
        variants, reason = settled(turn.endpoint.variants), turn.endpoint.failure_reason
        turn.become(E.IN_SERVICE, reason, variants=variants, pending_since_s=0.0, scaled_from=(), scalings=())
    elif over:
        names = {scaling.variant for scaling in over}
        variants = tuple(settled([v])[0] if v.name in names else v for v in turn.endpoint.variants)
        endpoint = replace(turn.endpoint, variants=variants)
        turn.write("part of the scaling is over", record=replace(record, endpoint=endpoint, scalings=left))


def _is_over(turn: Turn, crew: Crew, scaling: Scaling) -> bool:
    """Whether one variant's change is over, all gateways having the route that is wanted now."""
    if scaling.failure:
        return crew.complete or not crew.starting
    if crew.demand.variant.spec.serverless is not None:  # environments on demand come and go beside those provisioned
        return len(crew.ready) >= scaling.wanted
    leaving = any(replica.variant == scaling.variant for replica in turn.fleet.surplus)
    grows = scaling.wanted > scaling.least  # what leaves because of an overtaken change keeps nobody waiting
    return crew.complete and (grows or not leaving)


# autoscaling's changes


def _failing(turn: Turn, serving: Deployment) -> dict[str, tuple[Crew, Loss]]:
    """The variants whose scaling has failed in this turn."""
    failing = {}
    for crew in turn.fleet.crews_of(serving):
        scaling = turn.record.scaling_of(crew.demand.name)
        if scaling is None or crew.complete:
            continue
        if lost := hopeless_crew(turn, crew, _since(turn.crashes(crew.demand), scaling)):
            failing[scaling.variant] = (crew, lost)
    return failing


def _since(crashes: Sequence[Crash], scaling: Scaling) -> Sequence[Crash]:
    known = [number for number, crash in enumerate(crashes) if crash.replica_id == scaling.after]
    return crashes[known[-1] + 1 :] if known else crashes


def _keep_what_there_is(turn: Turn, failed: dict[str, tuple[Crew, Loss]]) -> None:
    record, reason = turn.record, ""
    scalings, counts = [], {}
    for scaling in record.scalings:
        if scaling.variant in failed:
            crew, lost = failed[scaling.variant]
            kept = counts[scaling.variant] = _kept(crew, scaling)
            word, reason = _reason(turn, scaling, lost, kept)
            scaling = replace(scaling, failure=word, failure_text=reason)
        scalings.append(scaling)
    variants = tuple(v.with_capacity(counts[v.name]) if v.name in counts else v for v in turn.endpoint.variants)
    endpoint = replace(turn.endpoint, variants=variants, failure_reason=reason)
    turn.write(
        "scaling keeps what there is", reason, record=replace(record, endpoint=endpoint, scalings=tuple(scalings))
    )


def _kept(crew: Crew, scaling: Scaling) -> int:
    """The count that a failed change leaves: what is ready or on its way; not less than was there all the time, nor
    none where some were wanted (somebody waits: it is tried again and again, ever more slowly)."""
    there = len(crew.ready) + len(crew.starting)
    # A serverless variant has environments on demand beside those that are provisioned.
    return min(crew.demand.count, scaling.wanted, max(there, scaling.least, 1))


def _reason(turn: Turn, scaling: Scaling, lost: Loss, kept: int) -> tuple[str, str]:
    """The one word and the text of a failure."""
    before = f"Scaling variant {scaling.variant} to {scaling.wanted} instance(s) failed; it keeps {kept}."
    if lost.failure.reason == "NoCapacity":
        return NO_CAPACITY, shortfall(NO_CAPACITY, before, lost)
    return lost.failure.reason, failure_reason(turn.name, lost, before=before, times=times_failed(turn, lost))


# a caller's change


def _failed_as_a_whole(turn: Turn, serving: Deployment) -> Loss | None:
    since_s = turn.endpoint.pending_since_s
    for crew in turn.fleet.crews_of(serving):
        crashes = [crash for crash in turn.crashes(crew.demand) if crash.at_s >= since_s]
        if turn.record.scaling_of(crew.demand.name) is None and (lost := hopeless_crew(turn, crew, crashes)):
            return lost
    return None


def _undo(turn: Turn, serving: Deployment, lost: Loss) -> None:
    """Go back to the sizes and weights of before. Variants that autoscaling has changed since keep what there is."""
    before = "The change of instance counts or weights failed and was undone."
    reason = failure_reason(turn.name, lost, before=before, times=times_failed(turn, lost))
    kept = {}
    for crew in turn.fleet.crews_of(serving):
        if scaling := turn.record.scaling_of(crew.demand.name):
            kept[scaling.variant] = _kept(crew, scaling)
            turn.event(SCALING_FAILED, reason, variant=scaling.variant, failure=lost.failure.reason)
    variants = tuple(_with_count(state, kept.get(state.name)) for state in turn.record.scaled_from)
    turn.become(E.ROLLING_BACK, reason, variants=variants, pending_since_s=0.0, scaled_from=(), scalings=())


def _with_count(state: VariantState, count: int | None) -> VariantState:
    if count is None:
        return state
    if state.serverless is not None:
        count = min(count, state.serverless.max_concurrency)
    return settled([state.with_capacity(count)])[0]
