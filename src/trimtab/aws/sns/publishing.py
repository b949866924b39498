"""Publish and PublishBatch: answered when the message is on the disk. From there the deliverer takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trimtab.aws.registry import AwsError, Call, operation
from trimtab.aws.sns import faults
from trimtab.aws.sns.naming import topic_of
from trimtab.aws.sqs import message_attributes
from trimtab.aws.sqs.batches import MOST_ENTRIES, carry_out
from trimtab.aws.sqs.sending import Sequences
from trimtab.clock import Clock
from trimtab.errors import NotFound, NotSupported, QueueFull
from trimtab.queues.definitions import Definitions
from trimtab.queues.ids import new_id
from trimtab.queues.model import Done, Full
from trimtab.queues.store import Queues
from trimtab.queues.topics import Publication, Topic, put_of
from trimtab.queues.user_queues import MessageAttribute, content_deduplication

Params = dict[str, Any]
MAX_BYTES: Final = 262_144
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_SUBJECT: Final = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


class Publishing:
    """Puts into topics' inboxes."""

    def __init__(self, queues: Queues, topics: Definitions[Topic], clock: Clock) -> None:
        self._queues = queues
        self._topics = topics
        self._clock = clock
        self._sequences = Sequences(clock)

    @operation("sns", "Publish", missing="PhoneNumber, and a TargetArn that is no topic")
    async def publish(self, call: Call, params: Params) -> Params:
        """One message to a topic."""
        if "PhoneNumber" in params:
            raise NotSupported("sns:Publish to a PhoneNumber")
        arn = params.get("TopicArn") or params.get("TargetArn")
        if arn is None:
            raise faults.invalid("TopicArn or TargetArn Reason: no value for required parameter")
        name = topic_of(call, arn)
        return await self._publish(name, await self._topics.get(name), params)

    @operation("sns", "PublishBatch")
    async def publish_batch(self, call: Call, params: Params) -> Params:
        """Up to ten messages, each with its own outcome."""
        name = topic_of(call, params["TopicArn"])
        topic = await self._topics.get(name)
        entries = params["PublishBatchRequestEntries"]
        _check_batch(entries)
        return await carry_out(entries, lambda entry: self._publish(name, topic, entry))

    async def _publish(self, name: str, topic: Topic, params: Params) -> Params:
        group, deduplication = _fifo(topic, params)
        said = Publication(
            message=_message(params),
            topic=topic.arn,
            subject=_subject(params),
            by_protocol=_by_protocol(params),
            attributes=_attributes(params),
            deduplication=deduplication,
            sequence=self._sequences.next() if topic.fifo else "",
        )
        message_id = new_id(self._clock.now_s())
        once = f"\0{deduplication}" if topic.fifo else ""
        result = await self._queues.ask(put_of(topic.arn, message_id, said, group=group, once=once))
        if isinstance(result, Full):
            raise QueueFull(f"The topic {name} has too much to deliver: {result.limit} {result.what}. Try again later.")
        if not isinstance(result, Done):
            self._topics.forget(name)
            raise NotFound("topic", name)
        answer = {"MessageId": result.id or message_id}
        return {**answer, "SequenceNumber": said.sequence} if topic.fifo else answer


def _check_batch(entries: list[Params]) -> None:
    if not entries:
        raise faults.empty_batch()
    if len(entries) > MOST_ENTRIES:
        raise faults.too_many()
    ids = [entry["Id"] for entry in entries]
    if not all(_ID.fullmatch(id) for id in ids):
        raise faults.bad_id()
    if len(set(ids)) < len(ids):
        raise faults.repeated_ids()
    if sum(len(entry["Message"].encode()) for entry in entries) > MAX_BYTES:
        raise faults.batch_too_long()


def _message(params: Params) -> str:
    message: str = params["Message"]
    if not message:
        raise faults.invalid("Empty message")
    if len(message.encode()) > MAX_BYTES:
        raise faults.invalid("Message too long")
    if params.get("MessageStructure"):
        return _structured(params)["default"]
    return message


def _by_protocol(params: Params) -> dict[str, str]:
    if not params.get("MessageStructure"):
        return {}
    return {protocol: text for protocol, text in _structured(params).items() if protocol != "default"}


def _structured(params: Params) -> dict[str, str]:
    """MessageStructure json: what is said to each protocol, and to all others."""
    if params["MessageStructure"] != "json":
        raise faults.invalid("MessageStructure Reason: must be json")
    try:
        document = msgspec.json.decode(params["Message"], type=dict[str, Any])
    except msgspec.MsgspecError:
        raise faults.invalid("Message Structure - JSON message body failed to parse") from None
    texts = {protocol: text for protocol, text in document.items() if isinstance(text, str)}
    if "default" not in texts:
        raise faults.invalid("Message Structure - No default entry in JSON message body")
    return texts


def _subject(params: Params) -> str:
    subject: str | None = params.get("Subject")
    if subject is not None and not _SUBJECT.fullmatch(subject):
        raise faults.invalid("Subject")
    return subject or ""


def _attributes(params: Params) -> Mapping[str, MessageAttribute]:
    given = params.get("MessageAttributes", {})
    arrays = {k: v for k, v in given.items() if v.get("DataType") == "String.Array"}
    for name, value in arrays.items():
        try:
            msgspec.json.decode(value.get("StringValue", ""), type=list[Any])
        except msgspec.MsgspecError:
            raise faults.bad_value(f"The value of the String.Array attribute '{name}' is no JSON array.") from None
    try:
        return message_attributes.attributes_of(given, most=None)
    except AwsError as error:
        raise faults.bad_value(error.message) from None


def _fifo(topic: Topic, params: Params) -> tuple[str, str]:
    """Group and deduplication id."""
    group, given = params.get("MessageGroupId", ""), params.get("MessageDeduplicationId", "")
    if not topic.fifo:
        if given:
            raise faults.invalid("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter"
                                 " that is not valid for this topic type")  # fmt: skip
        return group, ""
    if not group:
        raise faults.invalid("The MessageGroupId parameter is required for FIFO topics")
    if not given and topic.attributes.get("ContentBasedDeduplication") != "true":
        raise faults.invalid(
            "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided"
            " explicitly"
        )
    return group, given or content_deduplication(params["Message"])
