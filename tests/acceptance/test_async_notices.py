"""Notices of asynchronous inference, as a queue that is subscribed to their topic receives them."""

from __future__ import annotations

import base64
import json
from typing import Any

from async_server import AsyncEndpoint

from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until


class Inbox:
    """A topic with a queue that is subscribed to it."""

    def __init__(self, trimtab: Trimtab, name: str) -> None:
        sns, self._sqs = trimtab.client("sns"), trimtab.client("sqs")
        self.topic: str = sns.create_topic(Name=name)["TopicArn"]
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        told = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=told["QueueArn"], Attributes=raw)

    def next(self) -> dict[str, Any]:
        """The next notice, which is gone then."""

        def look() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=5).get(
                "Messages", []
            )
            return found

        (message,) = wait_until(look)
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return dict(json.loads(message["Body"]))


def test_topics_are_told_of_the_endpoint_and_of_each_end(trimtab: Trimtab, name: str) -> None:
    inbox = Inbox(trimtab, name)
    told = {
        "SuccessTopic": inbox.topic,
        "ErrorTopic": inbox.topic,
        "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
    }
    endpoint = AsyncEndpoint(trimtab, name, output={"NotificationConfig": told})
    assert inbox.next() == {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}
    good = endpoint.ask(Body=b"page", InferenceId="good")
    notice = inbox.next()
    assert (notice["invocationStatus"], notice["inferenceId"]) == ("Completed", "good")
    assert notice["responseParameters"]["outputLocation"] == good["OutputLocation"]
    assert json.loads(base64.b64decode(notice["responseBody"]["content"]))["head"] == "page"
    where = endpoint.put(b"poison")
    endpoint.ask(InputLocation=where, InferenceId="bad")
    notice = inbox.next()
    assert (notice["invocationStatus"], notice["inferenceId"]) == ("Failed", "bad")
    assert notice["requestParameters"]["inputLocation"] == where
    assert notice["failureReason"].startswith("ClientError: Received server error (500) from primary.")


def test_a_topic_that_is_gone_costs_the_notice_and_the_history_says_so(trimtab: Trimtab, name: str) -> None:
    inbox = Inbox(trimtab, name)
    endpoint = AsyncEndpoint(trimtab, name, output={"NotificationConfig": {"SuccessTopic": inbox.topic}})
    trimtab.client("sns").delete_topic(TopicArn=inbox.topic)
    assert endpoint.result(endpoint.ask(Body=b"page"))
    assert wait_until(lambda: "notices dropped" in trimtab.cli("describe", name))
