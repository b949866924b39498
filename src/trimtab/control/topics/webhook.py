"""Webhook: posts to one subscriber by http what is in its queue, a few at a time, and again as its policy says."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec

from trimtab.clock import Clock
from trimtab.control.topics.fanning import dead_letters_of, name_of
from trimtab.control.topics.posting import Unreachable, post
from trimtab.errors import Invalid, Unavailable
from trimtab.logs import fields
from trimtab.policies.notices.retries import RetryPolicy, delay_s, is_permanent, retry_policy
from trimtab.queues import user_queues
from trimtab.queues.definitions import Definitions
from trimtab.queues.model import Ack, Bury, Lease, Leases, Message, NoQueue, Put, Return
from trimtab.queues.store import Queues
from trimtab.queues.topics import HELD_S, WEBHOOK_PREFIX, Delivery, Subscription, Topic, decode_delivery
from trimtab.queues.user_queues import UserMessage, UserQueue

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 8  # posts to one subscriber
_WAIT_S: Final = 20.0
_AWAY_AGAIN_S: Final = 0.5


class Webhook:
    """Works on the queue of one subscription; `run` until the queue is gone."""

    def __init__(
        self,
        queues: Queues,
        queue: str,
        topics: Definitions[Topic],
        users: Definitions[UserQueue],
        clock: Clock,
    ) -> None:
        self._queues = queues
        self._queue = queue
        self._topics = topics
        self._users = users
        self._clock = clock
        self._posts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the subscription is gone."""
        try:
            while True:
                if len(self._posts) >= _AT_ONCE:
                    await asyncio.wait(self._posts, return_when=asyncio.FIRST_COMPLETED)
                    continue
                try:
                    found = await self._queues.ask(self._lease())
                except Unavailable as error:
                    logger.warning("a subscriber waits %s", fields(queue=self._queue, error=error))
                    await asyncio.sleep(_AWAY_AGAIN_S)
                    continue
                if isinstance(found, NoQueue):
                    return
                for message in found.messages if isinstance(found, Leases) else ():
                    self._begin(message)
        finally:
            for task in self._posts:
                task.cancel()
            await asyncio.gather(*self._posts, return_exceptions=True)

    def _lease(self) -> Lease:
        return Lease(
            queue=self._queue,
            owner=self._queues.owner,
            most=_AT_ONCE - len(self._posts),
            lease_s=HELD_S,
            wait_s=_WAIT_S,
        )

    def _begin(self, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._work(message), name=f"post {message.id}")
        self._posts.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._posts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery has failed %s", fields(queue=self._queue), exc_info=error)

    async def _work(self, message: Message) -> None:
        try:
            delivery = decode_delivery(message.body)
        except msgspec.MsgspecError as error:
            reason = f"it is no delivery: {error}"
            await self._queues.ask(Bury(queue=self._queue, id=message.id, token=message.token, reason=reason))
            return
        try:
            await self._deliver(message, delivery)
        except Unavailable as error:  # what became of it cannot be written down: it is free when its lease ends
            logger.warning("a delivery is tried again later %s", fields(queue=self._queue, error=error))

    async def _deliver(self, message: Message, delivery: Delivery) -> None:
        topic = await self._topics.find(delivery.topic)
        id = self._queue.removeprefix(WEBHOOK_PREFIX)
        subscription = topic.subscription(id) if topic is not None else None
        if topic is None or subscription is None:
            await self._end(message)
            return
        try:
            status = await post(subscription.endpoint, _headers(topic, subscription, delivery), delivery.body.encode())
            reason = "" if 200 <= status < 300 else f"it answered {status}"
        except Unreachable as error:
            status, reason = 0, str(error)
        if not reason:
            await self._end(message)
            return
        await self._failed(message, delivery, topic, subscription, status, reason)

    async def _failed(
        self, message: Message, delivery: Delivery, topic: Topic, subscription: Subscription, status: int, reason: str
    ) -> None:
        pause_s = None if is_permanent(status) else delay_s(policy_of(topic, subscription), message.leases)
        told = fields(topic=topic.arn, endpoint=subscription.endpoint, attempt=message.leases, reason=reason)
        if pause_s is None:
            logger.warning("a message to a subscriber is given up %s", told)
            await self._end(message, await self._dead_letter(message, delivery, subscription))
            return
        logger.info("a message to a subscriber is sent again later %s", told)
        visible_s = self._clock.now_s() + pause_s if pause_s else 0.0
        await self._queues.ask(
            Return(queue=self._queue, id=message.id, token=message.token, reason=reason, visible_s=visible_s)
        )

    async def _end(self, message: Message, instead: Put | None = None) -> None:
        ack = Ack(queue=self._queue, id=message.id, token=message.token, puts=(instead,) if instead else ())
        result = await self._queues.ask(ack)
        if isinstance(result, NoQueue) and instead is not None:  # the dead-letter queue has just been deleted
            self._users.forget(name_of(instead.queue.replace("/", ":")))
            await self._queues.ask(msgspec.structs.replace(ack, puts=()))

    async def _dead_letter(self, message: Message, delivery: Delivery, subscription: Subscription) -> Put | None:
        target = dead_letters_of(subscription)
        queue = await self._users.find(target) if target else None
        if queue is None:
            return None
        sent = UserMessage(body=delivery.original or delivery.body, sender="sns", deduplication=delivery.id)
        group = "sns" if queue.fifo else ""
        return user_queues.put_of(target, queue, sent, id=message.id, now_s=self._clock.now_s(), group=group)


def policy_of(topic: Topic, subscription: Subscription) -> RetryPolicy:
    """The retry policy that counts: the subscription's own, unless the topic forbids that, else the topic's."""
    of_topic: dict[str, Any] = _json(topic.attributes.get("DeliveryPolicy")).get("http", {})
    own = {} if of_topic.get("disableSubscriptionOverrides") else _json(subscription.attributes.get("DeliveryPolicy"))
    chosen = own.get("healthyRetryPolicy") or of_topic.get("defaultHealthyRetryPolicy")
    try:
        return retry_policy(chosen)
    except Invalid:  # it was checked when it was set: by a trimtab that allowed more
        return RetryPolicy()


def _headers(topic: Topic, subscription: Subscription, delivery: Delivery) -> dict[str, str]:
    """AWS's. Source: SNS developer guide, "HTTP/HTTPS headers"."""
    policy = _json(subscription.attributes.get("DeliveryPolicy"))
    content_type = (policy.get("requestPolicy") or {}).get("headerContentType") or "text/plain; charset=UTF-8"
    headers = {
        "x-amz-sns-message-type": delivery.kind,
        "x-amz-sns-message-id": delivery.id,
        "x-amz-sns-topic-arn": topic.arn,
        "Content-Type": content_type,
        "User-Agent": "Amazon Simple Notification Service Agent",
    }
    if not subscription.token:
        headers["x-amz-sns-subscription-arn"] = f"{topic.arn}:{subscription.id}"
    if delivery.raw:
        headers["x-amz-sns-rawdelivery"] = "true"
    return headers


def _json(text: str | None) -> dict[str, Any]:
    return msgspec.json.decode(text) if text else {}
