"""Attributes of queues: which there are, what they may be, and what they mean for the store.

Source: SQS API reference, CreateQueue and SetQueueAttributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from trimtab.aws.sqs import faults
from trimtab.queues.model import QueueSettings
from trimtab.queues.user_queues import PREFIX, UserQueue, encode_queue

MAX_MESSAGE_BYTES: Final = 1_048_576
MAX_WAIT_S: Final = 20
MAX_VISIBILITY_S: Final = 43_200
MAX_DELAY_S: Final = 900
_MAX_SOURCES: Final = 10  # of a RedriveAllowPolicy
_MAX_RECEIVES: Final = 1000

DEFAULTS: Final[Mapping[str, str]] = {
    "DelaySeconds": "0",
    "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
    "SqsManagedSseEnabled": "true",
}
FIFO_DEFAULTS: Final[Mapping[str, str]] = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
REMOVABLE: Final = ("Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId")  # by an empty value
_FIFO_ONLY: Final = ("FifoQueue", *FIFO_DEFAULTS)

# Attributes that SQS tells, but nobody sets.
COMPUTED: Final = (
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
)


class Redrive(Struct, rename="camel", forbid_unknown_fields=True):
    """RedrivePolicy: the dead-letter queue, and after how many receives a message goes there."""

    dead_letter_target_arn: str
    max_receive_count: int | str = 10


class Allow(Struct, rename="camel", forbid_unknown_fields=True):
    """RedriveAllowPolicy: whose dead-letter queue this may be."""

    redrive_permission: str
    source_queue_arns: tuple[str, ...] = ()


def _number(least: int, most: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most


def _one_of(*words: str) -> Callable[[str], bool]:
    return lambda text: text in words


def _policy(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.MsgspecError:
        return False


_BOOLEAN: Final = _one_of("true", "false")
_SETTABLE: Final[Mapping[str, Callable[[str], bool]]] = {
    "DelaySeconds": _number(0, MAX_DELAY_S),
    "MaximumMessageSize": _number(1024, MAX_MESSAGE_BYTES),
    "MessageRetentionPeriod": _number(60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": _number(0, MAX_WAIT_S),
    "VisibilityTimeout": _number(0, MAX_VISIBILITY_S),
    "Policy": _policy,
    "RedrivePolicy": lambda text: _redrive(text) is not None,
    "RedriveAllowPolicy": lambda text: _allow(text) is not None,
    "KmsMasterKeyId": lambda text: 0 < len(text) <= 2048,
    "KmsDataKeyReusePeriodSeconds": _number(60, 86_400),
    "SqsManagedSseEnabled": _BOOLEAN,
    "FifoQueue": _one_of("true"),
    "ContentBasedDeduplication": _BOOLEAN,
    "DeduplicationScope": _one_of("messageGroup", "queue"),
    "FifoThroughputLimit": _one_of("perQueue", "perMessageGroupId"),
}


def checked(given: Mapping[str, str], *, fifo: bool, creating: bool) -> dict[str, str]:
    """The attributes of a call, of a queue that is FIFO or not. Raises InvalidAttributeName, InvalidAttributeValue."""
    for name, text in given.items():
        if name not in _SETTABLE or (name == "FifoQueue" and not creating):
            raise faults.unknown_attribute(name)
        if name in _FIFO_ONLY and not fifo:
            raise faults.unknown_attribute(name)
        if text == "" and name in REMOVABLE:
            continue
        if not _SETTABLE[name](text):
            raise faults.bad_attribute(name)
    return dict(given)


def check_together(queue: UserQueue) -> None:
    """Raises InvalidAttributeValue for attributes that contradict each other."""
    given = queue.attributes
    if given.get("FifoThroughputLimit") == "perMessageGroupId" and given.get("DeduplicationScope") != "messageGroup":
        raise faults.bad_attribute(
            "FifoThroughputLimit", "perMessageGroupId needs the DeduplicationScope messageGroup."
        )
    if given.get("SqsManagedSseEnabled") == "true" and given.get("KmsMasterKeyId"):
        raise faults.bad_attribute("SqsManagedSseEnabled", "One kind of server-side encryption can be on at a time.")


def redrive_of(queue: UserQueue) -> Redrive | None:
    """The queue's RedrivePolicy."""
    return _redrive(queue.attributes.get("RedrivePolicy", ""))


def dead_letters_of(queue: UserQueue) -> str:
    """The name of the queue's dead-letter queue, which was looked for when it was set; "" for none."""
    policy = redrive_of(queue)
    return policy.dead_letter_target_arn.rpartition(":")[2] if policy is not None else ""


def allows(dead_letters: UserQueue, source_arn: str) -> bool:
    """Whether a queue lets `source_arn` have it as its dead-letter queue."""
    allow = _allow(dead_letters.attributes.get("RedriveAllowPolicy", ""))
    if allow is None or allow.redrive_permission == "allowAll":
        return True
    return allow.redrive_permission == "byQueue" and source_arn in allow.source_queue_arns


def settings_of(queue: UserQueue) -> QueueSettings:
    """What the definition means for the store."""
    policy, dead_letters = redrive_of(queue), dead_letters_of(queue)
    return QueueSettings(
        retention_s=float(queue.number("MessageRetentionPeriod", int(DEFAULTS["MessageRetentionPeriod"]))),
        lease_s=float(queue.number("VisibilityTimeout", int(DEFAULTS["VisibilityTimeout"]))),
        max_leases=int(policy.max_receive_count) if policy is not None and dead_letters else 0,
        dead_letters=PREFIX + dead_letters if dead_letters else "",
        fifo=queue.fifo,
        attributes=encode_queue(queue),
    )


def max_message_bytes(queue: UserQueue) -> int:
    """How long a message may be, with its attributes."""
    return queue.number("MaximumMessageSize", MAX_MESSAGE_BYTES)


def told(queue: UserQueue) -> dict[str, str]:
    """Every attribute that is set or has a default."""
    return {**DEFAULTS, **(FIFO_DEFAULTS if queue.fifo else {}), **queue.attributes}


def _redrive(text: str) -> Redrive | None:
    try:
        policy = msgspec.json.decode(text, type=Redrive)
        receives = int(policy.max_receive_count)
    except (msgspec.MsgspecError, ValueError):
        return None
    return policy if 1 <= receives <= _MAX_RECEIVES else None


def _allow(text: str) -> Allow | None:
    try:
        allow = msgspec.json.decode(text, type=Allow)
    except msgspec.MsgspecError:
        return None
    by_queue = allow.redrive_permission == "byQueue"
    known = allow.redrive_permission in ("allowAll", "denyAll", "byQueue")
    if not known or by_queue != bool(allow.source_queue_arns) or len(allow.source_queue_arns) > _MAX_SOURCES:
        return None
    return allow


def canonical(name: str, text: str) -> Any:
    """A value as it is compared: policies as what they say, not how they are written."""
    if name == "RedrivePolicy" and (policy := _redrive(text)) is not None:
        return policy.dead_letter_target_arn, int(policy.max_receive_count)
    if name in ("Policy", "RedriveAllowPolicy") and _policy(text):
        return msgspec.json.decode(text)
    return text


def is_settable(name: str) -> bool:
    """Whether a queue can have the attribute, set by somebody."""
    return name in _SETTABLE
