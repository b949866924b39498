"""Book: what is known of each queue in memory: a bound or a depth costs no query. It changes with a transaction."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from trimtab.queues.model import Message, QueueSettings
from trimtab.queues.sqlite.schema import DEAD, LEASED, WAITING

STATES: Final = {WAITING: "waiting", LEASED: "leased", DEAD: "dead"}
COLUMNS: Final = (
    "seq, id, body, grp, token, leases, put_s, first_leased_s, expired, state, reason, origin, visible_s, queue"
)
BODIES_MOST_BYTES: Final = 16 * 2**20  # of the messages in one answer

encode_settings = msgspec.msgpack.Encoder().encode
decode_settings = msgspec.msgpack.Decoder(QueueSettings).decode
to_json = msgspec.json.Encoder().encode


class Row:
    """A message as its row has it."""

    __slots__ = (
        "body", "expired", "first_leased_s", "group", "id", "leases", "origin", "put_s", "queue", "reason", "seq",
        "state", "token", "visible_s",
    )  # fmt: skip

    def __init__(self, values: Sequence[Any]) -> None:
        (
            self.seq, self.id, self.body, self.group, self.token, self.leases, self.put_s, self.first_leased_s,
            self.expired, self.state, self.reason, self.origin, self.visible_s, self.queue,
        ) = values  # fmt: skip

    def message(self) -> Message:
        """As callers see it."""
        return Message(
            id=self.id,
            body=self.body,
            group=self.group,
            token=self.token if self.state == LEASED else 0,
            leases=self.leases,
            put_s=self.put_s,
            first_leased_s=self.first_leased_s,
            expired=bool(self.expired),
            state=STATES[self.state],
            reason=self.reason,
            origin=self.origin,
        )


class Queue:
    """One queue, as it will be when the transaction has committed."""

    __slots__ = (
        "bytes", "dead", "delayed", "ended", "expired", "grouped", "leased", "name", "number", "put", "ready",
        "returned", "settings", "turn",
    )  # fmt: skip

    def __init__(self, number: int, name: str, settings: QueueSettings) -> None:
        self.number, self.name, self.settings = number, name, settings
        self.ready = self.delayed = self.leased = self.dead = 0
        self.bytes = 0  # of what waits and is leased
        self.put = self.ended = self.returned = self.expired = 0
        self.grouped = settings.fifo  # its messages are leased group by group
        self.turn = 0  # the last that a group has had

    @property
    def alive(self) -> int:
        """Waiting and leased."""
        return self.ready + self.delayed + self.leased

    def restore(self, before: Queue) -> None:
        """Be as `before` was."""
        for name in self.__slots__:
            setattr(self, name, getattr(before, name))

    def count(self, state: int, visible_s: float, by: int, size_bytes: int) -> None:
        """`by` messages (or -`by` fewer) in a state, of `size_bytes` all together."""
        if state == DEAD:
            self.dead += by
            return
        self.bytes += size_bytes if by > 0 else -size_bytes
        if state == LEASED:
            self.leased += by
        elif visible_s > 0:
            self.delayed += by
        else:
            self.ready += by


class Book:
    """All queues, and the connection to their tables."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.run: Final[Callable[..., sqlite3.Cursor]] = db.execute
        self.run_many: Final = db.executemany
        self.queues: dict[str, Queue] = {}
        self.by_number: dict[int, Queue] = {}
        self.touched: dict[str, Queue | None] = {}  # by the transaction: as it was before
        self._load()

    def _load(self) -> None:
        rows = self.run("SELECT number, name, settings, put, ended, returned, expired FROM queues").fetchall()
        for number, name, settings, put, ended, returned, expired in rows:
            queue = Queue(number, name, decode_settings(settings))
            queue.put, queue.ended, queue.returned, queue.expired = put, ended, returned, expired
            self.add(queue)
        counted = "SELECT queue, state, visible_s > 0, COUNT(*), SUM(LENGTH(body)) FROM messages GROUP BY 1, 2, 3"
        for number, state, later, count, size_bytes in self.run(counted):
            self.by_number[number].count(state, later, count, size_bytes)
        for number, turn in self.run("SELECT queue, MAX(turn) FROM groups GROUP BY queue"):
            self.by_number[number].grouped, self.by_number[number].turn = True, turn

    def add(self, queue: Queue) -> None:
        """A queue that there is."""
        self.queues[queue.name] = self.by_number[queue.number] = queue

    def remove(self, queue: Queue) -> None:
        """A queue that is no more."""
        del self.queues[queue.name], self.by_number[queue.number]

    def touch(self, queue: Queue) -> Queue:
        """The queue, to be changed in this transaction."""
        if queue.name not in self.touched:
            self.touched[queue.name] = copy.copy(queue)
        return queue

    def undo(self) -> None:
        """The transaction has failed."""
        for name, before in self.touched.items():
            now = self.queues.get(name)
            if now is not None:
                self.remove(now)
            if before is not None:
                self.add(before)

    def save(self) -> None:
        """Write the counters that the transaction has changed."""
        for name in self.touched:
            queue = self.queues.get(name)
            if queue is not None:
                self.run(
                    "UPDATE queues SET put = ?, ended = ?, returned = ?, expired = ? WHERE number = ?",
                    (queue.put, queue.ended, queue.returned, queue.expired, queue.number),
                )

    # --- groups ------------------------------------------------------------------------------------------------

    def join(self, queue: Queue, groups: Sequence[str]) -> None:
        """Messages of these groups come into the queue: new ones have their turn after all others, in this order."""
        if not queue.grouped:
            if not any(groups):
                return
            queue.grouped = True
            if self._has_members(queue, ""):  # those that came before have no group
                groups = ["", *groups]
        for group in dict.fromkeys(groups):
            if self.run("SELECT 1 FROM groups WHERE queue = ? AND grp = ?", (queue.number, group)).fetchone() is None:
                queue.turn += 1
                self.run("INSERT INTO groups (queue, grp, turn) VALUES (?, ?, ?)", (queue.number, group, queue.turn))

    def leave(self, queue: Queue, group: str) -> None:
        """A message of this group is not in the queue any more: with its last one the group loses its turn."""
        if queue.grouped and not self._has_members(queue, group):
            self.run("DELETE FROM groups WHERE queue = ? AND grp = ?", (queue.number, group))

    def _has_members(self, queue: Queue, group: str) -> bool:
        found = "SELECT 1 FROM messages INDEXED BY alive WHERE queue = ? AND grp = ? AND state < 2 LIMIT 1"
        return self.run(found, (queue.number, group)).fetchone() is not None

    def regroup(self, queue: Queue) -> None:
        """The queue keeps order from now on: whatever it holds is leased group by group."""
        found = "SELECT grp FROM messages WHERE queue = ? AND state < 2 GROUP BY grp ORDER BY MIN(seq)"
        groups = [group for (group,) in self.run(found, (queue.number,)).fetchall()]
        queue.grouped = True
        self.join(queue, groups)
