"""Watching: tells clients how queues are: at once when one begins or ceases to hold anything, else now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from trimtab.queues.connection import Connection
from trimtab.queues.model import Depth

TELL_EVERY_S: Final = 0.05  # how often watchers hear of a queue that goes on changing


class Watching:
    """Of one keeper. `connections` are those that there are, whether they watch or not."""

    def __init__(self, connections: Collection[Connection]) -> None:
        self._connections = connections
        self._depths: dict[str, Depth] = {}
        self._told: dict[str, bool] = {}  # whether a queue held anything when it was told last
        self._due: set[str] = set()  # queues that are told soon

    def learn(self, depths: Mapping[str, Depth | None]) -> None:
        """How queues are, None for those that are gone."""
        for queue, depth in depths.items():
            if depth is None:
                self._depths.pop(queue, None)
            else:
                self._depths[queue] = depth

    def begin(self, connection: Connection, prefix: str) -> None:
        """A client begins to watch: it hears of all."""
        for queue in sorted(self._depths):
            if queue.startswith(prefix):
                connection.tell(queue, self._depths[queue])

    def note(self, changed: Mapping[str, Depth | None]) -> None:
        """Queues have changed."""
        self.learn(changed)
        if not any(connection.watches for connection in self._connections):
            return
        for queue, depth in changed.items():
            if depth is None or self._told.get(queue) != _holds(depth):
                self._tell(queue)
            elif queue not in self._due:
                self._due.add(queue)
                asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell, queue)

    def _tell(self, queue: str) -> None:
        self._due.discard(queue)
        depth = self._depths.get(queue)
        if depth is None:
            self._told.pop(queue, None)
        else:
            self._told[queue] = _holds(depth)
        for connection in self._connections:
            connection.tell(queue, depth)


def _holds(depth: Depth) -> bool:
    return depth.waiting + depth.leased > 0
