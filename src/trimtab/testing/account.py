"""An account with every fault that an audit finds on endpoints, and beside each a clean twin that it must not flag.

    populate(clients, now_s)   # through boto3's clients, into anything that takes PutMetricData into AWS/ namespaces

`CASES` is the list. Each fault is alone on its endpoint as far as that can be: everything else about it is in order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct, field

from trimtab.sim.load import Floats

ROLE: Final = "arn:aws:iam::123456789012:role/models"
DAY_S: Final = 86_400
HOUR_S: Final = 3600
STEP_S: Final = 300
SKLEARN: Final = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
BUCKET: Final = "audit-models"
CAPTURES: Final = "audit-captures"
_CALL_DATA: Final = 900  # AWS: 1,000 of one PutMetricData
_QUANTILES: Final = tuple(part / 8 for part in range(9))  # evenly: their median is the median


class Case(Struct, frozen=True, kw_only=True):
    """One endpoint. `fault`: the kind of finding that it must have; "" for a clean one, which must have none."""

    name: str
    fault: str = ""
    traffic: Callable[[int, np.random.Generator], Floats]  # requests in each 300 s, of so many days
    image: str = ""  # "": one of its own
    instance_type: str = "ml.m5.xlarge"
    count: int = 2
    latency_s: float = 0.05  # median
    spread: float = 1.5  # p99 / median
    gpu_percent: tuple[float, float] | None = None  # mean of most hours, and of every fourth
    gpu_memory_percent: float = 30.0
    memory_percent: float = 45.0
    concurrency: float = 3.0
    policy: Mapping[str, Any] | None = field(default_factory=lambda: by_concurrency())
    payload_bytes: int = 0  # data capture catches a tenth of the requests, if not 0
    has_minutes: bool = False  # its last days by the minute
    is_async: bool = False
    artifact: str = ""  # "": in folders of its own
    tags: Mapping[str, str] = field(default_factory=dict)


# --- traffic, in requests of each 300 s -------------------------------------------------------------------------------


def daily(mean_per_s: float, swing: float = 0.8) -> Callable[[int, np.random.Generator], Floats]:
    """A day's wave, by night almost nothing."""

    def made(days: int, random: np.random.Generator) -> Floats:
        hours = np.arange(days * DAY_S // STEP_S) * STEP_S / HOUR_S
        rate = mean_per_s * (1 - swing * np.cos(2 * np.pi * hours / 24))
        return random.poisson(rate * STEP_S).astype(float)

    return made


def steady(mean_per_s: float) -> Callable[[int, np.random.Generator], Floats]:
    """Always the same."""
    return daily(mean_per_s, 0.1)


def none(days: int, random: np.random.Generator) -> Floats:
    """Nobody asks."""
    return np.zeros(days * DAY_S // STEP_S)


def sporadic(a_day: float) -> Callable[[int, np.random.Generator], Floats]:
    """Few, at any time."""
    return lambda days, random: random.poisson(a_day * STEP_S / DAY_S, days * DAY_S // STEP_S).astype(float)


def at_hour(hour: int, count: int) -> Callable[[int, np.random.Generator], Floats]:
    """All within one hour of each day (UTC, the series beginning at midnight)."""

    def made(days: int, random: np.random.Generator) -> Floats:
        counts = np.zeros((days, DAY_S // STEP_S))
        first = hour * HOUR_S // STEP_S
        counts[:, first : first + HOUR_S // STEP_S] = count * STEP_S / HOUR_S
        return counts.reshape(-1)

    return made


def bursts(mean_per_s: float, times: float, a_day: int) -> Callable[[int, np.random.Generator], Floats]:
    """A steady stream, with steps of 300 s that have several times as much."""

    def made(days: int, random: np.random.Generator) -> Floats:
        counts = steady(mean_per_s)(days, random)
        counts[random.choice(len(counts), a_day * days, replace=False)] *= times
        return counts

    return made


# --- policies ---------------------------------------------------------------------------------------------------------


def by_concurrency(cooldown_s: int = 300) -> dict[str, Any]:
    """Target tracking at a resolution of 10 s."""
    kind = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    return _tracking(kind, 5.0, cooldown_s)


def by_requests(cooldown_s: int = 300) -> dict[str, Any]:
    """Target tracking at a resolution of 60 s."""
    return _tracking("SageMakerVariantInvocationsPerInstance", 600.0, cooldown_s)


def _tracking(kind: str, target: float, cooldown_s: int) -> dict[str, Any]:
    return {
        "TargetValue": target,
        "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
        "ScaleInCooldown": cooldown_s,
        "ScaleOutCooldown": 60,
    }


CASES: Final[tuple[Case, ...]] = (
    Case(name="pricing", fault="no-scaling-policy", traffic=daily(20), count=4, policy=None),
    Case(name="pricing-twin", traffic=daily(20), count=4),
    Case(name="search", fault="scale-in-cooldown-too-short", traffic=daily(20), policy=by_concurrency(30)),
    Case(name="search-twin", traffic=daily(20), policy=by_requests(), has_minutes=True),
    Case(
        name="tickets",
        fault="slow-metric-on-spiky-traffic",
        traffic=bursts(4, 6, 5),
        policy=by_requests(),
        has_minutes=True,
    ),
    Case(name="tickets-twin", traffic=bursts(4, 6, 5), policy=by_concurrency(), has_minutes=True),
    Case(name="tickets-smooth", traffic=daily(4), policy=by_requests(), has_minutes=True),
    Case(
        name="vision",
        fault="gpu-underused",
        traffic=daily(5),
        instance_type="ml.g4dn.4xlarge",
        gpu_percent=(12.0, 20.0),
        memory_percent=15.0,
    ),
    Case(name="vision-twin", traffic=daily(5), instance_type="ml.g4dn.4xlarge", gpu_percent=(55.0, 70.0)),
    Case(
        name="speech", fault="gpu-queueing", traffic=daily(9), instance_type="ml.g4dn.xlarge", gpu_percent=(60.0, 92.0)
    ),
    Case(name="speech-twin", traffic=daily(9), instance_type="ml.g4dn.xlarge", gpu_percent=(60.0, 74.0)),
    Case(name="forgotten", fault="idle-endpoint", traffic=none),
    Case(name="forgotten-twin", traffic=steady(2)),
    Case(name="risk-eu", fault="could-share-an-endpoint", traffic=sporadic(60), image=SKLEARN),
    Case(name="risk-us", fault="could-share-an-endpoint", traffic=sporadic(70), image=SKLEARN),
    Case(name="risk-main", fault="could-share-an-endpoint", traffic=sporadic(1400), image=SKLEARN),
    Case(name="score-eu", traffic=steady(20), latency_s=0.06, image="company/score:1"),
    Case(name="score-us", traffic=steady(20), latency_s=0.06, image="company/score:1"),
    Case(name="scans", fault="async-candidate", traffic=daily(0.0055, 0.3), payload_bytes=4_500_000),
    Case(name="scans-twin", traffic=daily(0.0055, 0.3), payload_bytes=20_000),
    Case(name="reports", fault="async-candidate", traffic=daily(0.02), latency_s=12.0),
    Case(name="reports-twin", traffic=daily(0.05), latency_s=2.0),
    Case(name="internal", fault="sporadic-traffic", traffic=sporadic(30), memory_percent=8.0),
    Case(name="internal-twin", traffic=steady(2), memory_percent=8.0),
    Case(name="nightly", fault="scheduled-traffic", traffic=at_hour(2, 5000)),
    Case(name="nightly-twin", traffic=steady(5000 / DAY_S)),
)


def expected() -> dict[str, str]:
    """The kind that each faulty endpoint must be found with."""
    return {case.name: case.fault for case in CASES if case.fault}


# --- making it --------------------------------------------------------------------------------------------------------

Clients = Callable[[str], Any]  # boto3's, by service


def populate(clients: Clients, now_s: float, *, days: int = 14, cases: tuple[Case, ...] = CASES) -> None:
    """Endpoints, policies, metrics and captured requests of all cases; metrics end at the hour before `now_s`."""
    for case in cases:
        create(clients, case)
    send_metrics(clients, now_s, days=days, cases=cases)


def create(clients: Clients, case: Case, *, captures: bool = True) -> None:
    """The endpoint of one case with its model, its config and its policy. `captures`: data capture is on where the
    sizes of its requests matter."""
    sagemaker, name = clients("sagemaker"), case.name
    artifact = case.artifact or f"s3://{BUCKET}/{name}/1/model.tar.gz"
    container = {"Image": case.image or f"company/{name}:1", "ModelDataUrl": artifact}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    config: dict[str, Any] = {"EndpointConfigName": name, "ProductionVariants": [_variant(case)]}
    if case.payload_bytes and captures:
        config["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": f"s3://{CAPTURES}/requests",
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
    sagemaker.create_endpoint_config(**config)
    tags = [{"Key": key, "Value": value} for key, value in case.tags.items()]
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
    if case.policy is not None:
        scale(clients("application-autoscaling"), case)


def _variant(case: Case) -> dict[str, Any]:
    return {
        "VariantName": "main",
        "ModelName": case.name,
        "InstanceType": case.instance_type,
        "InitialInstanceCount": case.count,
        "InitialVariantWeight": 1.0,
    }


def scale(autoscaling: Any, case: Case) -> None:
    """Its target and its policy."""
    resource = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{case.name}/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    autoscaling.register_scalable_target(**resource, MinCapacity=min(2, case.count), MaxCapacity=2 * case.count + 2)
    autoscaling.put_scaling_policy(
        **resource,
        PolicyName=f"{case.name}-load",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration=dict(case.policy or {}),
    )


def send_metrics(clients: Clients, now_s: float, *, days: int = 14, cases: tuple[Case, ...] = CASES) -> None:
    """What CloudWatch would have of the last days, and what data capture would have written."""
    for case in cases:
        for namespace, data in metric_data(case, now_s, days).items():
            for at in range(0, len(data), _CALL_DATA):
                clients("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data[at : at + _CALL_DATA])
        if case.payload_bytes:
            counts, first_s, _ = _drawn(case, now_s, days)
            _capture(clients("s3"), case, counts, first_s)


def metric_data(case: Case, now_s: float, days: int) -> dict[str, list[dict[str, Any]]]:
    """PutMetricData's MetricData by namespace."""
    counts, first_s, random = _drawn(case, now_s, days)
    return {
        "AWS/SageMaker": list(_traffic_data(case, counts, first_s, random)),
        "/aws/sagemaker/Endpoints": list(_machine_data(case, counts, first_s)),
    }


def _drawn(case: Case, now_s: float, days: int) -> tuple[Floats, int, np.random.Generator]:
    """Requests in each 300 s until the last whole hour, since when, and what to draw the rest from."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    first_s = int(now_s // HOUR_S * HOUR_S) - days * DAY_S
    midnight_s = first_s // DAY_S * DAY_S
    counts = case.traffic(days + 1, random)[(first_s - midnight_s) // STEP_S :][: days * DAY_S // STEP_S]
    return counts, first_s, random


def _datum(case: Case, metric: str, at_s: float, **value: Any) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": case.name}, {"Name": "VariantName", "Value": "main"}]
    return {"MetricName": metric, "Dimensions": dimensions, "Timestamp": at_s, **value}


def _set(mean: float, peak: float, count: float) -> dict[str, Any]:
    return {"StatisticValues": {"SampleCount": count, "Sum": mean * count, "Minimum": mean, "Maximum": peak}}


def _traffic_data(case: Case, counts: Floats, first_s: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Requests in steps with some (and a zero each hour without), latencies and concurrency by the hour."""
    burst = 3 * float(np.median(counts))
    by_the_minute_s = first_s + len(counts) * STEP_S - (3 * DAY_S if case.has_minutes else 0)
    for index, count in enumerate(counts):
        at_s = first_s + index * STEP_S
        if at_s >= by_the_minute_s:
            for minute, mine in enumerate(_minutes(float(count), burst, random)):
                yield _datum(case, "Invocations", at_s + 60 * minute, **_set(1.0, 1.0, mine))
        elif count or at_s % HOUR_S == 0:
            yield _datum(case, "Invocations", at_s, **_set(1.0 if count else 0.0, 1.0, count or 1.0))
    steps = HOUR_S // STEP_S
    for index, hour in enumerate(counts.reshape(-1, steps)):
        at_s = first_s + index * HOUR_S
        if hour.sum():
            shape = case.spread ** ((np.array(_QUANTILES) - 0.5) / 0.49)
            values = [float(value) for value in case.latency_s * shape * 1e6]
            yield _datum(case, "ModelLatency", at_s, Values=values)
            yield _datum(case, "ConcurrentRequestsPerModel", at_s, **_set(1.0, case.concurrency, 360))


def _minutes(count: float, burst: float, random: np.random.Generator) -> list[float]:
    """A step's requests by the minute: those of a burst come nearly all in one."""
    if count > burst:
        rest = burst / 3 / 5
        return [count - 4 * rest, rest, rest, rest, rest]
    return [float(mine) for mine in random.multinomial(int(count), [0.2] * 5)]


def _machine_data(case: Case, counts: Floats, first_s: int) -> Iterator[dict[str, Any]]:
    """Processors, memory and GPUs by the hour; as many samples as AWS has: one for each instance and minute."""
    samples = 60.0 * case.count
    for index in range(len(counts) * STEP_S // HOUR_S):
        at_s = first_s + index * HOUR_S
        yield _datum(case, "CPUUtilization", at_s, **_set(60.0, 150.0, samples))
        yield _datum(case, "MemoryUtilization", at_s, **_set(case.memory_percent, case.memory_percent, samples))
        if case.gpu_percent is not None:
            percent = case.gpu_percent[index % 4 == 3]
            memory = case.gpu_memory_percent
            yield _datum(case, "GPUUtilization", at_s, **_set(percent, 100.0, samples))
            yield _datum(case, "GPUMemoryUtilization", at_s, **_set(memory, memory, samples))


def _capture(s3: Any, case: Case, counts: Floats, first_s: int) -> None:
    """What data capture has written in the last hours with requests: one file each, as large as it would be."""
    import time

    steps = HOUR_S // STEP_S
    hours = [(first_s + i * HOUR_S, hour.sum()) for i, hour in enumerate(counts.reshape(-1, steps)) if hour.sum()]
    for at_s, count in hours[-12:]:
        folder = time.strftime("%Y/%m/%d/%H", time.gmtime(at_s))
        size = round(count / 10 * case.payload_bytes * 4 / 3)
        key = f"requests/{case.name}/main/{folder}/captured.jsonl"
        s3.put_object(Bucket=CAPTURES, Key=key, Body=b"x" * size)
