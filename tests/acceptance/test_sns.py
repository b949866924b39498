"""SNS with boto3, unchanged: topics that tell queues and web servers."""

from __future__ import annotations

import asyncio
import base64
import json
import queue as queues
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from trimtab.config import Paths
from trimtab.queues.client import QueueClient
from trimtab.queues.model import Done
from trimtab.queues.topics import publication
from trimtab.testing.server import Trimtab


@pytest.fixture(scope="module")
def sns(trimtab: Trimtab) -> Any:
    return trimtab.client("sns")


@pytest.fixture
def topic(sns: Any, name: str) -> Iterator[str]:
    arn: str = sns.create_topic(Name=name)["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


def made_queue(sqs: Any, name: str, **attributes: str) -> tuple[str, str]:
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, arn


def taken(sqs: Any, url: str, wait_s: int = 10) -> list[dict[str, Any]]:
    """What comes first, deleted."""
    found: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, WaitTimeSeconds=wait_s, MaxNumberOfMessages=10, MessageAttributeNames=["All"],
        AttributeNames=["All"],
    ).get("Messages", [])  # fmt: skip
    for message in found:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


class Receiver:
    """A web server that keeps what it is posted, and answers with the statuses it is told to."""

    def __init__(self) -> None:
        self.posts: queues.Queue[tuple[dict[str, str], str]] = queues.Queue()
        self.statuses: queues.Queue[int] = queues.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.posts.put(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.statuses.get() if not receiver.statuses.empty() else 200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?x=1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def next(self, timeout_s: float = 15) -> tuple[dict[str, str], dict[str, Any]]:
        headers, body = self.posts.get(timeout=timeout_s)
        return headers, json.loads(body)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def verify(message: dict[str, Any]) -> None:
    """As AWS's SDKs verify messages."""
    with urllib.request.urlopen(message["SigningCertURL"]) as answer:
        certificate = x509.load_pem_x509_certificate(answer.read())
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    signed = "".join(f"{name}\n{message[name]}\n" for name in names if name in message).encode()
    algorithm = hashes.SHA256() if message["SignatureVersion"] == "2" else hashes.SHA1()
    key = certificate.public_key()
    assert isinstance(key, RSAPublicKey)
    key.verify(base64.b64decode(message["Signature"]), signed, padding.PKCS1v15(), algorithm)


def test_a_queue_is_told_in_snss_json_signed(sns: Any, sqs: Any, topic: str, name: str) -> None:
    url, arn = made_queue(sqs, name)
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    sent = sns.publish(
        TopicArn=topic, Message="done: é", Subject="Notice",
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "ok"}},
    )  # fmt: skip
    (message,) = taken(sqs, url)
    told = json.loads(message["Body"])
    assert (told["Type"], told["MessageId"], told["TopicArn"]) == ("Notification", sent["MessageId"], topic)
    assert (told["Message"], told["Subject"]) == ("done: é", "Notice")
    assert told["MessageAttributes"] == {"kind": {"Type": "String", "Value": "ok"}}
    assert told["UnsubscribeURL"].endswith(f"SubscriptionArn={subscription.replace(':', '%3A')}&Version=2010-03-31")
    verify(told)
    urllib.request.urlopen(told["UnsubscribeURL"]).close()
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []
    sqs.delete_queue(QueueUrl=url)


def test_raw_delivery_and_filters(sns: Any, sqs: Any, topic: str, name: str) -> None:
    url, arn = made_queue(sqs, name)
    policy = {"status": ["Failed", {"prefix": "Warn"}], "cost": [{"numeric": [">", 1, "<=", 5]}]}
    subscription = sns.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn,
        Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps(policy)},
    )["SubscriptionArn"]  # fmt: skip

    def publish(text: str, status: str, cost: str) -> None:
        attributes = {
            "status": {"DataType": "String", "StringValue": status},
            "cost": {"DataType": "Number", "StringValue": cost},
        }
        sns.publish(TopicArn=topic, Message=text, MessageAttributes=attributes)

    publish("no: status", "Completed", "2")
    publish("no: cost", "Failed", "5.5")
    publish("yes", "Warning", "5")
    (message,) = taken(sqs, url)
    assert message["Body"] == "yes"
    assert message["MessageAttributes"]["cost"] == {"DataType": "Number", "StringValue": "5"}
    sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="FilterPolicyScope", AttributeValue="MessageBody"
    )
    body_policy = json.dumps({"invocationStatus": ["Failed"], "inner": {"n": [{"exists": True}]}})
    sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="FilterPolicy", AttributeValue=body_policy
    )
    sns.publish(TopicArn=topic, Message=json.dumps({"invocationStatus": "Completed", "inner": {"n": 1}}))
    sns.publish(TopicArn=topic, Message=json.dumps({"invocationStatus": "Failed", "inner": {"n": 1}}))
    (message,) = taken(sqs, url)
    assert json.loads(message["Body"])["invocationStatus"] == "Failed"
    assert taken(sqs, url, wait_s=0) == []
    sqs.delete_queue(QueueUrl=url)


