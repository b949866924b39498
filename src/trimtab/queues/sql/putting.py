"""Put: many at a time, with one statement for dozens of messages."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from trimtab.queues.model import DEDUPLICATION_S, Done, Full, NoQueue, Put, Result
from trimtab.queues.sql.book import WAITING, Book, Queue

_ROWS: Final = (64, 8, 1)  # of one statement: few sizes, so that prepared statements are found again
_INSERT: Final = "INSERT INTO messages (queue, id, grp, body, state, visible_s, put_s, expires_s) VALUES "


def put_each(book: Book, puts: Sequence[Put], now_s: float) -> list[Result]:
    """Enqueue what can be; each that is refused hinders no other."""
    results, rows = _admit(book, puts, now_s)
    _insert(book, rows)
    return results


def put_all(book: Book, puts: Sequence[Put], now_s: float) -> Result | None:
    """Enqueue all of an outbox, or none: the first refusal. None: all are in."""
    if not puts:
        return None
    before = {queue: copy.copy(queue) for put in puts if (queue := book.queues.get(put.queue)) is not None}
    results, rows = _admit(book, puts, now_s)
    for result in results:
        if not isinstance(result, Done):
            for queue, was in before.items():
                queue.restore(was)
            return result
    _insert(book, rows)
    return None


_Rows = dict[Queue, list[tuple[Any, ...]]]


def _admit(book: Book, puts: Sequence[Put], now_s: float) -> tuple[list[Result], _Rows]:
    """What becomes of each, and the rows of those that are to be written. They are counted."""
    results: list[Result] = []
    rows: _Rows = {}
    known, firsts = _known(book, puts), _firsts(book, puts, now_s)
    for put in puts:
        queue = book.queues.get(put.queue)
        if queue is None:
            results.append(NoQueue(queue=put.queue))
            continue
        ids = known[put.queue]
        if put.id not in ids:
            if put.once and (first := firsts.get((queue.number, put.once))):
                results.append(Done(id=first))
                continue
            if (full := _full(queue, len(put.body))) is not None:
                results.append(full)
                continue
            ids.add(put.id)
            if put.once:
                firsts[queue.number, put.once] = put.id
            row = _row(queue, put, now_s)
            rows.setdefault(queue, []).append(row)
            book.touch(queue).count(WAITING, row[4], 1, len(put.body))
            queue.put += 1
        results.append(Done())
    return results, rows


def _known(book: Book, puts: Sequence[Put]) -> dict[str, set[str]]:
    """Of the ids that are put, those that are there, or were a short while ago; by queue."""
    asked: dict[str, list[str]] = {}
    for put in puts:
        asked.setdefault(put.queue, []).append(put.id)
    known = {}
    for name, ids in asked.items():
        queue = book.queues.get(name)
        if queue is not None:
            one_of, values = book.among(ids)
            found = book.run(
                f"SELECT id FROM messages WHERE queue = ? AND id {one_of} UNION ALL "
                f"SELECT id FROM ended WHERE queue = ? AND id {one_of}",
                (queue.number, values, queue.number, values),
            )
            known[name] = {message_id for (message_id,) in found.fetchall()}
    return known


def _firsts(book: Book, puts: Sequence[Put], now_s: float) -> dict[tuple[int, str], str]:
    """The ids of messages that were put a short while ago with a key that is put now, by queue and key."""
    firsts = {}
    for put in puts:
        queue = book.queues.get(put.queue) if put.once else None
        if queue is not None:
            row = book.run(
                "SELECT id FROM once WHERE queue = ? AND key = ? AND at_s > ?",
                (queue.number, put.once, now_s - DEDUPLICATION_S),
            ).fetchone()
            if row is not None:
                firsts[queue.number, put.once] = row[0]
    return firsts


def _full(queue: Queue, size_bytes: int) -> Full | None:
    settings = queue.settings
    if settings.max_items and queue.alive >= settings.max_items:
        return Full(what="items", limit=settings.max_items)
    if settings.max_bytes and queue.bytes + size_bytes > settings.max_bytes:
        return Full(what="bytes", limit=settings.max_bytes)
    return None


def _row(queue: Queue, put: Put, now_s: float) -> tuple[Any, ...]:
    expires_s = put.expires_s
    if queue.settings.retention_s:
        expires_s = min(expires_s or float("inf"), now_s + queue.settings.retention_s)
    visible_s = put.visible_s if put.visible_s > now_s else 0.0
    return queue.number, put.id, put.group, put.body, visible_s, now_s, expires_s, put.once


def _insert(book: Book, rows: _Rows) -> None:
    for queue, of_queue in rows.items():
        book.join(queue, [row[2] for row in of_queue])
        at = 0
        for size in _ROWS:
            while len(of_queue) - at >= size:
                values = [value for row in of_queue[at : at + size] for value in row[:-1]]
                book.run(_INSERT + ", ".join(["(?, ?, ?, ?, 0, ?, ?, ?)"] * size), values)
                at += size
        book.run_many(
            "INSERT INTO once (queue, key, id, at_s) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (queue, key) DO UPDATE SET id = excluded.id, at_s = excluded.at_s",
            [(queue.number, row[-1], row[1], row[5]) for row in of_queue if row[-1]],
        )
