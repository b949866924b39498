"""QueueDesk: what people ask and do about the queue of an asynchronous endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.queues.model import Count, Depth, List, Look, Message, Messages, NoQueue, Op, Purge, Redrive, Result
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import AsyncTask, QueueMark, queue_of

MOST_TASKS: Final = 1000  # listed at once
STATES: Final = ("waiting", "leased", "dead")

_decode = msgspec.msgpack.Decoder(AsyncTask).decode


class QueueView(Struct, frozen=True, kw_only=True):
    """How a queue is. Times are wall times in seconds; 0: there is none."""

    endpoint: str
    waiting: int
    delayed: int  # of these: they are tried again later
    in_flight: int  # somebody works on them
    dead: int
    bytes: int  # of the requests themselves; inputs in S3 are not here
    oldest_s: float  # when the oldest that has not ended was accepted
    accepted: int  # since the queue was made
    ended: int
    retries: int  # times that a request went back to be tried again
    expired: int
    max_items: int
    max_bytes: int
    deleting: bool  # the endpoint is gone: what is left ends as failed


class TaskView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request in a queue."""

    id: str
    state: str
    accepted_s: float
    inference_id: str = ""
    input_location: str = ""
    output_location: str = ""
    attempts: int = 0  # that counted, one under way included
    reason: str = ""  # why it was given back last, or is dead
    endpoint_config: str = ""  # that it was accepted under


class QueueDesk:
    """Names are of endpoints. Raises NotFound for one that is not there, Invalid for one that is not asynchronous, and
    Unavailable while the process that keeps the queues is away."""

    def __init__(self, queues: Queues, named: Callable[[str], str]) -> None:
        """`named`: an endpoint's name as it was given when it was made; NotFound."""
        self._queues = queues
        self._named = named

    async def look(self, endpoint: str) -> QueueView:
        """How its queue is now."""
        name, depth = await self._ask(endpoint, lambda queue: Look(queue=queue))
        assert isinstance(depth, Depth)
        return view_of(name, depth)

    async def tasks(self, endpoint: str, state: str, most: int = 100) -> Sequence[TaskView]:
        """What is in it, oldest first: fewer than `most` where they are large."""
        if state not in STATES:
            raise Invalid(f"state must be one of {', '.join(STATES)}, not {state[:40]!r}.")
        _, found = await self._ask(endpoint, lambda queue: List(queue=queue, state=state, most=most))
        assert isinstance(found, Messages)
        return [_task(message) for message in found.messages]

    async def redrive(self, endpoint: str, most: int) -> int:
        """Let dead letters be worked on anew, oldest first; how many."""
        return await self._count(endpoint, lambda queue: Redrive(queue=queue, most=most))

    async def purge(self, endpoint: str, *, dead: bool) -> int:
        """Remove all that nobody works on, or all dead letters: without result, failure or notice. How many."""
        return await self._count(endpoint, lambda queue: Purge(queue=queue, dead=dead))

    async def _count(self, endpoint: str, op: Callable[[str], Op]) -> int:
        _, counted = await self._ask(endpoint, op)
        assert isinstance(counted, Count)
        return counted.count

    async def _ask(self, endpoint: str, op: Callable[[str], Op]) -> tuple[str, Result]:
        """The endpoint's name, and what the queue answers. An endpoint that is gone may have its queue still."""
        result = await self._queues.ask(op(queue_of(endpoint)))
        if not isinstance(result, NoQueue):
            return endpoint, result
        name = self._named(endpoint)
        if name != endpoint and not isinstance(result := await self._queues.ask(op(queue_of(name))), NoQueue):
            return name, result
        raise Invalid(f"Endpoint {name} has no queue: it is not asynchronous, or is being made.")


def view_of(endpoint: str, depth: Depth) -> QueueView:
    """The same, as people see it."""
    attributes = depth.settings.attributes
    mark = msgspec.json.decode(attributes, type=QueueMark) if attributes else QueueMark()
    return QueueView(
        endpoint=endpoint,
        waiting=depth.waiting,
        delayed=depth.delayed,
        in_flight=depth.leased,
        dead=depth.dead,
        bytes=depth.bytes,
        oldest_s=depth.oldest_put_s,
        accepted=depth.put,
        ended=depth.ended,
        retries=depth.returned,
        expired=depth.expired,
        max_items=depth.settings.max_items,
        max_bytes=depth.settings.max_bytes,
        deleting=mark.deleted,
    )


def _task(message: Message) -> TaskView:
    known = {
        "id": message.id,
        "state": message.state,
        "attempts": message.leases,
        "reason": message.reason,
        "accepted_s": message.put_s,
    }
    try:
        task = _decode(message.body)
    except msgspec.MsgspecError:  # of another version of trimtab: what the queue itself knows is shown
        return TaskView(**known)  # type: ignore[arg-type]
    return TaskView(
        **known,  # type: ignore[arg-type]
        inference_id=task.inference_id,
        input_location=task.input_location,
        output_location=task.output_location,
        endpoint_config=task.version,
    )
