"""History: the file of model loads, on a thread of its own, begun anew when it is damaged or deleted."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from trimtab.clock import Clock
from trimtab.control.hosts import loads_file
from trimtab.control.hosts.api import ModelCount, PastEvent
from trimtab.control.hosts.came import CameRow
from trimtab.control.hosts.loads_file import LoadsFile
from trimtab.errors import Unavailable
from trimtab.metrics.database import is_damage
from trimtab.wire.hosting import ModelEvent

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEEP_S: Final = 14 * 86400.0
MOST_EVENTS: Final = 500_000  # a few hundred bytes each
MOST_COUNTS: Final = 500_000
KEEP_CAME_S: Final = 86_400.0
MOST_CAME: Final = 86_400  # reports: a day of one gateway and variant
MOST_BYTES: Final = 2**30  # of the file: beyond it the oldest of these reports go


class History:
    """Calls may come at once; they are carried out in order. Raises Unavailable when the file cannot be used now."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        keep_s: float = KEEP_S,
        most_events: int = MOST_EVENTS,
        most_counts: int = MOST_COUNTS,
    ) -> None:
        self._path = path
        self._clock = clock
        self._keep_s = keep_s
        self._most_events = most_events
        self._most_counts = most_counts
        self._file: LoadsFile | None = None
        self._thread = ThreadPoolExecutor(1, "trimtab-loads")

    async def append(self, replica_id: str, variant: str, events: Sequence[ModelEvent]) -> None:
        """Add what a host tells, in its order; what it had told before is passed over. Outlives this process then."""
        now_s = self._clock.now_s()
        await self._do(lambda file: file.append(replica_id, variant, events, now_s))

    async def events(self, life: str, *, model: str, since_s: float, last: int) -> Sequence[PastEvent]:
        """The newest `last`, oldest first, of one life of an endpoint; of all its models for ""."""
        return await self._do(lambda file: file.events(life, model, since_s, last))

    async def counts(self, life: str) -> Sequence[ModelCount]:
        """By model."""
        return await self._do(lambda file: file.counts(life))

    async def add_came(self, rows: Sequence[tuple[str, CameRow]]) -> None:
        """Add what gateways told of which models were asked when; each with the life that it is of."""
        await self._do(lambda file: file.add_came(rows))

    async def came(self, life: str, variant: str, start_s: int, end_s: int, most: int) -> Sequence[CameRow]:
        """What of it begins from `start_s` to before `end_s`, in order of time: `most` rows, the earliest."""
        return await self._do(lambda file: file.came(life, variant, start_s, end_s, most))

    async def forget(self, lives: Iterable[str]) -> None:
        """Drop what is too old, or too much; `lives` are the endpoints that there are."""
        before_s, living = self._clock.now_s() - self._keep_s, list(lives)
        came_before_s = self._clock.now_s() - KEEP_CAME_S
        await self._do(lambda file: file.forget_came(came_before_s, MOST_CAME, MOST_BYTES))
        await self._do(
            lambda file: file.forget(
                before_s, most_events=self._most_events, most_counts=self._most_counts, lives=living
            )
        )

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _do(self, act: Callable[[LoadsFile], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, act)

    def _guarded(self, act: Callable[[LoadsFile], T]) -> T:
        """On the thread. A damaged file is set aside, and what was asked is asked of the new one."""
        try:
            try:
                return act(self._here())
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._begin_anew(error)
                return act(self._here())
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"The history of model loads ({self._path}) cannot be used now: {error}.") from error

    def _here(self) -> LoadsFile:
        if self._file is not None and not self._path.exists():
            self._begin_anew(FileNotFoundError("it was deleted"))
        if self._file is None:
            self._file = loads_file.opened(self._path, self._clock.now_s())
        return self._file

    def _begin_anew(self, error: Exception) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        loads_file.set_damaged_aside(self._path, self._clock.now_s(), error)
