"""Every protocol against botocore's other half: its serializer to our parser, our serializer to its parser."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
import wire_halves
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wire_halves import Values, without_empties

from trimtab.aws.http import HttpRequest
from trimtab.aws.identify import Identifier
from trimtab.aws.protocols import requests, responses
from trimtab.aws.services import SERVICES, Services, load

NOW = ("sagemaker", "sagemaker-runtime", "s3", "sts", "iam")
WIRES = [(name, load(name).protocol) for name in SERVICES] + [("cloudwatch", "query")]
# Two names for one request; the current one is what a server sees.
SAME_REQUEST = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
}
SERVICE_MODELS = Services({name: load(name).names for name in SERVICES})
IDENTIFIER = Identifier(SERVICE_MODELS)


@pytest.mark.parametrize(("service", "protocol"), WIRES)
def test_every_operations_request_is_identified_and_read_as_botocore_wrote_it(service: str, protocol: str) -> None:
    for operation in wire_halves.operations(service):
        for seed in range(2):
            check_request(service, operation, protocol, Random(seed))


@pytest.mark.parametrize(("service", "protocol"), WIRES)
def test_every_operations_result_is_read_by_botocore_as_the_handler_returned_it(service: str, protocol: str) -> None:
    for operation in wire_halves.operations(service):
        for seed in range(2):
            check_result(service, operation, protocol, Random(seed))


@pytest.mark.parametrize("service", NOW)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_requests_and_results_of_any_values_survive_the_wire(service: str, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(sorted(wire_halves.operations(service), key=lambda o: o.name)))
    random = data.draw(st.randoms(use_true_random=False))
    check_request(service, operation, SERVICE_MODELS.get(service).protocol, random)
    check_result(service, operation, SERVICE_MODELS.get(service).protocol, random)


def check_request(service: str, operation: Any, protocol: str, random: Random) -> None:
    params = Values(random).message(operation.input_shape)
    request = wire_halves.request(service, operation.name, params, protocol)
    name, read = asyncio.run(read_request(request, service, protocol))
    assert name == SAME_REQUEST.get(operation.name, operation.name)
    if name != operation.name:
        return
    payload = (operation.input_shape.serialization.get("payload") if operation.input_shape else "") or ""
    if payload in read and hasattr(read[payload], "read"):
        read[payload] = asyncio.run(read[payload].read(10**9))
        params.setdefault(payload, b"")
    elif read.get(payload) == b"":
        params.setdefault(payload, b"")  # a payload of no bytes and no payload are one
    if "ContentLength" not in params:
        read.pop("ContentLength", None)  # HTTP's own
    assert without_empties(read) == without_empties(params)


async def read_request(request: HttpRequest, service: str, protocol: str) -> tuple[str, dict[str, Any]]:
    target = IDENTIFIER.service_of(request)
    assert (target.service, target.protocol) == (service, protocol)
    document = await request.body.read(10**9) if protocol in requests.DOCUMENTS else b""
    target = IDENTIFIER.operation_of(target, request, document)
    model = SERVICE_MODELS.get(service)
    operation = model.operations[target.operation]
    if protocol in requests.DOCUMENTS:
        read = requests.parse_document(model, operation, protocol, document, target.query_pairs)
        return target.operation, read
    read = await requests.parse(
        operation,
        protocol,
        body=request.body,
        labels=target.labels,
        query_pairs=target.query_pairs,
        headers=request.headers,
    )
    return target.operation, read


def check_result(service: str, operation: Any, protocol: str, random: Random) -> None:
    shape = operation.output_shape
    if protocol == "json" and operation.has_event_stream_output:
        return  # CloudWatch Logs' live tail: a stream of events is no message
    result = Values(random).message(shape)
    payload = (shape.serialization.get("payload") if shape else "") or ""
    if payload and shape.members[payload].serialization.get("eventstream"):
        result.pop(payload, None)
    status = next((n for n in result if shape.members[n].serialization.get("location") == "statusCode"), "")
    if status:
        result[status] = 201
    model = SERVICE_MODELS.get(service)
    response = responses.serialize(model, model.operations[operation.name], protocol, result, "request-1")
    if operation.http["method"] == "HEAD":
        assert response.body == b""
    if payload and shape.members[payload].serialization.get("eventstream"):
        return
    if payload and shape.members[payload].type_name == "blob":
        assert response.body == result.pop(payload, b"")
        response.body = b""
    if operation.name == "GetBucketLocation":
        return  # its root element is its member; botocore reads it in a handler of its own
    if operation.name == "GetBucketNotification":
        return  # superseded: its `Event` and `Events` are one element on the wire, which botocore reads as both
    read = wire_halves.parsed(service, operation.name, response, protocol)
    if "ContentType" not in result:
        read.pop("ContentType", None)  # bytes are given a type when the handler has none
    for name in (payload, "Body"):
        if read.get(name) in ("", b""):
            read.pop(name)
    assert without_empties(read) == without_empties(result)
