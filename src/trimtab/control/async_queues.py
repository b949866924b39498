"""AsyncQueues: each asynchronous endpoint has its queue, which says whose it is; topics are told of each deployment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.queues.model import Declare, Depths, Done, Look, Put, QueueSettings
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import (
    BACKLOG_BYTES,
    BACKLOG_ITEMS,
    QUEUE_PREFIX,
    TEST_NOTICE,
    AsyncSettings,
    QueueMark,
    queue_of,
)
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import EndpointStatus

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 60.0
_AGAIN_S = 1.0


class AsyncQueues:
    """Makes the queues what the store says; call `changed` when an endpoint was made, updated or deleted.

    A queue is not removed here but marked: what is in it must end first, each task as failed for its endpoint's
    deletion. The consumer removes it then.
    """

    def __init__(
        self,
        queues: Queues,
        list_endpoints: Callable[[], Sequence[EndpointRecord]],
        publication: Callable[[str, str, bytes], Put],
    ) -> None:
        self._queues = queues
        self._list = list_endpoints
        self._publication = publication
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Look again, soon."""
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            self._changed.clear()
            try:
                await self.reconcile()
            except TrimtabError as error:
                logger.warning("queues of endpoints could not be made %s", fields(error=error))
                pause_s = _AGAIN_S
                continue
            pause_s = 0.0
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def reconcile(self) -> None:
        """Make the queues what they should be, now."""
        found = await self._queues.ask(Look(prefix=QUEUE_PREFIX))
        assert isinstance(found, Depths)
        marks = {depth.queue: _mark_of(depth.settings) for depth in found.depths}
        wanted = {queue_of(record.endpoint.name): record for record in self._list() if _settings(record) is not None}
        for queue, record in wanted.items():
            mark = QueueMark(
                uid=record.uid,
                generation=record.generations,
                deleted=record.endpoint.status is EndpointStatus.DELETING,
            )
            if marks.get(queue) != mark:
                if not mark.deleted:
                    await self._tell_topics(record)
                await self._declare(queue, mark)
        for queue, mark in marks.items():
            if queue not in wanted and not mark.deleted:
                await self._declare(queue, msgspec.structs.replace(mark, deleted=True))

    async def _declare(self, queue: str, mark: QueueMark) -> None:
        settings = QueueSettings(
            max_items=BACKLOG_ITEMS,
            max_bytes=BACKLOG_BYTES,
            tell_expired=True,
            attributes=msgspec.json.encode(mark),
        )
        await self._queues.ask(Declare(queue=queue, settings=settings))
        logger.info("queue of an endpoint %s", fields(queue=queue, uid=mark.uid, deleted=mark.deleted))

    async def _tell_topics(self, record: EndpointRecord) -> None:
        """AWS: a test message is published when an endpoint is created or updated."""
        settings = _settings(record)
        assert settings is not None
        for topic in dict.fromkeys((settings.success_topic, settings.error_topic)):
            if not topic:
                continue
            put = self._publication(topic, f"test-{record.uid}-{record.generations}", TEST_NOTICE)
            if not isinstance(await self._queues.ask(put), Done):
                logger.warning("a topic cannot be told %s", fields(topic=topic, endpoint=record.endpoint.name))


def _settings(record: EndpointRecord) -> AsyncSettings | None:
    """Of the newest deployment."""
    newest = record.incoming or record.serving
    return newest.asynchronous if newest is not None else None


def _mark_of(settings: QueueSettings) -> QueueMark:
    return msgspec.json.decode(settings.attributes, type=QueueMark) if settings.attributes else QueueMark()
