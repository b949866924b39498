"""Queues of asynchronous endpoints: made, marked, and their topics told of each deployment once."""

import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from trimtab.control.async_queues import AsyncQueues
from trimtab.queues.model import Declare, Depths, Lease, Look, QueueSettings
from trimtab.queues.topics import publication
from trimtab.resources.asynchronous import AsyncSettings, QueueMark
from trimtab.resources.deployment import Deployment, EndpointRecord
from trimtab.resources.endpoint import Endpoint, EndpointStatus
from trimtab.testing.queues import kept_queues

TOPIC = "arn:aws:sns:us-east-1:000000000000:told"


def record(name="pages", uid="u1", generations=1, status=EndpointStatus.IN_SERVICE, asynchronous=True, **settings):
    told = AsyncSettings(output_path="s3://bucket/out", **settings) if asynchronous else None
    serving = Deployment(config_name="c", generation=generations, variants=(), asynchronous=told)
    endpoint = Endpoint(name=name, created_s=0.0, modified_s=0.0, status=status, config_name="c", variants=())
    return EndpointRecord(endpoint=endpoint, uid=uid, serving=serving, generations=generations)


class Place:
    def __init__(self, client):
        self.client = client
        self.records = []
        self.queues = AsyncQueues(client, lambda: self.records, publication)

    async def marks(self, *records):
        """Of each queue, when the store holds `records`."""
        self.records = list(records)
        await self.queues.reconcile()
        found = await self.client.ask(Look(prefix="async/"))
        assert isinstance(found, Depths)
        return {d.queue: msgspec.json.decode(d.settings.attributes, type=QueueMark) for d in found.depths}

    async def told(self):
        found = await self.client.ask(Lease(queue="sns/told", owner=self.client.owner, most=100, lease_s=60.0))
        return [msgspec.msgpack.decode(message.body)["message"] for message in found.messages]


@pytest.fixture
async def place():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))
    async with kept_queues(folder) as kept:
        yield Place(kept.client())
    shutil.rmtree(folder)


async def test_asynchronous_endpoints_have_queues_and_others_none(place):
    marks = await place.marks(record(), record("plain", asynchronous=False))
    assert marks == {"async/pages": QueueMark(uid="u1", generation=1)}


async def test_a_queue_is_marked_when_its_endpoint_is_being_deleted_or_gone(place):
    await place.marks(record())
    deleting = record(status=EndpointStatus.DELETING)
    assert (await place.marks(deleting))["async/pages"].deleted
    assert (await place.marks())["async/pages"].deleted


async def test_an_endpoint_that_is_made_again_takes_its_queue_over(place):
    await place.marks(record())
    await place.marks()
    assert await place.marks(record(uid="u2")) == {"async/pages": QueueMark(uid="u2", generation=1)}


async def test_topics_are_told_of_each_deployment_once(place):
    await place.client.ask(Declare(queue="sns/told", settings=QueueSettings()))
    with_topics = record(success_topic=TOPIC, error_topic=TOPIC)
    for _ in range(2):
        await place.marks(with_topics)
    test = '{"eventVersion":"1.0","eventSource":"aws:sagemaker","eventName":"TestNotification"}'
    assert await place.told() == [test]
    await place.marks(replace(with_topics, generations=2))
    assert await place.told() == [test]


async def test_a_topic_that_is_not_there_hinders_nothing(place):
    assert "async/pages" in await place.marks(record(error_topic=TOPIC))
