"""Times of the keeper's clock and of the database's, one into the other. 0 stays 0: it means none."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from trimtab.queues.model import Ack, Bury, Depth, Depths, Leases, Message, Messages, Op, Put, Result, Return


def ops_there(ops: Sequence[Op], ahead_s: float) -> Sequence[Op]:
    """Ops in the database's time, which is `ahead_s` later."""
    return [_op_there(op, ahead_s) for op in ops] if ahead_s else ops


def _op_there(op: Op, ahead_s: float) -> Op:
    if isinstance(op, Put):
        return _put_there(op, ahead_s)
    if isinstance(op, Return) and op.visible_s:
        return replace(op, visible_s=op.visible_s + ahead_s)
    if isinstance(op, Ack | Bury) and op.puts:
        return replace(op, puts=tuple(_put_there(put, ahead_s) for put in op.puts))
    return op


def _put_there(put: Put, ahead_s: float) -> Put:
    if not put.visible_s and not put.expires_s:
        return put
    visible_s = put.visible_s and put.visible_s + ahead_s
    return replace(put, visible_s=visible_s, expires_s=put.expires_s and put.expires_s + ahead_s)


def results_here(results: Sequence[Result], ahead_s: float) -> Sequence[Result]:
    """What the database answered, in the keeper's time."""
    return [result_here(result, ahead_s) for result in results] if ahead_s else results


def result_here(result: Result, ahead_s: float) -> Result:
    """One of them."""
    if isinstance(result, Leases | Messages):
        return replace(result, messages=tuple(_message_here(message, ahead_s) for message in result.messages))
    if isinstance(result, Depths):
        return replace(result, depths=tuple(depth_here(depth, ahead_s) for depth in result.depths))
    return depth_here(result, ahead_s) if isinstance(result, Depth) else result


def _message_here(message: Message, ahead_s: float) -> Message:
    first_leased_s = message.first_leased_s and message.first_leased_s - ahead_s
    return replace(message, put_s=message.put_s - ahead_s, first_leased_s=first_leased_s)


def depth_here(depth: Depth, ahead_s: float) -> Depth:
    """How a queue is, in the keeper's time."""
    return replace(depth, oldest_put_s=depth.oldest_put_s and depth.oldest_put_s - ahead_s)
