"""What users have defined and the store keeps in the settings of a queue, remembered for a short while.

Control is the one that defines these, so what it remembers is what is; where several share a database, another's
change is seen after `FRESH_S` at the latest. (AWS: changes take up to 60 s to be seen everywhere.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from trimtab.clock import Clock
from trimtab.errors import NotFound
from trimtab.queues.model import Declare, Depth, Depths, Drop, Look, NoQueue, QueueSettings
from trimtab.queues.store import Queues

FRESH_S: Final = 5.0
T = TypeVar("T")


class Definitions(Generic[T]):
    """Definitions of one kind by name; the queue of each is `prefix` and the name."""

    def __init__(
        self,
        queues: Queues,
        clock: Clock,
        *,
        kind: str,
        prefix: str,
        read: Callable[[QueueSettings], T | None],
        settings_of: Callable[[T], QueueSettings],
    ) -> None:
        """`read` finds the definition in settings (None: there is none), `settings_of` says what it means."""
        self._queues = queues
        self._clock = clock
        self._kind = kind
        self._prefix = prefix
        self._read = read
        self._settings_of = settings_of
        self._known: dict[str, tuple[float, T]] = {}
        self._changing = asyncio.Lock()

    async def find(self, name: str) -> T | None:
        """The definition; None when there is none."""
        known = self._known.get(name)
        if known is not None and self._clock.monotonic_s() - known[0] < FRESH_S:
            return known[1]
        return (await self.look(name))[1]

    async def get(self, name: str) -> T:
        """The definition. Raises NotFound."""
        found = await self.find(name)
        if found is None:
            raise NotFound(self._kind, name)
        return found

    async def look(self, name: str) -> tuple[Depth | None, T | None]:
        """How the queue is now, with the definition as it is now."""
        depth = await self._queues.ask(Look(queue=self._prefix + name))
        definition = self._read(depth.settings) if isinstance(depth, Depth) else None
        if definition is None:
            self.forget(name)
        else:
            self._known[name] = (self._clock.monotonic_s(), definition)
        return (depth if isinstance(depth, Depth) else None), definition

    async def all(self) -> dict[str, T]:
        """Every definition, by name, in order."""
        found = await self._queues.ask(Look(prefix=self._prefix))
        depths = found.depths if isinstance(found, Depths) else ()
        named = ((depth.queue.removeprefix(self._prefix), self._read(depth.settings)) for depth in depths)
        return {name: definition for name, definition in named if definition is not None}

    def forget(self, name: str) -> None:
        """The store says that there is no such queue."""
        self._known.pop(name, None)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Held while a definition is read, changed and written: nobody else's change is lost."""
        async with self._changing:
            yield

    async def write(self, name: str, definition: T) -> None:
        """Make it, or change it."""
        await self._queues.ask(Declare(queue=self._prefix + name, settings=self._settings_of(definition)))
        self._known[name] = (self._clock.monotonic_s(), definition)

    async def change(self, name: str, how: Callable[[T], T]) -> T:
        """Change a definition by what it is now. Raises NotFound."""
        async with self.changing():
            _, now = await self.look(name)
            if now is None:
                raise NotFound(self._kind, name)
            changed = how(now)
            await self.write(name, changed)
            return changed

    async def drop(self, name: str) -> None:
        """Remove it, and what is in its queue. Raises NotFound."""
        async with self.changing():
            result = await self._queues.ask(Drop(queue=self._prefix + name))
            self.forget(name)
        if isinstance(result, NoQueue):
            raise NotFound(self._kind, name)
