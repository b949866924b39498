"""Random lives of queues: a store and the perfect model are asked the same, and must answer the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

from trimtab.queues.model import (
    Ack,
    Bury,
    Declare,
    Drop,
    Extend,
    Free,
    Lease,
    Leases,
    List,
    Look,
    Message,
    Messages,
    Op,
    Purge,
    Put,
    QueueSettings,
    Redrive,
    Result,
    Return,
    Rewrite,
)
from trimtab.queues.store import QueueStore
from trimtab.testing.queue_model import PerfectQueues

BEGIN_S = 1000.0
QUEUES = ("a", "b", "dead")
_queues = st.sampled_from(QUEUES)
_ids = st.sampled_from([f"id-{n}" for n in range(8)])
_bodies = st.sampled_from((b"", b"x", b"xyz" * 5))
_owners = st.sampled_from(("", "one", "two"))
_times_s = st.sampled_from((0.0, 1.0, 3.0, 10.0))  # from now


@dataclass(frozen=True)
class Turn:
    """A step of a life: time passes, then these are asked together. `reopened`: the store first."""

    passes_s: float
    asks: Sequence[Ask]
    reopened: bool


@dataclass(frozen=True)
class Ask:
    """An op whose times are relative, and which may concern the lease that was given as the `held`-th."""

    op: Op
    held: int = 0


def _op(kind: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Ask]:
    return st.builds(Ask, st.builds(kind, **fields), st.integers(0, 30))


_settings = st.builds(
    QueueSettings,
    max_items=st.sampled_from((0, 0, 2, 5)),
    max_bytes=st.sampled_from((0, 0, 20)),
    retention_s=st.sampled_from((0.0, 0.0, 7.0)),
    lease_s=st.sampled_from((2.0, 5.0)),
    max_leases=st.sampled_from((0, 1, 3)),
    dead_letters=st.sampled_from(("", "dead")),
    tell_expired=st.booleans(),
    fifo=st.booleans(),
)
_put = st.builds(
    Put,
    queue=_queues,
    id=_ids,
    body=_bodies,
    group=st.sampled_from(("", "", "g", "h")),
    visible_s=_times_s,
    expires_s=_times_s,
    once=st.sampled_from(("", "", "k", "l")),
)
_outbox = st.lists(_put, max_size=2).map(tuple)
_under_lease = {"queue": st.just(""), "id": st.just(""), "token": st.just(0)}
asks: st.SearchStrategy[Ask] = st.one_of(
    st.builds(Ask, _put),
    st.builds(Ask, _put),
    _op(Lease, queue=_queues, owner=_owners, most=st.integers(0, 4), lease_s=_times_s, again=st.booleans()),
    _op(Lease, queue=_queues, owner=_owners, most=st.integers(1, 4), only_expired=st.booleans()),
    _op(Extend, **_under_lease, lease_s=_times_s),
    _op(Ack, **_under_lease, puts=_outbox, late=st.booleans()),
    _op(Rewrite, **_under_lease, body=_bodies),
    _op(Return, **_under_lease, reason=st.just("no"), visible_s=_times_s, counts=st.booleans()),
    _op(Bury, **_under_lease, reason=st.just("bad"), puts=_outbox),
    _op(Free, owner=_owners),
    _op(Declare, queue=_queues, settings=_settings),
    _op(Drop, queue=_queues, only_empty=st.booleans()),
    _op(Purge, queue=_queues, dead=st.booleans(), leased=st.booleans()),
    _op(Redrive, queue=_queues, into=st.sampled_from(("", "", "a")), most=st.sampled_from((1, 1000))),
    _op(Look, prefix=st.just("")),
    _op(Look, queue=_queues),
    _op(List, queue=_queues, state=st.sampled_from(("", "waiting", "leased", "dead")), most=st.sampled_from((1, 100))),
)
lives = st.lists(
    st.builds(
        Turn,
        passes_s=st.sampled_from((0.0, 0.5, 1.0, 4.0)),
        asks=st.lists(asks, max_size=6),
        reopened=st.sampled_from((False, False, False, True)),
    ),
    max_size=25,
)


class Comparison:
    """A store and the model, on one life. Tokens are the store's own: those of the model are matched to them."""

    def __init__(self, store: QueueStore, reopen: Callable[[QueueStore], QueueStore]) -> None:
        self.store = store
        self._reopen = reopen
        self._model = PerfectQueues()
        self._now_s = BEGIN_S
        self._held: list[tuple[str, Message, Message]] = []  # queue; of the model and of the store
        self._greatest: dict[tuple[str, str], int] = {}
        self._asked: dict[str, list[str]] = {queue: [] for queue in QUEUES}

    def live(self, life: Sequence[Turn]) -> None:
        """All of it. AssertionError where they differ."""
        for queue in QUEUES:
            self._ask([Ask(Declare(queue=queue, settings=QueueSettings(dead_letters="dead")))])
        for turn in life:
            self._now_s += turn.passes_s
            if turn.reopened:
                self.store = self._reopen(self.store)
            self._ask(turn.asks)
            self._ask([Ask(Look()), *(Ask(List(queue=queue)) for queue in QUEUES)])
            assert self.store.due(self._now_s) == self._model.due()

    def _ask(self, asked: Sequence[Ask]) -> None:
        pairs = [self._placed(ask) for ask in asked]
        expected = self._model.apply([ours for ours, _ in pairs], self._now_s)
        found = self.store.apply([theirs for _, theirs in pairs], self._now_s)
        for (op, _), wanted, got in zip(pairs, expected, found, strict=True):
            assert _without_tokens(got) == _without_tokens(wanted), op
            if isinstance(op, Lease) and isinstance(wanted, Leases) and isinstance(got, Leases):
                for ours, theirs in zip(wanted.messages, got.messages, strict=True):
                    self._hold(op, ours, theirs)

    def _hold(self, op: Lease, ours: Message, theirs: Message) -> None:
        if any(message.token == theirs.token and message.id == theirs.id for _, _, message in self._held):
            assert op.again
            return
        assert theirs.token > self._greatest.get((op.queue, theirs.id), 0)
        self._greatest[op.queue, theirs.id] = theirs.token
        self._held.append((op.queue, ours, theirs))

    def _placed(self, ask: Ask) -> tuple[Op, Op]:
        """The op as the model and as the store is asked it."""
        op = ask.op
        if isinstance(op, Put):
            op = self._timed(op)
        elif isinstance(op, Lease):
            before = self._asked[op.queue]
            again = op.again and len(before) > 0
            name = before[ask.held % len(before)] if again else f"{op.owner}:{op.queue}{len(before)}"
            before.append(name)
            op = msgspec.structs.replace(op, ask=name)
        elif isinstance(op, Extend | Ack | Rewrite | Return | Bury):
            if not self._held:
                return op, op
            queue, ours, theirs = self._held[-1 - ask.held % len(self._held)]
            if isinstance(op, Ack | Bury):
                op = msgspec.structs.replace(op, puts=tuple(self._timed(put) for put in op.puts))
            elif isinstance(op, Return):
                op = msgspec.structs.replace(op, visible_s=op.visible_s and self._now_s + op.visible_s)
            op = msgspec.structs.replace(op, queue=queue, id=ours.id, token=ours.token)
            return op, msgspec.structs.replace(op, token=theirs.token)
        return op, op

    def _timed(self, put: Put) -> Put:
        return msgspec.structs.replace(
            put,
            visible_s=put.visible_s and self._now_s + put.visible_s,
            expires_s=put.expires_s and self._now_s + put.expires_s,
        )


def _without_tokens(result: Result) -> Result:
    if not isinstance(result, Leases | Messages):
        return result
    return type(result)(messages=tuple(msgspec.structs.replace(message, token=0) for message in result.messages))
