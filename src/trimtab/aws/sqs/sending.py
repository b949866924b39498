"""SendMessage and SendMessageBatch: answered when the message is on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import batches, faults
from trimtab.aws.sqs import message_attributes as attributes
from trimtab.aws.sqs.attributes import MAX_DELAY_S, MAX_MESSAGE_BYTES, max_message_bytes
from trimtab.aws.sqs.book import Book
from trimtab.aws.sts import ANONYMOUS, EXECUTION_ROLE, unique_id
from trimtab.clock import Clock
from trimtab.errors import QueueFull
from trimtab.queues.ids import new_id
from trimtab.queues.model import Done, Full
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import MessageAttribute, UserMessage, UserQueue, content_deduplication, put_of

Params = dict[str, Any]
_MOST_ID: Final = 128  # characters of a group or deduplication id
_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class Sending:
    """Puts into users' queues."""

    def __init__(self, queues: Queues, book: Book, clock: Clock) -> None:
        self._queues = queues
        self._book = book
        self._clock = clock
        self._sequences = Sequences(clock)

    @operation("sqs", "SendMessage")
    async def send_message(self, call: Call, params: Params) -> Params:
        """One message."""
        name, queue = await self._book.by_url(call, params["QueueUrl"])
        return await self._send(call, name, queue, params)

    @operation("sqs", "SendMessageBatch")
    async def send_message_batch(self, call: Call, params: Params) -> Params:
        """Up to ten messages, each with its own outcome."""
        name, queue = await self._book.by_url(call, params["QueueUrl"])
        entries = params["Entries"]
        batches.check(entries, "SendMessageBatchRequestEntry")
        size = sum(len(entry["MessageBody"].encode()) for entry in entries)
        if size > MAX_MESSAGE_BYTES:
            raise faults.batch_too_long(size, MAX_MESSAGE_BYTES)

        async def one(entry: Params) -> Params:
            return await self._send(call, name, queue, entry)

        return await batches.carry_out(entries, one)

    async def _send(self, call: Call, name: str, queue: UserQueue, params: Params) -> Params:
        own = attributes.attributes_of(params.get("MessageAttributes", {}))
        system = attributes.system_attributes_of(params.get("MessageSystemAttributes", {}))
        body = _body(queue, params["MessageBody"], own)
        group = _group(queue, params)
        message = UserMessage(
            body=body,
            attributes=own,
            trace=(system[attributes.TRACE_HEADER].string or "") if system else "",
            sender=_sender(call),
            deduplication=_deduplication(queue, params, body),
            sequence=self._sequences.next() if queue.fifo else "",
        )
        now_s = self._clock.now_s()
        message_id = new_id(now_s)
        put = put_of(name, queue, message, id=message_id, now_s=now_s, group=group, delay_s=_delay_s(queue, params))
        result = await self._queues.ask(put)
        if isinstance(result, Full):
            raise QueueFull(f"The queue {name} is full: {result.limit} {result.what}. Receive and delete some first.")
        if not isinstance(result, Done):
            self._book.forget(name)
            raise faults.no_queue()
        answer: Params = {
            "MessageId": result.id or message_id,
            "MD5OfMessageBody": attributes.md5_of_text(body),
            "MD5OfMessageAttributes": attributes.md5(own),
            "MD5OfMessageSystemAttributes": attributes.md5(system),
            "SequenceNumber": message.sequence or None,
        }
        return {name: value for name, value in answer.items() if value is not None}


class Sequences:
    """FIFO sequence numbers: 20 digits that grow, across restarts too as long as the clock goes on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> str:
        """One more."""
        self._last = max(self._last + 1, int(self._clock.now_s() * 1e9) * 10)
        return f"{self._last:020d}"


def _body(queue: UserQueue, body: str, own: Mapping[str, MessageAttribute]) -> str:
    if not body:
        raise faults.missing("MessageBody")
    if not attributes.is_legal(body):
        raise faults.bad_contents()
    most = max_message_bytes(queue)
    if len(body.encode()) + attributes.size_bytes(own) > most:
        raise faults.bad_message(f"Message must be shorter than {most} bytes.")
    return body


def _group(queue: UserQueue, params: Params) -> str:
    group: str | None = params.get("MessageGroupId")
    if queue.fifo and not group:
        raise faults.missing("MessageGroupId")
    _check_id("MessageGroupId", group)
    return group or ""


def _deduplication(queue: UserQueue, params: Params, body: str) -> str:
    given: str | None = params.get("MessageDeduplicationId")
    if not queue.fifo:
        if given is not None:
            raise faults.bad_value(
                "MessageDeduplicationId",
                given,
                "The request includes a parameter that is not valid for this queue type.",
            )
        return ""
    _check_id("MessageDeduplicationId", given)
    if given:
        return given
    if not queue.by_content:
        raise faults.bad_message(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided"
            " explicitly"
        )
    return content_deduplication(body)


def _check_id(name: str, value: str | None) -> None:
    if value is None:
        return
    fits = all(c.isascii() and (c.isalnum() or c in _PUNCTUATION) for c in value)
    if not value or len(value) > _MOST_ID or not fits:
        raise faults.bad_value(
            name, value, f"{name} can only include alphanumeric and punctuation characters. 1 to {_MOST_ID} in length."
        )


def _delay_s(queue: UserQueue, params: Params) -> int | None:
    delay_s: int | None = params.get("DelaySeconds")
    if delay_s is None:
        return None
    if queue.fifo and delay_s != 0:
        raise faults.bad_value(
            "DelaySeconds", delay_s, "The request include parameter that is not valid for this queue type."
        )
    if not 0 <= delay_s <= MAX_DELAY_S:
        raise faults.bad_value("DelaySeconds", delay_s, f"DelaySeconds must be >= 0 and <= {MAX_DELAY_S}.")
    return None if queue.fifo else delay_s


def _sender(call: Call) -> str:
    session = call.identity.id if call.identity is not None else ANONYMOUS
    return f"{unique_id('AROA', call.account, EXECUTION_ROLE)}:{session}"
