"""What a key that is limited to endpoints can learn of others: nothing, on any of the surfaces that show figures."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wire_halves
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from trimtab.aws import keys as key_file
from trimtab.aws.auth import Authenticator
from trimtab.aws.http import BytesBody, Handler, Headers, HttpRequest, HttpResponse
from trimtab.aws.prometheus import Prometheus
from trimtab.aws.surface import aws_handlers, control_handler
from trimtab.clock import SystemClock
from trimtab.config import Config
from trimtab.control.alarm_actions import not_there
from trimtab.control.alarms import Alarms
from trimtab.control.exposition import Exposition
from trimtab.control.metering import Metering
from trimtab.control.top import Overview
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.resources.endpoint import Endpoint, EndpointStatus
from trimtab.resources.routing import AccessKey, EndpointRoute, RouteTable, VariantRoute
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.fake_control import FakeControl

MINE = AccessKey(
    id="MINE", secret="s", actions=("sagemaker:InvokeEndpoint*", "sagemaker:DescribeEndpoint"), endpoints=("mine",)
)
SWEEPING = AccessKey(id="SWEEPING", secret="s", actions=("*",), endpoints=("mine",))
READER = AccessKey(id="READER", secret="s", actions=("cloudwatch:*",), endpoints=("mine",))
KEYS = {key.id: key for key in (MINE, SWEEPING, READER)}
GROUPS = {name: f"/aws/sagemaker/Endpoints/{name}" for name in ("mine", "theirs")}
METRIC = {"Namespace": "AWS/SageMaker", "MetricName": "Invocations"}
SPAN = {"StartTime": 0, "EndTime": 60}


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Handler]:
    config, clock, control = Config(data_dir=tmp_path), SystemClock(), FakeControl(SystemClock())
    key_file.ensure(config.paths.keys, now_s=1.0)
    config.paths.version.write_text("1")
    for name, text in (("mine", "hello"), ("theirs", "a secret")):
        folder = config.paths.logs / name / "blue"
        folder.mkdir(parents=True)
        (folder / "r-0.log").write_text(f"{text}\n")
        control.endpoints[name] = Endpoint(
            name=name, status=EndpointStatus.IN_SERVICE, created_s=1.0, modified_s=1.0, config_name="c"
        )
    routes = tuple(
        EndpointRoute(name=name, variants=(VariantRoute(name="blue", weight=1.0, lanes=()),)) for name in GROUPS
    )
    metrics = SqliteMetricStore(config.paths.metrics, clock, commit_every_s=0)
    store = open_sqlite(config.paths.database, synchronous="NORMAL")
    metering = Metering(metrics, lambda: RouteTable(version=1, endpoints=routes), clock)
    authenticate = Authenticator(lambda: KEYS, region="us-east-1", clock=clock, required=True)
    objects: Any = None  # nobody comes as far
    scaling: Any = None  # nor here
    made: Any = control
    handlers = aws_handlers(config, made, objects, metrics, Alarms(store.alarms, clock, not_there), scaling, {})
    yield control_handler(
        config,
        made,
        Overview(made, metrics, dict, clock),
        scaling,
        handlers,
        authenticate,
        Prometheus(Exposition(metering), lambda: KEYS, authenticate, required=True),
    )
    store.close()
    metrics.close()


def ask(edge: Handler, key: AccessKey, request: HttpRequest, service: str) -> tuple[int, str]:
    """Signed."""
    url = f"http://127.0.0.1:7070{request.raw_path}" + (f"?{request.query}" if request.query else "")
    sent = AWSRequest(request.method, url, data=body_of(request), headers=dict(request.headers.pairs))
    for name in ("host", "authorization", "content-length"):
        del sent.headers[name]
    SigV4Auth(Credentials(key.id, key.secret), service, "us-east-1").add_auth(sent)
    pairs = [(name.lower(), str(value)) for name, value in sent.headers.items()] + [("host", "127.0.0.1:7070")]
    signed = HttpRequest(
        method=request.method,
        raw_path=request.raw_path,
        query=request.query,
        headers=Headers(pairs),
        body=BytesBody(body_of(request)),
    )
    return asyncio.run(answered(edge, signed))


async def answered(edge: Handler, request: HttpRequest) -> tuple[int, str]:
    response: HttpResponse = await edge(request)
    body = response.body
    whole = body if isinstance(body, bytes) else b"".join([piece async for piece in body])
    return response.status, whole.decode("utf-8", "replace")  # CBOR has its texts in it


def body_of(request: HttpRequest) -> bytes:
    assert isinstance(request.body, BytesBody)
    return request.body._data


def get(path: str) -> HttpRequest:
    raw_path, _, query = path.partition("?")
    return HttpRequest(method="GET", raw_path=raw_path, query=query, body=BytesBody())


CLOUDWATCH: list[tuple[str, dict[str, Any]]] = [
    ("GetMetricData", {"MetricDataQueries": [{"Id": "a", "Expression": "SEARCH('theirs', 'Sum', 60)"}], **SPAN}),
    ("GetMetricStatistics", {**METRIC, **SPAN, "Period": 60, "Statistics": ["Sum"]}),
    ("GetMetricStatistics", {**METRIC, **SPAN, "Period": 60, "Statistics": ["Sum"],
                             "Dimensions": [{"Name": "EndpointName", "Value": "mine"}]}),
    ("ListMetrics", {}),
    ("PutMetricData", {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}]}),
    ("DescribeAlarms", {}),
    ("DescribeAlarmHistory", {}),
    ("DescribeAlarmsForMetric", METRIC),
    ("DeleteAlarms", {"AlarmNames": ["a"]}),
    ("SetAlarmState", {"AlarmName": "a", "StateValue": "OK", "StateReason": "r"}),
]  # fmt: skip


@pytest.mark.parametrize("key", [MINE, SWEEPING], ids=lambda key: key.id)
@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_cloudwatch_names_no_endpoint_and_is_denied(edge: Handler, key: AccessKey, protocol: str) -> None:
    for name, params in CLOUDWATCH:
        status, said = ask(edge, key, wire_halves.request("cloudwatch", name, params, protocol), "monitoring")
        assert status in (400, 403)
        assert "not authorized to perform: cloudwatch" in said, name


def test_an_action_that_says_so_allows_cloudwatch(edge: Handler) -> None:
    status, _ = ask(edge, READER, wire_halves.request("cloudwatch", "ListMetrics", {}, "json"), "monitoring")
    assert status == 200


def test_prometheus_sees_the_keys_endpoints_and_no_others(edge: Handler) -> None:
    assert ask(edge, MINE, get("/metrics"), "monitoring")[0] == 403
    for key in (SWEEPING, READER):
        status, text = ask(edge, key, get("/metrics"), "monitoring")
        assert status == 200
        assert 'endpoint="mine"' in text
        assert "theirs" not in text


@pytest.mark.parametrize("encoded", ["é", "====", "/w==", base64.b64encode(b"MINE:wrong").decode(), ""])
def test_a_password_that_is_none_is_refused(edge: Handler, encoded: str) -> None:
    request = get("/metrics")
    request.headers = Headers([("authorization", f"Basic {encoded}")])
    assert asyncio.run(answered(edge, request))[0] == 401


def test_top_shows_the_keys_endpoints_and_no_others(edge: Handler) -> None:
    assert ask(edge, MINE, get("/_trimtab/v1/top"), "sagemaker")[0] == 403
    for path in ("/_trimtab/v1/top", "/_trimtab/v1/top?sort=rate"):
        status, text = ask(edge, SWEEPING, get(path), "sagemaker")
        assert (status, json.loads(text)["endpoints_total"]) == (200, 1)
        assert "theirs" not in text
    assert ask(edge, SWEEPING, get("/_trimtab/v1/top?endpoint=theirs"), "sagemaker")[0] == 403


ARN = "arn:aws:logs:us-east-1:000000000000:log-group:"


@pytest.mark.parametrize(
    "named",
    [
        {"logGroupName": GROUPS["theirs"]},
        {"logGroupIdentifier": GROUPS["theirs"]},
        {"logGroupIdentifier": f"{ARN}{GROUPS['theirs']}"},
        {"logGroupIdentifier": f"{ARN}{GROUPS['theirs']}:*"},
        {"logGroupIdentifier": f"{ARN}{GROUPS['theirs']}log-group:{GROUPS['mine']}"},
        {"logGroupName": GROUPS["mine"], "logGroupIdentifier": GROUPS["theirs"]},
        {"logGroupName": f"{GROUPS['mine']}/../theirs"},
        {"logGroupName": "/aws/sagemaker/Endpoints/"},
    ],
)
def test_logs_of_others_are_not_read_whatever_they_are_called(edge: Handler, named: dict[str, Any]) -> None:
    asked = [
        ("FilterLogEvents", named),
        ("GetLogEvents", named | {"logStreamName": "blue/r"}),
        ("DescribeLogStreams", named),
    ]
    for name, params in asked:
        status, said = ask(edge, SWEEPING, wire_halves.request("logs", name, params, "json"), "logs")
        assert status == 400, (name, said)
        assert "secret" not in said


def test_own_logs_are_read_and_groups_are_not_listed(edge: Handler) -> None:
    own = wire_halves.request("logs", "FilterLogEvents", {"logGroupName": GROUPS["mine"]}, "json")
    status, said = ask(edge, SWEEPING, own, "logs")
    assert (status, [event["message"] for event in json.loads(said)["events"]]) == (200, ["hello"])
    listing = wire_halves.request("logs", "DescribeLogGroups", {}, "json")
    status, said = ask(edge, SWEEPING, listing, "logs")
    assert (status, "not authorized" in said) == (400, True)
