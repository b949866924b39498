"""Queues themselves: make, drop, purge, redrive, look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.queues.model import (
    Count,
    Declare,
    Depth,
    Depths,
    Done,
    Drop,
    List,
    Look,
    Messages,
    NoQueue,
    Purge,
    Redrive,
    Result,
)
from trimtab.queues.sql.book import COLUMNS, DEAD, LEASED, STATES, WAITING, Book, Queue, Row, encode_settings
from trimtab.queues.sql.ending import is_there, move, remove
from trimtab.queues.sql.leasing import within_bounds

_ROWS: Final = 256  # in memory at a time
_IN_STATE: Final = {"": "state IN (0, 1, 2)", "waiting": "state = 0", "leased": "state = 1", "dead": "state = 2"}


def declare(book: Book, op: Declare, now_s: float) -> Result:
    """See `model.Declare`."""
    if op.queue not in book.queues and book.make(op.queue, op.settings):
        return Done()
    queue = book.touch(book.queues[op.queue])
    queue.settings = op.settings
    book.run("UPDATE queues SET settings = ? WHERE number = ?", (encode_settings(op.settings), queue.number))
    if op.settings.fifo and not queue.grouped:
        book.regroup(queue)
    return Done()


def drop(book: Book, op: Drop, now_s: float) -> Result:
    """See `model.Drop`."""
    queue = book.queues.get(op.queue)
    if queue is None:
        return NoQueue(queue=op.queue)
    if op.only_empty and queue.alive:
        return Count(count=queue.alive)
    book.touch(queue)
    for table in ("messages", "ended", "once", "groups"):
        book.run(f"DELETE FROM {table} WHERE queue = ?", (queue.number,))
    book.run("DELETE FROM queues WHERE number = ?", (queue.number,))
    book.remove(queue)
    return Done()


def purge(book: Book, op: Purge, now_s: float) -> Result:
    """See `model.Purge`."""
    queue = book.queues.get(op.queue)
    if queue is None:
        return NoQueue(queue=op.queue)
    states = (DEAD,) if op.dead else (WAITING, LEASED) if op.leased else (WAITING,)
    removed = 0
    for state in states:
        for row in _rows(book, queue, state):
            remove(book, book.touch(queue), row, now_s)
            removed += 1
    return Count(count=removed)


def redrive(book: Book, op: Redrive, now_s: float) -> Result:
    """See `model.Redrive`: what is dead in a queue; where nothing is, what others have buried in it."""
    source = book.queues.get(op.queue)
    if source is None:
        return NoQueue(queue=op.queue)
    moved = 0
    for row in _rows(book, source, DEAD if source.dead else WAITING):
        if moved == op.most:
            break
        if row.state == WAITING and not row.origin and not op.into:
            continue  # it was put here by hand: nobody knows where it belongs
        into = book.queues.get(op.into or row.origin or op.queue)
        if into is None or (into is source and row.state == WAITING):
            continue
        if into is not source and is_there(book, into, row.id):
            continue
        move(book, row, into, WAITING, reason=row.reason, origin="", leases=0, expires_s=0.0)
        moved += 1
    return Count(count=moved)


def _rows(book: Book, queue: Queue, state: int) -> Iterator[Row]:
    """All of a state, oldest first; a few at a time, so that each may be moved or removed before the next is read."""
    if state == DEAD:
        where = "INDEXED BY dead WHERE queue = ? AND state = 2"
    else:
        group = "" if queue.grouped else "AND grp = '' "
        where = f"INDEXED BY alive WHERE queue = ? {group}AND state < 2 AND state = {state}"
    last = 0
    while True:
        found = book.run(
            f"SELECT {COLUMNS} FROM messages {where} AND seq > ? ORDER BY seq LIMIT {_ROWS}", (queue.number, last)
        ).fetchall()
        for row in map(Row, found):
            last = row.seq
            yield row
        if len(found) < _ROWS:
            return


def look(book: Book, op: Look, now_s: float) -> Result:
    """See `model.Look`."""
    if op.queue:
        queue = book.queues.get(op.queue)
        return NoQueue(queue=op.queue) if queue is None else depth_of(book, queue)
    return Depths(depths=tuple(depth_of(book, queue) for queue in book.below(op.prefix)))


def contents(book: Book, op: List, now_s: float) -> Result:
    """See `model.List`."""
    queue = book.queues.get(op.queue)
    if queue is None:
        return NoQueue(queue=op.queue)
    if op.state not in ("", *STATES.values()):
        return Messages(messages=())
    found = book.run(
        f"SELECT {COLUMNS} FROM messages WHERE queue = ? AND {_IN_STATE[op.state]} ORDER BY seq LIMIT ?",
        (queue.number, op.most),
    )
    return Messages(messages=tuple(row.message() for row in within_bounds(found.fetchall())))


def depth_of(book: Book, queue: Queue) -> Depth:
    """How a queue is."""
    return Depth(
        queue=queue.name,
        settings=queue.settings,
        waiting=queue.ready + queue.delayed,
        delayed=queue.delayed,
        leased=queue.leased,
        dead=queue.dead,
        bytes=queue.bytes,
        oldest_put_s=_oldest_put_s(book, queue) if queue.alive else 0.0,
        put=queue.put,
        ended=queue.ended,
        returned=queue.returned,
        expired=queue.expired,
    )


def _oldest_put_s(book: Book, queue: Queue) -> float:
    first = (
        "SELECT m.put_s FROM messages m INDEXED BY alive "
        "WHERE m.queue = ? AND m.grp = {} AND m.state < 2 ORDER BY m.seq LIMIT 1"
    )
    if queue.grouped:
        statement = f"SELECT MIN(({first.format('g.grp')})) FROM groups g WHERE g.queue = ?"
        (oldest_s,) = book.run(statement, (queue.number, queue.number)).fetchone()
    else:
        (oldest_s,) = book.run(first.format("''"), (queue.number,)).fetchone()
    return float(oldest_s)
