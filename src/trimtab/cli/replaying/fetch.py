"""The record of a variant, as trimtab's API tells it; and its load from metrics where nobody recorded it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trimtab.cli.render import CliError
from trimtab.control.scaling.entries import Entry, entry_of

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.sim.arrivals import Counted

_FINE_KEPT_S: Final = 3 * 3600.0  # AWS, and trimtab: points of less than a minute are kept so long
_MOST_POINTS: Final = 100_000


def entries_of(client: Client, endpoint: str, variant: str, start_s: float, end_s: float) -> tuple[str, list[Entry]]:
    """The variant, and its entries. CliError when there are several variants and none is named, or nothing at all."""
    query = {"variant": variant} if variant else {}
    found: dict[str, list[Entry]] = {}
    for line in client.lines(f"endpoints/{endpoint}/scaling", **query, start=repr(start_s), end=repr(end_s)):
        found.setdefault(line.pop("variant"), []).append(entry_of(line))
    if not found:
        of = f"{endpoint} / {variant}" if variant else endpoint
        raise CliError(
            f"Nothing was recorded of the autoscaling of {of} in that time.",
            "Scaling is recorded from when a scalable target is registered, and kept for 7 days at most.",
        )
    if len(found) > 1:
        raise CliError(f"{endpoint} has several variants that are scaled: {', '.join(found)}.", "Name one: --variant")
    return next(iter(found.items()))


def load_of_metrics(client: Client, endpoint: str, variant: str, start_s: float, end_s: float, now_s: float) -> Counted:
    """Requests by CloudWatch's Invocations, each second or minute; at random within it."""
    import numpy as np

    from trimtab.sim.arrivals import Counted

    fine = now_s - start_s < _FINE_KEPT_S and (end_s - start_s) <= _MOST_POINTS
    period_s = 1 if fine else 60
    first_s, last_s = math.floor(start_s / period_s) * period_s, math.ceil(end_s / period_s) * period_s
    points = _points(client, endpoint, variant, ("Invocations", "Sum"), first_s, last_s, period_s)
    edges_s = np.arange(first_s, last_s + period_s, period_s, dtype=np.float64)
    counts = np.array([round(points.get(at_s, 0.0)) for at_s in range(first_s, last_s, period_s)], dtype=np.int64)
    return Counted(edges_s=edges_s, counts=counts)


def work_of_metrics(client: Client, endpoint: str, variant: str, start_s: float, end_s: float) -> float | None:
    """What a request took the model, in seconds, on average (CloudWatch's ModelLatency); None when there was none."""
    first_s, last_s = math.floor(start_s / 60) * 60, math.ceil(end_s / 60) * 60
    sums = _points(client, endpoint, variant, ("ModelLatency", "Sum"), first_s, last_s, 60)
    counts = _points(client, endpoint, variant, ("ModelLatency", "SampleCount"), first_s, last_s, 60)
    count = sum(counts.values())
    return sum(sums.values()) / count / 1e6 if count else None


def _points(
    client: Client, endpoint: str, variant: str, metric: tuple[str, str], start_s: int, end_s: int, period_s: int
) -> dict[int, float]:
    name, stat = metric
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    asked: dict[str, Any] = {
        "Metric": {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions},
        "Period": period_s,
        "Stat": stat,
    }
    query: dict[str, Any] = {
        "MetricDataQueries": [{"Id": "m", "MetricStat": asked}],
        "StartTime": datetime.fromtimestamp(start_s, UTC),
        "EndTime": datetime.fromtimestamp(end_s, UTC),
    }
    points: dict[int, float] = {}
    while True:
        page = client.call("cloudwatch", "get_metric_data", **query)
        for result in page["MetricDataResults"]:
            points.update(
                (int(at.timestamp()), value) for at, value in zip(result["Timestamps"], result["Values"], strict=True)
            )
        if not page.get("NextToken"):
            return points
        query["NextToken"] = page["NextToken"]


def slots_of(client: Client, endpoint: str, variant: str) -> int:
    """Requests that a replica of the variant works on at once, as it runs now; 1 where that is not known."""
    from trimtab.aws.client import CallFailed

    try:
        document = client.get(f"endpoints/{endpoint}")
    except CallFailed as error:
        if error.code != "NotFound":
            raise
        return 1
    ready = (one for one in document["replicas"] if one["variant"] == variant and one["state"] == "Ready")
    return next((max(1, one["concurrency"] * len(one["addresses"])) for one in ready), 1)
