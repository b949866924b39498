"""CloudWatch Logs over the replicas' logs, by boto3 and the AWS CLI as they are."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_clients import client_env, run

from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab

TALKER = """
import json
def model_fn(model_dir):
    print("loading")
    return None
def predict_fn(data, model):
    for number in range(*map(int, data)):
        print(json.dumps({"number": number, "level": "ERROR" if number % 10 == 0 else "INFO"}))
    return 1
"""


def messages(client: Any, name: str, **params: Any) -> list[str]:
    """All pages of filter_log_events, as programs read them."""
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/sagemaker/Endpoints/{name}", **params
    )
    return [event["message"] for page in pages for event in page["events"]]


def talk(trimtab: Trimtab, name: str, first: int, last: int) -> None:
    trimtab.invoke(name, json.dumps([first, last]).encode())


def test_what_replicas_print_is_found_by_time_and_pattern(trimtab: Trimtab, name: str) -> None:
    logs = trimtab.client("logs")
    trimtab.deploy(name, script(TALKER), count=2)
    began_ms = int(time.time() * 1000) - 20  # a burst of writes has one time
    talk(trimtab, name, 0, 30)
    group = f"/aws/sagemaker/Endpoints/{name}"
    assert group in [
        found["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/sagemaker/")
        for found in page["logGroups"]
    ]
    streams = [
        stream
        for page in logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, orderBy="LastEventTime", descending=True, PaginationConfig={"PageSize": 1}
        )
        for stream in page["logStreams"]
    ]
    assert len(streams) == 2
    assert all(stream["logStreamName"].startswith("blue/") for stream in streams)
    assert began_ms <= streams[0]["lastEventTimestamp"] <= time.time() * 1000 + 1000
    assert "loading" in messages(logs, name)
    assert messages(logs, name, filterPattern="loading", startTime=began_ms) == []
    errors = messages(logs, name, filterPattern='{ $.level = "ERROR" }', PaginationConfig={"PageSize": 2})
    assert [json.loads(message)["number"] for message in errors] == [0, 10, 20]
    replica = streams[0]["logStreamName"].partition("/")[2]
    assert replica in trimtab.cli("describe", name, "--json")


def test_a_stream_is_followed_by_its_forward_token(trimtab: Trimtab, name: str) -> None:
    logs = trimtab.client("logs")
    trimtab.deploy(name, script(TALKER))
    group = f"/aws/sagemaker/Endpoints/{name}"
    [stream] = logs.describe_log_streams(logGroupName=group)["logStreams"]
    of_stream = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
    page = logs.get_log_events(startFromHead=True, **of_stream)
    while page["events"]:
        page = logs.get_log_events(nextToken=page["nextForwardToken"], startFromHead=True, **of_stream)
    found: list[int] = []
    for first in (0, 15_000):
        talk(trimtab, name, first, first + 15_000)
        token = ""
        while token != page["nextForwardToken"]:
            token = page["nextForwardToken"]
            page = logs.get_log_events(nextToken=token, startFromHead=True, **of_stream)
            found += [json.loads(event["message"])["number"] for event in page["events"]]
    assert found == list(range(30_000))


def test_the_logs_of_a_deleted_endpoint_stay_and_unknown_ones_are_said_to_be(trimtab: Trimtab, name: str) -> None:
    logs = trimtab.client("logs")
    trimtab.deploy(name, script(TALKER))
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    trimtab.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 1})
    assert "loading" in messages(logs, name)
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="The specified log group does not exist"):
        messages(logs, f"{name}-never")
    with pytest.raises(ClientError, match=r"does not support the operation PutLogEvents"):
        logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": 1, "message": "m"}])


def test_a_key_limited_to_an_endpoint_reads_its_logs_alone(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy(name, script(TALKER))
    trimtab.deploy(f"{name}-other", script(TALKER))
    made = json.loads(trimtab.cli("keys", "create", "--name", name, "--endpoint", name, "--action", "logs:*", "--json"))
    logs = trimtab.client("logs", key=(made["id"], made["secret"]))
    assert "loading" in messages(logs, name)
    with pytest.raises(ClientError, match="is not authorized to perform: logs:FilterLogEvents"):
        messages(logs, f"{name}-other")
    groups = logs.describe_log_groups()["logGroups"]
    assert [group["logGroupName"].rpartition("/")[2] for group in groups] == [name]


@pytest.mark.sdk
def test_the_aws_cli_filters_log_events(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    trimtab.deploy(name, script(TALKER))
    talk(trimtab, name, 0, 25)
    aws = client_env("awscli") / "aws"
    group = f"/aws/sagemaker/Endpoints/{name}"
    out = run(
        trimtab,
        *(aws, "logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "{ $.number >= 20 }"),
        *("--query", "events[].message", "--output", "json"),
        folder=tmp_path,
    )
    assert [json.loads(message)["number"] for message in json.loads(out)] == list(range(20, 25))
    out = run(trimtab, aws, "logs", "describe-log-streams", "--log-group-name", group, folder=tmp_path)
    [stream] = json.loads(out)["logStreams"]
    out = run(
        trimtab,
        *(aws, "logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream["logStreamName"]),
        *("--limit", "1", "--output", "json"),
        folder=tmp_path,
    )
    assert json.loads(json.loads(out)["events"][0]["message"])["number"] == 24
