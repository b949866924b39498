"""PostgresqlBook: the queues that one transaction has locked.

A queue is locked, and read, when it is first asked for; whatever is in it cannot change from then on. The queues that
an op names are locked in one order beforehand; the others (a queue of dead letters) as they come: PostgreSQL ends one
of two transactions that wait for each other, and the store carries it out again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg

from trimtab.queues.model import Free, Op, QueueSettings
from trimtab.queues.moves import names
from trimtab.queues.sql.book import Book, Found, Queue, decode_settings, encode_settings

_COUNTERS: Final = ("ready", "delayed", "leased", "dead", "bytes", "put", "ended", "returned", "expired")
_KNOWN: Final = ("number", "name", "settings", *_COUNTERS, "grouped", "turn")
_SELECT: Final = f"SELECT {', '.join(_KNOWN)} FROM queues"
_CHANGED: Final = (*_COUNTERS, "grouped", "turn")
_SAVE: Final = f"UPDATE queues SET {', '.join(f'{name} = %s' for name in _CHANGED)} WHERE number = %s"
_DUE: Final = (
    "SELECT queue FROM messages WHERE state = 1 AND until_s <= %(now)s UNION "
    "SELECT queue FROM messages WHERE state = 0 AND visible_s > 0 AND visible_s <= %(now)s UNION "
    "SELECT queue FROM messages WHERE expires_s > 0 AND state = 0 AND expired = 0 AND expires_s <= %(now)s"
)


class PostgresqlBook(Book):
    """See `Book`. Of one transaction, on the connection where it has begun."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._connection = connection
        self._by_name: dict[str, Queue | None] = {}  # locked; None: there is none
        self._by_number: dict[int, Queue] = {}
        self.queues: Mapping[str, Queue] = _Locked(self._named)
        self.by_number: Mapping[int, Queue] = _Locked(self._numbered)

    def lock(self, ops: Sequence[Op], now_s: float) -> None:
        """What the ops name, whoever must be waited for; and of what is due, what nobody else sees to just now."""
        asked = sorted({name for op in ops for name in names(op)})
        owners = [op.owner for op in ops if isinstance(op, Free) and op.owner]
        if asked or owners:
            self._load(
                "WHERE name = ANY(%s) OR number IN (SELECT queue FROM messages WHERE state = 1 AND owner = ANY(%s)) "
                "ORDER BY number FOR UPDATE",
                (asked, owners),
            )
        for name in asked:
            self._by_name.setdefault(name, None)
        due = self._connection.execute(_DUE, {"now": now_s}).fetchall()
        others = [number for (number,) in due if number not in self._by_number]
        if others:
            self._load("WHERE number = ANY(%s) ORDER BY number FOR UPDATE SKIP LOCKED", (others,))

    def _load(self, which: str, values: Sequence[Any]) -> None:
        for row in self._connection.execute(f"{_SELECT} {which}", values).fetchall():
            queue = _queue_of(row)
            self._by_name[queue.name] = self._by_number[queue.number] = queue

    def _named(self, name: str) -> Queue | None:
        if name not in self._by_name:
            self._by_name[name] = None
            if name:
                self._load("WHERE name = %s FOR UPDATE", (name,))
        return self._by_name[name]

    def _numbered(self, number: int) -> Queue | None:
        return self._by_number.get(number)

    def run(self, statement: str, values: Sequence[Any] = (), /) -> Found:
        """See Book."""
        return self._connection.execute(_translated(statement), values)

    def run_many(self, statement: str, values: Sequence[Sequence[Any]], /) -> None:
        """See Book."""
        if values:
            self._connection.cursor().executemany(_translated(statement), values)

    def among(self, values: Sequence[str] | Sequence[int]) -> tuple[str, Any]:
        """See Book."""
        return "= ANY(?)", list(values)

    def only_held(self) -> tuple[str, tuple[Any, ...]]:
        """See Book."""
        return " AND queue = ANY(?)", (list(self._by_number),)

    def make(self, name: str, settings: QueueSettings) -> bool:
        """See Book: another keeper may have made it meanwhile."""
        made = self._connection.execute(
            "INSERT INTO queues (name, settings, grouped) VALUES (%s, %s, %s) "
            "ON CONFLICT (name) DO NOTHING RETURNING number",
            (name, encode_settings(settings), settings.fifo),
        ).fetchone()
        if made is None:
            del self._by_name[name]
            return False
        self.touched.setdefault(name, None)
        queue = Queue(made[0], name, settings)
        self._by_name[name] = self._by_number[queue.number] = queue
        return True

    def remove(self, queue: Queue) -> None:
        """See Book."""
        self._by_name[queue.name] = None
        del self._by_number[queue.number]

    def below(self, prefix: str) -> Iterable[Queue]:
        """See Book: those that this transaction has not locked are as they were committed."""
        found = self._connection.execute(f"{_SELECT} WHERE starts_with(name, %s)", (prefix,)).fetchall()
        queues = [_queue_of(row) for row in found]
        return sorted((self._by_number.get(queue.number, queue) for queue in queues), key=lambda queue: queue.name)

    def committed(self, names: Sequence[str]) -> Iterable[Queue]:
        """Some queues as they were committed; only to be looked at."""
        found = self._connection.execute(f"{_SELECT} WHERE name = ANY(%s)", (list(names),)).fetchall()
        return [_queue_of(row) for row in found]

    def save(self) -> None:
        """Write what has become of the queues."""
        changed = [queue for name in self.touched if (queue := self._by_name.get(name)) is not None]
        if changed:
            rows = [[*(getattr(queue, name) for name in _CHANGED), queue.number] for queue in changed]
            self._connection.cursor().executemany(_SAVE, rows)


class _Locked(Mapping[Any, Queue]):
    """Queues by name or number; one that is asked for is locked."""

    def __init__(self, find: Callable[[Any], Queue | None]) -> None:
        self._find = find

    def __getitem__(self, key: Any) -> Queue:
        found = self._find(key)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("these queues are not all known: see Book.below")

    def __len__(self) -> int:
        raise TypeError("these queues are not all known: see Book.below")


def _queue_of(row: Sequence[Any]) -> Queue:
    number, name, settings, *known = row
    queue = Queue(number, name, decode_settings(settings))
    for attribute, value in zip(_CHANGED, known, strict=True):
        setattr(queue, attribute, value)
    return queue


@functools.lru_cache(1000)
def _translated(statement: str) -> str:
    """A statement of the words that both databases share, as psycopg takes it."""
    return re.sub(r" INDEXED BY \w+", "", statement).replace("?", "%s")
