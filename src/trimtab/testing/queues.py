"""Queues in the process of the test: a keeper over SQLite, and clients of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from trimtab.queues.client import QueueClient
from trimtab.queues.keeper import QueueKeeper
from trimtab.queues.sqlite import SqliteQueueStore
from trimtab.queues.store import QueueStore


class KeptQueues:
    """A keeper that can be ended and started again, on the same file, and the clients that a test has asked for."""

    def __init__(
        self,
        folder: Path,
        now_s: Callable[[], float],
        open_store: Callable[[Path], QueueStore],
        steady_s: Callable[[], float] | None = None,
    ) -> None:
        self.socket = folder / "queues.sock"
        self._file = folder / "queues.db"
        self._now_s = now_s
        self._open_store = open_store
        self._steady_s = steady_s
        self._keeper: QueueKeeper | None = None
        self._run: asyncio.Task[None] | None = None
        self._clients: list[QueueClient] = []

    async def start(self) -> None:
        """Begin to keep them."""
        self._keeper = QueueKeeper(
            self._open_store(self._file), self.socket, now_s=self._now_s, steady_s=self._steady_s or self._now_s
        )
        await self._keeper.open()
        self._run = asyncio.get_running_loop().create_task(self._keeper.run(), name="keeper of the queues")

    async def stop(self) -> None:
        """End the keeper; clients wait for the next one."""
        assert self._run is not None
        assert self._keeper is not None
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        await self._keeper.close()
        self._keeper = self._run = None

    def client(self, *, patience_s: float = 30.0) -> QueueClient:
        """A client, open; closed with the rest."""
        client = QueueClient(self.socket, patience_s=patience_s)
        client.open()
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """End all."""
        for client in self._clients:
            await client.close()
        if self._keeper is not None:
            await self.stop()


@asynccontextmanager
async def kept_queues(
    folder: Path,
    *,
    now_s: Callable[[], float] = time.time,
    steady_s: Callable[[], float] | None = None,
    open_store: Callable[[Path], QueueStore] = SqliteQueueStore,
) -> AsyncIterator[KeptQueues]:
    """Queues in `folder` (a short path: it takes a socket), kept in this process. `now_s` is the keeper's clock, which
    jumps when it differs from `steady_s` of a sudden."""
    kept = KeptQueues(folder, now_s, open_store, steady_s)
    await kept.start()
    try:
        yield kept
    finally:
        await kept.close()
