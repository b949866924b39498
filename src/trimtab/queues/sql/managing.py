"""Queues themselves: make, drop, purge, redrive, look at."""

from __future__ import annotations

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
    rows = _rows(book, queue, DEAD if op.dead else WAITING)
    rows += _rows(book, queue, LEASED) if op.leased and not op.dead else []
    for row in rows:
        remove(book, book.touch(queue), row, now_s)
    return Count(count=len(rows))


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


def _rows(book: Book, queue: Queue, state: int) -> list[Row]:
    """All of a state, oldest first. Bodies too: they are as many as fit the queue's bound."""
    found = book.run(
        f"SELECT {COLUMNS} FROM messages WHERE queue = ? AND state = ? ORDER BY seq", (queue.number, state)
    )
    return [Row(values) for values in found.fetchall()]


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
