"""Queues of the user's own (SQS): what stands in their settings, and what a message in one holds.

Whoever puts into such a queue (SQS's SendMessage, a topic with a subscription of it) writes a `UserMessage`. The queue
`sqs/NAME` of the store keeps its definition, a `UserQueue`, in `QueueSettings.attributes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from trimtab.queues.model import Put, QueueSettings

PREFIX: Final = "sqs/"
FIFO_SUFFIX: Final = ".fifo"


class MessageAttribute(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attribute of a message. `type` is `String`, `Number` or `Binary`, perhaps with `.` and a label behind it."""

    type: str
    string: str | None = None
    binary: bytes | None = None


class UserMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a message of the store, in a user's queue."""

    body: str
    attributes: Mapping[str, MessageAttribute] = {}
    trace: str = ""  # AWSTraceHeader
    sender: str = ""  # the unique id of who sent it
    deduplication: str = ""  # FIFO: MessageDeduplicationId
    sequence: str = ""  # FIFO: 20 digits, growing


class Move(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A redrive of a dead-letter queue. `into` is empty: each message goes back to where it came from."""

    id: str
    started_s: float
    into: str = ""
    most_per_s: int = 0  # 0: as fast as it goes
    moved: int = 0
    to_move: int = 0
    status: str = "RUNNING"  # COMPLETED, CANCELLED, FAILED: AWS's words
    failure: str = ""


class UserQueue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The definition of a queue. `attributes` are those that were set, in AWS's names and form."""

    attributes: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    created_s: float = 0.0
    modified_s: float = 0.0
    moves: tuple[Move, ...] = ()  # newest first

    def number(self, name: str, default: int) -> int:
        """An attribute that is a number."""
        return int(self.attributes.get(name, default))

    @property
    def fifo(self) -> bool:
        """Whether it keeps the order within message groups."""
        return self.attributes.get("FifoQueue") == "true"

    @property
    def delay_s(self) -> int:
        """For how long a message is not visible at first."""
        return self.number("DelaySeconds", 0)

    @property
    def by_content(self) -> bool:
        """Whether a FIFO message without a deduplication id gets the hash of its body as one."""
        return self.attributes.get("ContentBasedDeduplication") == "true"


encode_queue = msgspec.msgpack.Encoder().encode
decode_queue = msgspec.msgpack.Decoder(UserQueue).decode
encode_message = msgspec.msgpack.Encoder().encode
decode_message = msgspec.msgpack.Decoder(UserMessage).decode


def queue_of(settings: QueueSettings) -> UserQueue | None:
    """The definition in a queue's settings; None when it is no user's queue (or one that was just dropped)."""
    return decode_queue(settings.attributes) if settings.attributes else None


def content_deduplication(body: str) -> str:
    """The deduplication id of a body, where none is given. Source: SQS, ContentBasedDeduplication: SHA-256."""
    return hashlib.sha256(body.encode()).hexdigest()


def put_of(
    name: str,
    queue: UserQueue,
    message: UserMessage,
    *,
    id: str,
    now_s: float,
    group: str = "",
    delay_s: int | None = None,
) -> Put:
    """What enqueues `message` in the queue `name` (without prefix). `delay_s` None: the queue's own.

    In a FIFO queue a deduplication id that was seen within five minutes enqueues nothing (Put.once); its scope is the
    queue or, with DeduplicationScope messageGroup, the group.
    """
    delay_s = queue.delay_s if delay_s is None else delay_s
    extra: dict[str, Any] = {}
    if queue.fifo:
        scope = group if queue.attributes.get("DeduplicationScope") == "messageGroup" else ""
        extra["once"] = f"{scope}\0{message.deduplication}"
    return Put(
        queue=PREFIX + name,
        id=id,
        body=encode_message(message),
        group=group,
        visible_s=now_s + delay_s if delay_s else 0.0,
        **extra,
    )
