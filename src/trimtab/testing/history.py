"""Weeks that a trimtab was not there for: metrics of the past, written by the store that control itself writes with.

    write_history(data_dir, cases, time.time(), days=14)   # before `trimtab serve --data-dir DATA_DIR`

The store runs under a clock that is stepped through those weeks hour by hour, so that its file is what it would be had
trimtab run all the time: points rolled up and forgotten as they are. PutMetricData cannot do that: trimtab refuses what
goes into its own namespaces, as AWS does.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from trimtab import datadir
from trimtab.clock import ManualClock
from trimtab.config import Paths
from trimtab.metrics.names import ENDPOINT, INSTANCES, METRICS, TRIMTAB, VARIANT
from trimtab.metrics.sketch import Sketch, bucket_of
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey, Sample
from trimtab.testing.account import HOUR_S, Case, metric_data

_MINUTE_S: Final = 60
_SAMPLED_AS_OFTEN: Final = 60  # replicas are measured by the second; AWS has a value of each by the minute
_ANSWER_BYTES: Final = 400
_PAYLOAD_BYTES: Final = 2_000  # of cases that do not say
_UNITS: Final = {(metric.namespace, metric.name): metric.unit for metric in METRICS}


def write_history(data_dir: Path, cases: Iterable[Case], now_s: float, *, days: int = 14) -> None:
    """Write the metrics of `cases`, of whole hours until `now_s`, into a data directory that nobody serves from.

    The directory is made when it is not there. Invalid: another trimtab serves from it.
    """
    paths = Paths(data_dir)
    lock_fd = datadir.claim(paths)
    try:
        by_hour: defaultdict[int, list[Sample]] = defaultdict(list)
        for case in cases:
            for sample in samples(case, now_s, days):
                by_hour[sample.start_s // HOUR_S].append(sample)
        _write(paths.metrics, by_hour, now_s)
    finally:
        os.close(lock_fd)


def _write(path: Path, by_hour: Mapping[int, list[Sample]], now_s: float) -> None:
    """Hour by hour: each is recorded when it is over, and the store does then what it does beside."""
    hours = sorted(by_hour)
    if not hours:
        return
    clock = ManualClock(hours[0] * HOUR_S)
    store = SqliteMetricStore(path, clock, commit_every_s=0)
    try:
        for hour in hours:
            clock.advance((hour + 1) * HOUR_S - clock.now_s())
            store.record(by_hour[hour])
            store.step()
        clock.advance(max(0.0, now_s - clock.now_s()))
        store.step()
    finally:
        store.close()


def samples(case: Case, now_s: float, days: int) -> Iterator[Sample]:
    """What trimtab would have of one endpoint: of all that it publishes, what an audit reads."""
    requests: Counter[int] = Counter()  # by the hour
    for namespace, data in metric_data(case, now_s, days).items():
        often = _SAMPLED_AS_OFTEN if namespace == INSTANCES else 1
        for datum in data:
            sketch = _sketch(datum, often)
            yield _sample(case, namespace, datum["MetricName"], datum["Timestamp"], sketch)
            if datum["MetricName"] == "Invocations":
                requests[int(datum["Timestamp"]) // HOUR_S * HOUR_S] += int(sketch.sum)
    for hour_s, count in requests.items():
        yield from _payloads(case, hour_s, float(count))


def _sample(case: Case, namespace: str, name: str, at_s: float, sketch: Sketch) -> Sample:
    key = MetricKey(namespace, name, ((ENDPOINT, case.name), (VARIANT, "main")))
    return Sample(key, int(at_s), sketch, _UNITS[namespace, name], _MINUTE_S)


def _sketch(datum: Mapping[str, Any], often: int) -> Sketch:
    """The distribution of PutMetricData's datum, each of its values `often` times."""
    if "Values" in datum:
        return Sketch.of(datum["Values"])
    told = datum["StatisticValues"]
    count, least = told["SampleCount"] * often, told["Minimum"]
    most = told["Maximum"] if told["Sum"] else 0.0
    buckets = {bucket_of(least): float(count)}
    if most > least and count > 1:
        buckets = {bucket_of(least): count - 1.0, bucket_of(most): 1.0}
    return Sketch(float(count), told["Sum"] * often, least, max(least, most), buckets)


def _payloads(case: Case, hour_s: int, count: float) -> Iterator[Sample]:
    """The sizes of an hour's requests and answers."""
    if not count:
        return
    request_bytes = float((case.payload_bytes or _PAYLOAD_BYTES) - _ANSWER_BYTES)
    for name, size_bytes in (("RequestBytes", request_bytes), ("ResponseBytes", float(_ANSWER_BYTES))):
        yield _sample(case, TRIMTAB, name, hour_s, Sketch.times(size_bytes, count))
