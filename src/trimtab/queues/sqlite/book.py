"""SqliteBook: all queues in memory: a bound or a depth costs no query."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from trimtab.queues.model import QueueSettings
from trimtab.queues.sql.book import Book, Found, Queue, decode_settings, encode_settings

_to_json = msgspec.json.Encoder().encode


class SqliteBook(Book):
    """See `Book`. It lasts as long as the connection."""

    queues: dict[str, Queue]
    by_number: dict[int, Queue]

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__()
        self._execute = db.execute
        self._execute_many = db.executemany
        self.queues, self.by_number = {}, {}
        self._load()

    def _load(self) -> None:
        rows = self.run("SELECT number, name, settings, put, ended, returned, expired FROM queues").fetchall()
        for number, name, settings, put, ended, returned, expired in rows:
            queue = Queue(number, name, decode_settings(settings))
            queue.put, queue.ended, queue.returned, queue.expired = put, ended, returned, expired
            self._add(queue)
        counted = "SELECT queue, state, visible_s > 0, COUNT(*), SUM(LENGTH(body)) FROM messages GROUP BY 1, 2, 3"
        for number, state, later, count, size_bytes in self.run(counted).fetchall():
            self.by_number[number].count(state, later, count, size_bytes)
        for number, turn in self.run("SELECT queue, MAX(turn) FROM groups GROUP BY queue").fetchall():
            self.by_number[number].grouped, self.by_number[number].turn = True, turn

    def run(self, statement: str, values: Sequence[Any] = (), /) -> Found:
        """See Book."""
        return self._execute(statement, values)

    def run_many(self, statement: str, values: Sequence[Sequence[Any]], /) -> None:
        """See Book."""
        self._execute_many(statement, values)

    def among(self, values: Sequence[str] | Sequence[int]) -> tuple[str, Any]:
        """See Book."""
        return "IN (SELECT value FROM json_each(?))", _to_json(values).decode()

    def make(self, name: str, settings: QueueSettings) -> bool:
        """See Book."""
        self.touched.setdefault(name, None)
        made = "INSERT INTO queues (name, settings) VALUES (?, ?) RETURNING number"
        (number,) = self.run(made, (name, encode_settings(settings))).fetchone()
        self._add(Queue(number, name, settings))
        return True

    def _add(self, queue: Queue) -> None:
        self.queues[queue.name] = self.by_number[queue.number] = queue

    def remove(self, queue: Queue) -> None:
        """See Book."""
        del self.queues[queue.name], self.by_number[queue.number]

    def below(self, prefix: str) -> Iterable[Queue]:
        """See Book."""
        return [self.queues[name] for name in sorted(self.queues) if name.startswith(prefix)]

    def undo(self) -> None:
        """The transaction has failed."""
        for name, before in self.touched.items():
            now = self.queues.get(name)
            if now is not None:
                self.remove(now)
            if before is not None:
                self._add(before)

    def save(self) -> None:
        """Write the counters that the transaction has changed."""
        for name in self.touched:
            queue = self.queues.get(name)
            if queue is not None:
                self.run(
                    "UPDATE queues SET put = ?, ended = ?, returned = ?, expired = ? WHERE number = ?",
                    (queue.put, queue.ended, queue.returned, queue.expired, queue.number),
                )

    def shift(self, by_s: float) -> None:
        """All times are later by `by_s`, which may be less than 0; 0 stays 0, where it means none."""
        later = "{0} = CASE WHEN {0} > 0 THEN MAX(0.001, {0} + ?) ELSE 0 END"
        columns = ("visible_s", "put_s", "expires_s", "first_leased_s", "until_s")
        self.run(f"UPDATE messages SET {', '.join(later.format(column) for column in columns)}", (by_s,) * len(columns))
        for table in ("ended", "once"):
            self.run(f"UPDATE {table} SET at_s = at_s + ?", (by_s,))
