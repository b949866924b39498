"""Watching: tells clients how queues are: at once when one begins or ceases to hold anything, else now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from trimtab.queues.connection import Connection
from trimtab.queues.model import Depth

TELL_EVERY_S: Final = 0.05  # how often watchers hear of a queue that goes on changing


class Watching:
    """Of one keeper. `connections` are those that there are, whether they watch or not."""

    def __init__(self, connections: Collection[Connection]) -> None:
        self._connections = connections
        self.prefixes: tuple[str, ...] = ()  # that somebody watches, or has watched
        self._latest: dict[str, Depth | None] = {}  # of queues that are to be told soon
        self._told: dict[str, bool] = {}  # whether a queue held anything when it was told last

    def add(self, prefix: str) -> None:
        """Somebody begins to watch queues below `prefix`."""
        self.prefixes = tuple({*self.prefixes, prefix})

    def begin(self, connection: Connection, depths: Sequence[Depth]) -> None:
        """A client that begins to watch hears of all."""
        for depth in depths:
            connection.tell(depth.queue, depth)

    def note(self, changed: Mapping[str, Depth | None]) -> None:
        """Queues are so now; None: gone."""
        for queue, depth in changed.items():
            is_due = queue in self._latest
            self._latest[queue] = depth
            if depth is None or self._told.get(queue) != _holds(depth):
                self._tell(queue)
            elif not is_due:
                asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell, queue)

    def _tell(self, queue: str) -> None:
        if queue not in self._latest:
            return  # it was told sooner
        depth = self._latest.pop(queue)
        if depth is None:
            self._told.pop(queue, None)
        else:
            self._told[queue] = _holds(depth)
        for connection in self._connections:
            connection.tell(queue, depth)


def _holds(depth: Depth) -> bool:
    return depth.waiting + depth.leased > 0
