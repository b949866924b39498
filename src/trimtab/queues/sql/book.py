"""Book: a transaction on the tables of queues, and what is known of each queue without asking them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from trimtab.queues.model import Message, QueueSettings

WAITING: Final = 0
LEASED: Final = 1
DEAD: Final = 2
STATES: Final = {WAITING: "waiting", LEASED: "leased", DEAD: "dead"}
COLUMNS: Final = (
    "seq, id, body, grp, token, leases, put_s, first_leased_s, expired, state, reason, origin, visible_s, queue"
)
BODIES_MOST_BYTES: Final = 16 * 2**20  # of the messages in one answer

encode_settings = msgspec.msgpack.Encoder().encode
decode_settings = msgspec.msgpack.Decoder(QueueSettings).decode


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


class Found(Protocol):
    """What a statement has found, or how many rows it has changed."""

    @property
    def rowcount(self) -> int:
        """How many were changed."""
        ...

    def fetchone(self) -> Any:
        """The next row; None: there is none."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...


class Book(ABC):
    """The queues, as they will be when the transaction has committed. Statements are in the words that SQLite and
    PostgreSQL share, with `?` for parameters; `INDEXED BY` is for SQLite."""

    queues: Mapping[str, Queue]
    by_number: Mapping[int, Queue]

    def __init__(self) -> None:
        self.touched: dict[str, Queue | None] = {}  # by the transaction: as it was before

    @abstractmethod
    def run(self, statement: str, values: Sequence[Any] = (), /) -> Found:
        """Carry out a statement."""

    @abstractmethod
    def run_many(self, statement: str, values: Sequence[Sequence[Any]], /) -> None:
        """Carry it out for each row of values."""

    @abstractmethod
    def among(self, values: Sequence[str] | Sequence[int]) -> tuple[str, Any]:
        """The condition that a column is one of these, but for the column; and its one parameter."""

    def only_held(self) -> tuple[str, tuple[Any, ...]]:
        """The condition (and its parameters) that a message is in a queue that this transaction may change."""
        return "", ()

    @abstractmethod
    def make(self, name: str, settings: QueueSettings) -> bool:
        """Make a queue. False: there was one all the same; it is among `queues` now."""

    @abstractmethod
    def remove(self, queue: Queue) -> None:
        """A queue is no more."""

    @abstractmethod
    def below(self, prefix: str) -> Iterable[Queue]:
        """All whose names begin so, by name; only to be looked at."""

    def touch(self, queue: Queue) -> Queue:
        """The queue, to be changed in this transaction."""
        if queue.name not in self.touched:
            self.touched[queue.name] = copy.copy(queue)
        return queue

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
