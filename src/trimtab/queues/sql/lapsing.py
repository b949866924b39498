"""Time takes its course: leases end, messages become visible or expire, ended ids are forgotten."""

from __future__ import annotations

import math
from typing import Final

from trimtab.queues.model import DEDUPLICATION_S
from trimtab.queues.sql.book import COLUMNS, Book, Row
from trimtab.queues.sql.ending import remove, wait_again

_FORGET_MOST: Final = 500  # ids at a time: no transaction is held up by it


def lapse(book: Book, now_s: float) -> None:
    """All that is due at `now_s`."""
    held, of = book.only_held()
    over = (
        f"SELECT {COLUMNS} FROM messages INDEXED BY leases_by_end WHERE state = 1 AND until_s <= ?{held} ORDER BY seq"
    )
    for values in book.run(over, (now_s, *of)).fetchall():
        wait_again(book, Row(values), 0.0, "its lease has ended", now_s)
    shown = book.run(
        "UPDATE messages INDEXED BY delayed SET visible_s = 0 "
        f"WHERE state = 0 AND visible_s > 0 AND visible_s <= ?{held} RETURNING queue",
        (now_s, *of),
    ).fetchall()
    for (number,) in shown:
        queue = book.touch(book.by_number[number])
        queue.delayed -= 1
        queue.ready += 1
    gone = book.run(
        f"SELECT {COLUMNS} FROM messages INDEXED BY by_expiry "
        f"WHERE expires_s > 0 AND state = 0 AND expired = 0 AND expires_s <= ?{held} ORDER BY seq",
        (now_s, *of),
    ).fetchall()
    for values in gone:
        _expire(book, Row(values), now_s)


def _expire(book: Book, row: Row, now_s: float) -> None:
    queue = book.touch(book.by_number[row.queue])
    queue.expired += 1
    if not queue.settings.tell_expired:
        remove(book, queue, row, now_s)
        return
    book.run("UPDATE messages SET expired = 1, visible_s = 0 WHERE seq = ?", (row.seq,))
    if row.visible_s > 0:
        queue.delayed -= 1
        queue.ready += 1


def due(book: Book) -> float:
    """When `lapse` has something to do next; inf."""
    found = book.run(
        "SELECT (SELECT MIN(until_s) FROM messages INDEXED BY leases_by_end WHERE state = 1), "
        "(SELECT MIN(visible_s) FROM messages INDEXED BY delayed WHERE state = 0 AND visible_s > 0), "
        "(SELECT MIN(expires_s) FROM messages INDEXED BY by_expiry WHERE expires_s > 0 AND state = 0 AND expired = 0)"
    ).fetchone()
    return min((at_s for at_s in found if at_s is not None), default=math.inf)


def forget(book: Book, now_s: float) -> bool:
    """Forget some ids whose time is over. True when there may be more."""
    forgotten = book.run(
        "DELETE FROM ended WHERE (queue, id) IN (SELECT queue, id FROM ended WHERE at_s < ? ORDER BY at_s LIMIT ?)",
        (now_s - DEDUPLICATION_S, _FORGET_MOST),
    ).rowcount
    forgotten_keys = book.run(
        "DELETE FROM once WHERE (queue, key) IN (SELECT queue, key FROM once WHERE at_s < ? ORDER BY at_s LIMIT ?)",
        (now_s - DEDUPLICATION_S, _FORGET_MOST),
    ).rowcount
    return _FORGET_MOST in (forgotten, forgotten_keys)
