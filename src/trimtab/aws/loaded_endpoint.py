"""What a load test wants to know of the endpoint that it loads: is it there, on what does it run, how busy was it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from trimtab.aws.client import CallFailed, Client, Unreachable
from trimtab.errors import NotFound
from trimtab.metrics.names import ENDPOINT, INSTANCES, TRIMTAB, VARIANT

# Utilization is trimtab's own: AWS does not publish it, and answers that there are no values.
UTILIZATION: Final = {
    "Utilization": TRIMTAB,
    "CPUUtilization": INSTANCES,
    "MemoryUtilization": INSTANCES,
    "GPUUtilization": INSTANCES,
    "GPUMemoryUtilization": INSTANCES,
}
_BILLED: Final = "BilledGBSeconds"
_SHORT_S: Final = 30.0  # of a test so short, the last second matters: it is waited for, ...
_LATE_S: Final = 2.5  # ... for so long at most. trimtab tells of a second within 1.5 s of its end
_AGAIN_S: Final = 0.25


class LoadedVariant(Struct, frozen=True):
    """A variant. `instance_type` is empty where it has none (serverless)."""

    name: str
    instance_type: str
    replicas: int
    memory_mb: int = 0  # serverless


class LoadedEndpoint(Struct, frozen=True):
    """An endpoint as it was before the test."""

    name: str
    status: str
    variants: tuple[LoadedVariant, ...]

    @property
    def instances(self) -> list[tuple[str, int]]:
        """Instance types, and how many of each."""
        return [(v.instance_type, v.replicas) for v in self.variants if v.instance_type]


class Use(Struct, frozen=True):
    """How busy a variant's replicas were, on average over them, in percent: 100 for each core or GPU."""

    variant: str
    metric: str
    average: float
    maximum: float


def look_at(client: Client, name: str) -> LoadedEndpoint:
    """The endpoint. Raises NotFound, CallFailed, Unreachable."""
    try:
        endpoint = client.call("sagemaker", "describe_endpoint", EndpointName=name)
    except CallFailed as error:
        if "Could not find" in str(error):
            raise NotFound("endpoint", name) from error
        raise
    config = client.call("sagemaker", "describe_endpoint_config", EndpointConfigName=endpoint["EndpointConfigName"])
    declared = {v["VariantName"]: v for v in config.get("ProductionVariants", ())}
    variants = tuple(
        LoadedVariant(
            v["VariantName"],
            (known := declared.get(v["VariantName"], {})).get("InstanceType", ""),
            int(v.get("CurrentInstanceCount", 0)),
            int(known.get("ServerlessConfig", {}).get("MemorySizeInMB", 0)),
        )
        for v in endpoint.get("ProductionVariants", ())
    )
    return LoadedEndpoint(name, endpoint["EndpointStatus"], variants)


def utilization(
    client: Client,
    endpoint: LoadedEndpoint,
    start_s: float,
    end_s: float,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[Use], str]:
    """How busy the variants were from `start_s` to `end_s` by CloudWatch; and, where nothing is known, why.

    It waits until what is to be read has been published, where that matters.
    """
    found: list[Use] = []
    try:
        if end_s - start_s < _SHORT_S:
            while not _published(client, endpoint, start_s, end_s) and now() < end_s + _LATE_S:
                sleep(_AGAIN_S)
        for variant in endpoint.variants:
            for metric in UTILIZATION:
                points = _points(client, endpoint.name, variant.name, metric, start_s, end_s)
                if points:
                    samples = sum(point["SampleCount"] for point in points)
                    average = sum(point["Average"] * point["SampleCount"] for point in points) / samples
                    found.append(Use(variant.name, metric, average, max(point["Maximum"] for point in points)))
    except (CallFailed, Unreachable) as error:
        return found, str(error)
    return found, "" if found else "CloudWatch has no values of that time"


def billed_gb_s(client: Client, endpoint: LoadedEndpoint, start_s: float, end_s: float) -> float | None:
    """GB-seconds that a request was billed on average from `start_s` to `end_s`, by trimtab's BilledGBSeconds.

    None where no variant is serverless, or nothing is known: AWS publishes no such metric.
    """
    points = []
    try:
        for variant in endpoint.variants:
            if variant.memory_mb:
                points += _points(client, endpoint.name, variant.name, _BILLED, start_s, end_s)
    except (CallFailed, Unreachable):
        return None
    samples = sum(point["SampleCount"] for point in points)
    return sum(point["Average"] * point["SampleCount"] for point in points) / samples if samples else None


def _published(client: Client, endpoint: LoadedEndpoint, start_s: float, end_s: float) -> bool:
    """Whether each variant has a point of the last second."""
    _, end = _seconds(start_s, end_s)
    last = datetime.fromtimestamp(end - 1, UTC)
    for variant in endpoint.variants:
        points = _points(client, endpoint.name, variant.name, "CPUUtilization", start_s, end_s)
        if not any(point["Timestamp"] >= last for point in points):
            return False
    return True


def _seconds(start_s: float, end_s: float) -> tuple[int, int]:
    """The whole seconds from `start_s` to `end_s`; where there is none, those that they are in."""
    start, end = math.ceil(start_s), math.floor(end_s)
    return (start, end) if start < end else (math.floor(start_s), math.ceil(end_s))


def _points(
    client: Client, endpoint: str, variant: str, metric: str, start_s: float, end_s: float
) -> list[dict[str, Any]]:
    """By the second. AWS itself keeps these metrics by the minute: a test of a minute or more is read so where
    there is nothing finer, and where it is too long for seconds (AWS: at most 1,440 points)."""
    start, end = _seconds(start_s, end_s)
    for period_s in (1, 60):
        if (end - start > 1440) if period_s == 1 else (end - start < 60):
            continue
        answer = client.call(
            "cloudwatch",
            "get_metric_statistics",
            Namespace=UTILIZATION.get(metric, TRIMTAB),
            MetricName=metric,
            Dimensions=[{"Name": ENDPOINT, "Value": endpoint}, {"Name": VARIANT, "Value": variant}],
            StartTime=datetime.fromtimestamp(start - start % period_s, UTC),
            EndTime=datetime.fromtimestamp(end, UTC),
            Period=period_s,
            Statistics=["Average", "Maximum", "SampleCount"],
        )
        points: list[dict[str, Any]] = [p for p in answer.get("Datapoints", ()) if p.get("SampleCount")]
        if points:
            return points
    return []
