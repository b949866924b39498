"""Noting: what hosts tell of their models into history and metrics; they hear of it once both have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from trimtab.control.hosts.history import History
from trimtab.control.hosts.server import Host, Place
from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.wire.hosting import Events, ModelEvent, Noted

logger = logging.getLogger(__name__)

AGAIN_S: Final = 1.0  # a file that could not be written is tried again


class Counts(Protocol):
    """Who counts events (`metering.HostMeter`); each once, however often it is told."""

    def noted(
        self, replica_id: str, place: Place, events: Sequence[ModelEvent], committed: Callable[[], None] | None = None
    ) -> None: ...


class Noting:
    """One task for each host that has told something, so that its events are written in their order."""

    def __init__(self, history: History, counts: Counts, *, again_s: float = AGAIN_S) -> None:
        self._history = history
        self._counts = counts
        self._again_s = again_s
        self._waiting: dict[Host, list[ModelEvent]] = {}
        self._tasks: dict[Host, asyncio.Task[None]] = {}

    def take(self, host: Host, told: Events) -> None:
        """Write these, soon."""
        self._waiting.setdefault(host, []).extend(told.events)
        if host not in self._tasks:
            self._tasks[host] = asyncio.create_task(self._write(host), name=f"note events of {host.replica_id}")

    def left(self, host: Host) -> None:
        """It tells what it was not told of being kept to whom it connects to next."""
        self._waiting.pop(host, None)

    async def _write(self, host: Host) -> None:
        try:
            while events := self._waiting.get(host):
                self._waiting[host] = []
                if await self._written(host, events):
                    self._count(host, events)
                elif host in self._waiting:
                    self._waiting[host] = events + self._waiting[host]
                    await asyncio.sleep(self._again_s)
        finally:
            del self._tasks[host]

    async def _written(self, host: Host, events: list[ModelEvent]) -> bool:
        try:
            await self._history.append(host.replica_id, host.place[1], events)
        except TrimtabError as error:
            logger.error("events of models are not written now %s", fields(replica=host.replica_id, error=error))
            return False
        return True

    def _count(self, host: Host, events: list[ModelEvent]) -> None:
        loop, noted = asyncio.get_running_loop(), Noted(seq=events[-1].seq)

        def committed() -> None:  # called from another thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(host.tell, noted)

        self._counts.noted(host.replica_id, host.place, events, committed)

    async def close(self) -> None:
        """End what is under way; what was not acknowledged is told again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
