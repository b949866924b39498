"""What the fuzzed edge stands on: every real part that control has, over one folder, with something in each; and calls
that belong together, so that damaged ones meet what is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import wire_halves
from edge_fuzzer import PROTOCOLS, plain, stub_handlers

from trimtab.aws import keys as key_file
from trimtab.aws.auth import Authenticator
from trimtab.aws.http import Handler, HttpRequest
from trimtab.aws.prometheus import Prometheus
from trimtab.aws.surface import aws_handlers, control_handler
from trimtab.clock import SystemClock
from trimtab.config import Config
from trimtab.control.alarm_actions import not_there
from trimtab.control.alarm_loop import AlarmLoop
from trimtab.control.alarms import Alarms
from trimtab.control.exposition import Exposition
from trimtab.control.metering import Metering
from trimtab.control.top import Overview
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.objects.indexed import open_object_store
from trimtab.resources.routing import AccessKey, EndpointRoute, RouteTable, VariantRoute
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.fake_control import FakeControl
from trimtab.wire.log_times import TimeWriter

KEY = AccessKey(id="KEY", secret="secret")
GROUP = "/aws/sagemaker/Endpoints/model-1"
_EACH = 20  # of every call


class World:
    """All of control but its processes: the store, objects, metrics, alarms, logs; endpoints are in memory."""

    def __init__(self, folder: Path, metrics: SqliteMetricStore, objects: Any, alarms: Alarms) -> None:
        self.config = Config(data_dir=folder)
        self.metrics = metrics
        self.alarm_loop = AlarmLoop(alarms, metrics, SystemClock())
        route = EndpointRoute(name="model-1", variants=(VariantRoute(name='blue"\n\\', weight=1.0, lanes=()),))
        metering = Metering(metrics, lambda: RouteTable(version=1, endpoints=(route,)), SystemClock())
        self._exposition = Exposition(metering)
        self._control: Any = FakeControl(SystemClock())
        self.handlers = aws_handlers(self.config, self._control, objects, metrics, alarms)

    def edge(self, handlers: Any, *, required: bool) -> Handler:
        """As control serves it, with one key."""
        held = {KEY.id: KEY}
        authenticate = Authenticator(lambda: held, region="us-east-1", clock=SystemClock(), required=required)
        prometheus = Prometheus(self._exposition, lambda: held, authenticate, required=required)
        overview = Overview(self._control, self.metrics, dict, SystemClock())
        return control_handler(self.config, self._control, overview, handlers, authenticate, prometheus)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A world in `folder`, which is empty."""
    paths = Config(data_dir=folder).paths
    key_file.ensure(paths.keys, now_s=SystemClock().now_s())
    paths.version.write_text("1")
    log = paths.logs / "model-1" / "blue" / "r-0.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"one\n\xff\xfe\ntwo " * 300)
    TimeWriter(log, 1_700_000_000_000).close()
    objects = open_object_store(paths.objects, SystemClock())
    await objects.start()
    metrics = SqliteMetricStore(paths.metrics, SystemClock())
    store = open_sqlite(paths.database, synchronous="NORMAL")
    try:
        yield World(folder, metrics, objects, Alarms(store.alarms, SystemClock(), not_there))
    finally:
        store.close()
        metrics.close()
        await objects.close()


def calls() -> list[HttpRequest]:
    """Requests that belong together."""
    found = [plain("GET", path) for path in ("/metrics", "/_trimtab/v1/top?sort=rate&limit=3") for _ in range(100)]
    for service, name, params in [*_s3(), *_cloudwatch(), *_logs()]:
        for protocol in PROTOCOLS.get(service, ("rest-xml",)):
            found += [wire_halves.request(service, name, params, protocol) for _ in range(_EACH)]
    return found


_Call = tuple[str, str, dict[str, Any]]


def _s3() -> list[_Call]:
    place = {"Bucket": "fuzzed", "Key": "a/k"}
    doomed = [{"Key": "a/k"}, {"Key": "b", "VersionId": "1"}]
    return [
        ("s3", "CreateBucket", {"Bucket": "fuzzed"}),
        ("s3", "PutObject", place | {"Body": b"0123456789", "Metadata": {"a": "b"}}),
        ("s3", "PutObject", place | {"Body": b"x", "IfNoneMatch": "*"}),
        ("s3", "GetObject", place | {"Range": "bytes=1-4"}),
        ("s3", "GetObject", place | {"IfNoneMatch": '"0"', "ResponseContentType": "a/b"}),
        ("s3", "HeadObject", place | {"PartNumber": 1}),
        ("s3", "CopyObject", place | {"CopySource": "fuzzed/a/k", "MetadataDirective": "REPLACE"}),
        ("s3", "CopyObject", {"Bucket": "fuzzed", "Key": "b", "CopySource": "fuzzed/a/k"}),
        ("s3", "ListObjectsV2", {"Bucket": "fuzzed", "Delimiter": "/", "MaxKeys": 1, "StartAfter": "a"}),
        ("s3", "ListObjectVersions", {"Bucket": "fuzzed", "KeyMarker": "a", "VersionIdMarker": "1"}),
        ("s3", "PutBucketVersioning", {"Bucket": "fuzzed", "VersioningConfiguration": {"Status": "Enabled"}}),
        ("s3", "DeleteObjects", {"Bucket": "fuzzed", "Delete": {"Objects": doomed}}),
        ("s3", "CreateMultipartUpload", place),
        ("s3", "ListMultipartUploads", {"Bucket": "fuzzed", "Delimiter": "/"}),
        ("s3", "UploadPart", place | {"UploadId": "x", "PartNumber": 1, "Body": b"0"}),
        ("s3", "PutObjectTagging", place | {"Tagging": {"TagSet": [{"Key": "k", "Value": "v"}]}}),
        ("s3", "GetObjectTagging", place),
    ]


