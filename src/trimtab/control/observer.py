"""Observer: gathers what a plan needs to see, and remembers orders that have not shown an effect yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.route_book import RouteBook
from trimtab.control.seen import Seen, Settings
from trimtab.engines.engine import Engine
from trimtab.errors import NoCapacity, NotFound
from trimtab.policies.serverless.environments import Wanted
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import EndpointStatus
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.names import key_of
from trimtab.resources.replica import Failure, ReplicaSpec, ReplicaState, ReplicaStatus
from trimtab.resources.routing import EndpointRoute, Lane
from trimtab.store.store import Store

Signals = Callable[[str, str], bool]
"""(endpoint, variant): whether control wants to know at once what gateways have in hand of it."""
EnvironmentsSeen = Callable[[str, EndpointRecord | None, Sequence[ReplicaStatus]], Mapping[str, Wanted]]
"""(endpoint's key, record, replicas): what is wanted of each of its serverless variants."""
ModelSettings = Callable[[str], Sequence[ModelSetting]]
"""(endpoint): what users have set of its models since it was made."""

_TAKES_ROOM = (ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING)
_RUNS_NOTHING = (EndpointStatus.DELETING, EndpointStatus.FAILED)
_PATIENCE_S = 5.0  # after which an order without effect is given again, and a replica never listed counts as lost


class Observer:
    """Sees endpoints by name, without regard to case.

    An engine may list an ordered replica a moment later, and stop listing one that has died; a plan that did not
    know of them would start a second one, or not know that one was lost. All of this memory may be lost with the
    process: the next control starts from what the engine lists.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        book: RouteBook,
        clock: Clock,
        settings: Settings,
        signals: Signals = lambda endpoint, variant: False,
        model_settings: ModelSettings = lambda endpoint: (),
        environments: EnvironmentsSeen = lambda key, record, replicas: {},
    ) -> None:
        self._store = store
        self._engine = engine
        self._book = book
        self._clock = clock
        self._settings = settings
        self._signals = signals
        self._model_settings = model_settings
        self._environments = environments
        self._known: dict[str, ReplicaStatus] = {}  # last seen, or made up from the order to start
        self._unlisted_since_s: dict[str, float] = {}  # ordered, not listed by the engine yet (monotonic)
        self._refused: set[str] = set()  # the engine refused to start it: listed by nobody but us
        self._early: set[str] = set()  # of these, for want of room, while others were about to leave
        self._alive: set[str] = set()  # ids that the engine listed when it was last asked for room
        self._room_s = 0.0
        self._sound: set[str] = set()  # of these, what had not failed
        self._freed_s = 0.0
        self._draining: dict[str, float] = {}  # when the order was given (monotonic)
        self._stopped: dict[str, float] = {}

    def names(self) -> set[str]:
        """Keys of all endpoints that exist, run or are routed to."""
        names = {key_of(record.endpoint.name) for record in self._store.list_endpoints()}
        names |= {key_of(replica.endpoint) for replica in self._engine.observe()}
        return names | {key_of(route.name) for route in self._book.table.endpoints}

    def room(self) -> set[str]:
        """Notice whether a replica has left the machine since the last call; return the endpoints to plan anew for it:
        those that had found no room."""
        listed = self._engine.observe()
        alive = {replica.id for replica in listed}
        left, freed = self._alive - alive, self._sound - alive
        self._alive = alive
        self._sound = {r.id for r in listed if r.failure is None and r.state is not ReplicaState.FAILED}
        if not left:
            return set()
        self._room_s = self._clock.now_s()
        if freed:
            self._freed_s = self._room_s
        records = self._store.list_endpoints()
        return {key_of(r.endpoint.name) for r in records if any(c.reason == NoCapacity.reason for c in r.crashes)}

    @property
    def freed_s(self) -> float:
        """Wall time when a replica was last seen to have left the machine that had not failed: who found no room before
        may find some now. (What failed leaves no more room than it had found.) 0: not seen."""
        return self._freed_s

    def see(self, key: str, *, woken_monotonic_s: float | None = None) -> Seen:
        """Everything about one endpoint, now."""
        now_s = self._clock.monotonic_s()
        record = self._record(key)
        replicas = self._replicas(key, now_s)
        ids = {replica.id for replica in replicas}
        orders = [at_s for book in (self._draining, self._stopped) for id_, at_s in book.items() if id_ in ids]
        published = self._book.route(key)
        return Seen(
            name=record.endpoint.name if record else published.name if published else key,
            record=record,
            replicas=replicas,
            published=published,
            settled=self._book.settled(key),
            draining=frozenset(self._draining.keys() & ids),
            stopped=frozenset(self._stopped.keys() & ids),
            token=secrets.token_hex(4),
            room_s=self._room_s,
            room_coming=not self._early.isdisjoint(ids),
            signals=self._signalling(record),
            model_settings=tuple(self._model_settings(record.endpoint.name)) if record and record.multi_model else (),
            environments=self._environments(key, record, replicas),
            detect_s=max(0.0, now_s - woken_monotonic_s) if woken_monotonic_s is not None else 0.0,
            monotonic_s=now_s,
            recheck_in_s=min((max(0.0, at_s + _PATIENCE_S - now_s) for at_s in orders), default=None),
            settings=self._settings,
        )

    def started(self, spec: ReplicaSpec) -> None:
        """A start was ordered."""
        self._known[spec.id] = _made_up(spec, ReplicaState.STARTING, self._clock.now_s())
        self._unlisted_since_s[spec.id] = self._clock.monotonic_s()

    def refused(self, spec: ReplicaSpec, failure: Failure) -> None:
        """The engine refused the order: it is shown as a failed replica until it is stopped."""
        self._known[spec.id] = replace(_made_up(spec, ReplicaState.FAILED, self._clock.now_s()), failure=failure)
        self._refused.add(spec.id)
        if failure.reason == NoCapacity.reason and self._is_room_coming():
            self._early.add(spec.id)

    def drained(self, replica_id: str) -> None:
        """A drain was ordered."""
        self._draining[replica_id] = self._clock.monotonic_s()

    def stopped(self, replica_id: str) -> None:
        """A stop was ordered."""
        self._stopped[replica_id] = self._clock.monotonic_s()

    def _is_room_coming(self) -> bool:
        """Whether something runs that will end as soon as gateways have let go of it."""
        kept = {
            key_of(record.endpoint.name)
            for record in self._store.list_endpoints()
            if record.endpoint.status not in _RUNS_NOTHING
        }
        running = (replica for replica in self._engine.observe() if replica.state in _TAKES_ROOM)
        return any(r.id in self._draining or r.id in self._stopped or key_of(r.endpoint) not in kept for r in running)

    def _record(self, key: str) -> EndpointRecord | None:
        try:
            return self._store.get_endpoint(key)
        except NotFound:
            return None

    def _signalling(self, record: EndpointRecord | None) -> frozenset[str]:
        if record is None:
            return frozenset()
        endpoint = record.endpoint
        variants = {variant.name for variant in (*endpoint.variants, *endpoint.pending_variants)}
        return frozenset(variant for variant in variants if self._signals(endpoint.name, variant))

    def _replicas(self, key: str, now_s: float) -> tuple[ReplicaStatus, ...]:
        routed = _lanes(self._book.route(key))
        found = [r for r in self._engine.observe() if key_of(r.endpoint) == key]
        listed = {r.id: self._named(_still_ready(r, routed.get(r.id, ()))) for r in found}
        self._repeat_orders(listed.values(), now_s)
        for replica in listed.values():
            self._unlisted_since_s.pop(replica.id, None)
        for replica in [r for r in self._known.values() if key_of(r.endpoint) == key and r.id not in listed]:
            if (shown := self._unlisted(replica, now_s)) is not None:
                listed[replica.id] = shown
            else:
                self._forget(replica.id)
        self._known.update(listed)
        return tuple(listed.values())

    def _named(self, replica: ReplicaStatus) -> ReplicaStatus:
        """A replica that ended without a word, although nobody told it to, has failed."""
        told = replica.id in self._draining or replica.id in self._stopped
        before = self._known.get(replica.id)
        drained = before is not None and before.state is ReplicaState.DRAINING
        if replica.state is not ReplicaState.GONE or replica.failure or told or before is None or drained:
            return replica
        return replace(replica, failure=before.failure or _EXITED)

    def _unlisted(self, replica: ReplicaStatus, now_s: float) -> ReplicaStatus | None:
        if replica.id in self._stopped or replica.id in self._draining:
            return None
        if replica.id in self._refused or replica.failure:
            return replica
        since_s = self._unlisted_since_s.get(replica.id)
        if since_s is not None and now_s - since_s < _PATIENCE_S:
            return replica
        if replica.state is ReplicaState.DRAINING:
            return None
        return replace(replica, state=ReplicaState.GONE, failure=_EXITED)

    def _repeat_orders(self, listed: Iterable[ReplicaStatus], now_s: float) -> None:
        """Forget orders that had no effect for long, so that the next plan gives them again."""
        for replica in listed:
            late = now_s - _PATIENCE_S
            if replica.state is ReplicaState.READY and self._draining.get(replica.id, now_s) <= late:
                del self._draining[replica.id]
            if self._stopped.get(replica.id, now_s) <= late:
                del self._stopped[replica.id]

    def _forget(self, replica_id: str) -> None:
        self._known.pop(replica_id, None)
        self._unlisted_since_s.pop(replica_id, None)
        self._refused.discard(replica_id)
        self._early.discard(replica_id)
        self._draining.pop(replica_id, None)
        self._stopped.pop(replica_id, None)


def _lanes(route: EndpointRoute | None) -> dict[str, list[Lane]]:
    lanes: dict[str, list[Lane]] = {}
    for variant in route.variants if route else ():
        for lane in variant.lanes:
            lanes.setdefault(lane.replica_id, []).append(lane)
    return lanes


def _still_ready(replica: ReplicaStatus, lanes: Sequence[Lane]) -> ReplicaStatus:
    """A replica that is routed to was ready once. After a change of control a busy one may need long to say so again:
    until it does, or has died, it stays where it is."""
    if replica.state is not ReplicaState.STARTING or not lanes:
        return replica
    addresses = tuple(lane.address for lane in lanes)
    return replace(
        replica,
        state=ReplicaState.READY,
        addresses=addresses,
        wire=lanes[0].wire,
        concurrency=lanes[0].concurrency,
        batch_size=lanes[0].batch_size,
    )


_EXITED = Failure(
    reason="Exited", message="The model server ended unexpectedly: it was killed, or its process exited by itself."
)


def _made_up(spec: ReplicaSpec, state: ReplicaState, now_s: float) -> ReplicaStatus:
    return ReplicaStatus(
        id=spec.id,
        endpoint=spec.endpoint,
        variant=spec.variant,
        version=spec.version,
        state=state,
        started_s=now_s,
        cause=spec.cause,
    )
