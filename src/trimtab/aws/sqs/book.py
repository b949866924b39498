"""The definitions of queues, as the store keeps them, remembered for a short while.

Control is the one that defines queues, so what it remembers is what is; where several share a database, another's
change is seen after `FRESH_S` at the latest. (AWS: changes take up to 60 s to be seen everywhere.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec import structs

from trimtab.aws.registry import Call
from trimtab.aws.sqs import faults
from trimtab.aws.sqs.attributes import settings_of
from trimtab.aws.sqs.naming import name_of_url
from trimtab.clock import Clock
from trimtab.queues.model import Declare, Depth, Depths, Drop, Look, NoQueue
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import PREFIX, UserQueue, queue_of

FRESH_S: Final = 5.0


class Book:
    """Every user's queue by its name."""

    def __init__(self, queues: Queues, clock: Clock) -> None:
        self._queues = queues
        self._clock = clock
        self._known: dict[str, tuple[float, UserQueue]] = {}
        self._changing = asyncio.Lock()

    async def by_url(self, call: Call, url: str) -> tuple[str, UserQueue]:
        """Name and definition of the queue that a call is about. Raises InvalidAddress, NonExistentQueue."""
        name = name_of_url(call, url)
        queue = await self.find(name)
        if queue is None:
            raise faults.no_queue()
        return name, queue

    async def find(self, name: str) -> UserQueue | None:
        """The definition of a queue; None when there is none."""
        at_s, queue = self._known.get(name, (0.0, None))
        if queue is not None and self._clock.monotonic_s() - at_s < FRESH_S:
            return queue
        depth = await self.depth(name)
        return queue_of(depth.settings) if depth is not None else None

    async def depth(self, name: str) -> Depth | None:
        """How a queue is, now."""
        depth = await self._queues.ask(Look(queue=PREFIX + name))
        if not isinstance(depth, Depth):
            self.forget(name)
            return None
        self._note(name, depth)
        return depth

    async def all(self) -> dict[str, UserQueue]:
        """Every queue, by name."""
        found = await self._queues.ask(Look(prefix=PREFIX))
        depths = found.depths if isinstance(found, Depths) else ()
        named = ((depth.queue.removeprefix(PREFIX), queue_of(depth.settings)) for depth in depths)
        return {name: queue for name, queue in named if queue is not None}

    def forget(self, name: str) -> None:
        """The store says that there is no such queue."""
        self._known.pop(name, None)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Held while a definition is read, changed and written: nobody else's change is lost."""
        async with self._changing:
            yield

    async def write(self, name: str, queue: UserQueue) -> None:
        """Make a queue, or change its definition."""
        await self._queues.ask(Declare(queue=PREFIX + name, settings=settings_of(queue)))
        self._known[name] = (self._clock.monotonic_s(), queue)

    async def change(self, name: str, how: Callable[[UserQueue], UserQueue]) -> UserQueue:
        """Change a definition by what it is now. Raises NonExistentQueue."""
        async with self.changing():
            depth = await self.depth(name)
            queue = queue_of(depth.settings) if depth is not None else None
            if queue is None:
                raise faults.no_queue()
            changed = how(queue)
            await self.write(name, changed)
            return changed

    async def drop(self, name: str) -> None:
        """Remove a queue and what is in it. Raises NonExistentQueue."""
        async with self.changing():
            result = await self._queues.ask(Drop(queue=PREFIX + name))
            self.forget(name)
        if isinstance(result, NoQueue):
            raise faults.no_queue()

    def _note(self, name: str, depth: Depth) -> None:
        queue = queue_of(depth.settings)
        if queue is not None:
            self._known[name] = (self._clock.monotonic_s(), queue)


def modified(queue: UserQueue, now_s: float, **changes: Any) -> UserQueue:
    """The definition with changes, and when it was changed."""
    return structs.replace(queue, modified_s=now_s, **changes)
