"""Held: a message under this consumer's lease. What is no longer its own, it changes no more."""

from __future__ import annotations

import msgspec

from trimtab.queues.model import Ack, Bury, Done, Full, Message, NoQueue, Put, Result, Return, Rewrite
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import AsyncTask

_encode = msgspec.msgpack.Encoder().encode


class Held:
    """One leased message. `since_s`: wall time since which a place among those in work is its; 0: not known."""

    def __init__(self, queues: Queues, queue: str, message: Message, since_s: float = 0.0) -> None:
        self.queue = queue
        self.since_s = since_s
        self.message = message
        self._queues = queues

    async def record(self, task: AsyncTask) -> bool:
        """Write down how far the task has come. False: the lease is somebody else's now."""
        body = _encode(task)
        op = Rewrite(queue=self.queue, id=self.message.id, token=self.message.token, body=body)
        return isinstance(await self._queues.ask(op), Done)

    async def give_back(self, reason: str, *, visible_s: float = 0.0, counts: bool = True) -> None:
        """It waits again, from a wall time on."""
        op = Return(
            queue=self.queue,
            id=self.message.id,
            token=self.message.token,
            reason=reason,
            visible_s=visible_s,
            counts=counts,
        )
        await self._queues.ask(op)

    async def end(self, puts: tuple[Put, ...], *, dead: str = "") -> Result:
        """It has ended, and `puts` are enqueued, or neither. `dead`: it is kept among the dead letters, for this."""
        where = {"queue": self.queue, "id": self.message.id, "token": self.message.token}
        op = Bury(**where, reason=dead, puts=puts) if dead else Ack(**where, puts=puts)  # type: ignore[arg-type]
        return await self._queues.ask(op)


def no_inbox(result: Result, queue: str) -> bool:
    """Whether an end failed because a queue that was to be put into is not there."""
    return isinstance(result, NoQueue) and result.queue != queue


def inbox_full(result: Result) -> bool:
    """Whether an end failed because a queue that was to be put into takes nothing more for now."""
    return isinstance(result, Full)
