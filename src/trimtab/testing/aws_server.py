"""An AWS account on this machine: moto's server, with what an audit leans on done as AWS does it.

    with aws_server() as account:
        boto3.client("sagemaker", endpoint_url=account.url, ...)

moto's GetMetricData walks through all data for each period of each query, knows no percentiles and does not page; its
lists of scaling targets and policies give the same token for every page. Both are set right here. Calls can be denied
and throttled. Needs moto and flask.
"""

from __future__ import annotations

import bisect
import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import cbor2
import numpy as np

_VALUES = 100_800  # AWS: of one page of GetMetricData
_SCALING_PAGE = 50
_OF_BUCKETS = {  # S3's operations by what stands in the query
    "versioning": "GetBucketVersioning",
    "lifecycle": "GetBucketLifecycleConfiguration",
    "list-type": "ListObjectsV2",
}


class AwsServer:
    """`denied` operations (`DescribeModel`) are refused; one call in `throttle_every` is throttled."""

    def __init__(self) -> None:
        self.url = ""
        self.denied: set[str] = set()
        self.throttle_every = 0
        self.rate_per_s = 0.0  # calls beyond this (and a second's worth at once) are throttled; 0: none
        self._allowance, self._counted_s = 0.0, 0.0
        self.page_values = _VALUES
        self.calls: Counter[str] = Counter()
        self.throttled = 0
        self._lock = threading.Lock()

    def refusal(self, operation: str) -> tuple[str, str] | None:
        """Code and message for a call that is not to be answered; None for one that is."""
        with self._lock:
            self.calls[operation] += 1
            is_throttled = self.throttle_every > 0 and self.calls.total() % self.throttle_every == 0
            is_throttled = is_throttled or self._is_too_fast(time.monotonic())
            self.throttled += is_throttled
        if operation in self.denied:
            return "AccessDeniedException", f"User is not authorized to perform: {operation}"
        return ("ThrottlingException", "Rate exceeded") if is_throttled else None

    def _is_too_fast(self, now_s: float) -> bool:
        """A bucket of tokens, as AWS has it."""
        if not self.rate_per_s:
            return False
        self._allowance = min(self.rate_per_s, self._allowance + (now_s - self._counted_s) * self.rate_per_s)
        self._counted_s = now_s
        if self._allowance < 1:
            return True
        self._allowance -= 1
        return False


@contextmanager
def aws_server() -> Iterator[AwsServer]:
    """A server on 127.0.0.1, on a port that the kernel chose. All such servers of a process share one account."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    account = AwsServer()
    with ExitStack() as stack:
        for patch in _patches(account):
            stack.enter_context(patch)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        stack.callback(server.stop)
        stack.callback(_reset)
        account.url = "http://{}:{}".format(*server.get_host_and_port())
        yield account


def _reset() -> None:
    from moto.backends import get_backend

    for service in ("sagemaker", "applicationautoscaling", "cloudwatch", "s3", "ecr"):
        get_backend(service).reset()


def _patches(account: AwsServer) -> list[Any]:
    from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
    from moto.cloudwatch.responses import CloudWatchResponse
    from moto.core.responses import BaseResponse
    from moto.s3.responses import S3Response

    answer = BaseResponse.call_action

    def call_action(response: Any) -> Any:
        refused = account.refusal(response._get_action())
        return answer(response) if refused is None else _error(response, *refused)

    ask_bucket = S3Response._bucket_response_get

    def bucket_response_get(response: Any, bucket: str, asked: Any) -> Any:
        operation = next((name for member, name in _OF_BUCKETS.items() if member in asked), "GetBucket")
        refused = account.refusal(operation)
        return ask_bucket(response, bucket, asked) if refused is None else _s3_error(refused[0], refused[1])

    def get_metric_data(response: Any) -> Any:
        return _metric_data(response, account.page_values)

    return [
        mock.patch.object(BaseResponse, "call_action", call_action),
        mock.patch.object(S3Response, "_bucket_response_get", bucket_response_get),
        mock.patch.object(CloudWatchResponse, "get_metric_data", get_metric_data),
        mock.patch.object(ApplicationAutoScalingResponse, "describe_scalable_targets", _scalable_targets),
        mock.patch.object(ApplicationAutoScalingResponse, "describe_scaling_policies", _scaling_policies),
    ]


def _error(response: Any, code: str, message: str) -> tuple[int, dict[str, Any], Any]:
    """As the protocol of the call has errors: CBOR of CloudWatch, XML of STS, else JSON."""
    said = {"__type": code, "message": message}
    if response.headers.get("Smithy-Protocol") == "rpc-v2-cbor":
        headers = {"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"}
        return 400, {"status": 400, **headers}, cbor2.dumps(said)
    if "X-Amz-Target" in response.headers:
        return 400, {"status": 400, "Content-Type": "application/x-amz-json-1.1"}, json.dumps(said)
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return 400, {"status": 400, "Content-Type": "text/xml"}, f"<ErrorResponse>{error}</ErrorResponse>"


def _s3_error(code: str, message: str) -> tuple[int, dict[str, Any], str]:
    """S3 has codes of its own."""
    status, named = (503, "SlowDown") if code == "ThrottlingException" else (403, "AccessDenied")
    return (
        status,
        {"Content-Type": "application/xml"},
        f"<Error><Code>{named}</Code><Message>{message}</Message></Error>",
    )


# --- Application Auto Scaling -----------------------------------------------------------------------------------------


def _page(response: Any, entries: Sequence[Any]) -> tuple[Sequence[Any], str | None]:
    start = int(response._get_param("NextToken") or 0)
    end = start + (response._get_int_param("MaxResults") or _SCALING_PAGE)
    return entries[start:end], str(end) if end < len(entries) else None


def _scalable_targets(response: Any) -> str:
    from moto.applicationautoscaling.responses import _build_target

    found = response.applicationautoscaling_backend.describe_scalable_targets(
        response._get_param("ServiceNamespace"),
        response._get_param("ResourceIds"),
        response._get_param("ScalableDimension"),
    )
    targets, token = _page(response, found)
    return json.dumps({"ScalableTargets": [_build_target(target) for target in targets], "NextToken": token})


def _scaling_policies(response: Any) -> str:
    from moto.applicationautoscaling.responses import _build_policy

    resource = response._get_param("ResourceId")
    found = [
        policy
        for policy in response.applicationautoscaling_backend.policies.values()
        if policy.service_namespace == response._get_param("ServiceNamespace")
        and resource in (None, policy.resource_id)
    ]
    policies, token = _page(response, found)
    return json.dumps({"ScalingPolicies": [_build_policy(policy) for policy in policies], "NextToken": token})


# --- CloudWatch -------------------------------------------------------------------------------------------------------

Name = tuple[str, str, frozenset[tuple[str, str]]]


class _Index:
    """A backend's data by metric, in order of time; built again when there is more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Any = None
        self._count = -1
        self._found: dict[Name, tuple[list[float], list[Any]]] = {}

    def of(self, backend: Any, name: Name) -> tuple[list[float], list[Any]]:
        """Times and data of one metric."""
        with self._lock:
            if self._of is not backend or self._count != len(backend.metric_data):
                self._build(backend)
            return self._found.get(name, ([], []))

    def _build(self, backend: Any) -> None:
        data = list(backend.metric_data)
        grouped: defaultdict[Name, list[Any]] = defaultdict(list)
        for datum in data:
            dimensions = frozenset((each.name, each.value) for each in datum.dimensions)
            grouped[datum.namespace, datum.name, dimensions].append(datum)
        self._found = {}
        for name, mine in grouped.items():
            mine.sort(key=lambda datum: datum.timestamp)
            self._found[name] = ([datum.timestamp.timestamp() for datum in mine], mine)
        self._of, self._count = backend, len(data)


