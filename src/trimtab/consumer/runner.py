"""Runner: one leased task, from wherever it stands to its one visible result and its one notice.

The order is what makes them one: the outcome is recorded under the lease (and fsynced) before anything of it can be
seen; publishing it is the same whoever does it and however often; and the message ends in the same transaction as its
notice begins. Whoever leases the task after a crash goes on from the record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trimtab.consumer import notices
from trimtab.consumer.calls import TaskCall
from trimtab.consumer.held import Held, inbox_full, no_inbox
from trimtab.consumer.objects import ObjectRefused, Objects, ObjectTooLarge, Sent, UploadGone
from trimtab.consumer.spool import Room, Spool
from trimtab.errors import Invalid, ModelFailed, NotFound, ReplicaLost, TooLarge, Unavailable
from trimtab.gateway.gateway import Gateway
from trimtab.logs import fields
from trimtab.policies.asynchronous import (
    AWAY_PAUSE_S,
    ENDS_QUIETLY,
    PUBLISH_FOR_S,
    Reason,
    Step,
    next_step,
    pause_s,
)
from trimtab.queues.model import Put
from trimtab.resources.asynchronous import DECIDED, MAX_INPUT_BYTES, AsyncTask, QueueMark, TaskResult

logger = logging.getLogger(__name__)

INLINE_RESULT_BYTES = 256 << 10  # answers up to this are recorded with the task itself
_THREADS = 16  # that talk to S3

_decode = msgspec.msgpack.Decoder(AsyncTask).decode
T = TypeVar("T")


class Ended(Struct, frozen=True, kw_only=True):
    """How a task has ended, for metrics. Times in seconds; 0 where the step did not happen in this process."""

    endpoint: str
    variant: str
    ok: bool
    reason: str = ""
    accepted_s: float = 0.0
    first_leased_s: float = 0.0
    ended_s: float = 0.0
    download_s: float = 0.0
    model_s: float = 0.0
    upload_s: float = 0.0
    in_work_s: float = 0.0  # all of it, from when a place among those in work was taken for it
    notice_failed: bool = False


class _Times:
    """What one life of a task took here."""

    variant = ""
    download_s = model_s = upload_s = 0.0
    notice_failed = False


class _NotNow(Exception):
    """Nothing was decided: the task waits again."""

    def __init__(self, reason: str, pause_s: float, *, counts: bool) -> None:
        super().__init__(reason)
        self.reason, self.pause_s, self.counts = reason, pause_s, counts


class Runner:
    """Brings tasks to their ends. One for a consumer."""

    def __init__(
        self,
        gateway: Gateway,
        objects: Objects,
        *,
        publication: Callable[[str, str, bytes], Put],
        spool_dir: Path,
        region: str = "us-east-1",
        told: Callable[[Ended], None] = lambda ended: None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`publication(topic ARN, id, message)` is what puts a message into a topic; `told` hears of each end."""
        self._gateway = gateway
        self._objects = objects
        self._publication = publication
        self._spool_dir = spool_dir
        self._region = region
        self._told = told
        self._now_s = now_s
        self._room = Room()
        self._threads = ThreadPoolExecutor(_THREADS, "s3")

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, held: Held, mark: QueueMark) -> None:
        """Bring a task on as far as it goes now. Nothing is raised but by a defect."""
        times = _Times()
        try:
            task = _decode(held.message.body)
        except msgspec.MsgspecError as error:
            logger.error("a task cannot be read %s", fields(queue=held.queue, id=held.message.id, error=error))
            await held.end((), dead=f"it cannot be read: {error}")
            return
        try:
            decided = await self._decided(held, task, mark, times)
            if decided is not None:
                await self._publish(held, decided, times)
        except _NotNow as later:
            visible_s = self._now_s() + later.pause_s if later.pause_s else 0.0
            await held.give_back(later.reason, visible_s=visible_s, counts=later.counts)

    # --- the outcome -------------------------------------------------------------------------------------------

    async def _decided(self, held: Held, task: AsyncTask, mark: QueueMark, times: _Times) -> AsyncTask | None:
        """The task with its outcome, recorded. None: it is somebody else's now."""
        message = held.message
        step = next_step(task, mark, leases=message.leases, expired=message.expired)
        if step is Step.PUBLISH:
            return task
        if task.stage:  # out of the dead letters: it begins anew
            task = replace(task, stage="", result=None)
            if not await held.record(task):
                return None
        result = await self._work(held, task, times) if step is Step.WORK else self._unworked(step, held)
        decided = replace(task, stage=DECIDED, result=result)
        if await held.record(decided):
            return decided
        if result.upload_id:
            await self._forget_upload(task, result)
        return None

    def _unworked(self, step: Step, held: Held) -> TaskResult:
        if step is Step.EXPIRED:
            return notices.failure(
                Reason.EXPIRED, "ClientError: The request expired: it was in the queue for longer than its TTL."
            )
        if step is Step.DELETED:
            return notices.failure(Reason.ENDPOINT_DELETED, "ClientError: The endpoint was deleted.")
        text = f"InternalError: {held.message.leases - 1} attempts ended without an answer: {held.message.reason}."
        return notices.failure(Reason.REPLICAS_LOST, text)

    async def _work(self, held: Held, task: AsyncTask, times: _Times) -> TaskResult:
        """Ask the model. Raises _NotNow where nothing can be said of the task itself."""
        leases = held.message.leases
        with Spool(self._spool_dir, self._room) as source, Spool(self._spool_dir, self._room) as answer:
            try:
                refusal = await self._fetch(task, source, times)
                if refusal is not None:
                    return refusal
                call = TaskCall(task, source.pieces(), source.size_bytes, answer)
                return await self._ask(held, task, call, times)
            except ReplicaLost as error:
                raise _NotNow(str(error), pause_s(leases), counts=True) from error
            except Unavailable as error:
                raise _NotNow(str(error), AWAY_PAUSE_S, counts=False) from error
            except (NotFound, Invalid) as error:  # the endpoint is on its way out, or takes nothing now
                raise _NotNow(str(error), AWAY_PAUSE_S, counts=False) from error
            except OSError as error:
                logger.error("a task's bytes cannot be kept %s", fields(task=task.id, error=error))
                raise _NotNow(f"the disk: {error}", AWAY_PAUSE_S, counts=False) from error

    async def _fetch(self, task: AsyncTask, source: Spool, times: _Times) -> TaskResult | None:
        """The input into `source`; or the end of a task whose input cannot be had."""
        if task.inline is not None:
            source.write(task.inline)
            return None
        begun_s = time.monotonic()
        where = task.input_location
        try:
            await self._in_thread(lambda: self._objects.fetch(where, source, limit_bytes=MAX_INPUT_BYTES))
        except ObjectTooLarge as error:
            return notices.failure(Reason.INPUT_TOO_LARGE, f"ClientError: {error}")
        except ObjectRefused as error:
            reason = Reason.INPUT_MISSING if error.missing else Reason.INPUT_REFUSED
            return notices.failure(reason, f"ClientError: Unable to download input from {where}: {error}")
        times.download_s = time.monotonic() - begun_s
        return None

    async def _ask(self, held: Held, task: AsyncTask, call: TaskCall, times: _Times) -> TaskResult:
        begun_s = time.monotonic()
        self._gateway.submit(call)
        try:
            meta = await call.outcome
        except asyncio.CancelledError:
            call.cancel()
            raise
        except ModelFailed as error:
            container = call.variant.route.container if call.variant is not None else "primary"
            return notices.model_failure(error, container, call.version)
        except TooLarge as error:
            reason = Reason.OUTPUT_TOO_LARGE if call.answer.size_bytes else Reason.INPUT_TOO_LARGE
            return notices.failure(reason, f"ClientError: {error}", version=call.version)
        finally:
            times.model_s = time.monotonic() - begun_s
            times.variant = call.variant.route.name if call.variant is not None else ""
        size_bytes = call.answer.size_bytes
        done = TaskResult(ok=True, content_type=meta.content_type, version=call.version, size_bytes=size_bytes)
        if size_bytes <= INLINE_RESULT_BYTES:
            return replace(done, inline=b"".join(bytes(piece) for piece in call.answer.pieces()))
        return await self._stage(held, task, call.answer, done, times)

    async def _stage(self, held: Held, task: AsyncTask, answer: Spool, done: TaskResult, times: _Times) -> TaskResult:
        """A large answer is uploaded but for the upload's completion, which makes it visible."""
        if not task.output_location:
            return replace(done, inline=None)  # nobody asked for it: AWS's notices have no room for it either
        begun_s, alone = time.monotonic(), held.message.leases == 1 and not held.message.reason
        sent, where = _sent(task, done), task.output_location
        try:
            upload_id, etags = await self._in_thread(
                lambda: self._objects.stage(where, answer.reader(), sent, alone=alone)
            )
        except ObjectRefused as error:
            return _unpublished(task, done, error)
        times.upload_s = time.monotonic() - begun_s
        return replace(done, upload_id=upload_id, parts=tuple(etags))

    # --- its publication ---------------------------------------------------------------------------------------

    async def _publish(self, held: Held, task: AsyncTask, times: _Times) -> None:
        """Make the outcome visible, then end the task."""
        result = task.result
        assert result is not None
        begun_s = time.monotonic()
        try:
            await self._send(task, result)
        except UploadGone as error:
            logger.warning("a staged answer is gone: asking again %s", fields(task=task.id, error=error))
            if await held.record(replace(task, stage="", result=None)):
                raise _NotNow("its answer was lost before it was published", 0.0, counts=True) from error
            return
        except ObjectRefused as error:
            if result.ok:
                await self._end_unpublished(held, task, _unpublished(task, result, error), times)
                return
            logger.warning("a failure cannot be written %s", fields(task=task.id, to=task.failure_location, why=error))
        except Unavailable as error:
            if self._now_s() - held.message.first_leased_s < PUBLISH_FOR_S + task.timeout_s:
                raise _NotNow(f"publishing: {error}", AWAY_PAUSE_S, counts=True) from error
            if result.ok:
                await self._end_unpublished(held, task, _unpublished(task, result, error), times)
                return
        times.upload_s += time.monotonic() - begun_s
        await self._end(held, task, times)

    async def _end_unpublished(self, held: Held, task: AsyncTask, instead: TaskResult, times: _Times) -> None:
        """The answer is refused where it is to go, and nothing of it is visible: that is the outcome then."""
        assert task.result is not None
        if not await held.record(failed := replace(task, result=instead)):
            return
        if task.result.upload_id:
            await self._forget_upload(task, task.result)
        await self._publish(held, failed, times)

    async def _send(self, task: AsyncTask, result: TaskResult) -> None:
        where = task.output_location if result.ok else task.failure_location
        if not where:
            return
        sent, body = _sent(task, result), result.inline
        if body is not None:
            await self._in_thread(lambda: self._objects.put(where, body, sent))
        elif result.upload_id:
            await self._in_thread(lambda: self._objects.complete(where, result.upload_id, result.parts, sent))

    async def _end(self, held: Held, task: AsyncTask, times: _Times) -> None:
        result = task.result
        assert result is not None
        topic = notices.topic_of(task, result)
        puts: tuple[Put, ...] = ()
        if topic:
            message = notices.notice(task, result, region=self._region, now_s=self._now_s())
            puts = (self._publication(topic, f"{task.id}-{held.message.token}", message),)
        dead = "" if result.ok or result.reason in ENDS_QUIETLY else f"{result.reason}: {result.failure}"
        ended = await held.end(puts, dead=dead)
        if no_inbox(ended, held.queue):
            times.notice_failed = True
            logger.warning("a notice is dropped: there is no such topic %s", fields(topic=topic, task=task.id))
            ended = await held.end((), dead=dead)
        if inbox_full(ended):
            raise _NotNow(f"the topic {topic} takes no more for now", AWAY_PAUSE_S, counts=True)
        self._tell(held, task, result, times)

    def _tell(self, held: Held, task: AsyncTask, result: TaskResult, times: _Times) -> None:
        self._told(
            Ended(
                endpoint=task.endpoint,
                variant=times.variant,
                ok=result.ok,
                reason=result.reason,
                accepted_s=task.accepted_s,
                first_leased_s=held.message.first_leased_s,
                ended_s=self._now_s(),
                download_s=times.download_s,
                model_s=times.model_s,
                upload_s=times.upload_s,
                in_work_s=max(0.0, self._now_s() - held.since_s) if held.since_s else 0.0,
                notice_failed=times.notice_failed,
            )
        )

    async def _forget_upload(self, task: AsyncTask, result: TaskResult) -> None:
        try:
            await self._in_thread(lambda: self._objects.abandon(task.output_location, result.upload_id))
        except (ObjectRefused, Unavailable) as error:
            logger.info("a staged answer is left behind %s", fields(task=task.id, error=error))

    def _in_thread(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        async def wait() -> T:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

        return wait()


def _sent(task: AsyncTask, result: TaskResult) -> Sent:
    """An object that says which task it is of, and which version has answered."""
    metadata = {"trimtab-task": task.id}
    if result.version:
        metadata["trimtab-endpoint-config"] = result.version
    return Sent(content_type=result.content_type, metadata=metadata)


def _unpublished(task: AsyncTask, result: TaskResult, error: Exception) -> TaskResult:
    return notices.failure(
        Reason.OUTPUT_REFUSED,
        f"ClientError: Unable to upload the response to {task.output_location}: {error}",
        version=result.version,
    )
