"""SqliteQueueStore: queues in one file, written by one process.

Depths are kept in memory and change with each transaction that commits, so that a bound costs no query. Transactions
that only lease do not wait for the disk: a lease that the machine's death undoes is one that its owner died with.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from trimtab.queues import schema
from trimtab.queues.model import (
    DEDUPLICATION_S,
    Ack,
    Bury,
    Count,
    Declare,
    Depth,
    Depths,
    Done,
    Drop,
    Extend,
    Free,
    Full,
    Lease,
    Leases,
    List,
    Look,
    Lost,
    Message,
    Messages,
    NoQueue,
    Op,
    Purge,
    Put,
    QueueSettings,
    QueuesFull,
    Redrive,
    Result,
    Return,
    Rewrite,
)
from trimtab.queues.schema import DEAD, LEASED, WAITING

_STATES: Final = {WAITING: "waiting", LEASED: "leased", DEAD: "dead"}
_LAZY: Final = (Lease, Extend, Look, List)  # need not wait for the disk
_FORGET_EVERY_S: Final = 10.0
_COLUMNS: Final = "seq, id, body, grp, token, leases, put_s, first_leased_s, expired, state, reason, origin"
_STATE: Final = 9  # of a row of these
_encode = msgspec.msgpack.Encoder().encode
_settings = msgspec.msgpack.Decoder(QueueSettings).decode


class _Queue:
    """One queue, as it will be when the transaction has committed."""

    __slots__ = ("bytes", "counts", "ended", "expired", "name", "number", "put", "returned", "settings")

    def __init__(self, number: int, name: str, settings: QueueSettings) -> None:
        self.number, self.name, self.settings = number, name, settings
        self.counts = [0, 0, 0]  # by state
        self.bytes = 0
        self.put = self.ended = self.returned = self.expired = 0

    def copy(self) -> _Queue:
        other = _Queue(self.number, self.name, self.settings)
        other.counts, other.bytes = list(self.counts), self.bytes
        other.put, other.ended, other.returned, other.expired = self.put, self.ended, self.returned, self.expired
        return other

    @property
    def alive(self) -> int:
        return self.counts[WAITING] + self.counts[LEASED]


class SqliteQueueStore:
    """See `QueueStore`. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Invalid when it is something else."""
        self._db = schema.open_file(path)
        self._run = self._db.execute
        self._queues: dict[str, _Queue] = {}
        self._saved: dict[str, _Queue | None] = {}  # what the transaction has touched, as it was
        self._forgot_s = 0.0
        self._sync = "FULL"
        self._load()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _load(self) -> None:
        rows = self._run("SELECT number, name, settings, put, ended, returned, expired FROM queues").fetchall()
        by_number = {}
        for number, name, settings, put, ended, returned, expired in rows:
            queue = by_number[number] = self._queues[name] = _Queue(number, name, _settings(settings))
            queue.put, queue.ended, queue.returned, queue.expired = put, ended, returned, expired
        counted = "SELECT queue, state, COUNT(*), SUM(LENGTH(body)) FROM messages GROUP BY queue, state"
        for number, state, count, size_bytes in self._run(counted):
            by_number[number].counts[state] = count
            by_number[number].bytes += size_bytes

    # --- transactions ------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op], now_s: float) -> Sequence[Result]:
        """See QueueStore."""
        self._synchronous("NORMAL" if all(isinstance(op, _LAZY) for op in ops) else "FULL")
        self._saved = {}
        try:
            self._run("BEGIN IMMEDIATE")
            self._lapse(now_s)
            results = [self._guarded(op, now_s) for op in ops]
            self._write_counters()
            self._run("COMMIT")
        except BaseException as error:
            self._undo()
            if isinstance(error, sqlite3.OperationalError) and _is_full(error):
                raise QueuesFull(
                    "The disk that keeps the queues is full: nothing was accepted. Make room, and try again."
                ) from error
            raise
        return results

    def _guarded(self, op: Op, now_s: float) -> Result:
        """One op; what it refuses leaves no trace, since each looks before it writes."""
        return _DO[type(op)](self, op, now_s)

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._run("ROLLBACK")
        for name, queue in self._saved.items():
            if queue is None:
                self._queues.pop(name, None)
            else:
                self._queues[name] = queue

    def _synchronous(self, how: str) -> None:
        if self._sync != how:
            self._run(f"PRAGMA synchronous={how}")
            self._sync = how

    def _touch(self, queue: _Queue) -> _Queue:
        """The queue, to be changed in this transaction."""
        if queue.name not in self._saved:
            self._saved[queue.name] = queue.copy()
        return queue

    def _write_counters(self) -> None:
        for name in self._saved:
            queue = self._queues.get(name)
            if queue is not None:
                self._run(
                    "UPDATE queues SET put = ?, ended = ?, returned = ?, expired = ? WHERE number = ?",
                    (queue.put, queue.ended, queue.returned, queue.expired, queue.number),
                )

    # --- time --------------------------------------------------------------------------------------------------

    def due(self, now_s: float) -> float:
        """See QueueStore."""
        (lease_s,) = self._run("SELECT MIN(until_s) FROM messages WHERE state = 1").fetchone()
        (expiry_s,) = self._run(
            "SELECT MIN(expires_s) FROM messages WHERE expires_s > 0 AND state = 0 AND expired = 0"
        ).fetchone()
        visible_s: list[float] = []
        for queue in self._queues.values():
            if queue.counts[WAITING]:
                (soonest_s,) = self._run(
                    "SELECT MIN(visible_s) FROM messages WHERE queue = ? AND state = 0 AND visible_s > ?",
                    (queue.number, now_s),
                ).fetchone()
                visible_s += [] if soonest_s is None else [soonest_s]
        return min((s for s in (lease_s, expiry_s, *visible_s) if s is not None), default=math.inf)

    def _lapse(self, now_s: float) -> None:
        """Leases that are over, messages that have expired, ids that need not be remembered any more."""
        over = self._run(
            f"SELECT {_COLUMNS}, queue FROM messages WHERE state = 1 AND until_s <= ?", (now_s,)
        ).fetchall()
        for row in over:
            self._wait_again(self._by_number(row[-1]), row, now_s, "its lease has ended", now_s)
        gone = self._run(
            "SELECT seq, queue, id, LENGTH(body) FROM messages "
            "WHERE expires_s > 0 AND state = 0 AND expired = 0 AND expires_s <= ?",
            (now_s,),
        ).fetchall()
        for seq, number, message_id, size_bytes in gone:
            queue = self._touch(self._by_number(number))
            queue.expired += 1
            if queue.settings.tell_expired:
                self._run("UPDATE messages SET expired = 1, visible_s = ? WHERE seq = ?", (now_s, seq))
            else:
                self._remove(queue, seq, message_id, WAITING, size_bytes, now_s)
        if now_s - self._forgot_s > _FORGET_EVERY_S or now_s < self._forgot_s:
            self._forgot_s = now_s
            for table in ("ended", "once"):
                self._run(f"DELETE FROM {table} WHERE at_s <= ?", (now_s - DEDUPLICATION_S,))

    def _by_number(self, number: int) -> _Queue:
        return next(queue for queue in self._queues.values() if queue.number == number)

    # --- queues ------------------------------------------------------------------------------------------------

    def depth(self, queue: str) -> Depth | None:
        """See QueueStore."""
        found = self._queues.get(queue)
        if found is None:
            return None
        oldest_s = delayed = 0.0
        if found.alive:
            (oldest_s,) = self._run(
                "SELECT put_s FROM messages WHERE queue = ? AND state IN (0, 1) ORDER BY seq LIMIT 1", (found.number,)
            ).fetchone()
        return Depth(
            queue=queue,
            settings=found.settings,
            waiting=found.counts[WAITING],
            delayed=int(delayed),
            leased=found.counts[LEASED],
            dead=found.counts[DEAD],
            bytes=found.bytes,
            oldest_put_s=oldest_s,
            put=found.put,
            ended=found.ended,
            returned=found.returned,
            expired=found.expired,
        )

    def depths(self, queues: Sequence[str]) -> Sequence[Depth | None]:
        """See QueueStore."""
        return [self.depth(queue) for queue in queues]

    def changed(self) -> Sequence[str]:
        """See QueueStore."""
        return tuple(self._saved)

    def hear(self, told: Callable[[Sequence[str]], None]) -> None:
        """See QueueStore: there is no other keeper."""

    def names(self, prefix: str) -> Sequence[str]:
        """See QueueStore."""
        return sorted(name for name in self._queues if name.startswith(prefix))

    def owners(self) -> Sequence[str]:
        """See QueueStore."""
        return [owner for (owner,) in self._run("SELECT DISTINCT owner FROM messages WHERE state = 1")]

    def _declare(self, op: Declare, now_s: float) -> Result:
        settings = _encode(op.settings)
        queue = self._queues.get(op.queue)
        if queue is not None:
            self._touch(queue).settings = op.settings
            self._run("UPDATE queues SET settings = ? WHERE number = ?", (settings, queue.number))
            return Done()
        self._saved.setdefault(op.queue, None)
        number = self._run("INSERT INTO queues (name, settings) VALUES (?, ?)", (op.queue, settings)).lastrowid
        assert number is not None
        self._queues[op.queue] = _Queue(number, op.queue, op.settings)
        return Done()

    def _drop(self, op: Drop, now_s: float) -> Result:
        queue = self._queues.get(op.queue)
        if queue is None:
            return NoQueue(queue=op.queue)
        self._touch(queue)
        for table in ("messages", "ended", "once", "groups"):
            self._run(f"DELETE FROM {table} WHERE queue = ?", (queue.number,))
        self._run("DELETE FROM queues WHERE number = ?", (queue.number,))
        del self._queues[op.queue]
        return Done()

    def _purge(self, op: Purge, now_s: float) -> Result:
        queue = self._queues.get(op.queue)
        if queue is None:
            return NoQueue(queue=op.queue)
        states = (DEAD, DEAD) if op.dead else (WAITING, LEASED if op.leased else WAITING)
        rows = self._run(
            "SELECT seq, id, LENGTH(body), state FROM messages WHERE queue = ? AND state IN (?, ?)",
            (queue.number, *states),
        ).fetchall()
        for seq, message_id, size_bytes, state in rows:
            self._remove(self._touch(queue), seq, message_id, state, size_bytes, now_s)
        return Count(count=len(rows))

    def _redrive(self, op: Redrive, now_s: float) -> Result:
        """Dead letters of a queue, or all that waits in a dead-letter queue, go back to where they came from."""
        source = self._queues.get(op.queue)
        if source is None:
            return NoQueue(queue=op.queue)
        state = DEAD if source.counts[DEAD] else WAITING
        rows = self._run(
            "SELECT seq, id, LENGTH(body), origin FROM messages WHERE queue = ? AND state = ? "
            "AND (state = 2 OR origin != '' OR ? != '') ORDER BY seq LIMIT ?",
            (source.number, state, op.into, op.most),
        ).fetchall()
        moved = 0
        for seq, message_id, size_bytes, origin in rows:
            into = self._queues.get(op.into or origin or op.queue)
            if into is None or (into is not source and self._has(into, message_id)):
                continue
            self._move(source, into, seq, state, WAITING, size_bytes)
            self._run(
                "UPDATE messages SET leases = 0, owner = '', visible_s = ?, expires_s = 0, expired = 0, origin = '' "
                "WHERE seq = ?",
                (now_s, seq),
            )
            moved += 1
        return Count(count=moved)

    def _look(self, op: Look, now_s: float) -> Result:
        if op.queue:
            depth = self._depth_with_delayed(op.queue, now_s)
            return NoQueue(queue=op.queue) if depth is None else depth
        names = sorted(name for name in self._queues if name.startswith(op.prefix))
        depths = (self._depth_with_delayed(name, now_s) for name in names)
        return Depths(depths=tuple(depth for depth in depths if depth is not None))

    def _depth_with_delayed(self, name: str, now_s: float) -> Depth | None:
        depth = self.depth(name)
        if depth is None or not depth.waiting:
            return depth
        (delayed,) = self._run(
            "SELECT COUNT(*) FROM messages WHERE queue = ? AND state = 0 AND visible_s > ?",
            (self._queues[name].number, now_s),
        ).fetchone()
        return msgspec.structs.replace(depth, delayed=delayed)

    def _list(self, op: List, now_s: float) -> Result:
        queue = self._queues.get(op.queue)
        if queue is None:
            return NoQueue(queue=op.queue)
        states = [number for number, word in _STATES.items() if op.state in ("", word)]
        marks = ", ".join("?" * len(states))
        rows = self._run(
            f"SELECT {_COLUMNS} FROM messages WHERE queue = ? AND state IN ({marks}) ORDER BY seq LIMIT ?",
            (queue.number, *states, op.most),
        )
        return Messages(messages=tuple(_message(row) for row in rows))

    # --- messages ----------------------------------------------------------------------------------------------

    def _put(self, op: Put, now_s: float) -> Result:
        queue = self._queues.get(op.queue)
        if queue is None:
            return NoQueue(queue=op.queue)
        if self._has(queue, op.id):
            return Done()
        if op.once and (first := self._first_of(queue, op.once, now_s)):
            return Done(id=first)
        settings = queue.settings
        if settings.max_items and queue.alive >= settings.max_items:
            return Full(what="items", limit=settings.max_items)
        if settings.max_bytes and queue.bytes + len(op.body) > settings.max_bytes:
            return Full(what="bytes", limit=settings.max_bytes)
        expires_s = op.expires_s or (now_s + settings.retention_s if settings.retention_s else 0.0)
        self._run(
            "INSERT INTO messages (queue, id, grp, body, state, visible_s, put_s, expires_s) VALUES (?,?,?,?,0,?,?,?)",
            (queue.number, op.id, op.group, op.body, op.visible_s or now_s, now_s, expires_s),
        )
        if op.group:
            self._run("INSERT OR IGNORE INTO groups (queue, grp, turn) VALUES (?, ?, 0)", (queue.number, op.group))
        if op.once:
            self._run(
                "INSERT OR REPLACE INTO once (queue, key, id, at_s) VALUES (?, ?, ?, ?)",
                (queue.number, op.once, op.id, now_s),
            )
        self._touch(queue)
        queue.counts[WAITING] += 1
        queue.bytes += len(op.body)
        queue.put += 1
        return Done()

    def _first_of(self, queue: _Queue, once: str, now_s: float) -> str:
        """The id of the message that was put with this key a short while ago; "" when none was."""
        row = self._run(
            "SELECT id FROM once WHERE queue = ? AND key = ? AND at_s > ?",
            (queue.number, once, now_s - DEDUPLICATION_S),
        ).fetchone()
        return "" if row is None else row[0]

    def _has(self, queue: _Queue, message_id: str) -> bool:
        """Whether the id is there, or was a short while ago."""
        key = (queue.number, message_id)
        return (
            self._run("SELECT 1 FROM messages WHERE queue = ? AND id = ?", key).fetchone() is not None
            or self._run("SELECT 1 FROM ended WHERE queue = ? AND id = ?", key).fetchone() is not None
        )

    def _lease(self, op: Lease, now_s: float) -> Result:
        queue = self._queues.get(op.queue)
        if queue is None:
            return NoQueue(queue=op.queue)
        if not queue.counts[WAITING] or op.most <= 0:
            return Leases(messages=())
        until_s = now_s + (op.lease_s or queue.settings.lease_s)
        leased = []
        for row in self._next(queue, op.most, now_s):
            token = row[4] + 1
            first_s = row[7] or now_s
            self._run(
                "UPDATE messages SET state = 1, token = ?, owner = ?, until_s = ?, leases = leases + 1, "
                "first_leased_s = ? WHERE seq = ?",
                (token, op.owner, until_s, first_s, row[0]),
            )
            self._touch(queue)
            queue.counts[WAITING] -= 1
            queue.counts[LEASED] += 1
            message = _message(row)
            leased.append(
                msgspec.structs.replace(
                    message, token=token, leases=message.leases + 1, first_leased_s=first_s, state="leased"
                )
            )
        return Leases(messages=tuple(leased))

    def _next(self, queue: _Queue, most: int, now_s: float) -> list[Any]:
        """What is to be leased next: oldest first; with groups, one of each group in turn."""
        if not queue.settings.fifo and not self._has_groups(queue):
            return self._run(
                f"SELECT {_COLUMNS} FROM messages WHERE queue = ? AND state = 0 AND visible_s <= ? "
                "ORDER BY visible_s, seq LIMIT ?",
                (queue.number, now_s, most),
            ).fetchall()
        rows: list[Any] = []
        while len(rows) < most:
            taken = [row[0] for row in rows]
            row = self._head(queue, now_s, taken)
            if row is None:
                break
            rows.append(row)
            self._run(
                "INSERT INTO groups (queue, grp, turn) VALUES (?1, ?2, (SELECT 1 + COALESCE(MAX(turn), 0) FROM groups "
                "WHERE queue = ?1)) ON CONFLICT (queue, grp) DO UPDATE SET turn = excluded.turn",
                (queue.number, row[3]),
            )
        return rows

    def _has_groups(self, queue: _Queue) -> bool:
        return self._run("SELECT 1 FROM groups WHERE queue = ? LIMIT 1", (queue.number,)).fetchone() is not None

    def _head(self, queue: _Queue, now_s: float, taken: Sequence[int]) -> Any:
        """The head of the group whose turn was longest ago. In a FIFO queue a group with a message that is leased, or
        whose first is not visible yet, has none."""
        fifo = (
            "AND NOT EXISTS (SELECT 1 FROM messages o WHERE o.queue = m.queue AND o.grp = m.grp "
            "AND o.state IN (0, 1) AND o.seq < m.seq) AND m.grp NOT IN "
            f"(SELECT grp FROM messages WHERE seq IN ({', '.join(map(str, taken)) or 'NULL'}))"
            if queue.settings.fifo
            else ""
        )
        return self._run(
            f"SELECT {', '.join('m.' + c.strip() for c in _COLUMNS.split(','))} FROM messages m "
            "LEFT JOIN groups g ON g.queue = m.queue AND g.grp = m.grp "
            f"WHERE m.queue = ? AND m.state = 0 AND m.visible_s <= ? {fifo} "
            f"AND m.seq NOT IN ({', '.join(map(str, taken)) or 'NULL'}) "
            "ORDER BY COALESCE(g.turn, 0), m.seq LIMIT 1",
            (queue.number, now_s),
        ).fetchone()

    def _held(self, op: Extend | Ack | Rewrite | Return | Bury, *, late: bool = False) -> tuple[_Queue, Any] | None:
        """The leased message that the caller holds; None when it does not (any more). `late`: one that it was the last
        to hold will do."""
        queue = self._queues.get(op.queue)
        if queue is None:
            return None
        row = self._run(
            f"SELECT {_COLUMNS} FROM messages WHERE queue = ? AND id = ? AND token = ? AND state IN (?, ?)",
            (queue.number, op.id, op.token, LEASED, WAITING if late else LEASED),
        ).fetchone()
        return None if row is None else (queue, row)

    def _lost(self, op: Extend | Ack | Rewrite | Return | Bury) -> Lost:
        queue = self._queues.get(op.queue)
        if queue is None:
            return Lost(gone=True)
        row = self._run("SELECT 1 FROM messages WHERE queue = ? AND id = ?", (queue.number, op.id)).fetchone()
        return Lost(gone=row is None)

    def _extend(self, op: Extend, now_s: float) -> Result:
        held = self._held(op)
        if held is None:
            return self._lost(op)
        queue, row = held
        if op.lease_s <= 0:
            self._wait_again(queue, row, now_s, "given back", now_s)
        else:
            self._run("UPDATE messages SET until_s = ? WHERE seq = ?", (now_s + op.lease_s, row[0]))
        return Done()

    def _rewrite(self, op: Rewrite, now_s: float) -> Result:
        held = self._held(op)
        if held is None:
            return self._lost(op)
        queue, row = held
        self._run("UPDATE messages SET body = ? WHERE seq = ?", (op.body, row[0]))
        self._touch(queue).bytes += len(op.body) - len(row[2])
        return Done()

    def _ack(self, op: Ack, now_s: float) -> Result:
        held = self._held(op, late=op.late)
        if held is None:
            return self._lost(op)
        refused = self._put_all(op.puts, now_s)
        if refused is not None:
            return refused
        queue, row = held
        self._remove(self._touch(queue), row[0], op.id, row[_STATE], len(row[2]), now_s)
        queue.ended += 1
        return Done()

    def _put_all(self, puts: Sequence[Put], now_s: float) -> Result | None:
        """Enqueue all of an outbox, or none: the result of the first that is refused. None: all are in."""
        for put in puts:
            queue = self._queues.get(put.queue)
            if queue is None:
                return NoQueue(queue=put.queue)
        self._run("SAVEPOINT outbox")
        before = {put.queue: self._queues[put.queue].copy() for put in puts}
        for put in puts:
            result = self._put(put, now_s)
            if not isinstance(result, Done):
                self._run("ROLLBACK TO outbox")
                self._run("RELEASE outbox")
                for name, queue in before.items():
                    self._queues[name] = queue
                return result
        self._run("RELEASE outbox")
        return None

    def _return(self, op: Return, now_s: float) -> Result:
        held = self._held(op)
        if held is None:
            return self._lost(op)
        queue, row = held
        self._wait_again(queue, row, op.visible_s or now_s, op.reason, now_s, counts=op.counts)
        return Done()

    def _bury(self, op: Bury, now_s: float) -> Result:
        held = self._held(op)
        if held is None:
            return self._lost(op)
        refused = self._put_all(op.puts, now_s)
        if refused is not None:
            return refused
        self._to_the_dead(*held, op.reason, now_s)
        return Done()

    def _free(self, op: Free, now_s: float) -> Result:
        rows = self._run(
            f"SELECT {_COLUMNS}, queue FROM messages WHERE state = 1 AND owner = ?", (op.owner,)
        ).fetchall()
        for row in rows:
            self._wait_again(self._by_number(row[-1]), row, now_s, "its owner is gone", now_s)
        return Count(count=len(rows))

    # --- steps of a message's life -----------------------------------------------------------------------------

    def _wait_again(
        self, queue: _Queue, row: Any, visible_s: float, reason: str, now_s: float, *, counts: bool = True
    ) -> None:
        leases = row[5] - (0 if counts else 1)
        most = queue.settings.max_leases
        if most and leases >= most:
            self._to_the_dead(queue, row, f"leased {leases} times without being acknowledged; last: {reason}", now_s)
            return
        self._run(
            "UPDATE messages SET state = 0, owner = '', visible_s = ?, leases = ?, reason = ? WHERE seq = ?",
            (visible_s, leases, reason, row[0]),
        )
        self._touch(queue)
        queue.counts[LEASED] -= 1
        queue.counts[WAITING] += 1
        queue.returned += 1

    def _to_the_dead(self, queue: _Queue, row: Any, reason: str, now_s: float) -> None:
        into = self._queues.get(queue.settings.dead_letters) if queue.settings.dead_letters else None
        if into is None or self._has(into, row[1]):
            self._move(queue, queue, row[0], LEASED, DEAD, len(row[2]))
        else:
            self._move(queue, into, row[0], LEASED, WAITING, len(row[2]))
            self._run("INSERT OR REPLACE INTO ended (queue, id, at_s) VALUES (?, ?, ?)", (queue.number, row[1], now_s))
            into.put += 1
        self._run(
            "UPDATE messages SET owner = '', reason = ?, origin = ?, visible_s = ?, leases = ? WHERE seq = ?",
            (reason, queue.name, now_s, 0 if into is not None else row[5], row[0]),
        )
        queue.ended += 1

    def _move(self, source: _Queue, into: _Queue, seq: int, before: int, after: int, size_bytes: int) -> None:
        self._run("UPDATE messages SET queue = ?, state = ? WHERE seq = ?", (into.number, after, seq))
        self._touch(source)
        self._touch(into)
        source.counts[before] -= 1
        source.bytes -= size_bytes
        into.counts[after] += 1
        into.bytes += size_bytes

    def _remove(self, queue: _Queue, seq: int, message_id: str, state: int, size_bytes: int, now_s: float) -> None:
        self._run("DELETE FROM messages WHERE seq = ?", (seq,))
        self._run("INSERT OR REPLACE INTO ended (queue, id, at_s) VALUES (?, ?, ?)", (queue.number, message_id, now_s))
        queue.counts[state] -= 1
        queue.bytes -= size_bytes


_Do = Callable[[SqliteQueueStore, Any, float], Result]
_DO: dict[type, _Do] = {
    Put: SqliteQueueStore._put,
    Lease: SqliteQueueStore._lease,
    Extend: SqliteQueueStore._extend,
    Ack: SqliteQueueStore._ack,
    Rewrite: SqliteQueueStore._rewrite,
    Return: SqliteQueueStore._return,
    Bury: SqliteQueueStore._bury,
    Free: SqliteQueueStore._free,
    Declare: SqliteQueueStore._declare,
    Drop: SqliteQueueStore._drop,
    Purge: SqliteQueueStore._purge,
    Redrive: SqliteQueueStore._redrive,
    Look: SqliteQueueStore._look,
    List: SqliteQueueStore._list,
}


def _message(row: Iterable[Any]) -> Message:
    _, message_id, body, group, token, leases, put_s, first_leased_s, expired, state, reason, origin, *_ = row
    return Message(
        id=message_id,
        body=body,
        group=group,
        token=token,
        leases=leases,
        put_s=put_s,
        first_leased_s=first_leased_s,
        expired=bool(expired),
        state=_STATES[state],
        reason=reason,
        origin=origin,
    )


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorname in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC")
