"""What SQS promises, on a clock that moves when told; and the query protocol of older clients."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest

from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import BytesBody, Headers, HttpRequest
from trimtab.aws.paging import Pager
from trimtab.aws.registry import AwsError, Call
from trimtab.aws.sqs import Sqs
from trimtab.clock import ManualClock
from trimtab.errors import NotFound
from trimtab.testing.queues import kept_queues

HOST = "127.0.0.1:7070"
URL = f"http://{HOST}/000000000000/"


class World:
    """SQS over queues that are kept in this process."""

    def __init__(self, sqs: Sqs, clock: ManualClock) -> None:
        self.sqs = sqs
        self.clock = clock

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        headers = Headers([("host", HOST)])
        request = HttpRequest(method="POST", raw_path="/", headers=headers, body=BytesBody())
        call = Call(
            request=request, service="sqs", operation=operation, request_id="r", region="us-east-1",
            account="000000000000",
        )  # fmt: skip
        result: Any = await self.sqs.handlers["sqs"][operation](call, params)  # type: ignore[misc]
        return dict(result)

    async def create(self, name: str = "q", **attributes: str) -> str:
        url: str = (await self.ask("CreateQueue", QueueName=name, Attributes=attributes))["QueueUrl"]
        return url

    async def receive(self, name: str = "q", **more: Any) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = (await self.ask("ReceiveMessage", QueueUrl=URL + name, **more)).get(
            "Messages", []
        )
        return messages

    async def attributes(self, name: str = "q") -> dict[str, str]:
        told: dict[str, str] = (await self.ask("GetQueueAttributes", QueueUrl=URL + name, AttributeNames=["All"]))[
            "Attributes"
        ]
        return told


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = ManualClock()
    async with kept_queues(tmp_path, now_s=clock.now_s) as kept:
        yield World(Sqs(kept.client(), clock, Pager(b"secret")), clock)


async def test_a_queue_has_awss_defaults(world: World) -> None:
    assert await world.create() == URL + "q"
    told = await world.attributes()
    assert told["QueueArn"] == "arn:aws:sqs:us-east-1:000000000000:q"
    assert told["VisibilityTimeout"] == "30"
    assert told["MessageRetentionPeriod"] == "345600"
    assert told["MaximumMessageSize"] == "1048576"
    assert "FifoQueue" not in told


async def test_a_received_message_is_invisible_for_the_queues_time(world: World) -> None:
    await world.create(VisibilityTimeout="40")
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="x")
    assert len(await world.receive()) == 1
    world.clock.advance(39)
    assert await world.receive() == []
    world.clock.advance(2)
    (again,) = await world.receive(AttributeNames=["ApproximateReceiveCount"])
    assert again["Attributes"]["ApproximateReceiveCount"] == "2"


async def test_the_newest_handle_deletes_after_the_visibility_time_out_too(world: World) -> None:
    await world.create()
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="x")
    (message,) = await world.receive()
    world.clock.advance(31)
    await world.ask("DeleteMessage", QueueUrl=URL + "q", ReceiptHandle=message["ReceiptHandle"])
    assert await world.receive() == []


async def test_a_fifo_queue_tells_that_a_handle_has_expired(world: World) -> None:
    await world.create("q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    await world.ask("SendMessage", QueueUrl=URL + "q.fifo", MessageBody="x", MessageGroupId="g")
    (message,) = await world.receive("q.fifo")
    world.clock.advance(31)
    with pytest.raises(AwsError, match="expired"):
        await world.ask("DeleteMessage", QueueUrl=URL + "q.fifo", ReceiptHandle=message["ReceiptHandle"])


async def test_fifo_messages_are_the_same_for_five_minutes_from_the_first(world: World) -> None:
    await world.create("q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    send = {"QueueUrl": URL + "q.fifo", "MessageBody": "tick", "MessageGroupId": "g"}
    first = await world.ask("SendMessage", **send)
    world.clock.advance(299)
    assert (await world.ask("SendMessage", **send))["MessageId"] == first["MessageId"]
    world.clock.advance(2)
    assert (await world.ask("SendMessage", **send))["MessageId"] != first["MessageId"]
    assert (await world.attributes("q.fifo"))["ApproximateNumberOfMessages"] == "2"


async def test_deduplication_by_group_is_apart_for_each_group(world: World) -> None:
    await world.create("q.fifo", FifoQueue="true", DeduplicationScope="messageGroup")
    for group in ("a", "b", "a"):
        await world.ask(
            "SendMessage", QueueUrl=URL + "q.fifo", MessageBody="x", MessageGroupId=group, MessageDeduplicationId="1"
        )
    assert (await world.attributes("q.fifo"))["ApproximateNumberOfMessages"] == "2"


async def test_a_delayed_message_is_counted_and_comes_when_its_time_has_come(world: World) -> None:
    await world.create(DelaySeconds="10")
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="later")
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="now", DelaySeconds=0)
    told = await world.attributes()
    assert (told["ApproximateNumberOfMessagesDelayed"], told["ApproximateNumberOfMessages"]) == ("1", "1")
    assert [message["Body"] for message in await world.receive(MaxNumberOfMessages=10)] == ["now"]
    world.clock.advance(11)
    assert [message["Body"] for message in await world.receive()] == ["later"]


async def test_what_is_older_than_the_retention_period_is_gone(world: World) -> None:
    await world.create(MessageRetentionPeriod="60")
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="x")
    world.clock.advance(61)
    assert await world.receive() == []


async def test_attributes_are_chosen_by_prefix_and_their_md5_is_of_those(world: World) -> None:
    await world.create()
    attributes = {name: {"DataType": "String", "StringValue": name} for name in ("a.x", "a.y", "b")}
    await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="x", MessageAttributes=attributes)
    (message,) = await world.receive(MessageAttributeNames=["a.*"])
    assert sorted(message["MessageAttributes"]) == ["a.x", "a.y"]
    parts = [part for name in ("a.x", "a.y") for part in (_sized(name), _sized("String"), b"\x01" + _sized(name))]
    assert message["MD5OfMessageAttributes"] == hashlib.md5(b"".join(parts)).hexdigest()


def _sized(text: str) -> bytes:
    return len(text).to_bytes(4, "big") + text.encode()


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"VisibilityTimeout": "-1"}, "InvalidAttributeValue"),
        ({"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ({"DelaySeconds": "x"}, "InvalidAttributeValue"),
        ({"Policy": "no JSON"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": "{}"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": '{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:no","maxReceiveCount":3}'}, "InvalidParameterValue"),
        ({"ContentBasedDeduplication": "true"}, "InvalidAttributeName"),
        ({"Colour": "blue"}, "InvalidAttributeName"),
        ({"FifoQueue": "true"}, "InvalidParameterValue"),
    ],
)  # fmt: skip
async def test_attributes_that_cannot_be_are_refused(world: World, attributes: dict[str, str], code: str) -> None:
    with pytest.raises(AwsError) as refused:
        await world.create(**attributes)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"MessageBody": ""}, "MissingParameter"),
        ({"MessageBody": "\ufffe"}, "InvalidMessageContents"),
        ({"MessageBody": "x" * 1_048_577}, "InvalidParameterValue"),
        ({"MessageBody": "x", "DelaySeconds": 901}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageDeduplicationId": "1"}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Float", "StringValue": "1"}}}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"AWS.a": {"DataType": "String", "StringValue": "1"}}}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}}, "InvalidParameterValue"),
        ({"MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "one"}}}, "InvalidParameterValue"),
    ],
)  # fmt: skip
async def test_messages_that_cannot_be_are_refused(world: World, params: dict[str, Any], code: str) -> None:
    await world.create()
    with pytest.raises(AwsError) as refused:
        await world.ask("SendMessage", QueueUrl=URL + "q", **params)
    assert refused.value.code == code


@pytest.mark.parametrize("url", ["", "q", "http://h/", "http://h/1/2/3", "http://h/000000000000/a b"])
async def test_what_is_no_queues_url_is_told(world: World, url: str) -> None:
    with pytest.raises(AwsError) as refused:
        await world.ask("ReceiveMessage", QueueUrl=url)
    assert refused.value.code == "InvalidAddress"


async def test_a_queue_that_was_dropped_is_told_even_if_it_is_remembered(world: World) -> None:
    await world.create()
    await world.ask("DeleteQueue", QueueUrl=URL + "q")
    with pytest.raises(NotFound):
        await world.ask("SendMessage", QueueUrl=URL + "q", MessageBody="x")


async def test_clients_of_the_query_days_are_answered_in_their_form(world: World) -> None:
    class Nobody:
        key = None

        def __init__(self, body: Any) -> None:
            self.body = body

    async def anybody(request: HttpRequest, service: str) -> Any:
        return Nobody(request.body)

    edge = Dispatcher(world.sqs.handlers, anybody, region="us-east-1", account="000000000000")

    async def ask(action: str, **fields: str) -> ElementTree.Element:
        form = urlencode({"Action": action, "Version": "2012-11-05", **fields}).encode()
        scope = "AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/sqs/aws4_request, x=y"
        headers = [("host", HOST), ("content-type", "application/x-www-form-urlencoded"), ("authorization", scope)]
        answer = await edge(HttpRequest(method="POST", raw_path="/", headers=Headers(headers), body=BytesBody(form)))
        assert isinstance(answer.body, bytes)
        text = answer.body.decode().replace(' xmlns="http://queue.amazonaws.com/doc/2012-11-05/"', "")
        return ElementTree.fromstring(text)

    made = await ask("CreateQueue", QueueName="old", **{"Attribute.1.Name": "DelaySeconds", "Attribute.1.Value": "0"})
    url = made.findtext("CreateQueueResult/QueueUrl") or ""
    await ask("SendMessage", QueueUrl=url, MessageBody="<x>", **{
        "MessageAttribute.1.Name": "a", "MessageAttribute.1.Value.DataType": "String",
        "MessageAttribute.1.Value.StringValue": "v"})  # fmt: skip
    found = await ask(
        "ReceiveMessage", QueueUrl=url, **{"MessageAttributeName.1": "All", "AttributeName.1": "SentTimestamp"}
    )
    message = found.find("ReceiveMessageResult/Message")
    assert message is not None
    assert message.findtext("Body") == "<x>"
    assert message.findtext("MessageAttribute/Name") == "a"
    assert message.findtext("MessageAttribute/Value/StringValue") == "v"
    assert message.findtext("Attribute/Name") == "SentTimestamp"
    listed = await ask("ListQueues")
    assert [one.text for one in listed.findall("ListQueuesResult/QueueUrl")] == [url]
    batch = await ask("DeleteMessageBatch", QueueUrl=url, **{
        "DeleteMessageBatchRequestEntry.1.Id": "1",
        "DeleteMessageBatchRequestEntry.1.ReceiptHandle": message.findtext("ReceiptHandle") or "",
    })  # fmt: skip
    assert batch.findtext("DeleteMessageBatchResult/DeleteMessageBatchResultEntry/Id") == "1"
    gone = await ask("GetQueueUrl", QueueName="none")
    assert gone.findtext("Error/Code") == "AWS.SimpleQueueService.NonExistentQueue"
