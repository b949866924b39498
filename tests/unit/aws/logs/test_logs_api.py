"""CloudWatch Logs' calls, in AWS's words; every answer is checked against AWS's model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from log_world import START_MS, Replica

from trimtab.aws.faults import Where, fault_of
from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.logs import events, logs_handlers
from trimtab.aws.registry import AwsError, Call
from trimtab.clock import ManualClock
from trimtab.errors import TrimtabError
from trimtab.resources.routing import AccessKey

GROUP = "/aws/sagemaker/Endpoints/e"
ARN = f"arn:aws:logs:eu-west-1:123456789012:log-group:{GROUP}"
NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
NO_STREAM = ("ResourceNotFoundException", "The specified log stream does not exist.")
Invoke = Callable[..., Any]


@pytest.fixture(scope="session")
def model():
    return botocore.session.get_session().get_service_model("logs")


@pytest.fixture
def logs(tmp_path: Path, model) -> Invoke:
    handlers = logs_handlers(tmp_path, ManualClock(START_MS / 1000 + 10**6), b"secret")["logs"]

    async def invoke(operation: str, *, key: AccessKey | None = None, **params: Any) -> dict[str, Any]:
        call = Call(
            request=HttpRequest(method="POST", raw_path="/", body=BytesBody()),
            service="logs",
            operation=operation,
            request_id="r",
            region="eu-west-1",
            account="123456789012",
            identity=key,
        )
        shape = model.operation_model(operation)
        assert not ParamValidator().validate(params, shape.input_shape).has_errors(), "the test itself is wrong"
        try:
            answer = await handlers[operation](call, params)
        except TrimtabError as error:  # as the edge would say it
            fault = fault_of(error, Where(service="logs", protocol="json", request_id="r"))
            raise AwsError(fault.code, fault.message, fault.status) from error
        for nulls in (answer, *answer.get("logStreams", ())):
            for name in [name for name, value in nulls.items() if value is None]:
                del nulls[name]  # as the edge leaves them out
        report = ParamValidator().validate(answer, shape.output_shape)
        assert not report.has_errors(), report.generate_report()
        return answer

    return invoke


def refused(error: pytest.ExceptionInfo[AwsError]) -> tuple[str, str]:
    assert error.value.status == 400
    return error.value.code, error.value.message


async def test_groups_are_endpoints_by_prefix_part_and_identifier(logs: Invoke, tmp_path: Path) -> None:
    assert await logs("DescribeLogGroups") == {"logGroups": []}
    for endpoint in ("e", "fraud-1", "fraud-2"):
        Replica(tmp_path, endpoint).write("hello\n", START_MS)

    async def names(**params: Any) -> list[str]:
        groups = (await logs("DescribeLogGroups", **params))["logGroups"]
        return [group["logGroupName"].rpartition("/")[2] for group in groups]

    assert await names() == ["e", "fraud-1", "fraud-2"]
    assert await names(logGroupNamePrefix="/aws/sagemaker/Endpoints/fr") == ["fraud-1", "fraud-2"]
    assert await names(logGroupNamePattern="ud-2") == ["fraud-2"]
    assert await names(logGroupIdentifiers=[ARN]) == ["e"]
    assert await names(logGroupClass="INFREQUENT_ACCESS") == []
    assert await names(key=AccessKey(id="K", secret="s", endpoints=("fraud-*",))) == ["fraud-1", "fraud-2"]
    [group] = (await logs("DescribeLogGroups", logGroupNamePrefix=GROUP))["logGroups"]
    assert group == {
        "logGroupName": GROUP,
        "creationTime": START_MS,
        "metricFilterCount": 0,
        "arn": f"{ARN}:*",
        "logGroupArn": ARN,
        "storedBytes": 6,
        "logGroupClass": "STANDARD",
    }


async def test_listings_come_in_pages(logs: Invoke, tmp_path: Path) -> None:
    for number in range(5):
        Replica(tmp_path, name=f"r{number}-0").write("x\n", START_MS + 1000 * (number % 3))
    for order, descending, expected in (
        ("LogStreamName", False, ["blue/r0", "blue/r1", "blue/r2", "blue/r3", "blue/r4"]),
        ("LogStreamName", True, ["blue/r4", "blue/r3", "blue/r2", "blue/r1", "blue/r0"]),
        ("LastEventTime", True, ["blue/r2", "blue/r4", "blue/r1", "blue/r3", "blue/r0"]),
    ):
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            answer = await logs(
                "DescribeLogStreams", logGroupName=GROUP, orderBy=order, descending=descending, limit=2, **token
            )
            found += [stream["logStreamName"] for stream in answer["logStreams"]]
            if "nextToken" not in answer:
                break
            token = {"nextToken": answer["nextToken"]}
        assert found == expected


async def test_a_stream_is_described(logs: Invoke, tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    replica.write("one\n", START_MS)
    replica.rotate()
    replica.write("two\n", START_MS + 5000)
    Replica(tmp_path, name="r-1")
    empty, full = sorted(
        (await logs("DescribeLogStreams", logGroupIdentifier=ARN))["logStreams"], key=lambda s: s["storedBytes"]
    )
    assert empty["logStreamName"] == "blue/r-1"
    assert "firstEventTimestamp" not in empty
    assert full == {
        "logStreamName": "blue/r",
        "creationTime": START_MS,
        "firstEventTimestamp": START_MS,
        "lastEventTimestamp": START_MS + 5000,
        "lastIngestionTime": START_MS + 5000,
        "arn": f"{ARN}:log-stream:blue/r",
        "storedBytes": 8,
    }


async def test_get_log_events_walks_both_ways_and_tokens_repeat_at_the_ends(logs: Invoke, tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    for number in range(5):
        replica.write(f"{number}\n", START_MS + 1000 * number)

    async def page(**params: Any) -> tuple[list[str], str, str]:
        answer = await logs("GetLogEvents", logGroupName=GROUP, logStreamName="blue/r", limit=2, **params)
        texts = [event["message"] for event in answer["events"]]
        return texts, answer["nextForwardToken"], answer["nextBackwardToken"]

    texts, forward, backward = await page()
    assert texts == ["3", "4"]
    assert (await page(nextToken=forward))[:2] == ([], forward)
    texts, _, backward = await page(nextToken=backward)
    assert texts == ["1", "2"]
    texts, forward, backward = await page(nextToken=backward)
    assert texts == ["0"]
    assert (await page(nextToken=backward))[2] == backward
    assert (await page(nextToken=forward, startFromHead=True))[0] == ["1", "2"]
    texts, forward, _ = await page(startFromHead=True)
    assert texts == ["0", "1"]
    assert (await page(startFromHead=True, startTime=START_MS + 3000))[0] == ["3", "4"]
    assert (await page(startFromHead=True, endTime=START_MS + 1000))[0] == ["0"]
    for _ in range(3):
        texts, forward, _ = await page(nextToken=forward)
    assert texts == []
    replica.write("5\n", START_MS + 6000)
    assert (await page(nextToken=forward))[0] == ["5"]


async def test_an_event_has_its_times(logs: Invoke, tmp_path: Path) -> None:
    Replica(tmp_path).write("hello\n", START_MS)
    answer = await logs("GetLogEvents", logGroupIdentifier=ARN, logStreamName="blue/r")
    assert answer["events"] == [{"timestamp": START_MS, "message": "hello", "ingestionTime": START_MS}]
    [event] = (await logs("FilterLogEvents", logGroupName=GROUP))["events"]
    assert len(event.pop("eventId")) == 56
    assert event == {
        "logStreamName": "blue/r",
        "timestamp": START_MS,
        "message": "hello",
        "ingestionTime": START_MS,
    }


async def test_filter_chooses_streams_times_and_words(logs: Invoke, tmp_path: Path) -> None:
    for variant, name, at_ms in (("blue", "r-0", 0), ("blue", "s-0", 1000), ("green", "t-0", 2000)):
        Replica(tmp_path, variant=variant, name=name).write(f'{{"of": "{name}"}}\n', START_MS + at_ms)

    async def names(**params: Any) -> list[str]:
        answer = await logs("FilterLogEvents", logGroupName=GROUP, **params)
        assert answer["searchedLogStreams"] == []
        return [event["logStreamName"] for event in answer["events"]]

    assert await names() == ["blue/r", "blue/s", "green/t"]
    assert await names(startFromHead=False) == ["green/t", "blue/s", "blue/r"]
    assert await names(logStreamNamePrefix="blue/") == ["blue/r", "blue/s"]
    assert await names(logStreamNames=["green/t", "blue/r"]) == ["blue/r", "green/t"]
    assert await names(startTime=START_MS + 1000) == ["blue/s", "green/t"]
    assert await names(endTime=START_MS + 1000) == ["blue/r", "blue/s"]  # AWS: the end counts
    assert await names(filterPattern='{ $.of = "s*" }') == ["blue/s"]
    first = await logs("FilterLogEvents", logGroupName=GROUP, limit=2)
    assert await names(nextToken=first["nextToken"]) == ["green/t"]


@pytest.mark.parametrize("name", ["read_page", "search"])
async def test_others_are_served_while_a_log_is_read(
    logs: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Replica(tmp_path).write("hello\n", START_MS)
    read, served = getattr(events, name), threading.Event()

    def slowly(*given: Any, **more: Any) -> Any:
        assert served.wait(20), "the loop does not turn"
        return read(*given, **more)

    monkeypatch.setattr(events, name, slowly)
    operation, more = ("GetLogEvents", {"logStreamName": "blue/r"}) if name == "read_page" else ("FilterLogEvents", {})
    reading = asyncio.ensure_future(logs(operation, logGroupName=GROUP, **more))
    await asyncio.sleep(0)
    served.set()
    assert len((await reading)["events"]) == 1


@pytest.mark.parametrize("times", [(2**62, 2**63 - 1), (0, 1), (START_MS + 10**12, None), (None, 0)])
@pytest.mark.parametrize("operation", ["GetLogEvents", "FilterLogEvents"])
async def test_times_without_events_give_none(logs: Invoke, tmp_path: Path, operation: str, times) -> None:
    Replica(tmp_path).write("hello\n", START_MS)
    span = {name: time for name, time in zip(("startTime", "endTime"), times, strict=True) if time is not None}
    more = {"logStreamName": "blue/r"} if operation == "GetLogEvents" else {}
    assert (await logs(operation, logGroupName=GROUP, **span, **more))["events"] == []


@pytest.mark.parametrize(
    ("operation", "params", "code_and_words"),
    [
        ("DescribeLogStreams", {"logGroupName": "/aws/sagemaker/Endpoints/nope"}, NO_GROUP),
        ("DescribeLogStreams", {"logGroupName": "/aws/lambda/e"}, NO_GROUP),
        ("DescribeLogStreams", {"logGroupName": "/aws/sagemaker/Endpoints/../logs/e"}, NO_GROUP),
        ("DescribeLogStreams", {"logGroupName": "/aws/sagemaker/Endpoints/."}, NO_GROUP),
        ("FilterLogEvents", {"logGroupIdentifier": ARN.replace("eu-west-1", "us-west-2")}, NO_GROUP),
        ("GetLogEvents", {"logGroupName": "nope", "logStreamName": "blue/r"}, NO_GROUP),
        ("GetLogEvents", {"logGroupName": GROUP, "logStreamName": "blue/nope"}, NO_STREAM),
        ("GetLogEvents", {"logGroupName": GROUP, "logStreamName": "blue/../blue/r"}, NO_STREAM),
        ("GetLogEvents", {"logGroupName": GROUP, "logStreamName": "blue/r-0"}, NO_STREAM),
        ("FilterLogEvents", {"logGroupName": GROUP, "logStreamNames": ["blue/r", "x"]}, NO_STREAM),
        ("DescribeLogStreams", {}, "Exactly one of logGroupName and logGroupIdentifier"),
        ("FilterLogEvents", {"logGroupName": GROUP, "logGroupIdentifier": ARN}, "Exactly one of"),
        (
            "DescribeLogStreams",
            {"logGroupName": GROUP, "orderBy": "LastEventTime", "logStreamNamePrefix": "b"},
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ),
        ("DescribeLogGroups", {"logGroupNamePrefix": "/a", "logGroupNamePattern": "a"}, "mutually exclusive"),
        ("FilterLogEvents", {"logGroupName": GROUP, "logStreamNames": ["b"], "logStreamNamePrefix": "b"}, "together"),
        ("FilterLogEvents", {"logGroupName": GROUP, "startTime": 2, "endTime": 1}, "endTime must not be before"),
        (
            "GetLogEvents",
            {"logGroupName": GROUP, "logStreamName": "blue/r", "startTime": 2, "endTime": 1},
            "endTime must not be before",
        ),
        ("FilterLogEvents", {"logGroupName": GROUP, "filterPattern": "{ $.a"}, "Invalid filter pattern"),
        ("FilterLogEvents", {"logGroupName": GROUP, "filterPattern": "a:b"}, "Invalid character(s) in term 'a:b'"),
    ],
)
async def test_bad_calls_get_awss_words(logs: Invoke, tmp_path: Path, operation, params, code_and_words) -> None:
    Replica(tmp_path).write("hello\n", START_MS)
    with pytest.raises(AwsError) as error:
        await logs(operation, **params)
    if isinstance(code_and_words, tuple):
        assert refused(error) == code_and_words
    else:
        code, words = refused(error)
        assert code == "InvalidParameterException"
        assert code_and_words in words


async def test_damaged_tokens_and_those_of_others_are_refused(logs: Invoke, tmp_path: Path) -> None:
    for name in ("r-0", "s-0"):
        Replica(tmp_path, name=name).write("one\ntwo\n", START_MS)
    of_stream = {"logGroupName": GROUP, "logStreamName": "blue/r"}
    places = await logs("GetLogEvents", **of_stream)
    streams = await logs("DescribeLogStreams", logGroupName=GROUP, limit=1)
    found = await logs("FilterLogEvents", logGroupName=GROUP, limit=1)
    forward, listing, progress = places["nextForwardToken"], streams["nextToken"], found["nextToken"]
    tries = [
        ("GetLogEvents", of_stream | {"nextToken": token})
        for token in (
            "x",
            "f/1/s",
            f"f/{'١' * 20}{'0' * 32}/s",
            forward[:-3] + "0/s",
            forward.replace("f", "b", 1),
            listing,
            progress,
        )
    ]
    tries += [("GetLogEvents", of_stream | {"logStreamName": "blue/s", "nextToken": forward})]
    tries += [
        ("FilterLogEvents", {"logGroupName": GROUP, "nextToken": token})
        for token in ("x", "ü", "AAAA", progress[:-4], progress[::-1], listing, forward)
    ]
    tries += [("FilterLogEvents", {"logGroupName": GROUP, "nextToken": progress, "filterPattern": "other"})]
    tries += [("DescribeLogStreams", {"logGroupName": GROUP, "nextToken": token}) for token in ("x", forward, progress)]
    for operation, params in tries:
        with pytest.raises(AwsError) as error:
            await logs(operation, **params)
        assert refused(error) == ("InvalidParameterException", "The specified nextToken is invalid.")
