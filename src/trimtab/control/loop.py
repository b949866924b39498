"""The loop: for ever observe, plan, apply, each endpoint by itself; woken by calls, engine, gateways and timers."""

from __future__ import annotations

import asyncio
import logging

from trimtab.clock import Clock
from trimtab.control.observer import Observer
from trimtab.control.reconciler import Outcome, Reconciler
from trimtab.control.runner import Runner
from trimtab.engines.engine import Engine
from trimtab.errors import Broken, TrimtabError
from trimtab.logs import fields
from trimtab.resources.endpoint import Event
from trimtab.resources.names import key_of
from trimtab.store.store import Store

logger = logging.getLogger(__name__)

_MAX_TURNS = 200  # in a row without waiting: a plan that never comes to rest is a bug
_SLOW_TURN_S = 1.0


class ControlLoop:
    """One task per endpoint: what goes wrong with one is logged, recorded and retried, and touches no other."""

    def __init__(self, store: Store, engine: Engine, observer: Observer, reconciler: Reconciler, clock: Clock) -> None:
        self._store = store
        self._engine = engine
        self._observer = observer
        self._reconciler = reconciler
        self._clock = clock
        self._runners: dict[str, Runner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[str, set[object]] = {}  # key -> what the engine last said that a plan would look at
        self._looking = False
        self._running = False

    async def run(self) -> None:
        """Until cancelled. Replicas live on; the next control takes over from what they and the store say."""
        self._running = True
        self._engine.on_change(self._engine_changed)
        try:
            for key in sorted(self._observer.names()):
                self.wake(key)
            self._look()
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self, key: str) -> None:
        """Plan this endpoint now. Without effect before `run`, which begins with all endpoints."""
        if not self._running:
            return
        if key not in self._runners:
            runner = self._runners[key] = Runner(key, self._settle, self._failed, self._clock)
            task = self._tasks[key] = asyncio.get_running_loop().create_task(runner.run(), name=f"endpoint {key}")
            task.add_done_callback(lambda task: self._ended(runner, task))
        self._runners[key].wake()

    def _engine_changed(self) -> None:
        """Called often, for in-flight counts too: look once per turn of the event loop."""
        if self._running and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        found: dict[str, set[object]] = {}
        for r in self._engine.observe():
            fetched_s, sound = r.budget.fetch_s, r.failure is None
            matters = (r.id, r.state, r.addresses, r.concurrency, r.batch_size, r.wire, fetched_s, sound)
            found.setdefault(key_of(r.endpoint), set()).add(matters)
        changed = [key for key in found.keys() | self._seen.keys() if found.get(key) != self._seen.get(key)]
        self._seen = found
        for key in {*changed, *self._observer.room()}:
            self.wake(key)

    async def _settle(self, key: str, woken_monotonic_s: float | None) -> Outcome:
        """Turns until one has nothing to do."""
        for _ in range(_MAX_TURNS):
            began_s = self._clock.monotonic_s()
            outcome = await self._reconciler.turn(key, woken_monotonic_s=woken_monotonic_s)
            woken_monotonic_s = None
            if (took_s := self._clock.monotonic_s() - began_s) > _SLOW_TURN_S:
                logger.warning("slow turn %s", fields(endpoint=key, seconds=took_s))
            if not outcome.acted:
                return outcome
            await asyncio.sleep(0)  # others' turn
        raise Broken(f"the plan of endpoint {key!r} does not come to rest")

    def _failed(self, key: str, error: Exception, retry_in_s: float) -> None:
        logger.error("turn failed %s", fields(endpoint=key, error=error, retry_in_s=retry_in_s), exc_info=error)
        reason = error.reason if isinstance(error, TrimtabError) else type(error).__name__
        event = Event(at_s=self._clock.now_s(), what="control turn failed", reason=f"{reason}: {error}")
        try:
            self._store.add_events(key, [event])
        except Exception:
            logger.exception("the failed turn could not be recorded %s", fields(endpoint=key))

    def _ended(self, runner: Runner, task: asyncio.Task[None]) -> None:
        del self._runners[runner.key], self._tasks[runner.key]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("endpoint task ended; it starts again %s", fields(endpoint=runner.key), exc_info=error)
        if error is not None or runner.woken:
            self.wake(runner.key)
