"""What a load test wants to know of the endpoint that it loads: is it there, on what does it run, how busy was it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct

from trimtab.aws.client import CallFailed, Client, Unreachable
from trimtab.errors import NotFound
from trimtab.metrics.names import ENDPOINT, INSTANCES, VARIANT

UTILIZATION: Final = ("CPUUtilization", "MemoryUtilization", "GPUUtilization", "GPUMemoryUtilization")


class LoadedVariant(Struct, frozen=True):
    """A variant. `instance_type` is empty where it has none (serverless)."""

    name: str
    instance_type: str
    replicas: int


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
    """How busy a variant was, in percent: 100 for each core or GPU."""

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
    types = {v["VariantName"]: v.get("InstanceType", "") for v in config.get("ProductionVariants", ())}
    variants = tuple(
        LoadedVariant(v["VariantName"], types.get(v["VariantName"], ""), int(v.get("CurrentInstanceCount", 0)))
        for v in endpoint.get("ProductionVariants", ())
    )
    return LoadedEndpoint(name, endpoint["EndpointStatus"], variants)


def utilization(client: Client, endpoint: LoadedEndpoint, start_s: float, end_s: float) -> tuple[list[Use], str]:
    """How busy the variants were from `start_s` to `end_s` by CloudWatch; and, where nothing is known, why."""
    found: list[Use] = []
    try:
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


def _points(
    client: Client, endpoint: str, variant: str, metric: str, start_s: float, end_s: float
) -> list[dict[str, Any]]:
    """Fine periods first; AWS itself keeps these metrics by the minute."""
    for period_s in (1, 60) if end_s - start_s <= 1400 else (60,):  # AWS: at most 1,440 points
        start = datetime.fromtimestamp(start_s - start_s % period_s, UTC)
        end = datetime.fromtimestamp(end_s, UTC) + timedelta(seconds=period_s)
        answer = client.call(
            "cloudwatch",
            "get_metric_statistics",
            Namespace=INSTANCES,
            MetricName=metric,
            Dimensions=[{"Name": ENDPOINT, "Value": endpoint}, {"Name": VARIANT, "Value": variant}],
            StartTime=start,
            EndTime=end,
            Period=period_s,
            Statistics=["Average", "Maximum", "SampleCount"],
        )
        points: list[dict[str, Any]] = [p for p in answer.get("Datapoints", ()) if p.get("SampleCount")]
        if points:
            return points
    return []
