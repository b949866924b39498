"""Who needs a blob, and its end when nobody does.

A blob is written before the index knows it, and removed after the index has forgotten it, so a kill at any moment
leaves at worst a blob that nobody needs. Two records find it again:

- `garbage` lists blobs that the index has forgotten, in the transaction that forgot them;
- a *generation* is a folder of a few thousand blobs that is listed as open from before its first blob until none of its
  blobs is under way. A start after a kill looks through the open ones only, however many objects there are.

A reader holds the blobs that it streams: they stay until it lets go.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.objects import schema
from trimtab.objects.blobs import Blobs
from trimtab.objects.index import Index, discard

logger = logging.getLogger(__name__)

GENERATION_BLOBS = 4096
_BATCH = 256
T = TypeVar("T")


class Write(Protocol):
    """Run a function on the thread that changes the index."""

    def __call__(self, function: Callable[[], T], /) -> Coroutine[Any, Any, T]: ...


class Reaper:
    """Names new blobs and removes those that nobody needs. Methods are for the event loop, `hold`/`free` for anyone."""

    def __init__(self, index: Index, blobs: Blobs, write: Write, *, generation_blobs: int = GENERATION_BLOBS) -> None:
        self._index = index
        self._blobs = blobs
        self._write = write
        self._generation_blobs = generation_blobs
        self._generation = ""
        self._named = 0
        self._naming = asyncio.Lock()
        self._under_way: Counter[str] = Counter()  # by generation
        self._abandoned: list[str] = []
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()  # guards _held: the index's thread reads it, finalizers free
        self._passed_over = False  # garbage was left because a reader held it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False

    async def start(self) -> None:
        """Take up what an earlier process left: open generations and garbage. Returns at once; the work goes on."""
        self._loop = asyncio.get_running_loop()
        left = await self._write(self._open_generations)
        await self._write(self._unclaim)
        self._task = asyncio.create_task(self._run(left))

    async def close(self) -> None:
        """Finish the removals under way; a generation in which nothing is under way needs no look at the next start."""
        await self.settle()
        if self._generation and not self._under_way[self._generation]:
            await self._close_generation(self._generation)

    async def settle(self) -> None:
        """Return when no removal is under way and none is due (readers may still hold some blobs back)."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    # Blobs being written

    async def new_blob(self) -> str:
        """A name that was never used. Call `written` or `abandoned` with it."""
        async with self._naming:
            if not self._generation or self._named >= self._generation_blobs:
                await self._next_generation()
            self._named += 1
            self._under_way[self._generation] += 1
            return f"{self._generation}/{uuid.uuid4().hex}"

    async def written(self, blob: str) -> None:
        """The index knows it."""
        generation = blob.partition("/")[0]
        self._under_way[generation] -= 1
        if generation != self._generation and not self._under_way[generation]:
            await self._close_generation(generation)

    def abandoned(self, blob: str) -> None:
        """Its writer gave up. It goes, unless the index knows it after all."""
        self._abandoned.append(blob)
        self.wake()

    # Blobs being read

    def hold(self, blobs: Iterable[str]) -> None:
        """Keep these until `free`."""
        with self._lock:
            self._held.update(blobs)

    def free(self, blobs: Iterable[str]) -> None:
        """Undo `hold`. What became garbage meanwhile is removed now."""
        with self._lock:
            for blob in blobs:
                self._held[blob] -= 1
                if self._held[blob] <= 0:
                    del self._held[blob]
            due, self._passed_over = self._passed_over, False
        if due and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.wake)

    # Removal

    def wake(self) -> None:
        """There may be garbage."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run([]))

    async def _run(self, generations: list[str]) -> None:
        try:
            for generation in generations:
                await self._sweep(generation)
            self._again = True
            while self._again:
                self._again = False
                await self._settle_abandoned()
                while claimed := await self._write(self._claim):
                    await asyncio.gather(*(self._blobs.delete(blob) for blob in claimed))
                    await self._write(lambda claimed=claimed: self._forget(claimed))  # type: ignore[misc]
        except TrimtabError as failure:  # the storage is down or full: what is due stays listed as garbage
            logger.warning("blobs not removed %s", fields(where=self._blobs.where, why=failure))

    async def _sweep(self, generation: str) -> None:
        found = await self._blobs.list(generation)
        lost = await self._write(lambda: self._discard_unneeded(found))
        await self._blobs.retire(generation)
        await self._write(lambda: self._drop_generation(generation))
        logger.info("unfinished writes swept %s", fields(generation=generation, looked_at=len(found), lost=lost))

    async def _settle_abandoned(self) -> None:
        blobs, self._abandoned = self._abandoned, []
        if blobs:
            await self._write(lambda: self._discard_unneeded(blobs))
            for blob in blobs:
                await self.written(blob)

    async def _next_generation(self) -> None:
        before = self._generation
        generation = uuid.uuid4().hex[:12]
        await self._write(lambda: self._add_generation(generation))
        await self._blobs.prepare(generation)
        self._generation, self._named = generation, 0
        if before and not self._under_way[before]:
            await self._close_generation(before)

    async def _close_generation(self, generation: str) -> None:
        del self._under_way[generation]
        await self._write(lambda: self._drop_generation(generation))

    # On the index's thread

    def _open_generations(self) -> list[str]:
        with self._index.look() as connection:
            return list(connection.scalars(sa.select(schema.generations.c.name)))

    def _unclaim(self) -> None:
        """Blobs claimed by a process that was killed are to be removed still: claim them anew."""
        self._index.free(lambda connection: connection.execute(schema.garbage.update().values(claimed=False)))

    def _add_generation(self, name: str) -> None:
        with self._index.change() as connection:
            connection.execute(schema.generations.insert().values(name=name))

    def _drop_generation(self, name: str) -> None:
        drop = schema.generations.delete().where(schema.generations.c.name == name)
        self._index.free(lambda connection: connection.execute(drop))

    def _discard_unneeded(self, blobs: list[str]) -> int:
        def discard_them(connection: sa.Connection) -> int:
            reference = schema.references.c
            lost = 0
            for start in range(0, len(blobs), _BATCH):
                some = blobs[start : start + _BATCH]
                needed = set(connection.scalars(sa.select(reference.blob).where(reference.blob.in_(some))))
                discard(connection, (blob for blob in some if blob not in needed))
                lost += len(some) - len(needed)
            return lost

        return self._index.free(discard_them)

    def _claim(self) -> list[str]:
        """Some garbage that no reader holds. From now on no copy can take it back."""
        garbage = schema.garbage.c
        with self._lock:
            held = set(self._held)

        def claim(connection: sa.Connection) -> list[str]:
            query = sa.select(garbage.blob).where(garbage.claimed.is_(False)).limit(_BATCH + len(held))
            due = connection.scalars(query).all()
            claimed = [blob for blob in due if blob not in held][:_BATCH]
            with self._lock:
                self._passed_over |= len(claimed) < min(len(due), _BATCH)
            if claimed:
                connection.execute(schema.garbage.update().where(garbage.blob.in_(claimed)).values(claimed=True))
            return claimed

        return self._index.free(claim)

    def _forget(self, blobs: list[str]) -> None:
        gone = schema.garbage.delete().where(schema.garbage.c.blob.in_(blobs))
        self._index.free(lambda connection: connection.execute(gone))
