"""ReceiveMessage, DeleteMessage, ChangeMessageVisibility and their batches: leases on messages, by receipt handle.

A received message is leased to nobody in particular: only time ends the lease. The handle holds its token, so a handle
of an earlier receive changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from trimtab.aws.registry import Call, operation
from trimtab.aws.sqs import batches, faults
from trimtab.aws.sqs import message_attributes as attributes
from trimtab.aws.sqs.attributes import MAX_VISIBILITY_S, MAX_WAIT_S
from trimtab.aws.sqs.book import Book
from trimtab.aws.sqs.naming import Receipt, arn_of, handle_of, receipt_of
from trimtab.queues.model import Ack, Extend, Lease, Leases, Lost, Message, NoQueue, Result
from trimtab.queues.store import Queues
from trimtab.queues.user_queues import PREFIX, UserMessage, UserQueue, decode_message

Params = dict[str, Any]
MOST_MESSAGES: Final = 10
_NOBODY: Final = ""
_AT_ONCE_S: Final = 1e-6  # a lease that is over as soon as it begins: 0 means the queue's own

SYSTEM_ATTRIBUTES: Final = (
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
)


class Receiving:
    """Takes from users' queues."""

    def __init__(self, queues: Queues, book: Book) -> None:
        self._queues = queues
        self._book = book

    @operation(
        "sqs",
        "ReceiveMessage",
        missing="ReceiveRequestAttemptId changes nothing; of a FIFO queue, a call returns one message of a group; there"
        " is no limit to messages in flight",
    )
    async def receive_message(self, call: Call, params: Params) -> Params:
        """Up to ten messages; waits for one as long as the call or the queue says."""
        name, queue = await self._book.by_url(call, params["QueueUrl"])
        lease = _lease(name, queue, params)
        wanted = _system_names(params)
        found = await self._queues.ask(lease)
        if isinstance(found, NoQueue):
            self._book.forget(name)
            raise faults.no_queue()
        if not isinstance(found, Leases) or not found.messages:
            return {}
        own = params.get("MessageAttributeNames", ())
        return {"Messages": [_message(call, name, message, wanted, own) for message in found.messages]}

    @operation("sqs", "DeleteMessage")
    async def delete_message(self, call: Call, params: Params) -> Params:
        """The message is done with."""
        name, queue = await self._book.by_url(call, params["QueueUrl"])
        await self._delete(name, queue, params["ReceiptHandle"])
        return {}

    @operation("sqs", "DeleteMessageBatch")
    async def delete_message_batch(self, call: Call, params: Params) -> Params:
        """Up to ten messages are."""
        name, queue = await self._book.by_url(call, params["QueueUrl"])
        batches.check(params["Entries"], "DeleteMessageBatchRequestEntry")

        async def one(entry: Params) -> Params:
            await self._delete(name, queue, entry["ReceiptHandle"])
            return {}

        return await batches.carry_out(params["Entries"], one)

    @operation("sqs", "ChangeMessageVisibility", missing="a message may stay invisible for longer than 12 hours in all")
    async def change_message_visibility(self, call: Call, params: Params) -> Params:
        """The message becomes visible again so many seconds from now."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        await self._change(name, params["ReceiptHandle"], params["VisibilityTimeout"])
        return {}

    @operation("sqs", "ChangeMessageVisibilityBatch")
    async def change_message_visibility_batch(self, call: Call, params: Params) -> Params:
        """Up to ten messages do."""
        name, _ = await self._book.by_url(call, params["QueueUrl"])
        batches.check(params["Entries"], "ChangeMessageVisibilityBatchRequestEntry")

        async def one(entry: Params) -> Params:
            await self._change(name, entry["ReceiptHandle"], entry.get("VisibilityTimeout", 0))
            return {}

        return await batches.carry_out(params["Entries"], one)

    async def _delete(self, name: str, queue: UserQueue, handle: str) -> None:
        """AWS: the newest handle deletes even when the visibility time-out has passed; not in a FIFO queue. An older
        one deletes nothing, and is told so in a FIFO queue only. What was deleted with a handle is deleted with it
        again (for five minutes, in a FIFO queue)."""
        receipt = receipt_of(handle, name)
        result = await self._queues.ask(
            Ack(queue=PREFIX + name, id=receipt.id, token=receipt.token, late=not queue.fifo)
        )
        self._check_queue(name, result)
        if isinstance(result, Lost) and queue.fifo:
            raise faults.expired_receipt(handle)

    async def _change(self, name: str, handle: str, visibility_s: int) -> None:
        if not 0 <= visibility_s <= MAX_VISIBILITY_S:
            raise faults.bad_value(
                "VisibilityTimeout", visibility_s, f"VisibilityTimeout must be between 0 and {MAX_VISIBILITY_S}."
            )
        receipt = receipt_of(handle, name)
        result = await self._queues.ask(
            Extend(queue=PREFIX + name, id=receipt.id, token=receipt.token, lease_s=float(visibility_s))
        )
        self._check_queue(name, result)
        if isinstance(result, Lost):
            raise faults.not_in_flight()

    def _check_queue(self, name: str, result: Result) -> None:
        if isinstance(result, NoQueue):
            self._book.forget(name)
            raise faults.no_queue()


def _lease(name: str, queue: UserQueue, params: Params) -> Lease:
    most = params.get("MaxNumberOfMessages", 1)
    if not 1 <= most <= MOST_MESSAGES:
        raise faults.bad_value("MaxNumberOfMessages", most, f"Must be between 1 and {MOST_MESSAGES}, if provided.")
    wait_s = params.get("WaitTimeSeconds", queue.number("ReceiveMessageWaitTimeSeconds", 0))
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise faults.bad_value("WaitTimeSeconds", wait_s, f"Must be >= 0 and <= {MAX_WAIT_S}, if provided.")
    visibility_s = params.get("VisibilityTimeout", queue.number("VisibilityTimeout", 30))
    if not 0 <= visibility_s <= MAX_VISIBILITY_S:
        raise faults.bad_value(
            "VisibilityTimeout", visibility_s, f"Must be between 0 and {MAX_VISIBILITY_S}, if provided."
        )
    return Lease(
        queue=PREFIX + name,
        owner=_NOBODY,
        most=most,
        lease_s=float(visibility_s) or _AT_ONCE_S,
        wait_s=float(wait_s),
    )


def _system_names(params: Params) -> Collection[str]:
    names = [*params.get("AttributeNames", ()), *params.get("MessageSystemAttributeNames", ())]
    for name in names:
        if name != "All" and name not in SYSTEM_ATTRIBUTES:
            raise faults.unknown_attribute(name)
    return SYSTEM_ATTRIBUTES if "All" in names else names


def _message(call: Call, name: str, message: Message, wanted: Collection[str], own: Collection[str]) -> Params:
    said = decode_message(message.body)
    answer: Params = {
        "MessageId": message.id,
        "ReceiptHandle": handle_of(Receipt(name, message.id, message.token)),
        "MD5OfBody": attributes.md5_of_text(said.body),
        "Body": said.body,
    }
    system = _system_attributes(call, message, said)
    if told := {key: system[key] for key in wanted if system.get(key)}:
        answer["Attributes"] = told
    if chosen := attributes.chosen(said.attributes, own):
        answer["MessageAttributes"] = attributes.rendered(chosen)
        answer["MD5OfMessageAttributes"] = attributes.md5(chosen)
    return answer


def _system_attributes(call: Call, message: Message, said: UserMessage) -> dict[str, str]:
    origin = message.origin.removeprefix(PREFIX)
    return {
        "SenderId": said.sender,
        "SentTimestamp": _ms(message.put_s),
        "ApproximateReceiveCount": str(message.leases),
        "ApproximateFirstReceiveTimestamp": _ms(message.first_leased_s),
        "SequenceNumber": said.sequence,
        "MessageDeduplicationId": said.deduplication,
        "MessageGroupId": message.group,
        "AWSTraceHeader": said.trace,
        "DeadLetterQueueSourceArn": arn_of(call, origin) if origin else "",
    }


def _ms(at_s: float) -> str:
    return str(int(at_s * 1000))
