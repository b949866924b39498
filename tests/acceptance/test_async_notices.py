"""Notices of asynchronous inference, as they lie in their topic's inbox."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import msgspec
from async_server import AsyncEndpoint, eventually

from trimtab.config import Config
from trimtab.queues.client import QueueClient
from trimtab.queues.model import Declare, Lease, Leases, Op, QueueSettings, Result
from trimtab.testing.server import Trimtab


def ask(trimtab: Trimtab, op: Op) -> Result:
    async def once() -> Result:
        client = QueueClient(Config(data_dir=trimtab.data_dir).paths.queues_socket)
        client.open()
        try:
            return await client.ask(op)
        finally:
            await client.close()

    return asyncio.run(once())


def notices(trimtab: Trimtab, inbox: str, count: int) -> list[dict[str, Any]]:
    """The next `count` of an inbox, which are gone then."""
    said: list[dict[str, Any]] = []

    def enough() -> bool:
        found = ask(trimtab, Lease(queue=inbox, owner="", most=10, lease_s=600.0, wait_s=1.0))
        assert isinstance(found, Leases)
        said.extend(json.loads(msgspec.msgpack.decode(message.body)["message"]) for message in found.messages)
        return len(said) >= count

    eventually(enough)
    assert len(said) == count
    return said


def test_topics_are_told_of_the_endpoint_and_of_each_end(trimtab: Trimtab, name: str) -> None:
    inbox = f"sns/{name}"
    ask(trimtab, Declare(queue=inbox, settings=QueueSettings()))
    topic = f"arn:aws:sns:us-east-1:000000000000:{name}"
    told = {
        "SuccessTopic": topic,
        "ErrorTopic": topic,
        "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
    }
    endpoint = AsyncEndpoint(trimtab, name, output={"NotificationConfig": told})
    test = {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}
    assert notices(trimtab, inbox, 1) == [test]
    good = endpoint.ask(Body=b"page", InferenceId="good")
    (notice,) = notices(trimtab, inbox, 1)
    assert (notice["invocationStatus"], notice["inferenceId"]) == ("Completed", "good")
    assert notice["responseParameters"]["outputLocation"] == good["OutputLocation"]
    assert json.loads(base64.b64decode(notice["responseBody"]["content"]))["head"] == "page"
    where = endpoint.put(b"poison")
    endpoint.ask(InputLocation=where, InferenceId="bad")
    (notice,) = notices(trimtab, inbox, 1)
    assert (notice["invocationStatus"], notice["inferenceId"]) == ("Failed", "bad")
    assert notice["requestParameters"]["inputLocation"] == where
    assert notice["failureReason"].startswith("ClientError: Received server error (500) from primary.")
