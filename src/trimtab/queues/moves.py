"""What an op does to queues, as far as one can tell without looking."""

from __future__ import annotations

from trimtab.queues.model import Ack, Bury, Extend, Free, Look, Op, Put, Redrive, Return


def fills(op: Op) -> list[str]:
    """Queues into which an op may put something that can be leased, or make room for it to be."""
    if isinstance(op, Put | Extend | Return):
        return [op.queue]
    if isinstance(op, Ack | Bury):  # the next of a FIFO group
        return [op.queue, *(put.queue for put in op.puts)]
    if isinstance(op, Redrive):
        return [op.queue, op.into]
    return []


def names(op: Op) -> list[str]:
    """Queues that an op names: it changes them, but for Free, which changes those where its owner holds something."""
    if isinstance(op, Free):
        return []
    if isinstance(op, Ack | Bury):
        return [op.queue, *(put.queue for put in op.puts)]
    if isinstance(op, Redrive):
        return [name for name in (op.queue, op.into) if name]
    return [op.queue] if op.queue or not isinstance(op, Look) else []
