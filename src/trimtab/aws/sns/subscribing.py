"""Subscriptions: by SQS (confirmed at once) and by http and https (confirmed by the subscriber)."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import structs

from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sns import faults
from trimtab.aws.sns.naming import subscription_of, topic_of
from trimtab.aws.sns.topics import check_retries, object_of
from trimtab.aws.sqs.naming import name_of_arn
from trimtab.control.topics.deliverer import Deliverer
from trimtab.errors import Invalid, NotFound
from trimtab.policies.notices.filters import check as check_filter
from trimtab.queues.definitions import Definitions
from trimtab.queues.model import Declare, Drop, QueueSettings
from trimtab.queues.store import Queues
from trimtab.queues.topics import KEPT_S, WEBHOOK_PREFIX, Subscription, Topic
from trimtab.queues.user_queues import UserQueue

Params = dict[str, Any]
PENDING: Final = "PendingConfirmation"  # AWS: instead of an ARN, in listings
_PAGE: Final = 100
_MOST: Final = 1000  # subscriptions of a topic
_PROTOCOLS: Final = ("sqs", "http", "https")
_OTHERS: Final = ("email", "email-json", "sms", "application", "lambda", "firehose")
_CONTENT_TYPE: Final = re.compile(r"[!-~]+/[ -~]+")
_SETTABLE: Final = ("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")


class Subscribing:
    """Makes and changes subscriptions."""

    def __init__(
        self,
        queues: Queues,
        topics: Definitions[Topic],
        users: Definitions[UserQueue],
        deliverer: Deliverer,
        pager: Pager,
    ) -> None:
        self._queues = queues
        self._topics = topics
        self._users = users
        self._deliverer = deliverer
        self._pager = pager

    @operation("sns", "Subscribe", missing="the protocols sqs, http and https")
    async def subscribe(self, call: Call, params: Params) -> Params:
        """A subscription; the one that is there, if it is of the same endpoint with the same attributes."""
        name = topic_of(call, params["TopicArn"])
        topic = await self._topics.get(name)
        protocol, endpoint = params["Protocol"], params.get("Endpoint", "")
        await self._check_endpoint(call, topic, protocol, endpoint)
        attributes = {k: await self._checked(call, k, text) for k, text in params.get("Attributes", {}).items()}
        _check_together(attributes)
        made = Subscription(
            id=str(uuid.uuid4()),
            protocol=protocol,
            endpoint=endpoint,
            token="" if protocol == "sqs" else secrets.token_hex(32),
            attributes=attributes,
        )

        def change(topic: Topic) -> Topic:
            there = _same(topic, made)
            if there is not None and there.attributes != attributes and attributes:
                raise faults.invalid("Attributes Reason: Subscription already exists with different attributes")
            if there is None and len(topic.subscriptions) >= _MOST:
                raise faults.limit(f"A topic may have at most {_MOST} subscriptions here.")
            return topic if there is not None else structs.replace(topic, subscriptions=(*topic.subscriptions, made))

        if protocol != "sqs":
            await self._queues.ask(Declare(queue=WEBHOOK_PREFIX + made.id, settings=QueueSettings(retention_s=KEPT_S)))
        found = None
        try:
            changed = await self._topics.change(name, change)
            found = _same(changed, made) or made
        finally:
            if protocol != "sqs" and (found is None or found.id != made.id):  # refused, or it was there before
                await self._queues.ask(Drop(queue=WEBHOOK_PREFIX + made.id))
        if found.token:
            await self._deliverer.ask_to_confirm(changed, found)
        told = not found.token or params.get("ReturnSubscriptionArn")
        return {"SubscriptionArn": f"{topic.arn}:{found.id}" if told else "pending confirmation"}

    @operation("sns", "ConfirmSubscription", missing="AuthenticateOnUnsubscribe changes nothing")
    async def confirm_subscription(self, call: Call, params: Params) -> Params:
        """The subscriber says that it wants to be one, with the token that it was sent."""
        name, token = topic_of(call, params["TopicArn"]), params["Token"]
        topic = await self._topics.get(name)
        found = next(
            (one for one in topic.subscriptions if one.token and secrets.compare_digest(one.token, token)), None
        )
        if found is None:
            raise faults.invalid("Token")
        confirmed = structs.replace(found, token="")
        await self._topics.change(name, lambda topic: _with(topic, confirmed))
        return {"SubscriptionArn": f"{topic.arn}:{found.id}"}

    @operation("sns", "Unsubscribe")
    async def unsubscribe(self, call: Call, params: Params) -> Params:
        """The end of a subscription, with what was not delivered yet. AWS: no error when it is not there."""
        name, id = subscription_of(call, params["SubscriptionArn"])

        def change(topic: Topic) -> Topic:
            kept = tuple(one for one in topic.subscriptions if one.id != id)
            return structs.replace(topic, subscriptions=kept)

        if await self._topics.find(name) is not None:
            await self._topics.change(name, change)
            await self._queues.ask(Drop(queue=WEBHOOK_PREFIX + id))
        return {}

    @operation("sns", "GetSubscriptionAttributes")
    async def get_subscription_attributes(self, call: Call, params: Params) -> Params:
        """All of them."""
        topic, found = await self._found(call, params["SubscriptionArn"])
        return {
            "Attributes": {
                "SubscriptionArn": f"{topic.arn}:{found.id}",
                "TopicArn": topic.arn,
                "Protocol": found.protocol,
                "Endpoint": found.endpoint,
                "Owner": call.account,
                "PendingConfirmation": "true" if found.token else "false",
                "ConfirmationWasAuthenticated": "false" if found.token or found.protocol != "sqs" else "true",
                "RawMessageDelivery": "false",
                **({"FilterPolicyScope": "MessageAttributes"} if "FilterPolicy" in found.attributes else {}),
                **found.attributes,
            }
        }

    @operation("sns", "SetSubscriptionAttributes")
    async def set_subscription_attributes(self, call: Call, params: Params) -> Params:
        """Change one; an empty value removes it."""
        key, text = params["AttributeName"], params.get("AttributeValue", "")
        if key not in _SETTABLE:
            raise faults.invalid("AttributeName")
        await self._found(call, params["SubscriptionArn"])
        empty = text in ("", "{}") and key != "RawMessageDelivery"
        checked = "" if empty else await self._checked(call, key, text)
        name, id = subscription_of(call, params["SubscriptionArn"])

        def change(topic: Topic) -> Topic:
            now = topic.subscription(id)
            if now is None:
                raise NotFound("subscription", id)
            others = {k: v for k, v in now.attributes.items() if k != key}
            attributes = {**others, **({key: checked} if checked else {})}
            _check_together(attributes)
            return _with(topic, structs.replace(now, attributes=attributes))

        await self._topics.change(name, change)
        return {}

    @operation("sns", "ListSubscriptions")
    async def list_subscriptions(self, call: Call, params: Params) -> Params:
        """A hundred at a time."""
        return self._page(call, list((await self._topics.all()).values()), "sns subscriptions", params)

    @operation("sns", "ListSubscriptionsByTopic")
    async def list_subscriptions_by_topic(self, call: Call, params: Params) -> Params:
        """A hundred at a time."""
        name = topic_of(call, params["TopicArn"])
        return self._page(call, [await self._topics.get(name)], f"sns subscriptions {name}", params)

    # --- parts -------------------------------------------------------------------------------------------------

    def _page(self, call: Call, topics: list[Topic], listing: str, params: Params) -> Params:
        every = [(topic, one) for topic in topics for one in topic.subscriptions]
        page, token = self._pager.page(
            every,
            listing=listing,
            place=lambda pair: (pair[0].arn, pair[1].id),
            descending=False,
            limit=_PAGE,
            token=params.get("NextToken", ""),
        )
        told = [
            {
                "SubscriptionArn": PENDING if one.token else f"{topic.arn}:{one.id}",
                "Owner": call.account,
                "Protocol": one.protocol,
                "Endpoint": one.endpoint,
                "TopicArn": topic.arn,
            }
            for topic, one in page
        ]
        return {"Subscriptions": told, **({"NextToken": token} if token else {})}

    async def _found(self, call: Call, arn: str) -> tuple[Topic, Subscription]:
        name, id = subscription_of(call, arn)
        topic = await self._topics.find(name)
        found = topic.subscription(id) if topic is not None else None
        if topic is None or found is None:
            raise NotFound("subscription", arn)
        return topic, found

    async def _check_endpoint(self, call: Call, topic: Topic, protocol: str, endpoint: str) -> None:
        if protocol in _OTHERS:
            raise faults.invalid(f"Protocol Reason: trimtab delivers by {', '.join(_PROTOCOLS)}, not by {protocol}")
        if protocol not in _PROTOCOLS:
            raise faults.invalid(f"Amazon SNS does not support this protocol string: {protocol[:50]}")
        if protocol != "sqs":
            if not _is_url(endpoint, protocol):
                raise faults.invalid("Endpoint Reason: must begin with the protocol and name a host")
            if topic.fifo:
                raise faults.invalid("Endpoint Reason: FIFO topics deliver to SQS queues")
            return
        name = name_of_arn(call, endpoint)
        queue = await self._users.find(name) if name else None
        if queue is None:
            raise faults.invalid("SQS endpoint ARN")
        if queue.fifo and not topic.fifo:
            raise faults.invalid("Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")

    async def _checked(self, call: Call, key: str, text: str) -> str:
        if key not in _SETTABLE:
            raise faults.invalid(f"AttributeName Reason: Unknown attribute {key[:100]}")
        if key == "RawMessageDelivery" and text not in ("true", "false"):
            raise faults.invalid("Attributes Reason: RawMessageDelivery: Invalid value. Must be true or false.")
        if key == "FilterPolicyScope" and text not in ("MessageAttributes", "MessageBody"):
            raise faults.invalid("FilterPolicyScope: Invalid value. Must be MessageAttributes or MessageBody.")
        if key == "DeliveryPolicy":
            policy = object_of(text, key)
            check_retries(policy.get("healthyRetryPolicy"))
            _check_request(policy.get("requestPolicy") or {})
        if key == "FilterPolicy":
            object_of(text, key)
        if key == "RedrivePolicy":
            target = object_of(text, key).get("deadLetterTargetArn")
            name = name_of_arn(call, target) if isinstance(target, str) else None
            if name is None or await self._users.find(name) is None:
                raise faults.invalid("RedrivePolicy: deadLetterTargetArn must be the ARN of an SQS queue that is there")
        return text


def _is_url(endpoint: str, protocol: str) -> bool:
    """Whether a message can be posted there: printable ASCII, a host, and a port if one is named."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return False
    printable = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    return printable and parts.scheme == protocol and bool(parts.hostname) and port != 0


def _check_request(policy: Any) -> None:
    """Raises InvalidParameter for what is no requestPolicy."""
    content_type = policy.get("headerContentType", "text/plain") if isinstance(policy, dict) else None
    if not isinstance(content_type, str) or not _CONTENT_TYPE.fullmatch(content_type):
        raise faults.invalid("DeliveryPolicy: requestPolicy.headerContentType must be a media type")


def _check_together(attributes: Mapping[str, str]) -> None:
    text = attributes.get("FilterPolicy")
    if not text:
        return
    try:
        check_filter(object_of(text, "FilterPolicy"), body=attributes.get("FilterPolicyScope") == "MessageBody")
    except Invalid as error:
        raise faults.invalid(str(error)) from None


def _same(topic: Topic, made: Subscription) -> Subscription | None:
    return next(
        (one for one in topic.subscriptions if (one.protocol, one.endpoint) == (made.protocol, made.endpoint)), None
    )


def _with(topic: Topic, changed: Subscription) -> Topic:
    kept = tuple(changed if one.id == changed.id else one for one in topic.subscriptions)
    return structs.replace(topic, subscriptions=kept)