def test_a_web_server_confirms_is_told_and_told_again(sns: Any, topic: str, receiver: Receiver) -> None:
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    retries = {"healthyRetryPolicy": {"numRetries": 3, "numNoDelayRetries": 3}}
    asked = sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes={"DeliveryPolicy": json.dumps(retries)}
    )
    assert asked["SubscriptionArn"] == "pending confirmation"
    headers, message = receiver.next()
    assert headers["x-amz-sns-message-type"] == message["Type"] == "SubscriptionConfirmation"
    verify(message)
    sns.publish(TopicArn=topic, Message="too early")
    with urllib.request.urlopen(message["SubscribeURL"]) as answer:
        assert b"SubscriptionArn" in answer.read()
    (found,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    for status in (500, 429, 503):
        receiver.statuses.put(status)
    sns.publish(TopicArn=topic, Message="again")
    bodies = [receiver.next() for _ in range(4)]
    assert {body["Message"] for _, body in bodies} == {"again"}
    headers, message = bodies[-1]
    assert headers["x-amz-sns-subscription-arn"] == found["SubscriptionArn"]
    assert headers["x-amz-sns-topic-arn"] == topic
    assert headers["content-type"] == "text/plain; charset=UTF-8"
    assert message["SignatureVersion"] == "2"
    verify(message)


def test_what_a_web_server_refuses_goes_to_the_dead_letters(
    sns: Any, sqs: Any, topic: str, name: str, receiver: Receiver
) -> None:
    url, arn = made_queue(sqs, name)
    sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint=receiver.url,
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn})},
    )  # fmt: skip
    token = receiver.next()[1]["Token"]
    sns.confirm_subscription(TopicArn=topic, Token=token)
    receiver.statuses.put(404)
    sns.publish(TopicArn=topic, Message="refused")
    (message,) = taken(sqs, url)
    assert json.loads(message["Body"])["Message"] == "refused"
    sqs.delete_queue(QueueUrl=url)


def test_a_fifo_topic_keeps_the_order_and_tells_once(sns: Any, sqs: Any, name: str) -> None:
    url, arn = made_queue(sqs, f"{name}.fifo", FifoQueue="true")
    topic = sns.create_topic(Name=f"{name}.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    for index in (0, 1, 1, 2):
        sns.publish(TopicArn=topic, Message=f"m{index}", MessageGroupId="g", MessageDeduplicationId=str(index))
    found: list[str] = []
    while len(found) < 3 and (messages := taken(sqs, url)):
        found += [message["Body"] for message in messages]
    assert found == ["m0", "m1", "m2"]
    assert taken(sqs, url, wait_s=0) == []
    sns.delete_topic(TopicArn=topic)
    sqs.delete_queue(QueueUrl=url)


def test_batches_and_messages_by_protocol(sns: Any, sqs: Any, topic: str, name: str) -> None:
    url, arn = made_queue(sqs, name)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    structured = json.dumps({"default": "for all", "sqs": "for queues"})
    sent = sns.publish_batch(
        TopicArn=topic,
        PublishBatchRequestEntries=[
            {"Id": "1", "Message": structured, "MessageStructure": "json"},
            {"Id": "2", "Message": "x", "Subject": "\n"},
        ],
    )
    assert [entry["Id"] for entry in sent["Successful"]] == ["1"]
    assert [(entry["Id"], entry["Code"]) for entry in sent["Failed"]] == [("2", "InvalidParameter")]
    (message,) = taken(sqs, url)
    assert message["Body"] == "for queues"
    sqs.delete_queue(QueueUrl=url)


def test_topics_are_made_once_changed_listed_and_gone(sns: Any, name: str) -> None:
    arn = sns.create_topic(Name=name, Attributes={"DisplayName": "Notices"}, Tags=[{"Key": "a", "Value": "b"}])[
        "TopicArn"
    ]
    assert sns.create_topic(Name=name)["TopicArn"] == arn
    with pytest.raises(sns.exceptions.InvalidParameterException, match="different attributes"):
        sns.create_topic(Name=name, Attributes={"DisplayName": "Other"})
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert (attributes["DisplayName"], attributes["SubscriptionsConfirmed"]) == ("Notices", "0")
    assert arn in [one["TopicArn"] for page in sns.get_paginator("list_topics").paginate() for one in page["Topics"]]
    sns.tag_resource(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    sns.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "c", "Value": "d"}]
    sns.delete_topic(TopicArn=arn)
    sns.delete_topic(TopicArn=arn)
    with pytest.raises(sns.exceptions.NotFoundException, match="Topic does not exist"):
        sns.publish(TopicArn=arn, Message="x")


POSTED = {"Protocol": "http", "Endpoint": "http://127.0.0.1:9/"}
SPLIT = json.dumps({"requestPolicy": {"headerContentType": "text/plain\r\nHost: another"}})


