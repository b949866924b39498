"""Message move tasks: dead letters go back where they came from, or into another queue, at a bounded rate.

A task stands in the definition of the dead-letter queue, so that it goes on after a restart of control.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import uuid
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import attributes as known
from trimtab.aws.sqs import faults
from trimtab.aws.sqs.book import Book
from trimtab.aws.sqs.naming import arn_of, name_of_arn
from trimtab.clock import Clock
from trimtab.errors import TrimtabError, Unavailable
from trimtab.logs import fields
from trimtab.queues.model import Count, Redrive
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import PREFIX, Move, UserQueue

logger = logging.getLogger(__name__)

Params = dict[str, Any]
_BATCH: Final = 500  # messages in one transaction; AWS's bound of messages per second, too
_KEPT: Final = 10  # tasks of a queue that are remembered, as ListMessageMoveTasks tells
_AGAIN_S: Final = 1.0  # until the queues are asked again that could not be reached
_RUNNING: Final = "RUNNING"


class _Handle(Struct, frozen=True, array_like=True):
    queue: str
    id: str


class Moving:
    """Redrives of dead-letter queues. `run` takes up those that an earlier control left."""

    def __init__(self, queues: Queues, book: Book, clock: Clock) -> None:
        self._queues = queues
        self._book = book
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on with what was under way, for ever. Cancelled, leaves tasks as they are, to be gone on with."""
        try:
            for name, queue in (await self._all()).items():
                for move in queue.moves:
                    if move.status == _RUNNING:
                        self._begin(name, move)
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _all(self) -> dict[str, UserQueue]:
        while True:
            try:
                return await self._book.all()
            except Unavailable as error:
                logger.warning("moves of dead letters wait %s", fields(error=error))
                await asyncio.sleep(_AGAIN_S)

    @operation("sqs", "StartMessageMoveTask")
    async def start_message_move_task(self, call: Call, params: Params) -> Params:
        """Begin to move what is in a dead-letter queue."""
        name, queue = await self._source(call, params["SourceArn"])
        into = ""
        if arn := params.get("DestinationArn"):
            into = name_of_arn(call, arn) or ""
            target = await self._book.find(into) if into else None
            if target is None:
                raise faults.no_resource("DestinationArn")
            if target.fifo != queue.fifo:
                raise faults.bad_value("DestinationArn", arn, "It must be the same type of queue as the source.")
        rate = params.get("MaxNumberOfMessagesPerSecond", 0)
        if "MaxNumberOfMessagesPerSecond" in params and not 1 <= rate <= _BATCH:
            raise faults.bad_value("MaxNumberOfMessagesPerSecond", rate, f"Must be between 1 and {_BATCH}.")
        if name not in {known.dead_letters_of(other) for other in (await self._book.all()).values()}:
            raise faults.bad_message("Source queue must be configured as a Dead Letter Queue.")
        depth, _ = await self._book.look(name)
        move = Move(
            id=str(uuid.uuid4()),
            started_s=self._clock.now_s(),
            into=into,
            most_per_s=rate,
            to_move=depth.waiting if depth is not None else 0,
        )

        def change(queue: UserQueue) -> UserQueue:
            if any(other.status == _RUNNING for other in queue.moves):
                raise faults.not_possible(
                    "There is already a task running. Only one active task is allowed for a source queue arn at a given"
                    " time."
                )
            return structs.replace(queue, moves=(move, *queue.moves)[:_KEPT])

        await self._book.change(name, change)
        self._begin(name, move)
        return {"TaskHandle": _handle_of(name, move)}

    @operation("sqs", "CancelMessageMoveTask")
    async def cancel_message_move_task(self, call: Call, params: Params) -> Params:
        """Move no more. What was moved stays moved."""
        handle = _read(params["TaskHandle"])
        queue = await self._book.find(handle.queue)
        if queue is None or all(move.id != handle.id for move in queue.moves):
            raise faults.no_resource("TaskHandle")

        def change(queue: UserQueue) -> UserQueue:
            move = _move(queue, handle.id)
            if move is None or move.status != _RUNNING:
                raise faults.not_possible("Only active tasks can be cancelled.")
            return _with(queue, structs.replace(move, status="CANCELLED"))

        changed = await self._book.change(handle.queue, change)
        move = _move(changed, handle.id)
        return {"ApproximateNumberOfMessagesMoved": move.moved if move is not None else 0}

    @operation("sqs", "ListMessageMoveTasks")
    async def list_message_move_tasks(self, call: Call, params: Params) -> Params:
        """The newest tasks of a dead-letter queue."""
        name, queue = await self._source(call, params["SourceArn"])
        most = params.get("MaxResults", 1)
        if not 1 <= most <= _KEPT:
            raise faults.bad_value("MaxResults", most, f"Must be between 1 and {_KEPT}.")
        return {"Results": [_told(call, name, move) for move in queue.moves[:most]]}

    async def _source(self, call: Call, arn: str) -> tuple[str, UserQueue]:
        name = name_of_arn(call, arn)
        queue = await self._book.find(name) if name else None
        if name is None or queue is None:
            raise faults.no_resource("SourceArn")
        return name, queue

    # --- the work ----------------------------------------------------------------------------------------------

    def _begin(self, name: str, move: Move) -> None:
        task = asyncio.get_running_loop().create_task(self._carry_out(name, move.id), name=f"move {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, name: str, move_id: str) -> None:
        while True:
            try:
                pause_s = await self._step(name, move_id)
            except Unavailable as error:
                logger.warning("a move of dead letters waits %s", fields(queue=name, error=error))
                pause_s = _AGAIN_S
            except TrimtabError as error:  # the queue is gone
                logger.info("a move of dead letters has ended %s", fields(queue=name, reason=error))
                return
            if pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def _step(self, name: str, move_id: str) -> float | None:
        """Move a batch: how long to wait before the next; None at the end."""
        queue = await self._book.find(name)
        move = _move(queue, move_id) if queue is not None else None
        if move is None or move.status != _RUNNING:
            return None
        most = min(_BATCH, move.most_per_s or _BATCH, move.to_move - move.moved)
        result = await self._queues.ask(
            Redrive(queue=PREFIX + name, into=PREFIX + move.into if move.into else "", most=most)
        )
        moved = result.count if isinstance(result, Count) else 0

        def change(queue: UserQueue) -> UserQueue:
            now = _move(queue, move_id)
            return queue if now is None else _with(queue, _advanced(now, moved))

        changed = _move(await self._book.change(name, change), move_id)
        if changed is None or changed.status != _RUNNING:
            return None
        return 1.0 if move.most_per_s else 0.0


def _advanced(move: Move, moved: int) -> Move:
    """A task after a batch. It ends with what was there when it began, or when nothing more can be moved."""
    total = move.moved + moved
    if move.status != _RUNNING:
        return structs.replace(move, moved=total)
    if total >= move.to_move:
        return structs.replace(move, moved=total, status="COMPLETED")
    if moved == 0:
        return structs.replace(move, moved=total, status="FAILED", failure="CouldNotDetermineMessageSource")
    return structs.replace(move, moved=total)


def _move(queue: UserQueue, move_id: str) -> Move | None:
    return next((move for move in queue.moves if move.id == move_id), None)


def _with(queue: UserQueue, move: Move) -> UserQueue:
    return structs.replace(queue, moves=tuple(move if old.id == move.id else old for old in queue.moves))


def _told(call: Call, name: str, move: Move) -> Params:
    told: Params = {
        "Status": move.status,
        "SourceArn": arn_of(call, name),
        "ApproximateNumberOfMessagesMoved": move.moved,
        "ApproximateNumberOfMessagesToMove": move.to_move,
        "StartedTimestamp": int(move.started_s * 1000),
    }
    if move.status == _RUNNING:
        told["TaskHandle"] = _handle_of(name, move)
    if move.into:
        told["DestinationArn"] = arn_of(call, move.into)
    if move.most_per_s:
        told["MaxNumberOfMessagesPerSecond"] = move.most_per_s
    if move.failure:
        told["FailureReason"] = move.failure
    return told


def _handle_of(name: str, move: Move) -> str:
    return base64.b64encode(msgspec.msgpack.encode(_Handle(name, move.id))).decode("ascii")


def _read(handle: str) -> _Handle:
    try:
        return msgspec.msgpack.decode(base64.b64decode(handle.encode("ascii"), validate=True), type=_Handle)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise faults.bad_value("TaskHandle", handle, "It is not the handle of a task.") from None
