"""The plan: from what is seen of one endpoint to what to do about it. Pure: no I/O, no clock, no randomness.

    status        runs                    takes traffic                       ends when
    Creating      serving                 serving, once all of it is ready    routed everywhere -> InService
    InService     serving                 serving's ready replicas
    Updating      serving and incoming    incoming once all of it is ready,   routed everywhere -> incoming is serving;
                                          else serving                        the rest has drained -> InService
    Updating      serving (new counts)    serving's ready replicas            control/resizing.py -> InService
    RollingBack   serving                 serving's ready replicas            the rest has drained -> InService
    Failed        nothing                 nothing
    Deleting      nothing                 nothing                             nothing is left -> the record is removed

Creating and Updating end early when the deployment has failed (`policies/rollout.py`): Failed, or RollingBack where
there is something to go back to. Nothing is drained before every connected gateway has let go of it. All of it is
derived from the record and from what engines and gateways report, so a control that died is succeeded in mid-action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from trimtab.control.actions import Plan
from trimtab.control.fleet import Demand, Loss, demands_of
from trimtab.control.reasons import failure_reason
from trimtab.control.resizing import resize
from trimtab.control.seen import Seen
from trimtab.control.turn import Turn
from trimtab.control.verdicts import hopeless, settled, times_failed
from trimtab.errors import Broken
from trimtab.policies.serverless.environments import Wanted
from trimtab.resources.deployment import Deployment, EndpointRecord
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import StartCause

_NOTHING_PENDING: Mapping[str, Any] = {"pending_config_name": "", "pending_since_s": 0.0, "pending_variants": ()}


def plan(seen: Seen, now_s: float) -> Plan:
    """Say what to do next about one endpoint. Applied and repeated until it is empty, it makes the record true."""
    if seen.record is None:
        turn = Turn(seen, [], now_s)
        turn.route(None, "nobody asked for this endpoint")
        turn.retire("nobody asked for this endpoint")
        return turn.plan()
    turn = Turn(seen, _demands(seen.record, seen.environments), now_s)
    _STEPS[seen.record.endpoint.status](turn)
    return turn.plan()


def _demands(record: EndpointRecord, environments: Mapping[str, Wanted]) -> list[Demand]:
    """A serverless variant has what its requests ask for; while it is made or updated one at least: whether the model
    works is known before it takes traffic."""
    status = record.endpoint.status
    if status in (E.FAILED, E.DELETING, E.OUT_OF_SERVICE):
        return []
    wanted: list[Demand] = []
    if record.incoming:
        wanted += demands_of(record.incoming, record.endpoint.pending_variants, {}, least=1)
    if record.serving:
        least = 1 if status is E.CREATING else 0
        wanted += demands_of(record.serving, record.sizes, environments, least=least)
    return wanted


def _creating(turn: Turn) -> None:
    serving = _the(turn.record.serving)
    if lost := hopeless(turn, serving):
        turn.become(E.FAILED, failure_reason(turn.name, lost, times=times_failed(turn, lost)))
        return
    turn.start(serving, "create", StartCause.DEPLOYMENT)
    ready = turn.fleet.complete(serving)
    turn.route_to(serving if ready else None, turn.endpoint.variants, "all replicas are ready")
    turn.retire("not wanted")
    if ready and turn.routed:
        turn.become(E.IN_SERVICE, "", variants=settled(turn.endpoint.variants))


def _in_service(turn: Turn) -> None:
    serving = _the(turn.record.serving)
    turn.start(serving, "keep the desired count")
    turn.route_to(serving, turn.endpoint.variants, "ready replicas changed")
    turn.retire("not wanted")


def _updating(turn: Turn) -> None:
    if turn.record.incoming:
        _replacing(turn, turn.record.incoming)
    else:
        _settling(turn, _the(turn.record.serving))


def _replacing(turn: Turn, incoming: Deployment) -> None:
    """Blue/green, all at once (AWS's default): nothing leaves before all of the new is ready and routed to."""
    serving = turn.record.serving
    if lost := hopeless(turn, incoming):
        _undo_update(turn, incoming, lost)
        return
    turn.start(incoming, f"update to {incoming.config_name}", StartCause.DEPLOYMENT)
    ready = turn.fleet.complete(incoming)
    if serving and not ready:
        turn.start(serving, "keep the desired count during the update")
    if ready:
        turn.route_to(incoming, turn.endpoint.pending_variants, f"all replicas of {incoming.config_name} are ready")
    else:
        turn.route_to(serving, turn.endpoint.variants, "ready replicas changed")
    turn.retire("not wanted")
    if ready and turn.routed:
        switched = replace(turn.record, serving=incoming, incoming=None)
        turn.write(f"traffic is on {incoming.config_name}", record=switched)


def _settling(turn: Turn, serving: Deployment) -> None:
    """New counts or weights are on their way, or the old deployment is leaving after the switch."""
    if turn.record.scaled_from or turn.record.scalings:
        resize(turn, serving)
        return
    turn.start(serving, "keep the desired count")
    turn.route_to(serving, turn.record.sizes, "ready replicas changed")
    turn.retire(f"replaced by {serving.config_name}")
    if turn.routed and not turn.fleet.surplus:
        exchanged = {"config_name": serving.config_name, "document": serving.document, **_NOTHING_PENDING}
        turn.become(E.IN_SERVICE, "", variants=settled(turn.record.sizes), **exchanged)


def _rolling_back(turn: Turn) -> None:
    serving = _the(turn.record.serving)
    turn.start(serving, "keep the desired count during the rollback")
    turn.route_to(serving, turn.endpoint.variants, "rolled back")
    turn.retire("rolled back")
    if turn.routed and not turn.fleet.surplus:
        turn.become(E.IN_SERVICE, turn.endpoint.failure_reason)


def _at_rest(turn: Turn) -> None:
    why = f"the endpoint is {turn.endpoint.status.value}"
    turn.route(None, why)
    turn.retire(why)


def _deleting(turn: Turn) -> None:
    turn.route(None, "the endpoint is being deleted")
    turn.retire("the endpoint is being deleted")
    if turn.routed and not turn.seen.replicas:
        turn.remove()


_STEPS: Mapping[E, Callable[[Turn], None]] = {
    E.CREATING: _creating,
    E.IN_SERVICE: _in_service,
    E.UPDATING: _updating,
    E.SYSTEM_UPDATING: _in_service,
    E.ROLLING_BACK: _rolling_back,
    E.UPDATE_ROLLBACK_FAILED: _in_service,
    E.OUT_OF_SERVICE: _at_rest,
    E.FAILED: _at_rest,
    E.DELETING: _deleting,
}


def _undo_update(turn: Turn, incoming: Deployment, lost: Loss) -> None:
    serving, times = turn.record.serving, times_failed(turn, lost)
    cleared = {**_NOTHING_PENDING, "incoming": None}
    if serving is None:  # it had failed before the update: there is nothing to go back to
        before = f"The update to endpoint configuration {incoming.config_name!r} failed."
        turn.become(E.FAILED, failure_reason(turn.name, lost, before=before, times=times), **cleared)
        return
    before = (
        f"The update to endpoint configuration {incoming.config_name!r} failed and was undone; "
        f"{serving.config_name!r} has been serving all the time."
    )
    turn.become(E.ROLLING_BACK, failure_reason(turn.name, lost, before=before, times=times), **cleared)


def _the(serving: Deployment | None) -> Deployment:
    if serving is None:
        raise Broken("an endpoint in this status has a serving deployment")
    return serving
