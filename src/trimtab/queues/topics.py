"""What is put into a topic's inbox: the queue from which its subscribers are told."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from trimtab.queues.model import Put

INBOX_PREFIX = "sns/"  # inbox of a topic: sns/NAME


class Publication(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to a topic, as its inbox keeps it (MessagePack)."""

    message: str
    topic: str = ""  # the ARN that was named


def publication(topic: str, message_id: str, message: bytes) -> Put:
    """What puts `message` into the inbox of the topic with this ARN."""
    body = msgspec.msgpack.encode(Publication(message=message.decode(), topic=topic))
    return Put(queue=INBOX_PREFIX + topic.rpartition(":")[2], id=message_id, body=body)
