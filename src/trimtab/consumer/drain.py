"""Drain: takes one endpoint's tasks out of their queue, no more at once than its replicas are to have in work."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from trimtab.consumer.held import Held
from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.policies.asynchronous import AWAY_PAUSE_S
from trimtab.queues.model import Depth, Drop, Lease, Leases, Message, NoQueue
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import QueueMark

logger = logging.getLogger(__name__)

_WAIT_S = 60.0  # how long the keeper holds a Lease that finds nothing
_EXPIRED_AT_ONCE = 64
_AGAIN_S = 0.5

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Runs(Protocol):
    """Who brings a task to its end."""

    async def run(self, held: Held, mark: QueueMark) -> None: ...


class Drain:
    """One queue. `to_take()` says how many more tasks it may take now; `look` after anything has changed."""

    def __init__(
        self,
        queue: str,
        queues: Queues,
        runner: Runs,
        spawn: Spawn,
        to_take: Callable[[Drain], int],
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.queue = queue
        self.mark = QueueMark()
        self.depth: Depth | None = None
        self.in_hand = 0
        self.gone = False
        self._queues = queues
        self._runner = runner
        self._spawn = spawn
        self._to_take = to_take
        self._now_s = now_s
        self._asking = False
        self._dropping = False

    @property
    def holds(self) -> bool:
        """Whether anything is in it."""
        return self.in_hand > 0 or (self.depth is not None and self.depth.waiting + self.depth.leased > 0)

    def told(self, depth: Depth) -> None:
        """How the queue is."""
        self.depth = depth
        attributes = depth.settings.attributes
        self.mark = msgspec.json.decode(attributes, type=QueueMark) if attributes else QueueMark()

    def look(self) -> None:
        """Take what may be taken."""
        if self.gone:
            return
        if self.mark.deleted and not self.holds and not self._dropping:
            self._dropping = True
            self._spawn(self._drop())
            return
        most = self._to_take(self)
        if most > 0 and not self._asking:
            self._asking = True
            self._spawn(self._ask(most))

    def look_for_expired(self) -> None:
        """Those that have expired while no replica took them are to be told of all the same."""
        if not self.gone and self.depth is not None and self.depth.waiting:
            self._spawn(self._take_expired())

    async def _ask(self, most: int) -> None:
        wait_s = 0.0 if self.mark.deleted else _WAIT_S
        asked_s = self._now_s()
        lease = Lease(queue=self.queue, owner=self._queues.owner, most=most, lease_s=math.inf, wait_s=wait_s)
        try:
            result = await self._queues.ask(lease)
        except TrimtabError as error:
            logger.warning("no tasks can be had %s", fields(queue=self.queue, error=error))
            await asyncio.sleep(_AGAIN_S)
            return
        finally:
            self._asking = False
        self._take(result, asked_s)
        if not (isinstance(result, Leases) and not result.messages and self.mark.deleted):
            self.look()

    async def _take_expired(self) -> None:
        lease = Lease(
            queue=self.queue,
            owner=self._queues.owner,
            most=_EXPIRED_AT_ONCE,
            lease_s=math.inf,
            only_expired=True,
        )
        try:
            self._take(await self._queues.ask(lease), self._now_s())
        except TrimtabError as error:
            logger.warning("expired tasks cannot be had %s", fields(queue=self.queue, error=error))

    def _take(self, result: object, asked_s: float) -> None:
        if isinstance(result, NoQueue):
            self.gone = True
        elif isinstance(result, Leases):
            for message in result.messages:
                has_room = message.expired or self._to_take(self) > 0
                self.in_hand += 1
                self._spawn(self._run(message, asked_s) if has_room else self._hand_back(message))

    async def _hand_back(self, message: Message) -> None:
        """Replicas have gone while the keeper held our Lease: whoever has room may have it."""
        try:
            await self._return(Held(self._queues, self.queue, message), "there was no replica", counts=False)
        finally:
            self.in_hand -= 1

    async def _run(self, message: Message, asked_s: float) -> None:
        is_new = message.leases == 1 and not message.reason  # else it may have had to stay away for a while
        held = Held(self._queues, self.queue, message, max(asked_s, message.put_s) if is_new else self._now_s())
        try:
            await self._runner.run(held, self.mark)
        except TrimtabError as error:  # the queues are away, or a defect: the task must not stay with us for ever
            logger.warning("a task was left %s", fields(queue=self.queue, id=message.id, error=error))
            await self._return(held, str(error), pause_s=AWAY_PAUSE_S)
        except Exception as error:
            logger.exception("a task failed by a defect queue=%s id=%s", self.queue, message.id)
            await self._return(held, f"a defect: {error!r}", pause_s=AWAY_PAUSE_S)
        finally:
            self.in_hand -= 1
            self.look()

    async def _return(self, held: Held, reason: str, *, counts: bool = True, pause_s: float = 0.0) -> None:
        while True:
            try:
                visible_s = self._now_s() + pause_s if pause_s else 0.0
                await held.give_back(reason, visible_s=visible_s, counts=counts)
                return
            except TrimtabError:
                await asyncio.sleep(_AGAIN_S)

    async def _drop(self) -> None:
        try:
            await self._queues.ask(Drop(queue=self.queue, only_empty=True))
        except TrimtabError as error:
            logger.warning("a deleted endpoint's queue is still there %s", fields(queue=self.queue, error=error))
        finally:
            self._dropping = False
