"""Notices to topics that are not here: kept in a queue, published to a real SNS, again until it has taken them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from trimtab.clock import Clock
from trimtab.control.topics.posting import Unreachable
from trimtab.errors import Unavailable
from trimtab.logs import fields
from trimtab.policies.notices.retries import is_permanent
from trimtab.queues.model import Ack, Bury, Declare, Lease, Leases, Message, QueueSettings, Return
from trimtab.queues.store import Queues
from trimtab.queues.topics import ELSEWHERE, HELD_S, KEPT_S, Publication, decode_publication

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 8
_WAIT_S: Final = 20.0
_AWAY_AGAIN_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 300.0
_NOT_NOW: Final = (403, 408)  # of a key that is being changed, of a proxy: tried again, unlike other refusals

Publish = Callable[[Publication], Awaitable[int]]


class Elsewhere:
    """`run` for ever. `publish` gives the status that the other SNS answers, or raises Unreachable."""

    def __init__(self, queues: Queues, publish: Publish, clock: Clock) -> None:
        self._queues = queues
        self._publish = publish
        self._clock = clock

    async def run(self) -> None:
        """Publish what comes. Cancelled, what is in hand is given back with the client's leases."""
        declared = False
        while True:
            try:
                if not declared:
                    await self._queues.ask(Declare(queue=ELSEWHERE, settings=QueueSettings(retention_s=KEPT_S)))
                    declared = True
                owner = self._queues.owner
                lease = Lease(queue=ELSEWHERE, owner=owner, most=_AT_ONCE, lease_s=HELD_S, wait_s=_WAIT_S)
                found = await self._queues.ask(lease)
                if isinstance(found, Leases):
                    await asyncio.gather(*(self._one(message) for message in found.messages))
            except Unavailable as error:
                logger.warning("notices to another SNS wait %s", fields(error=error))
                await asyncio.sleep(_AWAY_AGAIN_S)

    async def _one(self, message: Message) -> None:
        held: dict[str, Any] = {"queue": ELSEWHERE, "id": message.id, "token": message.token}
        try:
            said = decode_publication(message.body)
        except msgspec.MsgspecError as error:
            await self._queues.ask(Bury(**held, reason=f"it is no publication: {error}"))
            return
        try:
            status = await self._publish(said)
            reason = "" if 200 <= status < 300 else f"it answered {status}"
        except Unreachable as error:
            status, reason = 0, str(error)
        if not reason:
            await self._queues.ask(Ack(**held))
            return
        logger.warning("another SNS has not taken a notice %s", fields(topic=said.topic, reason=reason))
        if is_permanent(status) and status not in _NOT_NOW:
            await self._queues.ask(Bury(**held, reason=reason))
            return
        pause_s = min(_LONGEST_PAUSE_S, 2.0 ** min(message.leases - 1, 16))
        await self._queues.ask(Return(**held, reason=reason, visible_s=self._clock.now_s() + pause_s))
