"""Deliverer: leases what is in topics' inboxes and hands it on, with the acknowledgement, in one transaction.

So each subscriber's queue gets each message once, whatever dies. What is posted to subscribers by http is taken from
their queues by `Webhook`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from trimtab.clock import Clock
from trimtab.control.topics import envelopes, fanning
from trimtab.control.topics.signing import Signer
from trimtab.control.topics.webhook import Webhook
from trimtab.errors import Unavailable
from trimtab.logs import fields
from trimtab.queues.definitions import Definitions
from trimtab.queues.model import Ack, Bury, Depth, Full, Lease, Leases, Message, NoQueue, Put, Return
from trimtab.queues.store import Queues
from trimtab.queues.topics import (
    HELD_S,
    INBOX_PREFIX,
    WEBHOOK_PREFIX,
    Delivery,
    Publication,
    Subscription,
    Topic,
    decode_publication,
)
from trimtab.queues.user_queues import UserQueue

logger = logging.getLogger(__name__)

_MOST: Final = 32  # messages of a topic in hand at a time
_WAIT_S: Final = 20.0
_FULL_AGAIN_S: Final = 1.0  # until a subscriber's queue that is full is tried again
_AWAY_AGAIN_S: Final = 0.5  # until the queues are asked again that could not be reached


class Deliverer:
    """Serves every topic; `run` for ever."""

    def __init__(
        self,
        queues: Queues,
        topics: Definitions[Topic],
        users: Definitions[UserQueue],
        signer: Signer,
        clock: Clock,
        base_url: Callable[[], str],
    ) -> None:
        """`users` are the queues of SQS; `base_url` is that of this trimtab, as subscribers can reach it."""
        self._queues = queues
        self._topics = topics
        self._users = users
        self._signer = signer
        self._clock = clock
        self._base_url = base_url
        self._workers: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver, for ever. Cancelled, what is in hand is given back."""
        self._queues.watch("sns", self._told)
        try:
            await asyncio.Event().wait()
        finally:
            workers = list(self._workers.values())
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _told(self, depth: Depth) -> None:
        """A topic's inbox or a subscriber's queue is there (or has changed): somebody works on it."""
        queue = depth.queue
        if queue in self._workers:
            return
        if queue.startswith(INBOX_PREFIX):
            self._begin(queue, self._serve(queue))
        elif queue.startswith(WEBHOOK_PREFIX):
            webhook = Webhook(self._queues, queue, self._topics, self._users, self._clock)
            self._begin(queue, webhook.run())

    def _begin(self, queue: str, work: Coroutine[Any, Any, None]) -> None:
        worker = self._workers[queue] = asyncio.get_running_loop().create_task(work, name=f"topic {queue}")
        worker.add_done_callback(lambda done: self._ended(queue, done))

    def _ended(self, queue: str, done: asyncio.Task[None]) -> None:
        self._workers.pop(queue, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("deliveries have stopped %s", fields(queue=queue), exc_info=error)

    async def _serve(self, queue: str) -> None:
        """Until the topic is gone."""
        while True:
            lease = Lease(queue=queue, owner=self._queues.owner, most=_MOST, lease_s=HELD_S, wait_s=_WAIT_S)
            try:
                found = await self._queues.ask(lease)
                if isinstance(found, NoQueue):
                    return
                for message in found.messages if isinstance(found, Leases) else ():
                    await self._hand_on(queue, message)
            except Unavailable as error:
                logger.warning("a topic waits %s", fields(queue=queue, error=error))
                await asyncio.sleep(_AWAY_AGAIN_S)

    async def _hand_on(self, queue: str, message: Message) -> None:
        """To all subscribers, and out of the inbox: all of it or nothing."""
        try:
            said = decode_publication(message.body)
        except msgspec.MsgspecError as error:
            reason = f"it is no publication: {error}"
            await self._queues.ask(Bury(queue=queue, id=message.id, token=message.token, reason=reason))
            return
        name = queue.removeprefix(INBOX_PREFIX)
        gone: set[str] = set()
        while True:
            topic = await self._topics.find(name)
            puts = await self._puts(topic, message, said, gone) if topic is not None else ()
            result = await self._queues.ask(Ack(queue=queue, id=message.id, token=message.token, puts=tuple(puts)))
            if isinstance(result, NoQueue) and result.queue != queue and result.queue not in gone:
                gone.add(result.queue)  # a subscriber's queue has just been deleted: the others are told
                self._users.forget(result.queue.rpartition("/")[2])
                continue
            if isinstance(result, Full):
                logger.warning("a subscriber's queue is full %s", fields(topic=name, limit=result.limit))
                back = self._clock.now_s() + _FULL_AGAIN_S
                await self._queues.ask(
                    Return(queue=queue, id=message.id, token=message.token, reason="full", visible_s=back, counts=False)
                )
            return

    async def _puts(self, topic: Topic, message: Message, said: Publication, gone: set[str]) -> list[Put]:
        puts = []
        for subscription in topic.subscriptions:
            if not fanning.wants(subscription, said):
                continue
            put = await self._put(topic, subscription, message, said)
            if put is None or put.queue in gone:
                logger.warning(
                    "a subscriber's queue is not there %s", fields(topic=topic.arn, endpoint=subscription.endpoint)
                )
                put = await self._to_dead_letters(topic, subscription, message, said)
            if put is not None and put.queue not in gone:
                puts.append(put)
        return puts

    async def _put(self, topic: Topic, subscription: Subscription, message: Message, said: Publication) -> Put | None:
        def sign(members: dict[str, Any]) -> dict[str, Any]:
            return self.signed(topic, subscription, members)

        if subscription.protocol != "sqs":
            return fanning.to_webhook(subscription, topic, message, said, sign)
        queue = await self._users.find(fanning.name_of(subscription.endpoint))
        return None if queue is None else fanning.to_queue(subscription, topic, queue, message, said, sign)

    async def _to_dead_letters(
        self, topic: Topic, subscription: Subscription, message: Message, said: Publication
    ) -> Put | None:
        target = fanning.dead_letters_of(subscription)
        queue = await self._users.find(target) if target else None
        if queue is None:
            return None
        instead = msgspec.structs.replace(subscription, endpoint=f":{target}", protocol="sqs")
        return fanning.to_queue(
            instead, topic, queue, message, said, lambda members: self.signed(topic, subscription, members)
        )

    # --- what is signed ----------------------------------------------------------------------------------------

    def signed(self, topic: Topic, subscription: Subscription, members: dict[str, Any]) -> dict[str, Any]:
        """A message with its signature and, once it is confirmed, the way out of the subscription."""
        base_url = self._base_url()
        version = topic.attributes.get("SignatureVersion", fanning.SIGNED_BY_DEFAULT)
        signed = self._signer.sign(members, version=version, base_url=base_url)
        if members["Type"] == envelopes.NOTIFICATION:
            signed["UnsubscribeURL"] = envelopes.unsubscribe_url(base_url, f"{topic.arn}:{subscription.id}")
        return signed

    async def ask_to_confirm(self, topic: Topic, subscription: Subscription) -> None:
        """Post a subscriber by http the token with which it confirms that it wants to be one."""
        members = envelopes.confirmation(
            topic=topic.arn,
            token=subscription.token,
            id=subscription.id,
            at_s=self._clock.now_s(),
            base_url=self._base_url(),
        )
        delivery = Delivery(
            topic=fanning.name_of(topic.arn),
            kind=envelopes.CONFIRMATION,
            id=subscription.id,
            body=envelopes.rendered(self.signed(topic, subscription, members)),
        )
        await self._queues.ask(fanning.webhook_put(subscription, subscription.token, delivery))
