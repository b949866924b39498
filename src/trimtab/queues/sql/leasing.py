"""Lease: what is next, and whose it is then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from trimtab.queues.model import Lease, Leases, NoQueue, Result
from trimtab.queues.sql.book import BODIES_MOST_BYTES, COLUMNS, LEASED, Book, Queue, Row

_LIFE_BITS: Final = 20  # a token is the message's number, then the number of its lease: an id that is used again later
# does not meet its old tokens again


def lease(book: Book, op: Lease, now_s: float) -> Result:
    """See `model.Lease`: oldest first; with groups, one of each group in turn."""
    queue = book.queues.get(op.queue)
    if queue is None:
        return NoQueue(queue=op.queue)
    if op.again:
        held = book.run(
            f"SELECT {COLUMNS} FROM messages INDEXED BY leases_by_ask WHERE state = 1 AND ask = ? ORDER BY seq",
            (op.ask,),
        ).fetchall()
        if held:
            return Leases(messages=tuple(Row(values).message() for values in held))
    if not queue.ready or op.most <= 0:
        return Leases(messages=())
    if op.only_expired:
        rows = _expired(book, queue, op.most)
    else:
        rows = _by_turn(book, queue, op.most) if queue.grouped else _oldest(book, queue, op.most)
    if not rows:
        return Leases(messages=())
    book.touch(queue)
    for row in rows:
        row.state = LEASED
        row.token = (row.token or row.seq << _LIFE_BITS) + 1
        row.leases += 1
        row.first_leased_s = row.first_leased_s or now_s
    queue.ready -= len(rows)
    queue.leased += len(rows)
    _hold(book, rows, op, now_s, now_s + (op.lease_s or queue.settings.lease_s))
    return Leases(messages=tuple(row.message() for row in rows))


def _hold(book: Book, rows: Sequence[Row], op: Lease, now_s: float, until_s: float) -> None:
    one_of, seqs = ("= ?", rows[0].seq) if len(rows) == 1 else book.among([row.seq for row in rows])
    book.run(
        f"UPDATE messages SET state = 1, token = 1 + CASE token WHEN 0 THEN seq << {_LIFE_BITS} ELSE token END, "
        "owner = ?, ask = ?, until_s = ?, leases = leases + 1, "
        "first_leased_s = CASE first_leased_s WHEN 0 THEN ? ELSE first_leased_s END "
        f"WHERE seq {one_of}",
        (op.owner, op.ask, until_s, now_s, seqs),
    )


def _oldest(book: Book, queue: Queue, most: int) -> list[Row]:
    found = book.run(
        f"SELECT {COLUMNS} FROM messages INDEXED BY ready WHERE queue = ? AND grp = '' AND state = 0 AND visible_s = 0 "
        "ORDER BY seq LIMIT ?",
        (queue.number, most),
    )
    return within_bounds(found.fetchall())


def _expired(book: Book, queue: Queue, most: int) -> list[Row]:
    """What has expired and is to be told, whatever else waits."""
    found = book.run(
        f"SELECT {COLUMNS} FROM messages WHERE queue = ? AND state = 0 AND visible_s = 0 AND expired = 1 "
        "ORDER BY seq LIMIT ?",
        (queue.number, most),
    )
    return within_bounds(found.fetchall())


def within_bounds(found: Iterable[Sequence[Any]]) -> list[Row]:
    """As many as one answer may carry; one at least."""
    rows: list[Row] = []
    size_bytes = 0
    for values in found:
        row = Row(values)
        size_bytes += len(row.body)
        if rows and size_bytes > BODIES_MOST_BYTES:
            break
        rows.append(row)
    return rows


# --- groups ----------------------------------------------------------------------------------------------------------


def _by_turn(book: Book, queue: Queue, most: int) -> list[Row]:
    """One message of each group, the group first whose turn was longest ago, and around again."""
    in_turn = "SELECT grp FROM groups WHERE queue = ? ORDER BY turn"
    groups = [group for (group,) in book.run(in_turn, (queue.number,)).fetchall()]
    head: Callable[[Book, Queue, str, int], Row | None] = _head_in_order if queue.settings.fifo else _head
    rows: list[Row] = []
    size_bytes = 0
    after = dict.fromkeys(groups, 0)  # the number of the message that was taken last
    while after:
        for group in list(after):
            row = head(book, queue, group, after[group])
            if row is None:
                del after[group]
                continue
            size_bytes += len(row.body)
            if rows and size_bytes > BODIES_MOST_BYTES:
                return _note_turns(book, queue, rows)
            after[group] = row.seq
            rows.append(row)
            if len(rows) == most:
                return _note_turns(book, queue, rows)
    return _note_turns(book, queue, rows)


def _head(book: Book, queue: Queue, group: str, after: int) -> Row | None:
    values = book.run(
        f"SELECT {COLUMNS} FROM messages INDEXED BY ready "
        "WHERE queue = ? AND grp = ? AND seq > ? AND state = 0 AND visible_s = 0 ORDER BY seq LIMIT 1",
        (queue.number, group, after),
    ).fetchone()
    return None if values is None else Row(values)


def _head_in_order(book: Book, queue: Queue, group: str, after: int) -> Row | None:
    """The first of a group, unless it is leased, or not visible yet: then the group waits for it."""
    if after:
        return None
    values = book.run(
        f"SELECT {COLUMNS} FROM messages INDEXED BY alive "
        "WHERE queue = ? AND grp = ? AND state < 2 ORDER BY seq LIMIT 1",
        (queue.number, group),
    ).fetchone()
    row = None if values is None else Row(values)
    return row if row is not None and row.state != LEASED and not row.visible_s else None


def _note_turns(book: Book, queue: Queue, rows: list[Row]) -> list[Row]:
    book.touch(queue)
    turns = []
    for group in dict.fromkeys(row.group for row in rows):
        queue.turn += 1
        turns.append((queue.turn, queue.number, group))
    book.run_many("UPDATE groups SET turn = ? WHERE queue = ? AND grp = ?", turns)
    return rows
