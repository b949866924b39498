"""InvokeEndpointAsync with boto3: what is accepted, and what is refused with nothing accepted."""

import asyncio

import msgspec
import pytest
from botocore.exceptions import ClientError

from trimtab.queues.model import Full, NoQueue, QueuesFull
from trimtab.resources.asynchronous import AsyncSettings, AsyncTask
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute

SETTINGS = AsyncSettings(output_path="s3://bucket/out", failure_path="s3://bucket/failed")


@pytest.fixture
async def queues(place):
    await serve(place, SETTINGS)
    return place.queues


async def serve(place, settings):
    variant = VariantRoute(name="blue", weight=1.0, lanes=(), version="c1")
    route = EndpointRoute(name="pages", variants=(variant,), uid="u1", asynchronous=settings)
    table = place.gateway.table
    await place.gateway.apply(
        RouteTable(version=table.version + 1, endpoints=(*table.endpoints, route), keys=table.keys)
    )


async def ask(place, **params):
    client = place.client(parameter_validation=False)
    return await asyncio.to_thread(lambda: client.invoke_endpoint_async(**({"EndpointName": "pages"} | params)))


async def refused(place, **params):
    with pytest.raises(ClientError) as caught:
        await ask(place, **params)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], error["Error"]["Message"]


async def test_what_is_accepted_stands_in_the_task(place, queues):
    answer = await ask(
        place,
        InputLocation="s3://bucket/in/page.png",
        ContentType="image/png",
        Accept="application/json",
        CustomAttributes="a=b",
        InferenceId="page-1",
        RequestTTLSeconds=600,
        InvocationTimeoutSeconds=30,
    )
    (put,) = queues.asked
    task = msgspec.msgpack.decode(put.body, type=AsyncTask)
    assert (answer["InferenceId"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("page-1", 202)
    assert answer["OutputLocation"] == task.output_location == f"s3://bucket/out/{put.id}.out"
    assert answer["FailureLocation"] == task.failure_location == f"s3://bucket/failed/{put.id}-error.out"
    assert (put.queue, task.id, task.endpoint_uid, task.version) == ("async/pages", put.id, "u1", "c1")
    assert (task.content_type, task.accept, task.custom_attributes) == ("image/png", "application/json", "a=b")
    assert (task.input_location, task.inline, task.timeout_s) == ("s3://bucket/in/page.png", None, 30.0)
    assert put.expires_s == pytest.approx(task.accepted_s + 600)
    assert task.settings == SETTINGS


async def test_a_body_an_extension_and_a_file_name(place, queues):
    answer = await ask(place, Body=b"text", S3OutputPathExtension="/team/one/", Filename="a.json")
    task = msgspec.msgpack.decode(queues.asked[0].body, type=AsyncTask)
    assert task.inline == b"text"
    assert answer["OutputLocation"] == "s3://bucket/out/team/one/a.json"
    assert answer["InferenceId"] == task.inference_id


async def test_without_paths_no_location_is_promised(place, queues):
    await serve(place, AsyncSettings(success_topic="arn:aws:sns:us-east-1:000000000000:told"))
    answer = await ask(place, Body=b"x")
    assert "OutputLocation" not in answer
    assert "FailureLocation" not in answer


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "no input"),
        ({"Body": b"x", "InputLocation": "s3://b/k"}, "give one of them"),
        ({"InputLocation": "s3://bucket"}, "names a bucket and no object"),
        ({"InputLocation": "ftp://bucket/key"}, "is not an S3 URL"),
        ({"Body": b"x", "Filename": "../a"}, "'filename' failed to satisfy constraint"),
        ({"Body": b"x", "Filename": "a.b.c"}, "'filename' failed to satisfy constraint"),
        ({"Body": b"x", "S3OutputPathExtension": "s3://x"}, "'s3OutputPathExtension' failed to satisfy constraint"),
        ({"Body": b"x", "RequestTTLSeconds": 59}, "greater than or equal to 60"),
        ({"Body": b"x", "RequestTTLSeconds": 21_601}, "less than or equal to 21600"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 0}, "greater than or equal to 1"),
        ({"Body": b"x", "InvocationTimeoutSeconds": 3601}, "less than or equal to 3600"),
        ({"Body": b"x", "InferenceId": "i" * 65}, "length less than or equal to 64"),
    ],
)
async def test_requests_that_make_no_sense(place, queues, params, says):
    status, code, message = await refused(place, **params)
    assert (status, code) == (400, "ValidationError")
    assert says in message
    assert not queues.asked


async def test_a_body_that_is_too_large_is_refused_unread(place, queues):
    assert (await refused(place, Body=b"x" * 128_001))[0] == 413
    assert not queues.asked


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Full(what="items", limit=7), 400, "ThrottlingException"),
        (NoQueue(queue="async/pages"), 503, "ServiceUnavailable"),
        (QueuesFull("The disk that keeps the queues is full"), 503, "ServiceUnavailable"),
        (ZeroDivisionError(), 500, "InternalFailure"),
    ],
)
async def test_what_the_queue_refuses_is_not_accepted(place, queues, answer, status, code):
    queues.answer = answer
    assert (await refused(place, Body=b"x"))[:2] == (status, code)


async def test_each_kind_of_endpoint_takes_its_own_operation(place, queues):
    assert "has no AsyncInferenceConfig" in (await refused(place, EndpointName="fraud", Body=b"x"))[2]
    assert "not found" in (await refused(place, EndpointName="none", Body=b"x"))[2]
    for operation in ("invoke_endpoint", "invoke_endpoint_with_response_stream"):
        with pytest.raises(ClientError, match="is an asynchronous endpoint"):
            await place.invoke(name="pages", operation=operation)
