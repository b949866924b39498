"""A batch of ops, in order, in the transaction that a store has begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final

from trimtab.queues.model import (
    Ack,
    Bury,
    Declare,
    Drop,
    Extend,
    Free,
    Lease,
    List,
    Look,
    Op,
    Purge,
    Put,
    Redrive,
    Result,
    Return,
    Rewrite,
)
from trimtab.queues.sql import ending, leasing, managing
from trimtab.queues.sql.book import Book
from trimtab.queues.sql.putting import put_each

_LAZY: Final = (Lease, Extend, Return, Free, Look, List)


def may_be_lost(ops: Sequence[Op]) -> bool:
    """Whether what they change may be lost with the machine: nobody need wait for the disk."""
    return all(isinstance(op, _LAZY) for op in ops)


def carry_out(book: Book, ops: Sequence[Op], now_s: float) -> list[Result]:
    """Each sees those before it."""
    results: list[Result] = []
    for kind, several in groupby(ops, type):
        if kind is Put:
            results += put_each(book, list(several), now_s)  # type: ignore[arg-type]
        else:
            do = _DO[kind]
            results += [do(book, op, now_s) for op in several]
    return results


_DO: Final[dict[type, Callable[[Book, Any, float], Result]]] = {
    Lease: leasing.lease,
    Extend: ending.extend,
    Ack: ending.ack,
    Rewrite: ending.rewrite,
    Return: ending.give_back,
    Bury: ending.bury,
    Free: ending.free,
    Declare: managing.declare,
    Drop: managing.drop,
    Purge: managing.purge,
    Redrive: managing.redrive,
    Look: managing.look,
    List: managing.contents,
}
