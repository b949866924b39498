"""Fleet: an endpoint's replicas sorted out against what is wanted of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from trimtab.control.seen import Seen
from trimtab.policies.restart import RestartPolicy
from trimtab.policies.serverless.environments import Wanted
from trimtab.resources.deployment import Crash, DeployedVariant, Deployment, replica_prefix
from trimtab.resources.endpoint import VariantState
from trimtab.resources.names import key_of
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus

_DEAD = (ReplicaState.FAILED, ReplicaState.GONE)
_LIVING = (ReplicaState.STARTING, ReplicaState.READY)
_SETTLED_S = RestartPolicy().settled_s


class Demand(Struct, frozen=True, kw_only=True):
    """So many replicas of one variant of one deployment are wanted."""

    deployment: Deployment
    variant: DeployedVariant
    count: int

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.spec.name


class Crew(Struct, frozen=True, kw_only=True):
    """The replicas that meet a demand (never more than it asks for)."""

    demand: Demand
    ready: tuple[ReplicaStatus, ...]
    starting: tuple[ReplicaStatus, ...]

    @property
    def missing(self) -> int:
        """How many are to be started."""
        return self.demand.count - len(self.ready) - len(self.starting)

    @property
    def complete(self) -> bool:
        """Whether all that are wanted are ready."""
        return len(self.ready) >= self.demand.count


class Loss(Struct, frozen=True, kw_only=True):
    """A wanted replica that has ended, or will not become ready, and was not counted yet."""

    demand: Demand
    replica: ReplicaStatus
    failure: Failure
    crash: Crash


class Fleet(Struct, frozen=True, kw_only=True):
    """All replicas of an endpoint: `crews` are wanted, `surplus` live and are not, `dead` are to be forgotten."""

    crews: tuple[Crew, ...]
    surplus: tuple[ReplicaStatus, ...]
    losses: tuple[Loss, ...]
    dead: tuple[ReplicaStatus, ...]
    next_deadline_in_s: float | None  # until the first of those starting is overdue

    def crews_of(self, deployment: Deployment) -> tuple[Crew, ...]:
        """The crews of one deployment."""
        return tuple(c for c in self.crews if c.demand.deployment.generation == deployment.generation)

    def complete(self, deployment: Deployment) -> bool:
        """Whether every variant of the deployment has all its replicas ready."""
        return all(crew.complete for crew in self.crews_of(deployment))


def demands_of(
    deployment: Deployment, sizes: Sequence[VariantState], environments: Mapping[str, Wanted], *, least: int
) -> list[Demand]:
    """What a deployment wants when its variants have these sizes, and its serverless ones these environments, `least`
    of each and those provisioned in any case."""
    states = {state.name: state for state in sizes}
    demands = []
    for variant in deployment.variants:
        name = variant.spec.name
        count, rules = states[name].desired_count, states[name].serverless
        if rules is not None:
            asked = environments[name].count if name in environments else 0
            count = max(least, rules.provisioned, min(asked, rules.max_concurrency))
        demands.append(Demand(deployment=deployment, variant=variant, count=count))
    return demands


def wanted_of(state: VariantState, endpoint: str, replicas: Iterable[ReplicaStatus]) -> int:
    """How many replicas a variant wants, for people to read: a serverless one those that there are or will be."""
    if state.serverless is None:
        return state.desired_count
    key = key_of(endpoint)
    return sum(r.state in _LIVING and r.variant == state.name and key_of(r.endpoint) == key for r in replicas)


def lanes_of(seen: Seen) -> frozenset[str]:
    """The ids of the replicas that the published route sends requests to."""
    variants = seen.published.variants if seen.published else ()
    return frozenset(lane.replica_id for variant in variants for lane in variant.lanes)


def sort_out(seen: Seen, demands: Sequence[Demand], now_s: float) -> Fleet:
    """Sort the replicas seen. Which of too many are kept does not change from turn to turn: those that are ready,
    then those that are routed to, then the oldest."""
    uid = seen.record.uid if seen.record else ""
    counted = {crash.replica_id for crash in seen.record.crashes} if seen.record else set()
    by_prefix = {(replica_prefix(uid, d.deployment.generation), d.name): d for d in demands}
    routed = lanes_of(seen)
    wanted: dict[tuple[str, str], list[ReplicaStatus]] = {key: [] for key in by_prefix}
    surplus, losses, dead, deadlines = [], [], [], []
    for replica in seen.replicas:
        key = (replica.id.rpartition("-")[0] + "-", replica.variant)
        demand = by_prefix.get(key)
        told = replica.id in seen.draining or replica.id in seen.stopped
        failure = _failure(replica, demand, seen, now_s, routed)
        if demand and failure and not told and replica.id not in counted:
            losses.append(_loss(demand, replica, failure, now_s, routed))
        if failure or replica.state in _DEAD:
            # One that is overdue but lives is stopped like a dead one: it never took a request.
            dead.append(replica)
        elif demand and not told and replica.state is not ReplicaState.DRAINING:
            wanted[key].append(replica)
            if replica.state is ReplicaState.STARTING:
                deadlines.append(_deadline_s(replica, demand, seen) - now_s)
        else:
            surplus.append(replica)
    crews = []
    for key, demand in by_prefix.items():
        ranked = sorted(
            wanted[key], key=lambda r: (r.state is not ReplicaState.READY, r.id not in routed, r.started_s, r.id)
        )
        kept = ranked[: demand.count]
        surplus += ranked[demand.count :]
        ready = tuple(r for r in kept if r.state is ReplicaState.READY)
        crews.append(Crew(demand=demand, ready=ready, starting=tuple(kept[len(ready) :])))
    return Fleet(
        crews=tuple(crews),
        surplus=tuple(surplus),
        losses=tuple(losses),
        dead=tuple(dead),
        next_deadline_in_s=min(deadlines, default=None),
    )


def _failure(
    replica: ReplicaStatus, demand: Demand | None, seen: Seen, now_s: float, routed: frozenset[str]
) -> Failure | None:
    if replica.state is ReplicaState.FAILED:
        return replica.failure or Failure(reason="Exited", message="The model server ended without saying why.")
    if replica.state is ReplicaState.GONE:
        if replica.failure or replica.id in routed:
            return replica.failure or Failure(reason="Exited", message="The model server ended unexpectedly.")
        return None  # it was drained, perhaps by an earlier control
    if replica.state is ReplicaState.STARTING and demand and now_s > _deadline_s(replica, demand, seen):
        limit_s = demand.variant.spec.startup_timeout_s
        return Failure(
            reason="StartTimeout",
            message=f"The model server was not ready within {limit_s:g} s. Raise the variant's startup health check "
            "timeout, or make the model load faster.",
        )
    return None


def _loss(demand: Demand, replica: ReplicaStatus, failure: Failure, now_s: float, routed: frozenset[str]) -> Loss:
    crash = Crash(
        replica_id=replica.id,
        generation=demand.deployment.generation,
        variant=demand.name,
        at_s=now_s,
        reason=failure.reason,
        quick=replica.id not in routed or now_s - replica.started_s < _SETTLED_S,
    )
    return Loss(demand=demand, replica=replica, failure=failure, crash=crash)


def _deadline_s(replica: ReplicaStatus, demand: Demand, seen: Seen) -> float:
    """When a start is overdue: the time to load counts from the end of the download, as on AWS."""
    spec = demand.variant.spec
    download_s = 0.0
    container = demand.variant.container
    if container.artifact is not None and not container.multi_model:  # a host fetches when models are asked for
        download_s = spec.download_timeout_s if replica.budget.fetch_s is None else replica.budget.fetch_s
    return replica.started_s + download_s + spec.startup_timeout_s + seen.settings.deadline_slack_s
