"""PerfectQueues: what queues promise, in the plainest words there are: lists, no disk, no index, no transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

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
    Redrive,
    Result,
    Return,
    Rewrite,
)


@dataclass(eq=False)
class Item:
    """One message."""

    seq: int
    id: str
    group: str
    body: bytes
    put_s: float
    visible_s: float
    expires_s: float
    state: str = "waiting"
    token: int = 0
    leases: int = 0
    owner: str = ""
    ask: str = ""
    until_s: float = 0.0
    first_leased_s: float = 0.0
    expired: bool = False
    reason: str = ""
    origin: str = ""

    def message(self) -> Message:
        """As callers see it."""
        return Message(
            id=self.id,
            body=self.body,
            group=self.group,
            token=self.token if self.state == "leased" else 0,
            leases=self.leases,
            put_s=self.put_s,
            first_leased_s=self.first_leased_s,
            expired=self.expired,
            state=self.state,
            reason=self.reason,
            origin=self.origin,
        )


@dataclass(eq=False)
class Line:
    """One queue."""

    name: str
    settings: QueueSettings
    items: list[Item] = field(default_factory=list)
    ended_by: dict[str, int] = field(default_factory=dict)  # id: the token of the Ack or Bury; 0: something else
    turns: list[str] = field(default_factory=list)  # groups that have messages, the next first
    firsts: dict[str, tuple[str, float]] = field(default_factory=dict)  # of Put.once: the first's id, and when
    put: int = 0
    ended: int = 0
    returned: int = 0
    expired: int = 0

    @property
    def alive(self) -> list[Item]:
        """Waiting and leased, oldest first."""
        return sorted((item for item in self.items if item.state != "dead"), key=lambda item: item.seq)

    def tidy(self) -> None:
        """Groups without messages lose their turn; new ones come last."""
        there = dict.fromkeys(item.group for item in self.alive)
        self.turns = [group for group in self.turns if group in there]
        self.turns += [group for group in there if group not in self.turns]

    def depth(self, now_s: float) -> Depth:
        """How it is."""
        alive = self.alive
        waiting = [item for item in alive if item.state == "waiting"]
        return Depth(
            queue=self.name,
            settings=self.settings,
            waiting=len(waiting),
            delayed=sum(item.visible_s > now_s for item in waiting),
            leased=len(alive) - len(waiting),
            dead=len(self.items) - len(alive),
            bytes=sum(len(item.body) for item in alive),
            oldest_put_s=min((item.put_s for item in alive), default=0.0),
            put=self.put,
            ended=self.ended,
            returned=self.returned,
            expired=self.expired,
        )


class PerfectQueues:
    """Answers as every `QueueStore` must, but for the numbers of tokens: these grow here by one."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self._seq = 0

    def apply(self, ops: Sequence[Op], now_s: float) -> list[Result]:
        """See QueueStore."""
        self._lapse(now_s)
        return [self._do(op, now_s) for op in ops]

    def due(self) -> float:
        """See QueueStore."""
        items = [item for line in self.lines.values() for item in line.items]
        leased = [item.until_s for item in items if item.state == "leased"]
        waiting = [item for item in items if item.state == "waiting"]
        delayed = [item.visible_s for item in waiting if item.visible_s]
        expiring = [item.expires_s for item in waiting if item.expires_s and not item.expired]
        return min([*leased, *delayed, *expiring], default=math.inf)

    def _lapse(self, now_s: float) -> None:
        every = [(line, item) for line in self.lines.values() for item in line.items]
        every.sort(key=lambda pair: pair[1].seq)
        for line, item in every:
            if item.state == "leased" and item.until_s <= now_s:
                self._wait(line, item, 0.0, "its lease has ended", now_s)
        for line in self.lines.values():
            for item in list(line.items):
                if item.visible_s <= now_s:
                    item.visible_s = 0.0
                if item.state == "waiting" and item.expires_s and item.expires_s <= now_s and not item.expired:
                    line.expired += 1
                    item.expired, item.visible_s = True, 0.0
                    if not line.settings.tell_expired:
                        self._end(line, item, 0)
            line.tidy()

    def _do(self, op: Op, now_s: float) -> Result:
        if isinstance(op, Free):
            return self._free(op, now_s)
        if isinstance(op, Declare):
            self.lines.setdefault(op.queue, Line(op.queue, op.settings)).settings = op.settings
            return Done()
        if isinstance(op, Look) and not op.queue:
            below = sorted(name for name in self.lines if name.startswith(op.prefix))
            return Depths(depths=tuple(self.lines[name].depth(now_s) for name in below))
        line = self.lines.get(op.queue)
        if line is None:
            return Lost() if isinstance(op, Extend | Ack | Rewrite | Return | Bury) else NoQueue(queue=op.queue)
        result = self._do_in(line, op, now_s)
        for each in self.lines.values():
            each.tidy()
        return result

    def _do_in(self, line: Line, op: Op, now_s: float) -> Result:
        if isinstance(op, Put):
            known = op.id in line.ended_by or any(item.id == op.id for item in line.items)
            first = self._first(line, op, now_s)
            return self._put_all([op], now_s) or Done(id="" if known else first)
        if isinstance(op, Lease):
            return self._lease(line, op, now_s)
        if isinstance(op, Drop):
            if op.only_empty and line.alive:
                return Count(count=len(line.alive))
            del self.lines[line.name]
            return Done()
        if isinstance(op, Look):
            return line.depth(now_s)
        if isinstance(op, List):
            found = sorted((item for item in line.items if op.state in ("", item.state)), key=lambda item: item.seq)
            return Messages(messages=tuple(item.message() for item in found[: op.most]))
        if isinstance(op, Purge):
            states = ("dead",) if op.dead else ("waiting", "leased" if op.leased else "waiting")
            gone = [item for item in line.items if item.state in states]
            for item in gone:
                self._end(line, item, 0)
            return Count(count=len(gone))
        if isinstance(op, Redrive):
            return self._redrive(line, op)
        assert isinstance(op, Extend | Ack | Rewrite | Return | Bury)
        return self._under_lease(line, op, now_s)

    def _put_all(self, puts: Sequence[Put], now_s: float) -> Result | None:
        """None: all are in; else none is, and why the first was refused."""
        before = {name: (list(line.items), line.put, dict(line.firsts)) for name, line in self.lines.items()}
        for put in puts:
            line = self.lines.get(put.queue)
            refused = NoQueue(queue=put.queue) if line is None else self._put(line, put, now_s)
            if refused is not None:
                for queue, (items, count, firsts) in before.items():
                    self.lines[queue].items, self.lines[queue].put, self.lines[queue].firsts = items, count, firsts
                return refused
        return None

    def _put(self, line: Line, put: Put, now_s: float) -> Result | None:
        if put.id in line.ended_by or any(item.id == put.id for item in line.items):
            return None
        if self._first(line, put, now_s):
            return None
        settings, alive = line.settings, line.alive
        if settings.max_items and len(alive) >= settings.max_items:
            return Full(what="items", limit=settings.max_items)
        if settings.max_bytes and sum(len(item.body) for item in alive) + len(put.body) > settings.max_bytes:
            return Full(what="bytes", limit=settings.max_bytes)
        ends = [s for s in (put.expires_s, now_s + settings.retention_s if settings.retention_s else 0.0) if s]
        visible_s = put.visible_s if put.visible_s > now_s else 0.0
        self._seq += 1
        line.items.append(Item(self._seq, put.id, put.group, put.body, now_s, visible_s, min(ends, default=0.0)))
        line.put += 1
        if put.once:
            line.firsts[put.once] = put.id, now_s
        return None

    def _first(self, line: Line, put: Put, now_s: float) -> str:
        first, at_s = line.firsts.get(put.once, ("", -math.inf)) if put.once else ("", -math.inf)
        return first if now_s - at_s < DEDUPLICATION_S else ""

    def _lease(self, line: Line, op: Lease, now_s: float) -> Result:
        held = [item for item in line.items if item.state == "leased" and item.ask == op.ask]
        if op.again and held:
            return Leases(messages=tuple(item.message() for item in sorted(held, key=lambda item: item.seq)))
        taken: list[Item] = []
        if op.only_expired:
            taken = [i for i in line.alive if i.state == "waiting" and i.expired and not i.visible_s][: op.most]
            self._take(line, taken, op, now_s)
            return Leases(messages=tuple(item.message() for item in taken))
        while len(taken) < op.most:
            heads = (self._head(line, group) for group in list(line.turns))
            round_ = [head for head in heads if head is not None][: op.most - len(taken)]
            if not round_:
                break
            self._take(line, round_, op, now_s)
            taken += round_
        for group in dict.fromkeys(item.group for item in taken):
            line.turns.remove(group)
            line.turns.append(group)
        return Leases(messages=tuple(item.message() for item in taken))

    def _take(self, line: Line, items: Sequence[Item], op: Lease, now_s: float) -> None:
        for item in items:
            item.state, item.owner, item.ask = "leased", op.owner, op.ask
            item.token, item.leases = item.token + 1, item.leases + 1
            item.first_leased_s = item.first_leased_s or now_s
            item.until_s = now_s + (op.lease_s or line.settings.lease_s)

    def _head(self, line: Line, group: str) -> Item | None:
        members = [item for item in line.alive if item.group == group]
        ready = [item for item in members if item.state == "waiting" and not item.visible_s]
        if not ready or (line.settings.fifo and ready[0] is not members[0]):
            return None
        return ready[0]

    def _under_lease(self, line: Line, op: Extend | Ack | Rewrite | Return | Bury, now_s: float) -> Result:
        for item in line.items:
            late = isinstance(op, Ack) and op.late and item.state == "waiting"
            if item.id == op.id and item.token == op.token > 0 and (item.state == "leased" or late):
                break
        else:
            did_end = isinstance(op, Ack | Bury) and op.token > 0 and line.ended_by.get(op.id) == op.token
            return Done() if did_end else Lost()
        if isinstance(op, Ack | Bury):
            refused = self._put_all(op.puts, now_s)
            if refused is not None:
                return refused
            if isinstance(op, Bury):
                self._bury(line, item, op.reason, op.token, now_s)
            else:
                self._end(line, item, op.token)
                line.ended += 1
        elif isinstance(op, Rewrite):
            item.body = op.body
        elif isinstance(op, Return):
            self._wait(line, item, op.visible_s, op.reason, now_s, counts=op.counts)
        elif op.lease_s > 0:
            item.until_s = now_s + op.lease_s
        else:
            self._wait(line, item, 0.0, "given back", now_s)
        return Done()

    def _free(self, op: Free, now_s: float) -> Result:
        held = [
            (line, item)
            for line in self.lines.values()
            for item in line.items
            if item.state == "leased" and item.owner == op.owner and op.owner
        ]
        for line, item in sorted(held, key=lambda pair: pair[1].seq):
            self._wait(line, item, 0.0, "its owner is gone", now_s)
        return Count(count=len(held))

    def _redrive(self, line: Line, op: Redrive) -> Result:
        state = "dead" if any(item.state == "dead" for item in line.items) else "waiting"
        moved = 0
        for item in sorted(line.items, key=lambda item: item.seq):
            into = self.lines.get(op.into or item.origin or (line.name if state == "dead" else ""))
            if item.state != state or moved == op.most or into is None or (into is line and state == "waiting"):
                continue
            if into is not line and any(other.id == item.id for other in into.items):
                continue
            self._move(line, item, into, "waiting", item.reason, "", 0, 0.0)
            moved += 1
        return Count(count=moved)

    def _wait(
        self, line: Line, item: Item, visible_s: float, reason: str, now_s: float, *, counts: bool = True
    ) -> None:
        leases = item.leases - (not counts)
        if line.settings.max_leases and leases >= line.settings.max_leases:
            why = f"leased {leases} times without being acknowledged; last: {reason}"
            self._bury(line, item, why, 0, now_s)
            return
        item.state, item.owner, item.ask, item.leases, item.reason = "waiting", "", "", leases, reason
        item.visible_s = visible_s if visible_s > now_s else 0.0
        line.returned += 1

    def _bury(self, line: Line, item: Item, reason: str, token: int, now_s: float) -> None:
        into = self.lines.get(line.settings.dead_letters)
        if into is None or into is line or any(other.id == item.id for other in into.items):
            self._move(line, item, line, "dead", reason, line.name, item.leases, 0.0)
        else:
            expires_s = now_s + into.settings.retention_s if into.settings.retention_s else 0.0
            self._move(line, item, into, "waiting", reason, line.name, 0, expires_s)
            into.put += 1
        line.ended_by[item.id] = token
        line.ended += 1

    def _move(
        self, line: Line, item: Item, into: Line, state: str, reason: str, origin: str, leases: int, expires_s: float
    ) -> None:
        line.items.remove(item)
        into.items.append(item)
        item.state, item.reason, item.origin, item.leases = state, reason, origin, leases
        item.visible_s, item.expires_s, item.expired, item.owner, item.ask = 0.0, expires_s, False, "", ""

    def _end(self, line: Line, item: Item, token: int) -> None:
        line.items.remove(item)
        line.ended_by[item.id] = token