@pytest.mark.parametrize(
    ("call", "arguments", "words"),
    [
        ("publish", {"Message": ""}, "Empty message"),
        ("publish", {"Message": "x", "Subject": "a\nb"}, "Subject"),
        ("publish", {"Message": "{}", "MessageStructure": "json"}, "default"),
        ("publish", {"Message": "x" * 262_145}, "too long"),
        ("publish", {"Message": "x", "MessageDeduplicationId": "1"}, "MessageDeduplicationId"),
        ("subscribe", {"Protocol": "email", "Endpoint": "a@b.c"}, "sqs, http, https"),
        ("subscribe", {"Protocol": "carrier-pigeon", "Endpoint": "x"}, "does not support"),
        ("subscribe", {"Protocol": "https", "Endpoint": "http://x"}, "Endpoint"),
        ("subscribe", {"Protocol": "sqs", "Endpoint": "arn:aws:sqs:us-east-1:000000000000:none"}, "SQS endpoint"),
        ("subscribe", {"Protocol": "http", "Endpoint": "http://[::1/"}, "Endpoint"),
        ("subscribe", {"Protocol": "http", "Endpoint": "http://127.0.0.1:99999/"}, "Endpoint"),
        ("subscribe", {"Protocol": "http", "Endpoint": "http://x/a b"}, "Endpoint"),
        ("subscribe", POSTED | {"Attributes": {"DeliveryPolicy": '{"requestPolicy": "x"}'}}, "headerContentType"),
        ("subscribe", POSTED | {"Attributes": {"DeliveryPolicy": SPLIT}}, "headerContentType"),
        ("confirm_subscription", {"Token": "made-up"}, "Token"),
    ],
)
def test_bad_calls_are_refused_in_words(sns: Any, topic: str, call: str, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as refused:
        getattr(sns, call)(TopicArn=topic, **arguments)
    assert refused.value.response["Error"]["Code"] == "InvalidParameter"


@pytest.mark.slow
def test_each_message_reaches_a_queue_once_though_control_and_the_queues_are_killed(serve: Any, name: str) -> None:
    server = serve()
    sns = server.client("sns", retries={"total_max_attempts": 8})
    sqs = server.client("sqs", retries={"total_max_attempts": 8})
    url, arn = made_queue(sqs, name)
    topic = sns.create_topic(Name=name)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sent: set[str] = set()
    for index in range(30):
        sent.add(sns.publish(TopicArn=topic, Message=str(index))["MessageId"])
        if index % 6 == 5:
            title = "trimtab: control" if index % 12 == 5 else "trimtab: queues"
            for process in server.processes(title):
                process.kill()
    found: list[str] = []
    while len(found) < len(sent) and (messages := taken(sqs, url)):
        found += [json.loads(message["Body"])["MessageId"] for message in messages]
    found += [json.loads(message["Body"])["MessageId"] for message in taken(sqs, url, wait_s=1)]
    # A publish that was answered is told. One that was not may have been accepted, and is then repeated by boto3.
    assert sent <= set(found)
    assert len(found) == len(set(found))


def test_a_web_server_that_was_away_is_told_when_it_is_back_also_by_the_next_control(
    serve: Any, name: str, receiver: Receiver
) -> None:
    server = serve()
    sns = server.client("sns", retries={"total_max_attempts": 8})
    topic = sns.create_topic(Name=name)["TopicArn"]
    retries = {"healthyRetryPolicy": {"numRetries": 50, "minDelayTarget": 1, "maxDelayTarget": 1}}
    sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint=receiver.url, Attributes={"DeliveryPolicy": json.dumps(retries)}
    )
    sns.confirm_subscription(TopicArn=topic, Token=receiver.next()[1]["Token"])
    for _ in range(2):
        receiver.statuses.put(503)
    sns.publish(TopicArn=topic, Message="patience")
    assert receiver.next()[1]["Message"] == "patience"
    for process in server.processes("trimtab: control"):
        process.kill()
    bodies = [receiver.next(timeout_s=30)[1] for _ in range(2)]
    assert {body["Message"] for body in bodies} == {"patience"}


def test_notices_can_go_to_the_topics_of_another_sns(
    serve: Any, trimtab: Trimtab, sqs: Any, topic: str, sns: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, arn = made_queue(sqs, name)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, trimtab.env[variable])
    server = serve("--sns-endpoint-url", trimtab.url)

    async def notify() -> None:
        client = QueueClient(Paths(server.data_dir).queues_socket)
        client.open()
        put = publication(topic, "notice-1", b'{"invocationStatus": "Completed"}', elsewhere=True)
        while not isinstance(await client.ask(put), Done):  # control is about to declare the queue
            await asyncio.sleep(0.01)
        await client.close()

    asyncio.run(notify())
    (message,) = taken(sqs, url)
    assert message["Body"] == '{"invocationStatus": "Completed"}'
    sqs.delete_queue(QueueUrl=url)
