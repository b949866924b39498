"""Asynchronous inference while things die, and with input that cannot be had: one visible result each, whatever is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from async_server import BUCKET, AsyncEndpoint, said
from botocore.exceptions import ClientError

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until


@pytest.fixture
def endpoint(serve, name: str) -> AsyncEndpoint:
    return AsyncEndpoint(serve(), name, MaxConcurrentInvocationsPerInstance=2)


def kill(trimtab: Trimtab, title: str) -> None:
    victims = trimtab.processes(title)
    assert victims, title
    for victim in victims:
        victim.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("victim", ["consumer", "queues", "control", "gateway", "worker", "nursery"])
def test_every_accepted_request_has_one_result_whatever_is_killed(
    endpoint: AsyncEndpoint, victim: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    answers = [endpoint.ask(Body=f"until:{gate}".encode()) for _ in range(6)]
    wait_until(lambda: endpoint.trimtab.processes("trimtab: worker"))
    kill(endpoint.trimtab, f"trimtab: {victim}")
    gate.touch()
    for answer in answers:
        assert said(endpoint.result(answer))["by"] == "one"
    assert len(endpoint.results()) == len(answers)


@pytest.mark.slow
def test_a_task_that_kills_its_replica_each_time_is_given_up_with_its_reason(serve, name: str) -> None:
    endpoint = AsyncEndpoint(serve(), name)
    text = endpoint.failure(endpoint.ask(Body=b"die"), limit_s=100)
    assert "attempts ended without an answer" in text
    assert said(endpoint.result(endpoint.ask(Body=b"x")))["size"] == 1


def test_an_input_that_is_not_there_fails_and_says_so(endpoint: AsyncEndpoint) -> None:
    for where in (f"s3://{BUCKET}/nothing", "s3://no-such-bucket-here/key"):
        text = endpoint.failure(endpoint.ask(InputLocation=where))
        assert text.startswith(f"ClientError: Unable to download input from {where}: NoSuch")


@pytest.mark.parametrize(
    "params",
    [
        {"InputLocation": "s3://"},
        {"InputLocation": "ftp://bucket/key"},
        {"InputLocation": f"s3://{BUCKET}"},
        {},
        {"InputLocation": f"s3://{BUCKET}/k", "Body": b"x"},
        {"Body": b"x", "Filename": "../up"},
        {"Body": b"x", "S3OutputPathExtension": "s3://other"},
        {"Body": b"x", "RequestTTLSeconds": 59},
        {"Body": b"x", "InvocationTimeoutSeconds": 3601},
        {"Body": b"x" * 128_001},
    ],
)
def test_requests_that_make_no_sense_are_refused_at_once(shared: AsyncEndpoint, params: dict) -> None:
    client = shared.trimtab.client("sagemaker-runtime", parameter_validation=False)
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint_async(EndpointName=shared.name, **params)
    assert caught.value.response["Error"]["Code"] in ("ValidationError", "413")


@pytest.fixture(scope="module")
def shared(trimtab: Trimtab) -> AsyncEndpoint:
    return AsyncEndpoint(trimtab, "shared-async")


def test_an_output_bucket_that_is_gone_fails_the_task_and_says_so(trimtab: Trimtab, name: str) -> None:
    endpoint = AsyncEndpoint(trimtab, name, output={"S3OutputPath": f"s3://gone-{name}/out"})
    answer = endpoint.ask(Body=b"x")
    found = wait_until(lambda: endpoint.found(answer["FailureLocation"]))
    assert b"Unable to upload the response" in found["Bytes"]
    assert b"NoSuchBucket" in found["Bytes"]
    large = endpoint.ask(Body=b"large:1000000")
    found = wait_until(lambda: endpoint.found(large["FailureLocation"]))
    assert b"NoSuchBucket" in found["Bytes"]


def test_an_update_serves_what_waits_with_the_new_version_and_the_result_says_so(
    trimtab: Trimtab, name: str, tmp_path: Path
) -> None:
    endpoint = AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=1)
    gate = tmp_path / "gate"
    answers = [endpoint.ask(Body=f"until:{gate}".encode()) for _ in range(4)]
    trimtab.create_model(f"{name}-two", archive(code__inference_py=MODEL_TWO))
    endpoint.config(f"{name}-two", model=f"{name}-two", MaxConcurrentInvocationsPerInstance=1)
    trimtab.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-two")
    wait_until(
        lambda: (
            trimtab.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"] == f"{name}-two"
            or len(trimtab.processes("trimtab: worker")) > 1
        )
    )
    gate.touch()
    found = [endpoint.result(answer) for answer in answers]
    trimtab.settled(name)
    versions = {f["Metadata"]["trimtab-endpoint-config"] for f in found}
    assert versions <= {name, f"{name}-two"}
    assert f"{name}-two" in versions
    assert len(endpoint.results()) == len(answers)


MODEL_TWO = """
import json

def model_fn(model_dir):
    return "two"

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return json.dumps({"by": model}).encode()

def output_fn(prediction, accept):
    return prediction, "application/json"
"""


def test_an_update_may_not_drop_the_asynchronous_settings(shared: AsyncEndpoint, name: str) -> None:
    shared.trimtab.create_config(name, shared.name)
    with pytest.raises(ClientError, match="AsyncInferenceConfig parameter cannot be removed from this endpoint"):
        shared.trimtab.sagemaker.update_endpoint(EndpointName=shared.name, EndpointConfigName=name)


def test_tasks_of_an_endpoint_that_was_made_again_are_not_the_new_ones(trimtab: Trimtab, name: str, tmp_path) -> None:
    endpoint = AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=1)
    gate = tmp_path / "gate"
    old = [endpoint.ask(Body=f"until:{gate}".encode()) for _ in range(3)]
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    gate.touch()
    ends = wait_until(lambda: keys if len(keys := endpoint.results()) == len(old) else None)
    trimtab.sagemaker.get_waiter("endpoint_deleted").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    assert said(endpoint.result(endpoint.ask(Body=b"new")))["head"] == "new"
    assert len(endpoint.results()) == len(ends) + 1
    assert os.path.exists(gate)
