"""SqliteQueueStore: queues in one file, written by one process.

Transactions that only lease, or let time take its course, do not wait for the disk: a lease that the machine's death
undoes is one that its owner died with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from trimtab.queues.model import Depth, Op, QueuesFull, Result
from trimtab.queues.sql import lapsing, managing
from trimtab.queues.sql.carrying import carry_out, may_be_lost
from trimtab.queues.sqlite import schema
from trimtab.queues.sqlite.book import SqliteBook
from trimtab.queues.store import StoreLost

_FORGET_EVERY_S: Final = 1.0
_FULL: Final = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")


class SqliteQueueStore:
    """See `QueueStore`."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Invalid when it is something else."""
        self._db = schema.open_file(path)
        self._book = SqliteBook(self._db)
        self._forget_s = 0.0
        self._sync = "FULL"

    def close(self) -> None:
        """See QueueStore."""
        self._db.close()

    def apply(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        """See QueueStore."""
        self._synchronous("NORMAL" if may_be_lost(ops) else "FULL")
        book = self._book
        book.touched = {}
        try:
            self._db.execute("BEGIN IMMEDIATE")
            lapsing.lapse(book, now_s)
            results = carry_out(book, ops, now_s)
            self._forget(now_s)
            book.save()
            self._db.execute("COMMIT")
        except BaseException as error:
            self._undo(error)
            raise
        return results

    def _undo(self, error: BaseException) -> None:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_IOERR_FSYNC":
            raise StoreLost("The disk did not say that it holds the queues' file: what it holds is unknown.") from error
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._book.undo()
        if name in _FULL:
            raise QueuesFull(
                f"The disk that keeps the queues has no room ({error}): nothing was done. Make room, and try again."
            ) from error

    def _forget(self, now_s: float) -> None:
        if not self._forget_s - _FORGET_EVERY_S <= now_s < self._forget_s:
            more = lapsing.forget(self._book, now_s)
            self._forget_s = now_s if more else now_s + _FORGET_EVERY_S

    def _synchronous(self, how: str) -> None:
        if self._sync != how:
            self._db.execute(f"PRAGMA synchronous={how}")
            self._sync = how

    # --- what it knows -----------------------------------------------------------------------------------------

    def due(self, now_s: float) -> float:
        """See QueueStore."""
        return lapsing.due(self._book)

    def changed(self) -> Sequence[str]:
        """See QueueStore."""
        return tuple(self._book.touched)

    def depths(self, queues: Sequence[str]) -> Sequence[Depth | None]:
        """See QueueStore."""
        known = self._book.queues
        return [managing.depth_of(self._book, known[queue]) if queue in known else None for queue in queues]

    def names(self, prefix: str) -> Sequence[str]:
        """See QueueStore."""
        return sorted(name for name in self._book.queues if name.startswith(prefix))

    def owners(self) -> Sequence[str]:
        """See QueueStore."""
        found = self._db.execute("SELECT DISTINCT owner FROM messages WHERE state = 1 AND owner != ''")
        return [owner for (owner,) in found.fetchall()]

    def shift(self, by_s: float) -> None:
        """See QueueStore."""
        self._synchronous("FULL")
        self._db.execute("BEGIN IMMEDIATE")
        self._book.shift(by_s)
        self._db.execute("COMMIT")

    def hear(self, told: Callable[[Sequence[str]], None]) -> None:
        """See QueueStore: there is no other keeper."""
