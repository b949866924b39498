"""Reconciler: one turn over one endpoint: observe, plan, apply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.actions import (
    Action,
    DrainReplica,
    Publish,
    Record,
    Remove,
    Save,
    StartReplica,
    StopReplica,
)
from trimtab.control.observer import Observer
from trimtab.control.plan import plan
from trimtab.control.route_book import RouteBook
from trimtab.control.seen import Seen
from trimtab.engines.engine import Engine
from trimtab.errors import NoCapacity
from trimtab.logs import fields
from trimtab.resources.endpoint import Event
from trimtab.resources.names import key_of
from trimtab.resources.replica import Failure
from trimtab.store.store import Stale, Store

logger = logging.getLogger(__name__)


class Outcome(Struct, frozen=True, kw_only=True):
    """What a turn did. `acted`: plan again at once. `idle`: nothing of the endpoint is left."""

    acted: bool
    idle: bool
    wake_in_s: float | None


Told = Callable[[str, Sequence[Event]], None]
"""Told of an endpoint's events (by its name) when they are recorded: what is counted of them is counted once."""


class Reconciler:
    """Makes the record of an endpoint true, a turn at a time. Each action is safe to repeat, and so is each turn."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        book: RouteBook,
        observer: Observer,
        clock: Clock,
        told: Told,
    ) -> None:
        self._store = store
        self._engine = engine
        self._book = book
        self._observer = observer
        self._clock = clock
        self.told = told

    async def turn(self, key: str, *, woken_monotonic_s: float | None = None) -> Outcome:
        """Observe, plan, apply. A record that was written meanwhile ends the turn early: the next one sees it."""
        seen = self._observer.see(key, woken_monotonic_s=woken_monotonic_s)
        decided = plan(seen, self._clock.now_s())
        try:
            for action in decided.actions:
                await self.apply(action, seen)
                if isinstance(action, StartReplica):
                    await asyncio.sleep(0)  # the engine begins before this turn's writes hold up the event loop
        except Stale:
            return Outcome(acted=True, idle=False, wake_in_s=0.0)
        idle = seen.record is None and not seen.replicas and seen.published is None and not decided.actions
        return Outcome(acted=bool(decided.actions), idle=idle, wake_in_s=self._wake_in_s(decided.wake_in_s))

    def _wake_in_s(self, planned_s: float | None) -> float | None:
        return min((s for s in (planned_s, self._book.recheck_in_s()) if s is not None), default=None)

    async def apply(self, action: Action, seen: Seen) -> None:
        """Do one thing."""
        match action:
            case StartReplica():
                await self._start(action, seen)
            case Publish():
                logger.info("routes %s", fields(endpoint=action.endpoint, why=action.why))
                self._book.publish(key_of(action.endpoint), action.route)
            case DrainReplica():
                logger.info("drain %s", fields(replica=action.replica_id, why=action.why))
                self._observer.drained(action.replica_id)
                await self._engine.drain(action.replica_id, grace_s=action.grace_s)
            case StopReplica():
                logger.info("stop %s", fields(replica=action.replica_id, why=action.why))
                self._observer.stopped(action.replica_id)
                await self._engine.stop(action.replica_id)
            case Save():
                # Lost with the machine, it is as if control had died before: the next one decides on it again.
                self._store.save_endpoint(action.record, action.events, lazily=True)
                endpoint = action.record.endpoint
                self.told(endpoint.name, action.events)
                log = logger.warning if endpoint.failure_reason else logger.info
                log("%s %s", action.why, fields(endpoint=endpoint.name, reason=endpoint.failure_reason or "-"))
            case Record():
                self._store.add_events(action.endpoint, action.events)
                self.told(action.endpoint, action.events)
            case Remove():
                self._store.remove_endpoint(action.endpoint, revision=action.revision)
                logger.info("endpoint removed %s", fields(endpoint=action.endpoint))

    async def _start(self, action: StartReplica, seen: Seen) -> None:
        spec = action.spec
        if spec.decide_s is None:  # it was decided on in this turn
            decided_s = self._clock.monotonic_s()
            spec = replace(spec, decided_monotonic_s=decided_s, decide_s=max(0.0, decided_s - seen.monotonic_s))
        self._observer.started(spec)
        try:
            await self._engine.start(spec)
        except NoCapacity as error:
            self._observer.refused(spec, Failure(reason="NoCapacity", message=str(error)))
            logger.warning("replica refused %s", fields(replica=spec.id, why=action.why, error=error))
            return
        except BaseException:
            self._observer.stopped(spec.id)  # not known whether it was ordered: whatever comes of it is not kept
            raise
        logger.info("replica ordered %s", fields(replica=spec.id, endpoint=spec.endpoint, why=action.why))
