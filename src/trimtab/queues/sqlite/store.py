"""SqliteQueueStore: queues in one file, written by one process.

Transactions that only lease, or let time take its course, do not wait for the disk: a lease that the machine's death
undoes is one that its owner died with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from trimtab.queues.model import (
    Ack,
    Bury,
    Declare,
    Depth,
    Drop,
    Extend,
    Free,
    Lease,
    List,
    Look,
    Op,
    Purge,
    Put,
    QueuesFull,
    Redrive,
    Result,
    Return,
    Rewrite,
)
from trimtab.queues.sqlite import ending, lapsing, leasing, managing, schema
from trimtab.queues.sqlite.book import Book
from trimtab.queues.sqlite.putting import put_each
from trimtab.queues.store import StoreLost

_LAZY: Final = (Lease, Extend, Return, Free, Look, List)  # what they change may be lost with the machine
_FORGET_EVERY_S: Final = 1.0
_FULL: Final = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")


class SqliteQueueStore:
    """See `QueueStore`."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Invalid when it is something else."""
        self._db = schema.open_file(path)
        self._book = Book(self._db)
        self._forget_s = 0.0
        self._sync = "FULL"

    def close(self) -> None:
        """See QueueStore."""
        self._db.close()

    def apply(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        """See QueueStore."""
        self._synchronous("NORMAL" if all(isinstance(op, _LAZY) for op in ops) else "FULL")
        book = self._book
        book.touched = {}
        try:
            self._db.execute("BEGIN IMMEDIATE")
            lapsing.lapse(book, now_s)
            results: list[Result] = []
            for kind, several in groupby(ops, type):
                if kind is Put:
                    results += put_each(book, list(several), now_s)  # type: ignore[arg-type]
                else:
                    do = _DO[kind]
                    results += [do(book, op, now_s) for op in several]
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
        lapsing.shift(self._book, by_s)
        self._db.execute("COMMIT")

    def hear(self, told: Callable[[Sequence[str]], None]) -> None:
        """See QueueStore: there is no other keeper."""


_DO: Final[dict[type, Callable[[Book, Any, float], Result]]] = {
    Lease: leasing.lease,
    Extend: ending.extend,
    Ack: ending.ack,
    Rewrite: ending.rewrite,
    Return: ending.give_back,
    Bury: ending.bury,
    Free: ending.free,
    Declare: managing.declare,
    Drop: managing.drop,
    Purge: managing.purge,
    Redrive: managing.redrive,
    Look: managing.look,
    List: managing.contents,
}
