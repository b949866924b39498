"""Whom a publication goes to, and what each is sent: the puts that are made with the inbox's acknowledgement. Pure but
for the signature.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from trimtab.control.topics import envelopes
from trimtab.policies.notices.filters import matches
from trimtab.queues import user_queues
from trimtab.queues.model import Message, Put
from trimtab.queues.topics import WEBHOOK_PREFIX, Delivery, Publication, Subscription, Topic
from trimtab.queues.user_queues import UserMessage, UserQueue

SIGNED_BY_DEFAULT: Final = "1"  # AWS: SignatureVersion of a topic that does not say
_SPACE: Final = uuid.UUID("6f9a5f60-6a7f-4a1e-9d0e-7a4f6a1b1c77")  # ids of deliveries are made in it

Sign = Callable[[dict[str, Any]], dict[str, Any]]


def wants(subscription: Subscription, said: Publication) -> bool:
    """Whether the subscription is confirmed and lets the message pass."""
    if subscription.token:
        return False
    text = subscription.attributes.get("FilterPolicy")
    if not text:
        return True
    policy = msgspec.json.decode(text)
    if subscription.attributes.get("FilterPolicyScope") == "MessageBody":
        return matches(policy, _body(envelopes.text_for(said, subscription.protocol)))
    return matches(policy, _attributes(said))


def delivery_id(subscription: Subscription, message_id: str) -> str:
    """The id of a message in the subscriber's queue: the same each time that it is delivered."""
    return str(uuid.uuid5(_SPACE, f"{subscription.id}/{message_id}"))


def to_queue(
    subscription: Subscription, topic: Topic, queue: UserQueue, message: Message, said: Publication, sign: Sign
) -> Put:
    """What is put into the SQS queue of a subscription."""
    if subscription.raw:
        body, attributes = envelopes.text_for(said, "sqs"), said.attributes
    else:
        body, attributes = envelopes.rendered(sign(_notification(topic, message, said, "sqs"))), {}
    sent = UserMessage(
        body=body,
        attributes=attributes,
        sender="sns",
        deduplication=said.deduplication or (message.id if queue.fifo else ""),
        sequence=said.sequence,
    )
    return user_queues.put_of(
        name_of(subscription.endpoint),
        queue,
        sent,
        id=delivery_id(subscription, message.id),
        now_s=message.put_s,
        group=message.group or ("sns" if queue.fifo else ""),
    )


def to_webhook(subscription: Subscription, topic: Topic, message: Message, said: Publication, sign: Sign) -> Put:
    """What is put into the queue of a subscription by http."""
    members = sign(_notification(topic, message, said, subscription.protocol))
    signed = envelopes.rendered(members)
    raw = envelopes.text_for(said, subscription.protocol) if subscription.raw else ""
    delivery = Delivery(
        topic=name_of(topic.arn),
        kind=envelopes.NOTIFICATION,
        id=message.id,
        body=raw or signed,
        raw=subscription.raw,
        original=signed if subscription.raw else "",
    )
    return webhook_put(subscription, message.id, delivery)


def webhook_put(subscription: Subscription, message_id: str, delivery: Delivery) -> Put:
    """A delivery, into the queue of its subscription."""
    return Put(
        queue=WEBHOOK_PREFIX + subscription.id,
        id=delivery_id(subscription, message_id),
        body=msgspec.msgpack.encode(delivery),
    )


def name_of(arn: str) -> str:
    """The name at an ARN's end."""
    return arn.rpartition(":")[2]


def dead_letters_of(subscription: Subscription) -> str:
    """The name of the queue that takes what the subscriber could not be told; "" for none."""
    text = subscription.attributes.get("RedrivePolicy")
    return name_of(msgspec.json.decode(text).get("deadLetterTargetArn", "")) if text else ""


def _notification(topic: Topic, message: Message, said: Publication, protocol: str) -> dict[str, Any]:
    return envelopes.notification(said, protocol=protocol, id=message.id, topic=topic.arn, at_s=message.put_s)


def _attributes(said: Publication) -> dict[str, Any]:
    """Attributes as filters see them: numbers as numbers, arrays as lists; binary ones do not exist."""
    values: dict[str, Any] = {}
    for name, attribute in said.attributes.items():
        if attribute.string is None:
            continue
        values[name] = attribute.string
        if attribute.type.startswith("Number"):
            values[name] = float(attribute.string)
        elif attribute.type == "String.Array":
            values[name] = _json(attribute.string, attribute.string)
    return values


def _body(text: str) -> dict[str, Any]:
    found = _json(text, {})
    return found if isinstance(found, dict) else {}


def _json(text: str, otherwise: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return otherwise
