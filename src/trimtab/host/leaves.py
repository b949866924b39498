"""Who is not done yet with versions that are LEAVING: a program with all models cannot tell their requests apart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from trimtab.host.runner import Key


class Leaves:
    """Of one host. Gateways say of each version that leaves when they have nothing in hand of it any more."""

    def __init__(self) -> None:
        self._busy: dict[Key, set[int]] = {}
        self._quiet: dict[Key, asyncio.Event] = {}

    def told(self, key: Key, gateways: Collection[int]) -> None:
        """These have been told that it leaves."""
        self._busy[key] = set(gateways)
        self._quiet[key] = asyncio.Event()
        self._look(key)

    def done(self, key: Key, gateway: int) -> None:
        """One has nothing in hand any more."""
        if key in self._busy:
            self._busy[key].discard(gateway)
            self._look(key)

    def lost(self, gateway: int) -> None:
        """One is gone."""
        for key in list(self._busy):
            self.done(key, gateway)

    def gone(self, key: Key) -> None:
        """It has left."""
        self._busy.pop(key, None)
        if (event := self._quiet.pop(key, None)) is not None:
            event.set()

    async def quiet(self, key: Key) -> None:
        """Wait until all are done; at once for what does not leave."""
        if (event := self._quiet.get(key)) is not None:
            await event.wait()

    def _look(self, key: Key) -> None:
        if not self._busy[key]:
            self._quiet[key].set()
