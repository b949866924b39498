"""kill -9 of control amid CloudWatch's writes: what was acknowledged is there, nothing is half-done, history agrees."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from trimtab.testing.server import Trimtab, serving

pytestmark = pytest.mark.slow
KILLS = 4
WATCH = {"Namespace": "crash", "MetricName": "m", "Statistic": "Sum", "Period": 1, "EvaluationPeriods": 1,
         "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": "notBreaching"}  # fmt: skip


@pytest.fixture
def own() -> Iterator[Trimtab]:
    with serving() as trimtab:
        yield trimtab


class Writer(threading.Thread):
    """Writes without end: `acknowledged` are the numbers that were answered; `unknown` those whose answer was lost."""

    def __init__(self, client: Any, name: str) -> None:
        super().__init__(name=name)
        self.client = client
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            try:
                self.write(number)
                self.acknowledged.append(number)
            except (ClientError, BotoCoreError):
                self.unknown.append(number)

    def write(self, number: int) -> None:
        raise NotImplementedError


class Values(Writer):
    """Two metrics in each call: 1 and 10 of it."""

    def write(self, number: int) -> None:
        at = {"Timestamp": time.time(), "StorageResolution": 1}
        data = [{"MetricName": name, "Value": value, **at} for name, value in (("m", 1.0), ("ten", 10.0))]
        self.client.put_metric_data(Namespace="crash", MetricData=data)


class Definitions(Writer):
    """One alarm, configured again and again; and a state of another one, set again and again."""

    def write(self, number: int) -> None:
        self.client.put_metric_alarm(AlarmName="changing", Threshold=float(number), **WATCH | {"Period": 60})
        state = ("OK", "ALARM")[number % 2]
        self.client.set_alarm_state(AlarmName="set", StateValue=state, StateReason=str(number))


def control_of(trimtab: Trimtab) -> psutil.Process:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        for child in psutil.Process(trimtab.process.pid).children():
            if "control" in " ".join(child.cmdline()):
                return child
        time.sleep(0.01)
    raise AssertionError("no control")


def test_control_killed_amid_writes_and_evaluations_loses_nothing_acknowledged(own: Trimtab) -> None:
    cloudwatch = own.client("cloudwatch")
    began_s = int(time.time()) // 60 * 60
    cloudwatch.put_metric_alarm(AlarmName="evaluated", Threshold=0.5, **WATCH)
    cloudwatch.put_metric_alarm(AlarmName="set", Threshold=1e9, **WATCH | {"Period": 86_400})
    values, definitions = Values(own.client("cloudwatch"), "values"), Definitions(own.client("cloudwatch"), "alarms")
    writers: list[Writer] = [values, definitions]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        before = [len(writer.acknowledged) for writer in writers]
        ends = time.monotonic() + 60
        while any(len(writer.acknowledged) < count + 10 for writer, count in zip(writers, before, strict=True)):
            assert time.monotonic() < ends, "writes go on after a kill"
            time.sleep(0.001)
        control_of(own).send_signal(signal.SIGKILL)
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join(60)
    check_values(cloudwatch, values, began_s)
    check_alarms(cloudwatch, definitions)
    check_history(cloudwatch)


def check_values(cloudwatch: Any, values: Values, began_s: int) -> None:
    """Both metrics of a call, or none; each acknowledged call once."""
    sums = {}
    for name, value in (("m", 1.0), ("ten", 10.0)):
        found = cloudwatch.get_metric_statistics(
            Namespace="crash", MetricName=name, StartTime=began_s, EndTime=time.time() + 60, Period=60, Statistics=["Sum"]
        )  # fmt: skip
        sums[name] = sum(point["Sum"] for point in found["Datapoints"]) / value
    assert sums["m"] == sums["ten"]
    assert len(values.acknowledged) <= sums["m"] <= len(values.acknowledged) + len(values.unknown)


def check_alarms(cloudwatch: Any, definitions: Definitions) -> None:
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
    assert set(alarms) == {"changing", "evaluated", "set"}
    newest = definitions.acknowledged[-1]
    assert alarms["changing"]["Threshold"] >= newest
    assert alarms["changing"]["Threshold"] in (newest, *definitions.unknown)


def check_history(cloudwatch: Any) -> None:
    """Each change of state begins with the state that the one before it ended in; the last one is what is described."""
    for name in ("evaluated", "set"):
        pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
            AlarmName=name, HistoryItemType="StateUpdate", ScanBy="TimestampAscending"
        )
        state = "INSUFFICIENT_DATA"
        items = [json.loads(item["HistoryData"]) for page in pages for item in page["AlarmHistoryItems"]]
        assert items
        for item in items:
            assert item["oldState"]["stateValue"] == state
            state = item["newState"]["stateValue"]
        # An alarm that is evaluated each second may have changed since: then it has an item more.
        if name == "set":
            [alarm] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
            assert alarm["StateValue"] == state
