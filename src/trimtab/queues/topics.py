"""Topics (SNS): what stands in the settings of a topic's inbox, and what is put into it.

The inbox `sns/NAME` is the queue from which the topic's subscribers are told; the topic's definition, with its
subscriptions, is in its settings. A subscription by http or https has a queue of its own, `sns-http/ID`, so that one
that does not answer holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.queues.model import Put, QueueSettings
from trimtab.queues.user_queues import MessageAttribute

INBOX_PREFIX: Final = "sns/"
WEBHOOK_PREFIX: Final = "sns-http/"
ELSEWHERE: Final = "sns-elsewhere"  # messages to topics of a real SNS (Config.sns_endpoint_url)
HELD_S: Final = 60.0  # a message that is being delivered is free for another try then: more than any try takes
KEPT_S: Final = 14 * 86_400.0  # a message that could not be delivered for so long is given up


class Publication(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to a topic, as its inbox keeps it (MessagePack)."""

    message: str
    topic: str = ""  # the ARN that was named
    subject: str = ""
    by_protocol: Mapping[str, str] = {}  # MessageStructure json: what is said otherwise to some protocols
    attributes: Mapping[str, MessageAttribute] = {}
    deduplication: str = ""  # FIFO
    sequence: str = ""


class Subscription(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is told. `attributes` are those that were set, in AWS's names and form."""

    id: str
    protocol: str  # sqs, http, https
    endpoint: str  # ARN of a queue, URL
    token: str = ""  # confirms it; "" = it is confirmed
    attributes: Mapping[str, str] = {}

    @property
    def raw(self) -> bool:
        """Whether the message is delivered as it is, without SNS's JSON around it."""
        return self.attributes.get("RawMessageDelivery") == "true"


class Topic(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The definition of a topic. `attributes` are those that were set, in AWS's names and form."""

    arn: str
    attributes: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    subscriptions: tuple[Subscription, ...] = ()

    @property
    def fifo(self) -> bool:
        """Whether it keeps the order within message groups."""
        return self.attributes.get("FifoTopic") == "true"

    def subscription(self, id: str) -> Subscription | None:
        """One of its subscriptions."""
        return next((found for found in self.subscriptions if found.id == id), None)


class Delivery(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is posted to a subscription by http: the body of a message in its queue."""

    topic: str  # its name
    kind: str  # Notification, SubscriptionConfirmation: AWS's x-amz-sns-message-type
    id: str
    body: str
    raw: bool = False
    original: str = ""  # what dead letters hold: the message in SNS's JSON


encode_topic = msgspec.msgpack.Encoder().encode
decode_publication = msgspec.msgpack.Decoder(Publication).decode
decode_delivery = msgspec.msgpack.Decoder(Delivery).decode
_decode_topic = msgspec.msgpack.Decoder(Topic).decode


def topic_of(settings: QueueSettings) -> Topic | None:
    """The definition in an inbox's settings; None when there is none."""
    return _decode_topic(settings.attributes) if settings.attributes else None


def inbox_settings(topic: Topic) -> QueueSettings:
    """What the definition means for the inbox."""
    return QueueSettings(retention_s=KEPT_S, fifo=topic.fifo, attributes=encode_topic(topic))


def publication(topic: str, message_id: str, message: bytes, *, elsewhere: bool = False) -> Put:
    """What puts `message` into the inbox of the topic with this ARN. `elsewhere`: topics are those of a real SNS."""
    put = put_of(topic, message_id, Publication(message=message.decode(), topic=topic))
    return msgspec.structs.replace(put, queue=ELSEWHERE) if elsewhere else put


def put_of(topic: str, message_id: str, said: Publication, *, group: str = "", once: str = "") -> Put:
    """What puts a publication into the inbox of the topic with this ARN."""
    body = msgspec.msgpack.encode(said)
    return Put(queue=INBOX_PREFIX + topic.rpartition(":")[2], id=message_id, body=body, group=group, once=once)
