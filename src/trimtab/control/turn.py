"""Turn: one planning turn over one endpoint. Collects actions and events; the order in which to apply them is its."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from trimtab.control.actions import (
    Action,
    DrainReplica,
    Plan,
    Publish,
    Record,
    Remove,
    Save,
    StartReplica,
    StopReplica,
)
from trimtab.control.fleet import Crew, Demand, lanes_of, sort_out
from trimtab.control.reasons import budget_text
from trimtab.control.route_build import build_route
from trimtab.control.seen import Seen
from trimtab.errors import Broken
from trimtab.policies.models.settings import hosting_of
from trimtab.policies.restart import restart_in_s, streak
from trimtab.resources.asynchronous import MAX_TASK_TIMEOUT_S
from trimtab.resources.deployment import Crash, Deployment, EndpointRecord, replica_prefix
from trimtab.resources.endpoint import Endpoint, EndpointStatus, Event, VariantState
from trimtab.resources.lifecycles import ENDPOINT, step
from trimtab.resources.replica import ReplicaSpec, ReplicaState, ReplicaStatus, StartCause
from trimtab.resources.routing import EndpointRoute

REPLICA_LOST, REPLICA_IN_ROUTING = "replica lost", "replica in routing"  # events that metrics are made of
SCALED, SCALING_FAILED = "scaled", "scaling failed"  # the end of what autoscaling decided: with variant, and failure
_CRASHES_KEPT = 16  # per variant, or four rounds of all its replicas


class Turn:
    """What one turn decides. Starts come first (someone is waiting), then routes, then departures, then the record."""

    def __init__(self, seen: Seen, demands: Sequence[Demand], now_s: float) -> None:
        self.seen = seen
        self.now_s = now_s
        self.name = seen.record.endpoint.name if seen.record else seen.name
        self.fleet = sort_out(seen, demands, now_s)
        self._starts: list[StartReplica] = []
        self._routes: list[Action] = []
        self._departures: list[Action] = []
        self._events: list[Event] = []
        self._written: EndpointRecord | None = None
        self._why = ""
        self._removed = False
        self._wakes_s: list[float] = []
        for loss in self.fleet.losses:
            reason = f"{loss.failure.reason}: {loss.failure.message}"
            self.event(REPLICA_LOST, reason, loss.replica, failure=loss.failure.reason)
        if seen.recheck_in_s is not None:
            self._wakes_s.append(seen.recheck_in_s)
        if self.fleet.next_deadline_in_s is not None:
            self._wakes_s.append(max(0.0, self.fleet.next_deadline_in_s) + 0.01)

    @property
    def record(self) -> EndpointRecord:
        """The record as it was read."""
        if self.seen.record is None:
            raise Broken("there is no record to plan from")
        return self.seen.record

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint as it was read."""
        return self.record.endpoint

    @property
    def routed(self) -> bool:
        """Whether every connected gateway has the route that this turn wants."""
        return not self._routes and self.seen.settled

    def crashes(self, demand: Demand) -> list[Crash]:
        """The crashes of one variant of one deployment, oldest first, this turn's included."""
        mine = (demand.deployment.generation, demand.name)
        before = [c for c in self.record.crashes if (c.generation, c.variant) == mine]
        return before + [loss.crash for loss in self.fleet.losses if loss.demand == demand]

    def start(self, deployment: Deployment, why: str, cause: StartCause = StartCause.RESTART) -> None:
        """Order what is missing of a deployment, as far as back-off and the limit on concurrent starts allow."""
        room = self.seen.settings.max_starting - sum(len(c.starting) for c in self.fleet.crews) - len(self._starts)
        for crew in self.fleet.crews_of(deployment):
            if crew.missing <= 0:
                continue
            crashes = [crash for crash in self.crashes(crew.demand) if not self._mended(crash)]
            wait_s = restart_in_s(crashes, count=crew.demand.count, now_s=self.now_s)
            if wait_s > 0:
                self._wakes_s.append(wait_s)
                continue
            lost = [loss for loss in self.fleet.losses if loss.demand == crew.demand]
            scaling = self.record.scaling_of(crew.demand.name)
            told = f"scale out: {scaling.why}" if scaling and cause is StartCause.SCALE_OUT else why
            if failed := len(streak(crashes)):
                told = f"{told}; {failed} quick crashes before"
            for number in range(min(crew.missing, room)):
                room -= 1
                reason = f"replaces {lost[number].replica.id}" if number < len(lost) else told
                again = number < len(lost) or self._was_there(crew, number, cause, crashes)
                spec = self._spec(crew, StartCause.RESTART if again else cause)
                self._starts.append(StartReplica(spec=spec, why=reason))
                self.event("replica ordered", reason, spec)

    def _mended(self, crash: Crash) -> bool:
        """Whether room has come since a start found none: it need not be waited for."""
        return crash.reason == "NoCapacity" and crash.at_s < self.seen.room_s

    def _was_there(self, crew: Crew, number: int, cause: StartCause, crashes: Sequence[Crash]) -> bool:
        """Whether a replica was there, or on its way, in whose place the `number`-th that is missing comes."""
        place = crew.demand.count - crew.missing + number
        if cause is StartCause.SCALE_OUT:
            return place < self._count_before(crew)
        return place >= crew.demand.count - len(crashes)

    def _count_before(self, crew: Crew) -> int:
        """How many there were, or were on their way, before the change of counts under way."""
        name = crew.demand.name
        if (scaling := self.record.scaling_of(name)) is not None:
            return scaling.least
        before = {state.name: state.desired_count for state in self.record.scaled_from}
        return before.get(name, crew.demand.count)

    def _spec(self, crew: Crew, cause: StartCause) -> ReplicaSpec:
        demand, seen = crew.demand, self.seen
        variant = demand.variant
        hosting = hosting_of(variant.container)
        artifact = variant.container.artifact if hosting is None else None
        prefix = replica_prefix(self.record.uid, demand.deployment.generation)
        spec = ReplicaSpec(
            id=f"{prefix}{seen.token}{len(self._starts)}",
            endpoint=self.name,
            variant=demand.name,
            version=demand.deployment.config_name,
            model_name=variant.model.name,
            runtime=variant.runtime,
            artifact_url=artifact.url if artifact else "",
            artifact_compressed=artifact.compressed if artifact else True,
            environment=variant.container.environment,
            instance_type=variant.spec.instance_type,
            startup_timeout_s=variant.spec.startup_timeout_s,
            download_timeout_s=variant.spec.download_timeout_s,
            cause=cause,
            invocation_limit_s=MAX_TASK_TIMEOUT_S if demand.deployment.asynchronous is not None else 0.0,
            hosting=hosting,
        )
        return replace(spec, **self._decided(demand.name, cause))

    def _decided(self, variant: str, cause: StartCause) -> dict[str, float]:
        """Where the start's budget begins: with autoscaling's decision if that asks for it, or else in this turn."""
        scaling = self.record.scaling_of(variant)
        if scaling is None or cause is not StartCause.SCALE_OUT or scaling.decided_monotonic_s is None:
            return {"detect_s": self.seen.detect_s}
        # The clock began anew when the machine did: a decision of before tells nothing.
        decided_s = min(scaling.decided_monotonic_s, self.seen.monotonic_s)
        return {"detect_s": scaling.detect_s, "decide_s": 0.0, "decided_monotonic_s": decided_s}

    def route_to(self, deployment: Deployment | None, sizes: Sequence[VariantState], why: str) -> None:
        """Want the endpoint's traffic on a deployment's ready replicas; None takes the endpoint out of the table."""
        if deployment is None:
            self.route(None, why)
        else:
            self.route(build_route(self.name, deployment, sizes, self.fleet, self.seen), why)

    def route(self, route: EndpointRoute | None, why: str) -> None:
        """Want this route; published when it differs from the last one."""
        if route == self.seen.published:
            return
        self._routes.append(Publish(endpoint=self.name, route=route, why=why))
        before = lanes_of(self.seen)
        after = lanes_of(replace(self.seen, published=route))
        replicas = {r.id: r for r in self.seen.replicas}
        for replica in (replicas[replica_id] for replica_id in sorted(after - before)):
            reason = "; ".join(filter(None, (why, budget_text(replica.budget))))
            took_s = replica.budget.load_time_s
            self.event(REPLICA_IN_ROUTING, reason, replica, cause=replica.cause.value, load_time_s=took_s)
        for replica_id in sorted(before - after):
            self.event("replica out of routing", why, replicas.get(replica_id), replica_id=replica_id)

    def retire(self, why: str) -> None:
        """Let go of what is not wanted: drain what may have work once nobody sends it more, stop the rest."""
        for replica in self.fleet.surplus:
            if replica.id in self.seen.stopped or replica.id in self.seen.draining:
                continue
            if replica.state is ReplicaState.STARTING:
                self._departures.append(StopReplica(replica_id=replica.id, why=why))
                self.event("replica stopped", why, replica)
            elif replica.state is ReplicaState.READY and self.routed and replica.id not in lanes_of(self.seen):
                grace_s = self._grace_s()
                self._departures.append(DrainReplica(replica_id=replica.id, grace_s=grace_s, why=why))
                self.event("replica drained", why, replica)
        counted = {crash.replica_id for crash in self.seen.record.crashes} if self.seen.record else set()
        uncounted = {loss.replica.id for loss in self.fleet.losses} - counted
        for replica in self.fleet.dead:
            # What is lost is counted (written) in this turn and forgotten in the next.
            if replica.id not in self.seen.stopped and replica.id not in uncounted:
                self._departures.append(StopReplica(replica_id=replica.id, why="it has ended"))

    def _grace_s(self) -> float:
        """How long what it has in hand may take. Tasks of an asynchronous endpoint are waited for: they take long, and
        would have to begin anew."""
        record = self.seen.record
        patient = (
            record is not None
            and record.endpoint.status is not EndpointStatus.DELETING
            and any(deployment.asynchronous is not None for deployment in record.deployments)
        )
        return MAX_TASK_TIMEOUT_S if patient else self.seen.settings.drain_grace_s

    def become(self, status: EndpointStatus, reason: str, **changes: Any) -> None:
        """Move the endpoint to `status` along a drawn arrow; `changes` are of the endpoint or the record."""
        status = step(ENDPOINT, self.endpoint.status, status)
        of_record = {key: changes.pop(key) for key in ("incoming", "scaled_from", "scalings") if key in changes}
        endpoint = replace(self.endpoint, status=status, failure_reason=reason, **changes)
        self.write(f"endpoint {status.value}", reason, record=replace(self.record, endpoint=endpoint, **of_record))

    def write(self, what: str, reason: str = "", *, record: EndpointRecord) -> None:
        """Replace the record. At most once a turn: what follows is for the next turn to see."""
        if self._written is not None:
            raise Broken("a turn writes the record once")
        self._written = replace(record, endpoint=replace(record.endpoint, modified_s=self.now_s))
        self._why = what
        self.event(what, reason)

    def remove(self) -> None:
        """Delete the record: the last act."""
        self._removed = True

    def plan(self) -> Plan:
        """The actions in order."""
        actions: list[Action] = [*self._starts, *self._routes, *self._departures]
        if self._removed:
            actions.append(Remove(endpoint=self.name, revision=self.endpoint.revision))
        elif self._written is not None or (self.seen.record is not None and self.fleet.losses):
            record = self._with_crashes(self._written or self.record)
            actions.append(Save(record=record, events=tuple(self._events), why=self._why or "replicas were lost"))
        elif self._events and self.seen.record is not None:
            actions.append(Record(endpoint=self.name, events=tuple(self._events)))
        return Plan(actions=tuple(actions), wake_in_s=min(self._wakes_s, default=None))

    def _with_crashes(self, record: EndpointRecord) -> EndpointRecord:
        kept: list[Crash] = []
        live = {d.generation for d in (record.serving, record.incoming) if d is not None}
        for demand in (crew.demand for crew in self.fleet.crews):
            if demand.deployment.generation in live:
                kept += self.crashes(demand)[-max(_CRASHES_KEPT, 4 * demand.count) :]
        return replace(record, crashes=tuple(kept))

    def event(
        self, what: str, reason: str = "", replica: ReplicaStatus | ReplicaSpec | None = None, **more: Any
    ) -> None:
        """Something has happened that people read of later; `more` are fields of Event."""
        if replica is not None:
            more |= {"replica_id": replica.id, "variant": replica.variant}
        self._events.append(Event(at_s=self.now_s, what=what, reason=reason, **more))
