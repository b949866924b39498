"""HostedVariant: a variant whose replicas are model hosts: a queue for each model, over lanes to its workers."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from trimtab.errors import Invalid
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane
from trimtab.gateway.meters import Values
from trimtab.gateway.models.finder import Finder
from trimtab.gateway.models.model_queue import ModelQueue
from trimtab.gateway.variant import Variant
from trimtab.policies.costs.tokens import NONE as NO_TOKENS
from trimtab.policies.models.names import model_of
from trimtab.resources.routing import VariantRoute
from trimtab.wire.reports import ModelsReport

_IDLE_S: Final = 30.0  # a model without requests for so long has no state here any more
_IDLE_MOST: Final = 2000  # of such models; a flood of names that nobody knows leaves no more than this
_REPORTED: Final = 1000  # models with counts of their own in one report
_MOMENTS: Final = 1000  # requests whose moments are in one report; of further ones there are counts


class HostedVariant(Variant):
    """To the gateway a Variant as any other, whose lanes are HostLinks; calls name a model each (`target_model`).

    A call for a loaded model costs one look-up more than in an ordinary variant. What is kept for a model that nobody
    asks for is what its hosts have told.
    """

    hosted = True

    def __init__(
        self,
        route: VariantRoute,
        *,
        now_s: Callable[[], float],
        random: Callable[[], float],
        readmit: Callable[[Call], None],
        starved: Callable[[Variant], None] = lambda _: None,
        endpoint: str = "",
        metered: bool = True,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(
            route, now_s=now_s, random=random, readmit=readmit, starved=starved, endpoint=endpoint, metered=metered
        )
        self.queues: dict[str, ModelQueue] = {}
        self.finder = Finder(self, now_s)
        self.keeps = True  # models stay loaded after a request
        self._all_waiting = 0
        self._waits = Values()
        self._firsts = Values()
        self._wall_s = wall_s
        self._came: list[tuple[str, float]] = []  # models of the first requests since the last report, and when
        self._working: dict[ModelQueue, None] = {}  # those that may have something in hand
        self._touched: dict[ModelQueue, None] = {}  # those that may have something to report
        self._idle: OrderedDict[ModelQueue, float] = OrderedDict()  # the others, since when
        self._timer: asyncio.TimerHandle | None = None
        self._follow(route)

    # --- callers -----------------------------------------------------------------------------------------------

    def admit(self, call: Call) -> None:
        """Take a call in: send it to a copy of its model, queue it until there is one, or fail it."""
        queue = self.queues.get(call.target_model) or self._queue_for(call)
        if queue is None:
            return
        if not queue.active:
            queue.active = True
            self._idle.pop(queue, None)
            self._working[queue] = self._touched[queue] = None
        call.missed = not queue.lanes
        if not call.arrived_s:  # else it comes again, from a variant that is no more
            if call.missed:
                queue.misses += 1
            else:
                queue.hits += 1
            if len(self._came) < _MOMENTS:
                self._came.append((queue.model, self._now_s()))
        queue.admit(call)

    def _queue_for(self, call: Call) -> ModelQueue | None:
        try:
            model = model_of(call.target_model)
        except Invalid as error:
            call.done = True
            call.failed(error)
            return None
        queue = self.queues.get(model)
        if queue is None:
            queue = ModelQueue(model, self, now_s=self._now_s, random=self._random, readmit=self._readmit)
            self.queues[model] = queue
            self.finder.refresh(queue)
        return queue

    # --- for queues and links ----------------------------------------------------------------------------------

    def count_waiting(self, more: int) -> None:
        """A queue has grown, or become shorter."""
        self._all_waiting += more
        if (meter := self.meter) is not None and self._all_waiting > meter.waiting_most:
            meter.waiting_most = self._all_waiting

    def note_waits(self, waits_us: Sequence[float]) -> None:
        """So long have requests waited for their model to be loaded."""
        self._waits.add(waits_us)

    def note_first(self, took_us: float) -> None:
        """So long had a model that was just loaded its first request in hand."""
        self._firsts.add([took_us])

    def starve(self) -> None:
        """Requests wait, and there is no host."""
        self._starved(self)

    def has_room(self) -> None:
        """A host is there (again), or another one: what is lacking can be asked for."""
        self.finder.seek()

    # --- time --------------------------------------------------------------------------------------------------

    def _enforce(self, now_s: float) -> bool:
        for queue in list(self._working):
            if queue._enforce(now_s):
                self.finder.look(queue, now_s)
            else:
                self._rest(queue, now_s)
        self.finder.seek()
        untold = [link.tell(now_s) for link in (*self.lanes, *self.retiring)]  # type: ignore[attr-defined]
        return bool(self._working) or any(untold)

    def _rest(self, queue: ModelQueue, now_s: float) -> None:
        queue.active = False
        del self._working[queue]
        if self.retired:
            return
        self._idle[queue] = now_s
        if len(self._idle) > _IDLE_MOST:
            self._drop(next(iter(self._idle)))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._drop_idle)

    def _drop_idle(self) -> None:
        self._timer = None
        long_ago_s = self._now_s() - _IDLE_S
        while self._idle:
            queue, since_s = next(iter(self._idle.items()))
            if since_s > long_ago_s:
                self._timer = asyncio.get_running_loop().call_later(since_s - long_ago_s, self._drop_idle)
                return
            self._drop(queue)

    def _drop(self, queue: ModelQueue) -> None:
        del self._idle[queue]
        del self.queues[queue.model]
        queue.retire()

    # --- change ------------------------------------------------------------------------------------------------

    def change(self, route: VariantRoute, lanes: tuple[Lane, ...]) -> None:
        """Route as `route` says, over `lanes`, which lead to hosts."""
        super().change(route, lanes)
        self._follow(route)
        for queue in list(self.queues.values()):
            queue.route = route
            self.finder.refresh(queue)
        self.finder.seek()
        if self._all_waiting and not lanes and not self.retired:
            self._starved(self)

    def _follow(self, route: VariantRoute) -> None:
        if (hosting := route.hosting) is not None:
            self.keeps = hosting.cache
            self.finder.settings = {setting.model: setting for setting in hosting.settings}

    def retire(self) -> None:
        """The variant is no more: what waits goes back to the gateway, what workers have in hand is finished."""
        super().retire()
        if self._timer is not None:
            self._timer.cancel()
        for queue in list(self.queues.values()):
            queue.retire()

    # --- levels ------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Calls in the queues of all models."""
        return self._all_waiting

    def busy(self) -> bool:
        """Whether any worker has a request in hand."""
        return any(link.outstanding for link in self.lanes)

    def starving_s(self) -> float:
        """For how long the oldest call has waited, when there is no host to wait for; else 0."""
        if self.lanes or not self._all_waiting:
            return 0.0
        return self._now_s() - min(queue.oldest_s() for queue in self._working if queue.waiting)

    def _models_report(self, now_s: float) -> ModelsReport | None:
        first = list(islice(self._touched, _REPORTED))
        busy_s = {queue.model: took_s for queue in first if (took_s := queue.take_busy(now_s))}
        tokens = {queue.model: queue.tokens for queue in first if queue.tokens != NO_TOKENS}
        rows = {queue.model: (queue.hits, queue.misses) for queue in self._touched if queue.hits or queue.misses}
        for queue in self._touched:
            queue.hits = queue.misses = 0
            queue.tokens = NO_TOKENS
        self._touched = dict(self._working)
        if not (rows or busy_s or self._waits.count or self._firsts.count):
            return None
        hits = sum(row[0] for row in rows.values())
        misses = sum(row[1] for row in rows.values())
        counted = dict(islice(rows.items(), _REPORTED))
        return ModelsReport(
            hits, misses, self._waits.take(), counted, busy_s, tokens, self._take_came(now_s), self._firsts.take()
        )

    def _take_came(self, now_s: float) -> dict[str, list[int]]:
        """When requests came, by model: milliseconds of wall time."""
        behind_s = self._wall_s() - now_s
        came_ms: dict[str, list[int]] = {}
        for model, at_s in self._came:
            came_ms.setdefault(model, []).append(round((at_s + behind_s) * 1000))
        self._came.clear()
        return came_ms
