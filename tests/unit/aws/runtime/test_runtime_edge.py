"""boto3 invokes: what it gets, and what the worker gets."""

import asyncio
import re

import msgspec
import pytest
from botocore.exceptions import ClientError, EventStreamError, ReadTimeoutError

from trimtab.policies.admission import Refusals
from trimtab.resources.routing import AccessKey, HostedRoute
from trimtab.wire.frames import INITIAL_CREDIT_BYTES


async def read(stream):
    """All events of a response stream, which is closed afterwards."""
    try:
        return await asyncio.to_thread(list, stream)
    finally:
        stream.close()


async def refused(invocation, code, status):
    with pytest.raises(ClientError) as caught:
        await invocation
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert response["ResponseMetadata"]["RequestId"]
    return response


async def test_an_invocation_and_its_headers(place):
    place.worker.on_request = lambda got: got.answer(b"0.7", "text/csv", "trace=1")
    response = await place.invoke(
        b"1,2",
        ContentType="text/csv",
        Accept="text/csv",
        CustomAttributes="a b",
        InferenceId="i-1",
        TargetVariant="AllTraffic",
    )
    assert response["Body"].read() == b"0.7"
    assert response["ContentType"] == "text/csv"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert response["CustomAttributes"] == "trace=1"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", response["ResponseMetadata"]["RequestId"])
    got = place.worker.got[0]
    assert got.body == b"1,2"
    assert (got.meta.content_type, got.meta.accept, got.meta.custom_attributes) == ("text/csv", "text/csv", "a b")
    assert got.meta.inference_id == "i-1"


async def test_a_body_of_a_megabyte_and_an_empty_one(place):
    large = bytes(range(256)) * 4096
    assert (await place.invoke(large))["Body"].read() == large
    assert (await place.invoke(b""))["Body"].read() == b""


async def test_request_ids_differ(place):
    ids = {(await place.invoke())["ResponseMetadata"]["RequestId"] for _ in range(3)}
    assert len(ids) == 3


async def test_a_missing_endpoint_is_a_validation_error(place):
    response = await refused(place.invoke(name="other"), "ValidationError", 400)
    assert response["Error"]["Message"] == "Endpoint other of account 000000000000 not found."


async def test_an_unknown_variant_is_a_validation_error(place):
    await refused(place.invoke(TargetVariant="other"), "ValidationError", 400)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            {"TargetModel": "m.tar.gz"},
            "Endpoint fraud is not a multi-model endpoint and does not support target model header.",
        ),
        ({"InferenceComponentName": "ic"}, "Inference Component Name header is not allowed"),
        ({"TargetContainerHostname": "c"}, "target container hostname"),
        ({"SessionId": "NEW_SESSION"}, "stateful sessions"),
        ({"EnableExplanations": "`true`"}, "no explainer"),
    ],
)
async def test_headers_of_other_kinds_of_endpoint_are_refused(place, header, says):
    response = await refused(place.invoke(**header), "ValidationError", 400)
    assert says in response["Error"]["Message"]
    assert not place.worker.got


async def test_a_multi_model_endpoint_wants_a_target_model(place):
    await place.route(hosting=HostedRoute(prefix="s3://b/models/"))
    response = await refused(place.invoke(), "ValidationError", 400)
    request_id = response["ResponseMetadata"]["RequestId"]
    assert response["Error"]["Message"] == f"Request {request_id} is missing a target model header."
    assert not place.worker.got


