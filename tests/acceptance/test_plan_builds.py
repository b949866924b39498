"""The program that a plan writes, run against trimtab: what it builds serves, and building again changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.advisor.plan.program import program
from trimtab.advisor.plan.signals import Signal, Where, tracked
from trimtab.resources.alarm import Watched
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import ScalingPolicy, ScheduledAction, StepAdjustment, StepScaling
from trimtab.sim.world import Architecture, Mode, OwnAlarm, Serving
from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

SAYS = "def model_fn(d):\n    return None\n\n\ndef transform_fn(m, body, kind, accept):\n    return {said!r}, 'text/plain'\n"
WORKLOADS = ("red", "green", "blue", "grey", "slow")


def architecture() -> Architecture:
    """One endpoint of each mode that trimtab serves."""
    instance = {"instance_type": "ml.m5.large", "min_replicas": 1, "max_replicas": 2}
    return Architecture(
        name="plan",
        endpoints=(
            Serving(
                name="shared",
                mode=Mode.MULTI_MODEL,
                workloads=("red", "green"),
                pinned=("red",),
                models_bytes=512 * 2**20,
                policies=(
                    tracked("shared", Signal.EVENT, 0.7, scale_in_s=60.0, settings={"StableWindowSeconds": "30"}),
                ),
                **instance,
            ),
            Serving(
                name="alone",
                mode=Mode.REAL_TIME,
                workloads=("blue",),
                policies=(tracked("alone", Signal.TEN, 0.8),),
                **instance,
            ),
            Serving(
                name="seldom",
                mode=Mode.SERVERLESS,
                workloads=("grey",),
                memory_mb=1024,
                max_concurrency=5,
                keep_warm="600",
            ),
            Serving(name="later", mode=Mode.ASYNC, workloads=("slow",), **instance),
        ),
    )


@pytest.fixture
def made(trimtab: Trimtab, tmp_path: Path) -> Path:
    """The models that workloads have, and the program."""
    there = {one["ModelName"] for one in trimtab.sagemaker.list_models(MaxResults=100)["Models"]}
    for name in set(WORKLOADS) - there:
        trimtab.create_model(name, script(SAYS.format(said=f"I am {name}".encode())))
    path = tmp_path / "build.py"
    path.write_text(program(architecture(), "five models", Where.TRIMTAB))
    return path


def run(trimtab: Trimtab, path: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, str(path), *options], env=trimtab.env, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_the_program_builds_serves_and_is_built_once(trimtab: Trimtab, made: Path) -> None:
    would = run(trimtab, made, "--dry-run")
    assert "would create the endpoint shared" in would
    assert "would scale alone from 1 to 2" in would
    said = run(trimtab, made)
    assert "green: multi-model, EndpointName=shared, TargetModel=green.tar.gz" in said

    assert trimtab.invoke("shared", b"x", TargetModel="red.tar.gz") == b"I am red"
    assert trimtab.invoke("shared", b"x", TargetModel="green.tar.gz") == b"I am green"
    assert trimtab.invoke("alone", b"x") == b"I am blue"
    assert trimtab.invoke("seldom", b"x") == b"I am grey"
    asked = trimtab.runtime.invoke_endpoint_async(EndpointName="later", InputLocation=_input(trimtab))
    bucket, _, key = asked["OutputLocation"].removeprefix("s3://").partition("/")
    found = wait_until(lambda: _body(trimtab, bucket, key))
    assert found == b"I am slow"

    policies = trimtab.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")
    by_name = {
        one["PolicyName"]: one["TargetTrackingScalingPolicyConfiguration"] for one in policies["ScalingPolicies"]
    }
    assert by_name["shared-event"]["TargetValue"] == 0.7
    assert by_name["alone-10s"]["ScaleInCooldown"] == 300
    assert "red.tar.gz" in trimtab.cli("models", "shared")

    again = run(trimtab, made)
    assert "create" not in again
    assert "update" not in again
    assert "scale" not in again
    copies = trimtab.s3.list_objects_v2(Bucket=_bucket_of(trimtab, "red"), Prefix="trimtab-plan/shared/")
    assert copies["KeyCount"] == 2
    run(trimtab, made, "--delete")
    assert not trimtab.s3.list_objects_v2(Bucket=copies["Name"], Prefix="trimtab-plan/shared/")["KeyCount"]
    left = {one["EndpointName"] for one in trimtab.sagemaker.list_endpoints()["Endpoints"]}
    assert left.isdisjoint({"shared", "alone", "seldom", "later"})
    models = {one["ModelName"] for one in trimtab.sagemaker.list_models(MaxResults=100)["Models"]}
    assert set(WORKLOADS) <= models


@pytest.mark.slow
def test_an_asynchronous_endpoint_of_aws_leaves_zero_by_an_alarm(trimtab: Trimtab, made: Path) -> None:
    endpoint = Serving(
        name="woken",
        mode=Mode.ASYNC,
        workloads=("slow",),
        instance_type="ml.m5.large",
        min_replicas=0,
        max_replicas=2,
        policies=(tracked("woken", Signal.BACKLOG, 2.0),),
    )
    made.write_text(program(Architecture(name="plan", endpoints=(endpoint,)), "one", Where.AWS))
    run(trimtab, made)
    alarms = trimtab.client("cloudwatch").describe_alarms(AlarmNames=["woken-wake"])["MetricAlarms"]
    assert alarms[0]["MetricName"] == "HasBacklogWithoutCapacity"
    assert alarms[0]["AlarmActions"]
    run(trimtab, made, "--delete")


@pytest.mark.slow
def test_what_is_missing_is_said_of_all_endpoints_before_anything_is_made(trimtab: Trimtab, made: Path) -> None:
    trimtab.create_model("gone", script(SAYS.format(said=b"nothing")))
    url = trimtab.sagemaker.describe_model(ModelName="gone")["PrimaryContainer"]["ModelDataUrl"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    trimtab.s3.delete_object(Bucket=bucket, Key=key)
    instance = {"instance_type": "ml.m5.large", "min_replicas": 1, "max_replicas": 1}
    endpoints = (
        Serving(name="first", mode=Mode.REAL_TIME, workloads=("blue",), **instance),
        Serving(name="second", mode=Mode.MULTI_MODEL, workloads=("red", "gone"), models_bytes=2**29, **instance),
        Serving(name="third", mode=Mode.REAL_TIME, workloads=("unheard-of",), **instance),
    )
    made.write_text(program(Architecture(name="plan", endpoints=endpoints), "broken", Where.TRIMTAB))
    for options in ((), ("--dry-run",)):
        done = subprocess.run(
            [sys.executable, str(made), *options], env=trimtab.env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 1
        assert not done.stdout
        artifact, model, last = done.stderr.splitlines()
        assert artifact.startswith(f"the artifact s3://{bucket}/{key} of gone cannot be read")
        assert model.startswith("the model unheard-of of unheard-of cannot be read")
        assert last == "Nothing was changed."
    assert "first" not in {one["EndpointName"] for one in trimtab.sagemaker.list_endpoints()["Endpoints"]}
    trimtab.sagemaker.delete_model(ModelName="gone")


@pytest.mark.slow
def test_a_program_that_reaches_nobody_says_so_without_a_traceback(trimtab: Trimtab, made: Path) -> None:
    env = trimtab.env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run([sys.executable, str(made)], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "Could not connect to the endpoint URL" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_endpoints_that_the_plan_does_without_are_told_and_left(trimtab: Trimtab, made: Path) -> None:
    instance = {"instance_type": "ml.m5.large", "min_replicas": 1, "max_replicas": 1}
    old = Serving(name="old-blue", mode=Mode.REAL_TIME, workloads=("blue",), **instance)
    never = replace(old, name="never-there")
    new = replace(old, name="new-blue")
    made.write_text(program(Architecture(name="now", endpoints=(old,)), "now", Where.TRIMTAB))
    assert "Still there" not in run(trimtab, made)
    after = made.with_name("after.py")
    before = Architecture(name="now", endpoints=(old, never))
    after.write_text(program(Architecture(name="plan", endpoints=(new,)), "then", Where.TRIMTAB, before=before))
    said = run(trimtab, after)
    assert "Still there, and paid for. When no caller asks them any more:" in said
    assert "aws sagemaker delete-endpoint --endpoint-name old-blue" in said
    assert "never-there" not in said
    for path in (after, made):
        run(trimtab, path, "--delete")


def _bucket_of(trimtab: Trimtab, model: str) -> str:
    url = trimtab.sagemaker.describe_model(ModelName=model)["PrimaryContainer"]["ModelDataUrl"]
    return str(url.removeprefix("s3://").partition("/")[0])


def _input(trimtab: Trimtab) -> str:
    return trimtab.upload(b"a page", "in/page")


def _body(trimtab: Trimtab, bucket: str, key: str) -> bytes | None:
    listed = trimtab.s3.list_objects_v2(Bucket=bucket, Prefix=key)
    return trimtab.s3.get_object(Bucket=bucket, Key=key)["Body"].read() if listed.get("KeyCount") else None


@pytest.mark.slow
def test_schedules_and_step_policies_with_their_alarms_are_built_and_taken_away_when_a_plan_has_none(
    trimtab: Trimtab, made: Path
) -> None:
    night = ScheduledAction(
        name="night", arn="", endpoint="timed", variant="AllTraffic", schedule="cron(0 20 * * ? *)", created_s=0.0,
        timezone="Europe/Berlin", min_capacity=1, max_capacity=1, end_s=4_000_000_000.0,
    )  # fmt: skip
    stat = MetricStat("AWS/SageMaker", "Invocations", (("EndpointName", "timed"),), 60, "Sum")
    watched = Watched(stat=stat, comparison="GreaterThanThreshold", threshold=600.0, evaluation_periods=2)
    steps = ScalingPolicy(
        name="steps", arn="", endpoint="timed", variant="AllTraffic", created_s=0.0,
        step=StepScaling(adjustment_type="ChangeInCapacity", steps=(StepAdjustment(0.0, None, 1),)),
    )  # fmt: skip
    timed = Serving(
        name="timed", mode=Mode.REAL_TIME, workloads=("blue",), instance_type="ml.m5.large", max_replicas=2,
        schedule=(night,), policies=(steps,), alarms=(OwnAlarm("steps", watched),),
    )  # fmt: skip
    made.write_text(program(Architecture(name="plan", endpoints=(timed,)), "timed", Where.TRIMTAB))
    assert "scale timed at cron(0 20 * * ? *)" in run(trimtab, made)
    scaling = trimtab.client("application-autoscaling")
    resource = "endpoint/timed/variant/AllTraffic"  # the server has other tests' endpoints, too

    def targets() -> list[dict[str, Any]]:
        return scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])[
            "ScalableTargets"
        ]

    actions = scaling.describe_scheduled_actions(ServiceNamespace="sagemaker", ResourceId=resource)
    (action,) = actions["ScheduledActions"]
    assert action["Timezone"] == "Europe/Berlin"
    assert action["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 1}
    assert action["EndTime"].timestamp() == 4_000_000_000.0
    (alarm,) = trimtab.client("cloudwatch").describe_alarms(AlarmNames=["timed-steps-0"])["MetricAlarms"]
    assert (alarm["MetricName"], alarm["Threshold"], alarm["EvaluationPeriods"]) == ("Invocations", 600.0, 2)
    assert targets()
    assert "scale timed from" not in run(trimtab, made)  # bounds that the schedule may have moved stay

    plain = replace(timed, schedule=(), policies=(), alarms=(), max_replicas=1)
    made.write_text(program(Architecture(name="plan", endpoints=(plain,)), "timed", Where.TRIMTAB))
    assert "timed no longer scales" in run(trimtab, made)
    assert not targets()
    run(trimtab, made, "--delete")