def _cloudwatch() -> list[_Call]:
    now_s = SystemClock().now_s()
    metric = {"Namespace": "ns", "MetricName": "m", "Dimensions": [{"Name": "d", "Value": 'v"\n\\'}]}
    stat = {"Metric": metric, "Period": 60, "Stat": "p99"}
    span = {"StartTime": now_s - 3600, "EndTime": now_s + 60}
    datum = {"MetricName": "m", "Dimensions": metric["Dimensions"], "Timestamp": now_s}
    math = [
        {"Id": "m1", "MetricStat": stat, "Label": "${PROP('Dim.d')} [max: ${MAX}]"},
        {"Id": "e1", "Expression": "IF(m1 > 3 AND SUM(METRICS()) < 9, FILL(m1, REPEAT) ^ -2, RATE(m1))"},
        {"Id": "e2", "Expression": "SEARCH('{ns,d} MetricName=\"m\" OR (x AND NOT y)', 'tm(10%:90%)', 60)"},
        {"Id": "e3", "Expression": "SORT(SLICE([m1, e1], 0, 2), AVG, DESC, 1)", "Period": 60},
    ]
    watch = {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 1.0, "EvaluationPeriods": 3}
    alarm = {"AlarmName": "a", **metric, "Period": 60, "Statistic": "Sum", **watch, "TreatMissingData": "breaching"}
    more: list[tuple[str, dict[str, Any]]] = [
        ("PutMetricData", {"Namespace": "ns", "MetricData": [datum | {"Value": 1.5, "Unit": "Bytes"}]}),
        ("PutMetricData", {"Namespace": "ns", "MetricData": [datum | {"Values": [1.0, 2.0], "Counts": [3.0, 4.0]}]}),
        ("PutMetricData", {"Namespace": "ns", "MetricData": [datum | {"StorageResolution": 1, "StatisticValues": {
            "SampleCount": 3.0, "Sum": 6.0, "Minimum": 1.0, "Maximum": 3.0}}]}),
        ("GetMetricData", {"MetricDataQueries": math, **span, "MaxDatapoints": 5}),
        ("GetMetricStatistics", {**metric, **span, "Period": 60, "Statistics": ["Sum", "Maximum"]}),
        ("GetMetricStatistics", {**metric, **span, "Period": 60, "ExtendedStatistics": ["p50", "wm(1%:99%)"]}),
        ("ListMetrics", {"Namespace": "ns", "Dimensions": [{"Name": "d"}], "RecentlyActive": "PT3H"}),
        ("PutMetricAlarm", alarm),
        ("PutMetricAlarm", {"AlarmName": "b", **watch, "DatapointsToAlarm": 2, "Metrics": [
            {"Id": "m1", "MetricStat": stat, "ReturnData": False}, {"Id": "e1", "Expression": "m1 * 2"}]}),
        ("PutCompositeAlarm", {"AlarmName": "c", "AlarmRule": "ALARM(a) AND NOT (OK(b) OR TRUE)"}),
        ("DescribeAlarms", {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "MaxRecords": 1}),
        ("DescribeAlarmHistory", {"AlarmName": "a", "ScanBy": "TimestampAscending", "MaxRecords": 2}),
        ("DescribeAlarmsForMetric", metric),
        ("SetAlarmState", {"AlarmName": "a", "StateValue": "ALARM", "StateReason": "r", "StateReasonData": "{}"}),
        ("DeleteAlarms", {"AlarmNames": ["b"]}),
        ("TagResource", {"ResourceARN": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:a",
                         "Tags": [{"Key": "k", "Value": "v"}]}),
    ]  # fmt: skip
    return [("cloudwatch", name, params) for name, params in more]


def _logs() -> list[_Call]:
    group, stream = {"logGroupName": GROUP}, {"logStreamName": "blue/r"}
    return [
        ("logs", "DescribeLogGroups", {"logGroupNamePrefix": "/aws/sagemaker", "limit": 1}),
        ("logs", "DescribeLogStreams", {**group, "orderBy": "LastEventTime", "descending": True}),
        ("logs", "GetLogEvents", {**group, **stream, "startFromHead": True, "limit": 2, "startTime": 0}),
        ("logs", "FilterLogEvents", {**group, "filterPattern": '?one "two" -three', "limit": 2}),
        ("logs", "FilterLogEvents", {**group, "filterPattern": '{ ($.a.b = "x*") && ($.n >= 1.5) || ($.c NOT EXISTS) }'}),
        ("logs", "FilterLogEvents", {**group, "filterPattern": "[ip, user=a*, ..., bytes > 1]", "logStreamNamePrefix": "b"}),
    ]  # fmt: skip


def every_handler(real: Any) -> Any:
    """trimtab's own, and stubs for every other operation of AWS."""
    return {service: {**stubs, **real.get(service, {})} for service, stubs in stub_handlers().items()}