async def test_a_target_model_is_refused_with_awss_error_code_by_an_endpoint_that_holds_one(place):
    await place.gateway.apply(msgspec.structs.replace(place.gateway.table, require_auth=False))
    answer = await place.raw(
        b"POST /endpoints/fraud/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n"
        b"X-Amzn-SageMaker-Target-Model: m.tar.gz\r\n\r\n"
    )
    assert b'"ErrorCode":"TARGET_MODEL_HEADER_NOT_SUPPORTED"' in answer


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
@pytest.mark.parametrize("value", [b"a\x01b", b"m" * 1025, b"\xff\x00"])
async def test_target_models_that_no_key_can_be_are_refused_by_the_member(place, operation, value):
    await place.gateway.apply(msgspec.structs.replace(place.gateway.table, require_auth=False))
    answer = await place.raw(
        b"POST /endpoints/fraud/%b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n"
        b"X-Amzn-SageMaker-Target-Model: %b\r\n\r\n" % (operation.encode(), value)
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_asynchronous_invocation_of_a_plain_endpoint_is_a_validation_error(place):
    client = place.client()
    call = asyncio.to_thread(lambda: client.invoke_endpoint_async(EndpointName="fraud", InputLocation="s3://b/k"))
    response = await refused(call, "ValidationError", 400)
    assert "AsyncInferenceConfig" in response["Error"]["Message"]


async def test_what_a_container_answers_is_wrapped_as_model_error(place):
    place.worker.on_request = lambda got: got.fail(415, b"no such type")
    response = await refused(place.invoke(), "ModelError", 424)
    assert response["Error"]["Message"].startswith(
        'Received client error (415) from primary with message "no such type". See https://'
    )
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (415, "no such type")
    assert response["LogStreamArn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/aws/sagemaker/Endpoints/fraud"
    place.worker.on_request = lambda got: got.fail(500, b"Traceback")
    response = await refused(place.invoke(), "ModelError", 424)
    assert response["Error"]["Message"].startswith("Received server error (500) from primary")


async def test_a_model_that_hangs_is_a_model_error_of_status_0(place):
    place.worker.on_request = lambda got: None
    await place.route(timeout_s=0.05)
    response = await refused(place.invoke(), "ModelError", 424)
    assert response["OriginalStatusCode"] == 0
    assert (
        "Your invocation timed out while waiting for a response from container primary." in response["Error"]["Message"]
    )


async def test_no_replica_in_time_is_service_unavailable_and_a_full_queue_throttles(place):
    await place.route(lanes=(), timeout_s=0.05)
    await refused(place.invoke(), "ServiceUnavailable", 503)
    await place.route(lanes=(), max_queue=0)
    await refused(place.invoke(), "ThrottlingException", 400)


async def test_a_replica_that_dies_is_service_unavailable(place):
    place.worker.on_request = lambda got: got.connection.transport.abort()
    response = await refused(place.invoke(), "ServiceUnavailable", 503)
    assert "replica" in response["Error"]["Message"]


async def test_too_large_a_body_is_413_and_the_connection_goes_on(place):
    await place.route(max_payload_bytes=1000)
    client = place.client()
    for size, fits in ((1000, True), (3_000_000, False), (1000, True)):
        call = asyncio.to_thread(lambda size=size: client.invoke_endpoint(EndpointName="fraud", Body=b"x" * size))
        if fits:
            await call
        else:
            await refused(call, "413", 413)


async def test_custom_attributes_are_bounded(place):
    response = await refused(place.invoke(CustomAttributes="x" * 1025), "ValidationError", 400)
    assert "at 'customAttributes' failed to satisfy constraint" in response["Error"]["Message"]


async def test_what_a_model_says_cannot_split_the_answer(place):
    place.worker.on_request = lambda got: got.answer(b"ok", "text/plain\r\nX-Evil: 1", "a\r\nSet-Cookie: b")
    response = await place.invoke()
    assert response["CustomAttributes"] == "aSet-Cookie: b"
    assert "x-evil" not in response["ResponseMetadata"]["HTTPHeaders"]


async def test_a_wrong_signature_an_unknown_key_and_no_signature(place):
    bad = AccessKey(id="AKIAIOSFODNN7EXAMPLE", secret="wrong")
    await refused(place.invoke(key=bad), "InvalidSignatureException", 403)
    await refused(place.invoke(key=AccessKey(id="AKIAOTHER", secret="x")), "UnrecognizedClientException", 403)
    answer = await place.raw(
        b"POST /endpoints/fraud/invocations HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"MissingAuthenticationTokenException" in answer
    assert not place.worker.got


async def test_a_key_is_limited_to_its_actions_and_endpoints(place):
    key = AccessKey(id="AKIAINVOKER", secret="s")
    assert (await place.invoke(key=key))["Body"].read() == b"x"
    await refused(place.invoke(key=key, operation="invoke_endpoint_with_response_stream"), "AccessDeniedException", 403)
    await place.route(name="other")
    await refused(place.invoke(key=key, name="other"), "AccessDeniedException", 403)


async def test_a_stream_arrives_in_parts_with_its_headers(place):
    def stream(got):
        got.head("text/event-stream")
        for part in (b"a", b"b", b"", b"c"):
            got.chunk(part)
        got.end()

    place.worker.on_request = stream
    response = await place.invoke(operation="invoke_endpoint_with_response_stream", Accept="text/x", ContentType="a/b")
    assert response["ContentType"] == "text/event-stream"
    assert response["InvokedProductionVariant"] == "AllTraffic"
    events = await read(response["Body"])
    assert [event["PayloadPart"]["Bytes"] for event in events] == [b"a", b"b", b"c"]
    assert (place.worker.got[0].meta.accept, place.worker.got[0].meta.content_type) == ("text/x", "a/b")


async def test_a_model_that_does_not_stream_answers_in_one_part(place):
    response = await place.invoke(b"whole", operation="invoke_endpoint_with_response_stream")
    events = await read(response["Body"])
    assert [event["PayloadPart"]["Bytes"] for event in events] == [b"whole"]


async def test_a_failure_before_the_first_byte_of_a_stream_is_an_ordinary_error(place):
    place.worker.on_request = lambda got: got.fail(500, b"no")
    await refused(place.invoke(operation="invoke_endpoint_with_response_stream"), "ModelError", 424)


async def test_a_failure_after_the_first_byte_of_a_stream_is_an_event(place):
    place.worker.on_request = lambda got: (got.head(), got.chunk(b"part"), got.fail(500, b"broke"))
    response = await place.invoke(operation="invoke_endpoint_with_response_stream")
    with pytest.raises(EventStreamError, match="ModelStreamError") as caught:
        await read(response["Body"])
    assert "broke" in str(caught.value)


async def test_a_stream_that_outlasts_its_time_ends_with_an_event(place, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.variant.STREAM_TIMEOUT_S", 0.1)
    place.worker.on_request = lambda got: (got.head(), got.chunk(b"part"))
    response = await place.invoke(operation="invoke_endpoint_with_response_stream")
    with pytest.raises(EventStreamError, match="timed out"):
        await read(response["Body"])


async def test_a_slow_reader_of_a_stream_holds_up_the_model(place):
    total, piece = 64 << 20, b"x" * 262_144
    sent = 0

    async def send_as_credit_allows(got):
        nonlocal sent

        def may_send():
            return INITIAL_CREDIT_BYTES + place.worker.credit.get(got.stream, 0) > sent

        got.head()
        while sent < total:
            await place.worker.until(may_send, timeout_s=30)
            got.chunk(piece)
            sent += len(piece)
        got.end()

    tasks = []
    place.worker.on_request = lambda got: tasks.append(asyncio.ensure_future(send_as_credit_allows(got)))
    response = await place.invoke(operation="invoke_endpoint_with_response_stream")
    held = -1
    while held != sent:  # until the model is made to wait
        held = sent
        await asyncio.sleep(0.05)
    assert held < total // 2
    size = await asyncio.to_thread(lambda: sum(len(e["PayloadPart"]["Bytes"]) for e in response["Body"]))
    assert size == total
    response["Body"].close()
    await tasks[0]


async def test_a_client_that_leaves_in_mid_stream_cancels_it_at_the_worker(place):
    place.worker.on_request = lambda got: (got.head(), got.chunk(b"part"))
    response = await place.invoke(operation="invoke_endpoint_with_response_stream")
    response["Body"].close()
    await place.worker.until(lambda: place.worker.cancelled)


async def test_a_client_that_leaves_while_waiting_cancels_its_request(place):
    place.worker.on_request = lambda got: None
    client = place.client(read_timeout=0.2)
    with pytest.raises(ReadTimeoutError):
        await asyncio.to_thread(lambda: client.invoke_endpoint(EndpointName="fraud", Body=b"x"))
    await place.worker.until(lambda: place.worker.cancelled)
    (report,) = place.gateway.reports()
    assert (report.clients_gone, report.in_hand.most) == (1, 1)
    (version,) = report.versions  # the replica has worked on it for nobody
    assert version.ended == 0
    assert version.wasted_us > 0


async def test_paths_that_are_no_operation_say_so(place):
    for line in (b"GET /endpoints/fraud/invocations", b"POST /endpoints/fraud/other", b"POST /endpoints/"):
        await place.gateway.apply(place.gateway.table.__class__(version=99, require_auth=False))
        answer = await place.raw(line + b" HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"UnknownOperationException" in answer


async def test_without_auth_nobody_signs(place):
    table = place.gateway.table
    await place.gateway.apply(type(table)(version=99, endpoints=table.endpoints, require_auth=False))
    answer = await place.raw(
        b"POST /endpoints/fraud/invocations HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    )
    assert answer.endswith(b"\r\n\r\nhi")


async def test_a_client_that_keeps_asking_a_full_queue_is_slowed_down_and_never_forgotten(place):
    await place.route(lanes=(), max_queue=0)
    place.gateway.table = msgspec.structs.replace(place.gateway.table, require_auth=False)
    burst = int(Refusals.PER_S * Refusals.BURST_S)
    count = 3 * burst
    request = b"POST /endpoints/fraud/invocations HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
    last = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    began_s = asyncio.get_running_loop().time()
    answer = await place.raw(request * (count - 1) + last)
    took_s = asyncio.get_running_loop().time() - began_s
    assert answer.count(b"HTTP/1.1 400 ") == answer.count(b"ThrottlingException") == count
    assert took_s >= 0.9 * burst / Refusals.PER_S  # what is over the burst comes at no more than the budget's rate
