"""Consumer: drains the queues of all asynchronous endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from trimtab.consumer.drain import Drain, Runs
from trimtab.gateway.gateway import Gateway
from trimtab.policies.asynchronous import capacity, to_lease
from trimtab.queues.model import Depth
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import QUEUE_PREFIX

logger = logging.getLogger(__name__)

MOST_IN_HAND = 2048  # tasks of all endpoints together
_EXPIRED_EVERY_S = 5.0


class Consumer:
    """`run` until cancelled; call `routed` when the gateway has another table."""

    def __init__(self, queues: Queues, gateway: Gateway, runner: Runs, *, most_in_hand: int = MOST_IN_HAND) -> None:
        self._queues = queues
        self._gateway = gateway
        self._runner = runner
        self._most = most_in_hand
        self.drains: dict[str, Drain] = {}
        self._works: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self) -> None:
        """Drain, for ever."""
        self._queues.watch(QUEUE_PREFIX, self._told)
        while True:
            await asyncio.sleep(_EXPIRED_EVERY_S)
            for drain in list(self.drains.values()):
                drain.look_for_expired()
                drain.look()

    def routed(self) -> None:
        """Replicas have come or gone."""
        for drain in list(self.drains.values()):
            drain.look()

    async def stop(self, grace_s: float) -> None:
        """Take nothing more, and give what is in hand so long to end. What is left is free when the queues' client is
        closed."""
        self._stopping = True
        busy = [work for work in self._works if any(drain.in_hand for drain in self.drains.values())]
        if busy:
            await asyncio.wait(busy, timeout=grace_s)
        for work in list(self._works):
            work.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)

    def _told(self, depth: Depth) -> None:
        drain = self.drains.get(depth.queue)
        if drain is None or drain.gone:
            drain = self.drains[depth.queue] = Drain(
                depth.queue, self._queues, self._runner, self._spawn, self._to_take
            )
        drain.told(depth)
        drain.look()

    def _to_take(self, drain: Drain) -> int:
        if self._stopping:
            return 0
        entry = self._gateway.endpoints.get(drain.queue.removeprefix(QUEUE_PREFIX))
        room = capacity(entry.route if entry is not None else None, drain.mark)
        busy = sum(other.holds for other in self.drains.values())
        return to_lease(room, drain.in_hand, busy=busy, most=self._most)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
