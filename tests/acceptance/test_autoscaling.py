"""Application Auto Scaling end to end: plain boto3 programs, a running trimtab, real requests, real replicas."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
SIGNALS = "trimtab/Endpoints"
RETRIED = {"total_max_attempts": 5}

SLOW = """
import time

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep(0.05)  # holds its replica as work would, and leaves the machine's two cores to the test
    return body, content_type
"""

BREAKABLE = """
import os, time

def model_fn(model_dir):
    if os.path.exists(os.environ["BROKEN"]):
        raise RuntimeError("no weights")

def transform_fn(model, body, content_type, accept):
    time.sleep(0.05)
    return body, content_type
"""


@pytest.fixture
def autoscaling(trimtab: Trimtab) -> Any:
    return trimtab.client("application-autoscaling")


@pytest.fixture
def slow(trimtab: Trimtab, name: str) -> Iterator[str]:
    """An endpoint whose model takes 50 ms for a request, with one replica."""
    trimtab.deploy(name, script(SLOW))
    yield name
    trimtab.settled(name)
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


class Scaled:
    """A registered variant and what a program asks of it."""

    def __init__(self, trimtab: Trimtab, autoscaling: Any, endpoint: str) -> None:
        self.trimtab = trimtab
        self.client = autoscaling
        self.sagemaker = trimtab.client("sagemaker", retries=RETRIED)  # control may be killed
        self.endpoint = endpoint
        self.names = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{endpoint}/variant/blue",
            "ScalableDimension": DIMENSION,
        }

    def register(self, least: int, most: int, **more: Any) -> None:
        self.client.register_scalable_target(**self.names, MinCapacity=least, MaxCapacity=most, **more)

    def track(self, metric: str, target: float = 1.0, **more: Any) -> dict[str, Any]:
        """Target tracking of a trimtab signal."""
        windows = more.pop("windows", {})
        dimensions = {"EndpointName": self.endpoint, "VariantName": "blue"} | windows
        answer: dict[str, Any] = self.client.put_scaling_policy(
            **self.names,
            PolicyName="track",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": target,
                "CustomizedMetricSpecification": {
                    "Namespace": SIGNALS,
                    "MetricName": metric,
                    "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                    "Statistic": "Average",
                },
                "ScaleOutCooldown": 0,
                "ScaleInCooldown": 1,
            }
            | more,
        )
        return answer

    def variant(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=self.endpoint)
        return dict(found["ProductionVariants"][0])

    def count(self) -> int:
        return int(self.variant()["CurrentInstanceCount"])

    def desired(self) -> int:
        return int(self.variant()["DesiredInstanceCount"])

    def activities(self, **more: Any) -> list[dict[str, Any]]:
        answer = self.client.describe_scaling_activities(**self.names, **more)
        return list(answer["ScalingActivities"])

    @contextmanager
    def load(self, clients: int) -> Iterator[None]:
        """So many clients that ask again and again; none of them may fail."""
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                assert self.trimtab.invoke(self.endpoint, b"[1]") == b"[1]"

        with ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(ask) for _ in range(clients)]
            try:
                yield
            finally:
                stop.set()
        for client in asking:
            client.result()


@pytest.fixture
def scaled(trimtab: Trimtab, autoscaling: Any, slow: str) -> Scaled:
    return Scaled(trimtab, autoscaling, slow)


def test_a_variant_grows_and_shrinks_with_the_load_by_events(scaled: Scaled) -> None:
    scaled.register(1, 3)
    policy = scaled.track("ConcurrencyPerReplicaEvent", windows={"StableWindowSeconds": "3"})
    assert policy["PolicyARN"].startswith("arn:aws:autoscaling:")
    with scaled.load(6):
        wait_until(lambda: scaled.count() == 3, "not 3 replicas")
    wait_until(lambda: scaled.count() == 1, "not back at 1 replica")
    newest, *_ = done = [a for a in scaled.activities() if a["StatusCode"] == "Successful"]
    assert newest["Description"] == "Setting desired instance count to 1."
    assert any(a["Description"] == "Setting desired instance count to 3." for a in done)
    assert all("Successfully set desired instance count to" in a["StatusMessage"] for a in done)
    assert all(a["EndTime"] >= a["StartTime"] for a in done)
    shown = scaled.trimtab.cli("explain", scaled.endpoint)
    assert "track" in shown


def test_target_tracking_at_one_second_acts_through_alarms_that_cloudwatch_shows(scaled: Scaled) -> None:
    scaled.register(1, 2)
    made = scaled.track("ConcurrencyPerReplica1s", target=2.0)
    assert sorted(alarm["AlarmName"].split("-")[-6] for alarm in made["Alarms"]) == ["AlarmHigh", "AlarmLow"]
    cloudwatch = scaled.trimtab.client("cloudwatch")
    alarms = cloudwatch.describe_alarms(AlarmNames=[alarm["AlarmName"] for alarm in made["Alarms"]])["MetricAlarms"]
    assert {alarm["AlarmActions"][0] for alarm in alarms} == {made["PolicyARN"]}
    assert sorted(alarm["Threshold"] for alarm in alarms) == [1.8, 2.0]
    with scaled.load(8):
        wait_until(lambda: scaled.count() == 2, "not 2 replicas")
    [activity] = scaled.activities()
    high = next(alarm["AlarmName"] for alarm in made["Alarms"] if "AlarmHigh" in alarm["AlarmName"])
    assert activity["Cause"] == f"monitor alarm {high} in state ALARM triggered policy track"
    scaled.client.delete_scaling_policy(**scaled.names, PolicyName="track")
    assert not cloudwatch.describe_alarms(AlarmNames=[high])["MetricAlarms"]


def test_a_step_policy_acts_when_its_alarm_does(scaled: Scaled) -> None:
    scaled.register(1, 4)
    policy = scaled.client.put_scaling_policy(
        **scaled.names,
        PolicyName="steps",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 2},
            ],
            "Cooldown": 60,
        },
    )
    cloudwatch = scaled.trimtab.client("cloudwatch")
    cloudwatch.put_metric_data(
        Namespace=scaled.endpoint,
        MetricData=[{"MetricName": "backlog", "Value": 25.0, "StorageResolution": 1}],
    )
    cloudwatch.put_metric_alarm(
        AlarmName=scaled.endpoint,
        Namespace=scaled.endpoint,
        MetricName="backlog",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=10.0,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )
    cloudwatch.set_alarm_state(AlarmName=scaled.endpoint, StateValue="ALARM", StateReason="the test says so")
    wait_until(lambda: scaled.count() == 3, "not 3 replicas")
    [activity] = scaled.activities()
    assert activity["Cause"] == f"monitor alarm {scaled.endpoint} in state ALARM triggered policy steps"
    cloudwatch.delete_alarms(AlarmNames=[scaled.endpoint])


def test_a_scheduled_action_moves_the_bounds_and_capacity_inside_them(scaled: Scaled) -> None:
    scaled.register(1, 4)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    scaled.client.put_scheduled_action(
        **scaled.names,
        ScheduledActionName="morning",
        Schedule=f"at({at})",
        ScalableTargetAction={"MinCapacity": 2, "MaxCapacity": 3},
    )
    wait_until(lambda: scaled.count() == 2, "not 2 replicas")
    [target] = scaled.client.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[scaled.names["ResourceId"]]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 3)
    assert "morning" in scaled.activities()[0]["Cause"]


def test_registering_moves_capacity_inside_the_bounds(scaled: Scaled) -> None:
    scaled.register(2, 3)
    wait_until(lambda: scaled.count() == 2, "not 2 replicas")
    assert scaled.activities()[0]["Cause"] == "minimum capacity was set to 2"
    scaled.register(1, 1)
    wait_until(lambda: scaled.count() == 1, "not 1 replica")
    assert scaled.activities()[0]["Cause"] == "maximum capacity was set to 1"


def test_requests_at_zero_are_held_and_answered(scaled: Scaled) -> None:
    scaled.register(0, 2)
    scaled.track("ConcurrencyPerReplicaEvent", windows={"StableWindowSeconds": "1"})
    for _ in range(3):
        wait_until(lambda: scaled.count() == 0 and scaled.variant(), "not at zero")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: scaled.trimtab.invoke(scaled.endpoint, b"[%d]" % n), range(8)))
        assert answers == [b"[%d]" % n for n in range(8)]
        assert scaled.count() >= 1


def test_a_suspended_target_does_not_grow(scaled: Scaled) -> None:
    scaled.register(
        1,
        3,
        SuspendedState={
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": True,
            "ScheduledScalingSuspended": False,
        },
    )
    scaled.track("ConcurrencyPerReplicaEvent", windows={"StableWindowSeconds": "3"})
    with scaled.load(6):
        wait_until(lambda: scaled.trimtab.cli("explain", scaled.endpoint, "--json").count("suspended") > 0, "not told")
        assert scaled.desired() == 1


def test_deleting_the_endpoint_deregisters_its_target(trimtab: Trimtab, autoscaling: Any, name: str) -> None:
    trimtab.deploy(name, script(SLOW))
    scaled = Scaled(trimtab, autoscaling, name)
    scaled.register(1, 2)
    made = scaled.track("ConcurrencyPerReplica10s")
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    found = autoscaling.describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[scaled.names["ResourceId"]]
    )
    assert found["ScalableTargets"] == []
    alarms = trimtab.client("cloudwatch").describe_alarms(AlarmNames=[alarm["AlarmName"] for alarm in made["Alarms"]])
    assert alarms["MetricAlarms"] == []


def test_mistakes_are_told_in_aws_s_words(scaled: Scaled) -> None:
    def code(call: Callable[[], Any]) -> str:
        with pytest.raises(ClientError) as failed:
            call()
        error = failed.value.response["Error"]
        assert error["Message"]
        return str(error["Code"])

    assert code(lambda: scaled.track("ConcurrencyPerReplicaEvent")) == "ObjectNotFoundException"
    assert code(lambda: scaled.register(3, 1)) == "ValidationException"
    other = {**scaled.names, "ResourceId": "endpoint/nobody/variant/blue"}
    assert code(lambda: scaled.client.register_scalable_target(**other, MinCapacity=1, MaxCapacity=2)) == (
        "ValidationException"
    )
    scaled.register(1, 2)
    assert code(lambda: scaled.track("ConcurrencyPerReplicaEvent", target=0.0)) == "ValidationException"
    assert code(lambda: scaled.track("ConcurrencyPerReplicaEvent", windows={"Color": "red"})) == "ValidationException"
    assert (
        code(lambda: scaled.client.delete_scaling_policy(**scaled.names, PolicyName="nobody"))
        == "ObjectNotFoundException"
    )
    scaled.trimtab.create_config(f"{scaled.endpoint}-other", scaled.endpoint, InstanceType="ml.c5.large")
    update = {"EndpointName": scaled.endpoint, "EndpointConfigName": f"{scaled.endpoint}-other"}
    assert code(lambda: scaled.sagemaker.update_endpoint(**update)) == "ValidationException"


def test_a_full_machine_is_told_and_bounds_are_restored_when_room_comes(serve: Callable[..., Trimtab]) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cpus)[:2]))
    try:
        trimtab = serve("--enforce-instance-shapes")  # on a machine with room for two replicas of one CPU
    finally:
        os.sched_setaffinity(0, cpus)
    trimtab.create_model("m", script(SLOW))
    trimtab.create_config("c", "m", InstanceType="ml.c8g.medium")
    for name in ("grows", "goes"):
        trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="c")
        trimtab.settled(name)
    scaled = Scaled(trimtab, trimtab.client("application-autoscaling"), "grows")
    scaled.register(2, 2)
    failed = wait_until(lambda: [a for a in scaled.activities() if a["StatusCode"] == "Failed"], "not refused")
    assert "InsufficientInstanceCapacity" in failed[-1]["StatusMessage"]
    describe = scaled.sagemaker.describe_endpoint
    wait_until(
        lambda: "InsufficientInstanceCapacity" in describe(EndpointName="grows").get("FailureReason", ""),
        "the endpoint does not say why",
    )
    assert trimtab.invoke("grows", b"[1]") == b"[1]"
    trimtab.sagemaker.delete_endpoint(EndpointName="goes")
    wait_until(lambda: scaled.count() == 2, "not 2 replicas")
    wait_until(lambda: scaled.activities()[0]["StatusCode"] == "Successful", "the activity has no end")
    assert "FailureReason" not in trimtab.settled("grows")


def test_a_replica_that_never_becomes_healthy_is_tried_ever_more_slowly_and_the_others_serve(
    trimtab: Trimtab, autoscaling: Any, name: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    trimtab.deploy(name, script(BREAKABLE), BROKEN=str(broken))
    broken.touch()
    scaled = Scaled(trimtab, autoscaling, name)
    scaled.register(1, 2)
    scaled.track("ConcurrencyPerReplicaEvent", windows={"StableWindowSeconds": "3"})

    def failed() -> list[dict[str, Any]]:
        return [a for a in reversed(scaled.activities()) if "no weights" in a.get("StatusMessage", "")]

    with scaled.load(4):
        wait_until(lambda: len(failed()) >= 3, "not tried three times")
        first, second, third = failed()[:3]
        assert first["StatusMessage"].startswith("Failed to set desired instance count to 2. Reason: ")
        assert (second["StartTime"] - first["EndTime"]).total_seconds() >= 1.0
        assert (third["StartTime"] - second["EndTime"]).total_seconds() >= 2.0
        describe = scaled.sagemaker.describe_endpoint
        wait_until(lambda: "no weights" in describe(EndpointName=name).get("FailureReason", ""), "it does not say why")
        assert scaled.count() == 1
        broken.unlink()
        wait_until(lambda: scaled.count() == 2, "not 2 replicas")
    found = trimtab.settled(name)
    assert "FailureReason" not in found
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def test_control_killed_in_mid_scaling_is_succeeded_by_one_that_finishes(
    serve: Callable[..., Trimtab], name: str
) -> None:
    trimtab = serve()
    trimtab.deploy(name, script(SLOW))
    scaled = Scaled(trimtab, trimtab.client("application-autoscaling", retries=RETRIED), name)
    scaled.register(1, 3)
    scaled.track("ConcurrencyPerReplicaEvent", windows={"StableWindowSeconds": "3"})
    with scaled.load(6):
        wait_until(lambda: scaled.desired() > 1, "no decision")
        [control] = trimtab.processes("trimtab: control")
        control.kill()
        wait_until(lambda: scaled.count() == 3, "not 3 replicas")
    wait_until(lambda: scaled.count() == 1, "not back at 1 replica")
    assert not [a for a in scaled.activities() if a["StatusCode"] == "InProgress"]
