"""SQS with boto3, unchanged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.testing.server import Trimtab


@pytest.fixture
def queue(sqs: Any, name: str) -> Iterator[str]:
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def fifo(sqs: Any, name: str) -> Iterator[str]:
    url: str = sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def received(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = sqs.receive_message(QueueUrl=url, **more).get("Messages", [])
    return messages


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    code: str = error.value.response["Error"]["Code"]
    return code


def test_a_message_comes_as_it_was_sent_and_is_gone_when_it_is_deleted(sqs: Any, queue: str) -> None:
    # botocore compares the MD5s of the bodies.
    attributes = {
        "kind": {"DataType": "String", "StringValue": "résumé"},
        "count": {"DataType": "Number", "StringValue": "-3.5e2"},
        "blob.png": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
    }
    sent = sqs.send_message(QueueUrl=queue, MessageBody="grüße <&>\n\t😀", MessageAttributes=attributes)
    (message,) = received(sqs, queue, AttributeNames=["All"], MessageAttributeNames=["All"])
    assert message["Body"] == "grüße <&>\n\t😀"
    assert message["MessageAttributes"] == attributes
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert message["MessageId"] == sent["MessageId"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert abs(int(message["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 60
    assert received(sqs, queue) == []
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (told["ApproximateNumberOfMessages"], told["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_poll_waits_for_a_message_and_no_longer(sqs: Any, queue: str) -> None:
    timer = threading.Timer(0.3, lambda: sqs.send_message(QueueUrl=queue, MessageBody="late"))
    timer.start()
    began_s = time.monotonic()
    (message,) = received(sqs, queue, WaitTimeSeconds=20)
    took_s = time.monotonic() - began_s
    timer.join()
    assert message["Body"] == "late"
    assert 0.25 < took_s < 10
    began_s = time.monotonic()
    assert received(sqs, queue, WaitTimeSeconds=1) == []
    assert time.monotonic() - began_s > 0.9


def test_a_message_that_is_made_visible_comes_again(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="again")
    (first,) = received(sqs, queue)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    (second,) = received(sqs, queue, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=10)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=first["ReceiptHandle"])  # an old handle: nothing happens
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    assert told["Attributes"] == {"ApproximateNumberOfMessagesNotVisible": "1"}


def test_what_nobody_can_do_goes_to_the_dead_letters_and_back(sqs: Any, queue: str, name: str) -> None:
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    own = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [queue]
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    for _ in range(2):
        (message,) = received(sqs, queue)
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert received(sqs, queue) == []
    (message,) = received(sqs, dead, AttributeNames=["DeadLetterQueueSourceArn"], VisibilityTimeout=0)
    assert message["Body"] == "poison"
    assert message["Attributes"] == {"DeadLetterQueueSourceArn": own}
    sqs.start_message_move_task(SourceArn=arn)
    (message,) = received(sqs, queue, WaitTimeSeconds=5)
    assert message["Body"] == "poison"
    deadline_s = time.monotonic() + 10
    while (task := sqs.list_message_move_tasks(SourceArn=arn)["Results"][0])["Status"] == "RUNNING":
        assert time.monotonic() < deadline_s
    assert (task["Status"], task["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    sqs.delete_queue(QueueUrl=dead)


def test_batches_say_what_became_of_each(sqs: Any, queue: str) -> None:
    entries = [{"Id": f"e{i}", "MessageBody": f"m{i}"} for i in range(9)]
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=[*entries, {"Id": "bad", "MessageBody": "\x00"}])
    assert [entry["Id"] for entry in sent["Successful"]] == [f"e{i}" for i in range(9)]
    assert [(f["Id"], f["Code"], f["SenderFault"]) for f in sent["Failed"]] == [("bad", "InvalidMessageContents", True)]
    messages = received(sqs, queue, MaxNumberOfMessages=10)
    assert [message["Body"] for message in messages] == [f"m{i}" for i in range(9)]
    handles = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
    changed = sqs.change_message_visibility_batch(
        QueueUrl=queue, Entries=[{**handle, "VisibilityTimeout": 60} for handle in handles]
    )
    assert len(changed["Successful"]) == 9
    gone = sqs.delete_message_batch(QueueUrl=queue, Entries=[*handles, {"Id": "x", "ReceiptHandle": "nonsense"}])
    assert (len(gone["Successful"]), [f["Code"] for f in gone["Failed"]]) == (9, ["ReceiptHandleIsInvalid"])


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([], "EmptyBatchRequest"),
        ([{"Id": str(i), "MessageBody": "x"} for i in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "1", "MessageBody": "x"}, {"Id": "1", "MessageBody": "y"}], "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b", "MessageBody": "x"}], "InvalidBatchEntryId"),
        ([{"Id": str(i), "MessageBody": "x" * 600_000} for i in range(2)], "BatchRequestTooLong"),
    ],
)
def test_a_bad_batch_is_refused_whole(sqs: Any, queue: str, entries: list[dict[str, str]], error: str) -> None:
    with pytest.raises(getattr(sqs.exceptions, error)) as refused:
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert code_of(refused) == f"AWS.SimpleQueueService.{error}"


def test_a_fifo_queue_keeps_the_order_of_a_group_and_takes_nothing_twice(sqs: Any, fifo: str) -> None:
    def send(group: str, body: str, key: str) -> dict[str, Any]:
        answer: dict[str, Any] = sqs.send_message(
            QueueUrl=fifo, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=key
        )
        return answer

    first = send("a", "a1", "1")
    assert send("a", "a1", "1")["MessageId"] == first["MessageId"]
    second = send("a", "a2", "2")
    assert first["SequenceNumber"] < second["SequenceNumber"]
    send("b", "b1", "3")
    messages = received(sqs, fifo, MaxNumberOfMessages=10, AttributeNames=["All"])
    assert sorted(message["Body"] for message in messages) == ["a1", "b1"], "the second of `a` waits for the first"
    (a1,) = (message for message in messages if message["Body"] == "a1")
    assert a1["Attributes"]["MessageGroupId"] == "a"
    assert a1["Attributes"]["MessageDeduplicationId"] == "1"
    assert a1["Attributes"]["SequenceNumber"] == first["SequenceNumber"]
    assert received(sqs, fifo) == []
    sqs.delete_message(QueueUrl=fifo, ReceiptHandle=a1["ReceiptHandle"])
    assert [message["Body"] for message in received(sqs, fifo)] == ["a2"]
    send("a", "a1", "1")  # deleted, yet within five minutes
    assert received(sqs, fifo) == []


def test_creating_again_is_the_same_queue_unless_it_would_be_another(sqs: Any, name: str) -> None:
    attributes = {"VisibilityTimeout": "45", "DelaySeconds": "0"}
    url = sqs.create_queue(QueueName=name, Attributes=attributes, tags={"team": "vision"})["QueueUrl"]
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "45"})["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    with pytest.raises(sqs.exceptions.QueueNameExists, match="VisibilityTimeout") as error:
        sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "46"})
    assert code_of(error) == "QueueAlreadyExists"
    sqs.tag_queue(QueueUrl=url, Tags={"stage": "test"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["team"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"stage": "test"}
    sqs.add_permission(QueueUrl=url, Label="let", AWSAccountIds=["123456789012"], Actions=["SendMessage"])
    policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert json.loads(policy)["Statement"][0]["Sid"] == "let"
    sqs.remove_permission(QueueUrl=url, Label="let")
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist) as gone:
        sqs.get_queue_url(QueueName=name)
    assert code_of(gone) == "AWS.SimpleQueueService.NonExistentQueue"
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=url, MessageBody="x")


def test_queues_are_listed_by_prefix_in_pages(sqs: Any, name: str) -> None:
    urls = [sqs.create_queue(QueueName=f"{name}-{i}")["QueueUrl"] for i in range(5)]
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == urls
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=name, PaginationConfig={"PageSize": 2})
    assert [page["QueueUrls"] for page in pages] == [urls[:2], urls[2:4], urls[4:]]
    for url in urls:
        sqs.delete_queue(QueueUrl=url)


def test_purging_takes_what_is_in_flight_too(sqs: Any, queue: str) -> None:
    for body in ("1", "2"):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    (message,) = received(sqs, queue)
    sqs.purge_queue(QueueUrl=queue)
    with pytest.raises(sqs.exceptions.MessageNotInflight):
        sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    told = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert (told["ApproximateNumberOfMessages"], told["ApproximateNumberOfMessagesNotVisible"]) == ("0", "0")


def test_a_key_may_send_and_not_receive(trimtab: Trimtab, sqs: Any, queue: str) -> None:
    made = json.loads(trimtab.cli("keys", "create", "--action", "sqs:SendMessage", "--json"))
    sender = trimtab.client("sqs", key=(made["id"], made["secret"]))
    sender.send_message_batch(QueueUrl=queue, Entries=[{"Id": "1", "MessageBody": "x"}])
    with pytest.raises(ClientError, match="sqs:ReceiveMessage") as denied:
        sender.receive_message(QueueUrl=queue)
    assert code_of(denied) in ("AccessDenied", "AccessDeniedException")


def test_what_is_accepted_outlives_kill_9(serve: Any) -> None:
    server = serve()
    client = server.client("sqs", retries={"total_max_attempts": 5})
    url = client.create_queue(QueueName="kept")["QueueUrl"]
    sent = set()
    for index in range(20):
        client.send_message(QueueUrl=url, MessageBody=f"m{index}")
        sent.add(f"m{index}")
        if index % 5 == 4:
            for title in ("trimtab: queues", "trimtab: control"):
                for process in server.processes(title):
                    process.kill()
    found: set[str] = set()
    while messages := received(client, url, MaxNumberOfMessages=10, WaitTimeSeconds=1):
        found |= {message["Body"] for message in messages}
        for message in messages:
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert found >= sent
