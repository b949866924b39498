"""PutMetricData: what programs measure themselves. On disk before it is answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from trimtab.aws.apart import Apart
from trimtab.aws.cloudwatch.shapes import dimensions_of
from trimtab.aws.cloudwatch.words import bad_combination, invalid_value, missing
from trimtab.aws.registry import AwsError, Call, operation
from trimtab.clock import Clock
from trimtab.metrics.names import INSTANCES, TRIMTAB
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, MetricStore, Sample

MAX_METRICS: Final = 1000  # this and the following: API reference, PutMetricData and MetricDatum
MAX_VALUES: Final = 150
MAX_BODY_BYTES: Final = 1_048_576
LARGEST: Final = 2.0**360
_PAST_S: Final = 14 * 86_400
_FUTURE_S: Final = 2 * 3600


class Putting:
    """PutMetricData, on a MetricStore."""

    def __init__(self, store: MetricStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._apart = Apart("put-metrics")

    @operation("cloudwatch", "PutMetricData", missing="Entities are taken off: their metrics are kept without them")
    async def put_metric_data(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Count values. They are durable when this answers."""
        namespace = params["Namespace"]
        if namespace.startswith("AWS/"):
            raise invalid_value("The value AWS/ for parameter Namespace is invalid: AWS keeps it for itself.")
        if namespace in (INSTANCES, TRIMTAB):  # what is in them is exposed to Prometheus, too
            raise invalid_value(f"The value {namespace} for parameter Namespace is invalid: trimtab writes it itself.")
        length = call.request.headers.get("content-length")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise AwsError("RequestEntityTooLarge", f"PutMetricData takes at most {MAX_BODY_BYTES} bytes.", 413)
        data = list(_every_datum(params))
        if not data:
            raise missing("The parameter MetricData is required.")
        if len(data) > MAX_METRICS:
            raise invalid_value(f"The collection MetricData must not have a size greater than {MAX_METRICS}.")
        await self._apart(self._put, namespace, data, self._clock.now_s())
        return {}

    def _put(self, namespace: str, data: list[tuple[str, Mapping[str, Any]]], now_s: float) -> None:
        samples = [_sample(namespace, datum, where, now_s) for where, datum in data]
        self._store.record(samples, durable=True)


def _every_datum(params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each datum with the path that messages name it by."""
    for index, datum in enumerate(params.get("MetricData") or (), 1):
        yield f"MetricData.member.{index}", datum
    for outer, entity in enumerate(params.get("EntityMetricData") or (), 1):
        for index, datum in enumerate(entity.get("MetricData") or (), 1):
            yield f"EntityMetricData.member.{outer}.MetricData.member.{index}", datum


def _sample(namespace: str, datum: Mapping[str, Any], where: str, now_s: float) -> Sample:
    resolution_s = datum.get("StorageResolution", 60)
    if resolution_s not in (1, 60):
        raise invalid_value(f"The value {resolution_s} for parameter {where}.StorageResolution must be 1 or 60.")
    at_s = datum["Timestamp"].timestamp() if "Timestamp" in datum else now_s
    if not now_s - _PAST_S <= at_s <= now_s + _FUTURE_S:
        raise invalid_value(
            f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past and no more than"
            " two hours in the future."
        )
    return Sample(
        key=MetricKey(namespace, datum["MetricName"], dimensions_of(datum)),
        start_s=math.floor(at_s / resolution_s) * resolution_s,
        sketch=_sketch(datum, where),
        unit=datum.get("Unit", "None"),
        resolution_s=resolution_s,
    )


def _sketch(datum: Mapping[str, Any], where: str) -> Sketch:
    forms = [name for name in ("Value", "Values", "StatisticValues") if datum.get(name) not in (None, [])]
    if len(forms) > 1:
        raise bad_combination(f"The parameters {' and '.join(f'{where}.{f}' for f in forms)} are mutually exclusive.")
    if not forms:
        raise missing(f"At least one of the parameters must be specified: {where}.Value, Values, StatisticValues.")
    if "Counts" in datum and datum["Counts"] and forms[0] != "Values":
        raise bad_combination(f"The parameter {where}.Counts needs {where}.Values.")
    if forms[0] == "StatisticValues":
        return _statistic_set(datum["StatisticValues"], f"{where}.StatisticValues")
    if forms[0] == "Value":
        return Sketch.of([_number(datum["Value"], f"{where}.Value")])
    return _values(datum, where)


def _values(datum: Mapping[str, Any], where: str) -> Sketch:
    values = datum["Values"]
    counts = datum.get("Counts") or [1.0] * len(values)
    if len(values) > MAX_VALUES:
        raise invalid_value(f"The collection {where}.Values must not have a size greater than {MAX_VALUES}.")
    if len(counts) != len(values):
        raise bad_combination(f"The parameters {where}.Values and {where}.Counts must have the same size.")
    sketch = Sketch()
    for value, count in zip(values, counts, strict=True):
        if _number(count, f"{where}.Counts") <= 0:
            raise invalid_value(f"The value {count} for parameter {where}.Counts must be greater than 0.")
        sketch.add(_number(value, f"{where}.Values"), count)
    return sketch


def _statistic_set(declared: Mapping[str, Any], where: str) -> Sketch:
    count, total, low, high = (
        _number(declared[name], f"{where}.{name}") for name in ("SampleCount", "Sum", "Minimum", "Maximum")
    )
    if count <= 0:
        raise invalid_value(f"The value {count} for parameter {where}.SampleCount must be greater than 0.")
    if low > high:
        raise invalid_value(f"The parameter {where}.Maximum must be greater than {where}.Minimum.")
    if count == 1 or low == high:  # AWS: then percentiles are known
        sketch = Sketch()
        sketch.add(low if low == high else total, count)
        sketch.sum, sketch.min, sketch.max = total, low, high
        return sketch
    return Sketch(count=count, sum=total, min=low, max=high)


def _number(value: float, where: str) -> float:
    if value is None or not math.isfinite(value) or abs(value) > LARGEST:
        raise invalid_value(f"The value {value} for parameter {where} is invalid: it must be from -2^360 to 2^360.")
    return float(value)
