"""CloudWatch: what was measured of every variant, in as few calls as GetMetricData takes.

AWS bills GetMetricData by the metric asked for ($0.01 for 1,000): some eleven cents for 1,000 variants.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.advisor.audit.account import Endpoint, Variant
from trimtab.advisor.audit.measures import (
    COARSE_S,
    REQUEST_BYTES,
    REQUEST_COUNT,
    RESPONSE_BYTES,
    SOURCES,
    Measure,
    Source,
)
from trimtab.advisor.audit.reading.reader import Reader
from trimtab.advisor.audit.series import DAY_S, Series
from trimtab.advisor.prices.shapes import shape_of

_QUERIES: Final = 500  # AWS: of one call
_VALUES: Final = 100_800  # AWS: of one call
MINUTE_S: Final = 60
MINUTE_DAYS: Final = 3
_WHAT: Final = "Metrics of endpoints"
_MINUTE_SOURCE: Final = Source("AWS/SageMaker", "Invocations", "Sum", MINUTE_S)

Key = tuple[str, str]  # endpoint, variant


class _Asked(Struct, frozen=True):
    """One series to read."""

    key: Key
    measure: str
    source: Source


def read_metrics(
    reader: Reader, endpoints: Iterable[Endpoint], *, days: int, now_s: float
) -> dict[Key, Mapping[Measure, Series]]:
    """Every measure of every variant over the whole hours before `now_s`. A key without entry: it was not seen."""
    asked = [
        _Asked((endpoint.name, variant.name), measure, source)
        for endpoint in endpoints
        for variant in endpoint.variants
        for measure, source in SOURCES.items()
        if _applies(measure, endpoint, variant)
    ]
    found: defaultdict[Key, dict[Measure, Series]] = defaultdict(dict)
    lost: set[Key] = set()
    for entry, series in _read(reader, asked, days=days, now_s=now_s):
        if series is None:
            lost.add(entry.key)
        else:
            found[entry.key][Measure(entry.measure)] = series
    return {key: series for key, series in found.items() if key not in lost}


def read_minutes(reader: Reader, keys: Sequence[Key], *, days: int, now_s: float) -> dict[Key, Series]:
    """Requests by the minute, of the last MINUTE_DAYS days (CloudWatch has minutes for 15)."""
    asked = [_Asked(key, "minutes", _MINUTE_SOURCE) for key in keys]
    read = _read(reader, asked, days=min(days, MINUTE_DAYS), now_s=now_s)
    return {entry.key: series for entry, series in read if series is not None}


def read_sizes(reader: Reader, keys: Iterable[Key], *, days: int, now_s: float) -> dict[Key, tuple[float, float]]:
    """Requests, and bytes of these and their answers together, where a trimtab has counted them."""
    sources = (REQUEST_COUNT, REQUEST_BYTES, RESPONSE_BYTES)
    asked = [_Asked(key, source.metric, source) for key in keys for source in sources]
    found: defaultdict[Key, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for entry, series in _read(reader, asked, days=days, now_s=now_s):
        if series is not None:
            found[entry.key][entry.source is not REQUEST_COUNT] += series.total
    return {key: (requests, size_bytes) for key, (requests, size_bytes) in found.items() if requests}


def _applies(measure: Measure, endpoint: Endpoint, variant: Variant) -> bool:
    if measure is Measure.PROCESSED:
        return endpoint.is_async
    if measure in (Measure.GPU, Measure.GPU_MEMORY):
        shape = shape_of(variant.instance_type)
        return bool(variant.instance_type) and (shape is None or shape.accelerators > 0)
    return True


def _read(
    reader: Reader, asked: Sequence[_Asked], *, days: int, now_s: float
) -> Iterator[tuple[_Asked, Series | None]]:
    end_s = math.floor(now_s / COARSE_S) * COARSE_S
    start_s = end_s - days * DAY_S
    parts = list(_parts(asked, end_s - start_s))
    answers = reader.each(lambda part: _part(reader, part, start_s, end_s), parts)
    for part, answer in zip(parts, answers, strict=True):
        yield from zip(part, answer, strict=True)


def _parts(asked: Sequence[_Asked], span_s: float) -> Iterator[list[_Asked]]:
    """As many as one call takes, those of one period together."""
    for period_s in sorted({entry.source.period_s for entry in asked}):
        alike = [entry for entry in asked if entry.source.period_s == period_s]
        size = max(1, min(_QUERIES, int(_VALUES * period_s // span_s)))
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _part(reader: Reader, part: Sequence[_Asked], start_s: float, end_s: float) -> list[Series | None]:
    """The series asked for; None for all of them where they were refused. Many threads do this: answers become arrays
    at once, since lists of millions of points are large."""
    results = reader.pages(
        "cloudwatch",
        "get_metric_data",
        "MetricDataResults",
        _WHAT,
        MetricDataQueries=[_query(index, entry) for index, entry in enumerate(part)],
        StartTime=datetime.fromtimestamp(start_s, UTC),
        EndTime=datetime.fromtimestamp(end_s, UTC),
        ScanBy="TimestampAscending",
    )
    if results is None:
        return [None] * len(part)
    found = [
        Series(start_s, entry.source.period_s, np.full(round((end_s - start_s) / entry.source.period_s), np.nan))
        for entry in part
    ]
    for result in results:
        if result.get("StatusCode") in ("Forbidden", "InternalError"):
            reader.note(_WHAT, f"CloudWatch answered {result['StatusCode']}", "cloudwatch:GetMetricData")
            return [None] * len(part)
        _fill(found[int(result["Id"][1:])], result.get("Timestamps", ()), result.get("Values", ()))
    return list(found)


def _query(index: int, entry: _Asked) -> dict[str, Any]:
    source = entry.source
    names = zip(("EndpointName", "VariantName"), entry.key, strict=True)
    dimensions = [{"Name": name, "Value": value} for name, value in names]
    metric = {"Namespace": source.namespace, "MetricName": source.metric, "Dimensions": dimensions}
    return {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": source.period_s, "Stat": source.stat}}


def _fill(series: Series, at_s: Sequence[float], values: Sequence[float | None]) -> None:
    """Points out of order, twice or outside are no reason to fail: the last one said of a period counts."""
    count = min(len(at_s), len(values))
    index = ((np.asarray(at_s[:count], dtype=float) - series.start_s) // series.period_s).astype(int)
    known = np.asarray([math.nan if value is None else value for value in values[:count]], dtype=float)
    is_good = (index >= 0) & (index < len(series.values)) & np.isfinite(known)
    series.values[index[is_good]] = known[is_good]
