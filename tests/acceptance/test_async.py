"""Asynchronous inference with boto3: accepted, worked on, published once, told."""

from __future__ import annotations

import pytest
from async_server import BUCKET, AsyncEndpoint, said
from botocore.exceptions import ClientError

from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until


@pytest.fixture
def endpoint(trimtab: Trimtab, name: str) -> AsyncEndpoint:
    return AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=4)


def test_an_input_in_s3_becomes_a_result_in_s3(endpoint: AsyncEndpoint) -> None:
    where = endpoint.put(b"a page")
    answer = endpoint.ask(InputLocation=where, ContentType="text/plain", InferenceId="page-1")
    assert answer["InferenceId"] == "page-1"
    assert answer["OutputLocation"].startswith(f"s3://{BUCKET}/out/{endpoint.name}/")
    assert answer["OutputLocation"].endswith(".out")
    assert answer["FailureLocation"].startswith(f"s3://{BUCKET}/failed/{endpoint.name}/")
    found = endpoint.result(answer)
    assert said(found) == {"size": 6, "head": "a page", "by": "one", "type": "text/plain"}
    assert found["ContentType"] == "application/json"
    assert endpoint.results() == [answer["OutputLocation"].removeprefix(f"s3://{BUCKET}/")]


def test_an_input_beside_the_request(endpoint: AsyncEndpoint) -> None:
    answer = endpoint.ask(Body=b"inline", S3OutputPathExtension="team/a", Filename="page.json")
    assert answer["OutputLocation"] == f"s3://{BUCKET}/out/{endpoint.name}/team/a/page.json"
    assert said(endpoint.result(answer))["head"] == "inline"
    assert answer["InferenceId"]


def test_large_inputs_and_large_results(endpoint: AsyncEndpoint) -> None:
    into = endpoint.ask(InputLocation=endpoint.put(b"p" * (40 << 20)))
    out = endpoint.ask(Body=b"large:%d" % (40 << 20))
    assert said(endpoint.result(into))["size"] == 40 << 20
    assert endpoint.result(out)["Bytes"] == b"x" * (40 << 20)
    uploads = endpoint.trimtab.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=f"out/{endpoint.name}/")
    assert not uploads.get("Uploads")


def test_a_model_that_fails_leaves_its_words_at_the_failure_path_and_is_not_asked_again(
    endpoint: AsyncEndpoint,
) -> None:
    text = endpoint.failure(endpoint.ask(Body=b"poison"))
    assert text.startswith("Received ")
    assert "no such document" in text


def test_real_time_invocations_of_an_asynchronous_endpoint_are_refused(endpoint: AsyncEndpoint) -> None:
    with pytest.raises(ClientError, match="is an asynchronous endpoint") as caught:
        endpoint.trimtab.runtime.invoke_endpoint(EndpointName=endpoint.name, Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_describe_endpoint_says_what_was_declared(endpoint: AsyncEndpoint) -> None:
    found = endpoint.trimtab.sagemaker.describe_endpoint(EndpointName=endpoint.name)
    assert found["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == f"s3://{BUCKET}/out/{endpoint.name}/"
    assert found["AsyncInferenceConfig"]["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 4}


def test_a_time_limit_of_the_request_is_kept(endpoint: AsyncEndpoint) -> None:
    text = endpoint.failure(endpoint.ask(Body=b"slow:30", InvocationTimeoutSeconds=1))
    assert "timed out" in text


def test_the_same_inference_id_twice_is_two_requests(endpoint: AsyncEndpoint) -> None:
    first, second = (endpoint.ask(Body=b"x", InferenceId="same") for _ in range(2))
    assert first["OutputLocation"] != second["OutputLocation"]
    assert endpoint.result(first)
    assert endpoint.result(second)


def test_an_endpoint_deleted_with_tasks_in_its_queue_ends_each_of_them_with_that_reason(
    endpoint: AsyncEndpoint, tmp_path
) -> None:
    gate = tmp_path / "gate"
    answers = [endpoint.ask(Body=f"until:{gate}".encode()) for _ in range(8)]
    gate_opened = gate.touch
    endpoint.trimtab.sagemaker.delete_endpoint(EndpointName=endpoint.name)
    gate_opened()
    ends = wait_until(lambda: keys if len(keys := endpoint.results()) == len(answers) else None)
    failed = [answer for answer in answers if endpoint.found(answer["FailureLocation"])]
    assert failed
    assert all("was deleted" in endpoint.failure(answer) for answer in failed)
    assert len(ends) == len(answers)