_INDEX = _Index()


def _metric_data(response: Any, page_values: int) -> Any:
    from moto.core.responses import ActionResult

    params = response._get_params()
    start_s, end_s = params["StartTime"].timestamp(), params["EndTime"].timestamp()
    results = [
        _result(response.cloudwatch_backend, query, start_s, end_s) for query in params.get("MetricDataQueries", [])
    ]
    if (params.get("ScanBy") or "TimestampDescending") == "TimestampDescending":
        results = [(name, label, points[::-1]) for name, label, points in results]
    first = int(params.get("NextToken") or 0)
    shown, passed, token = [], 0, None
    for name, label, points in results:
        mine = points[max(0, first - passed) : max(0, first + page_values - passed)]
        passed += len(points)
        shown.append(
            {
                "id": name,
                "label": label,
                "timestamps": [moment for moment, _ in mine],
                "values": [value for _, value in mine],
                "status_code": "Complete",
            }
        )
    if passed > first + page_values:
        token = str(first + page_values)
    return ActionResult({"MetricDataResults": shown, "NextToken": token})


def _result(backend: Any, query: Any, start_s: float, end_s: float) -> tuple[str, str, list[tuple[Any, float]]]:
    from datetime import UTC, datetime

    asked = query["MetricStat"]
    metric, period_s, stat = asked["Metric"], int(asked["Period"]), asked["Stat"]
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric.get("Dimensions", ()))
    times, data = _INDEX.of(backend, (metric["Namespace"], metric["MetricName"], dimensions))
    points: list[tuple[Any, float]] = []
    at, end = bisect.bisect_left(times, start_s), bisect.bisect_left(times, end_s)
    while at < end:
        period = times[at] // period_s * period_s
        after = bisect.bisect_left(times, period + period_s, at, end)
        value = statistic(stat, data[at:after])
        if value is not None:
            points.append((datetime.fromtimestamp(period, UTC), value))
        at = after
    return query["Id"], f"{metric['MetricName']} {stat}", points


def statistic(stat: str, data: Sequence[Any]) -> float | None:
    """Of plain values, and of statistic sets; percentiles of plain values alone, as CloudWatch has it."""
    sets = [datum for datum in data if hasattr(datum, "sample_count")]
    values = [datum.value for datum in data if hasattr(datum, "value")]
    count = len(values) + sum(each.sample_count for each in sets)
    total = sum(values) + sum(each.sum for each in sets)
    if stat.startswith("p"):
        return float(np.quantile(values, float(stat[1:]) / 100)) if values else None
    made = {
        "Sum": lambda: total,
        "SampleCount": lambda: count,
        "Average": lambda: total / count,
        "Minimum": lambda: min([*values, *(each.min for each in sets)]),
        "Maximum": lambda: max([*values, *(each.max for each in sets)]),
    }
    return float(made[stat]()) if count else None
