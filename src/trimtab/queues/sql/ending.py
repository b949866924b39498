"""What becomes of a leased message: it ends, waits again, is written anew, or is buried."""

from __future__ import annotations

from trimtab.queues.model import Ack, Bury, Count, Done, Extend, Free, Lost, Result, Return, Rewrite
from trimtab.queues.sql.book import COLUMNS, DEAD, LEASED, WAITING, Book, Queue, Row
from trimtab.queues.sql.putting import put_all


def extend(book: Book, op: Extend, now_s: float) -> Result:
    """See `model.Extend`."""
    row = _held(book, op)
    if row is None:
        return Lost()
    if op.lease_s <= 0:
        wait_again(book, row, 0.0, "given back", now_s)
    else:
        book.touch(book.by_number[row.queue])
        book.run("UPDATE messages SET until_s = ? WHERE seq = ?", (now_s + op.lease_s, row.seq))
    return Done()


def rewrite(book: Book, op: Rewrite, now_s: float) -> Result:
    """See `model.Rewrite`."""
    row = _held(book, op)
    if row is None:
        return Lost()
    book.run("UPDATE messages SET body = ? WHERE seq = ?", (op.body, row.seq))
    book.touch(book.by_number[row.queue]).bytes += len(op.body) - len(row.body)
    return Done()


def ack(book: Book, op: Ack, now_s: float) -> Result:
    """See `model.Ack`."""
    row = _held(book, op, late=op.late)
    if row is None:
        return Done() if _did_end(book, op) else Lost()
    refused = put_all(book, op.puts, now_s)
    if refused is not None:
        return refused
    queue = book.touch(book.by_number[row.queue])
    remove(book, queue, row, now_s, token=op.token)
    queue.ended += 1
    return Done()


def bury(book: Book, op: Bury, now_s: float) -> Result:
    """See `model.Bury`."""
    row = _held(book, op)
    if row is None:
        return Done() if _did_end(book, op) else Lost()
    refused = put_all(book, op.puts, now_s)
    if refused is not None:
        return refused
    _to_the_dead(book, row, op.reason, now_s, token=op.token)
    return Done()


def give_back(book: Book, op: Return, now_s: float) -> Result:
    """See `model.Return`."""
    row = _held(book, op)
    if row is None:
        return Lost()
    wait_again(book, row, op.visible_s, op.reason, now_s, counts=op.counts)
    return Done()


def free(book: Book, op: Free, now_s: float) -> Result:
    """See `model.Free`."""
    if not op.owner:
        return Count(count=0)
    leased = f"SELECT {COLUMNS} FROM messages INDEXED BY leases_by_owner WHERE state = 1 AND owner = ? ORDER BY seq"
    held = book.run(leased, (op.owner,)).fetchall()
    for values in held:
        wait_again(book, Row(values), 0.0, "its owner is gone", now_s)
    return Count(count=len(held))


def _held(book: Book, op: Extend | Ack | Rewrite | Return | Bury, *, late: bool = False) -> Row | None:
    """The leased message that the caller holds; None when it does not (any more). `late`: one that it was the last to
    hold, and that waits again, will do."""
    queue = book.queues.get(op.queue)
    if queue is None:
        return None
    values = book.run(
        f"SELECT {COLUMNS} FROM messages WHERE queue = ? AND id = ? AND token = ? AND state IN (?, ?)",
        (queue.number, op.id, op.token, LEASED, WAITING if late else LEASED),
    ).fetchone()
    return None if values is None else Row(values)


def _did_end(book: Book, op: Ack | Bury) -> bool:
    """Whether this very op has ended the message: it is asked again."""
    queue = book.queues.get(op.queue)
    if queue is None or op.token <= 0:
        return False
    key = (queue.number, op.id, op.token)
    return book.run("SELECT 1 FROM ended WHERE queue = ? AND id = ? AND token = ?", key).fetchone() is not None


# --- steps of a message's life ---------------------------------------------------------------------------------------


def wait_again(book: Book, row: Row, visible_s: float, reason: str, now_s: float, *, counts: bool = True) -> None:
    """A leased message waits, from `visible_s` on; or is buried when it was leased as often as it may be."""
    queue = book.touch(book.by_number[row.queue])
    leases = row.leases - (0 if counts else 1)
    most = queue.settings.max_leases
    if most and leases >= most:
        _to_the_dead(book, row, f"leased {leases} times without being acknowledged; last: {reason}", now_s)
        return
    visible_s = visible_s if visible_s > now_s else 0.0
    book.run(
        "UPDATE messages SET state = 0, owner = '', ask = '', visible_s = ?, leases = ?, reason = ? WHERE seq = ?",
        (visible_s, leases, reason, row.seq),
    )
    queue.count(LEASED, 0.0, -1, len(row.body))
    queue.count(WAITING, visible_s, 1, len(row.body))
    queue.returned += 1


def remove(book: Book, queue: Queue, row: Row, now_s: float, *, token: int = 0) -> None:
    """A message ends. `token`: of the lease under which its owner has ended it."""
    book.run("DELETE FROM messages WHERE seq = ?", (row.seq,))
    _remember(book, queue, row.id, token, now_s)
    queue.count(row.state, row.visible_s, -1, len(row.body))
    book.leave(queue, row.group)


def _remember(book: Book, queue: Queue, message_id: str, token: int, now_s: float) -> None:
    book.run(
        "INSERT INTO ended (queue, id, token, at_s) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (queue, id) DO UPDATE SET token = excluded.token, at_s = excluded.at_s",
        (queue.number, message_id, token, now_s),
    )


def _to_the_dead(book: Book, row: Row, reason: str, now_s: float, *, token: int = 0) -> None:
    queue = book.touch(book.by_number[row.queue])
    into = book.queues.get(queue.settings.dead_letters)
    if into is None or into is queue or is_there(book, into, row.id):
        move(book, row, queue, DEAD, reason=reason, origin=queue.name, leases=row.leases, expires_s=0.0)
    else:
        expires_s = now_s + into.settings.retention_s if into.settings.retention_s else 0.0
        move(book, row, into, WAITING, reason=reason, origin=queue.name, leases=0, expires_s=expires_s)
        into.put += 1
    _remember(book, queue, row.id, token, now_s)
    queue.ended += 1


def is_there(book: Book, queue: Queue, message_id: str) -> bool:
    """Whether a message of that id is in the queue now."""
    key = (queue.number, message_id)
    return book.run("SELECT 1 FROM messages WHERE queue = ? AND id = ?", key).fetchone() is not None


def move(
    book: Book, row: Row, into: Queue, state: int, *, reason: str, origin: str, leases: int, expires_s: float
) -> None:
    """A message is in `into` now (which may be where it was), waiting or dead."""
    source = book.touch(book.by_number[row.queue])
    book.touch(into)
    if state == WAITING:
        book.join(into, [row.group])
    book.run(
        "UPDATE messages SET queue = ?, state = ?, visible_s = 0, owner = '', ask = '', reason = ?, origin = ?, "
        "leases = ?, expires_s = ?, expired = 0 WHERE seq = ?",
        (into.number, state, reason, origin, leases, expires_s, row.seq),
    )
    source.count(row.state, row.visible_s, -1, len(row.body))
    into.count(state, 0.0, 1, len(row.body))
    book.leave(source, row.group)
