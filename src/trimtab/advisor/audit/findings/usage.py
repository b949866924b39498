"""What several checks ask of a variant: how much it was used, how many instances it had, what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import MONTH_S, Money, instances_month, serverless_month
from trimtab.advisor.audit.series import DAY_S, HOUR_S, Series
from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.shapes import shape_of

MICROSECOND: Final = 1e-6
HABIT_DAYS: Final = 3.0
"""An endpoint that was looked at for less has no habits yet that another mode could be chosen by."""
_AWS_SAMPLES: Final = 60  # of CPUUtilization, by instance and hour
_OWN_SAMPLES: Final = 3600  # trimtab publishes them by the second


def finding_id(kind: str, endpoint: Endpoint, variant: Variant | None = None) -> str:
    """The same in each audit while the thing lasts."""
    return f"{kind}/{endpoint.name}" + (f"/{variant.name}" if variant is not None else "")


def on_instances(account: Account) -> Iterator[tuple[Endpoint, Variant]]:
    """Variants that pay for instances now."""
    for endpoint, variant in account.variants():
        if variant.instance_type and variant.count > 0:
            yield endpoint, variant


def used(account: Account, *, least_days: float = 0.0) -> Iterator[tuple[Endpoint, Variant, Series]]:
    """Of these, those whose requests were seen, for so many days, and came: with the requests in each 300 s."""
    for endpoint, variant in on_instances(account):
        requests = variant.requests
        if requests is not None and requests.total > 0 and observed_days(requests) >= least_days:
            yield endpoint, variant, requests


def observed(requests: Series) -> Series:
    """From its first published value on: what was before that is not idle, it was not there."""
    present = np.isfinite(requests.values)
    first = int(np.argmax(present)) if present.any() else len(requests.values)
    return Series(requests.start_s + first * requests.period_s, requests.period_s, requests.values[first:])


def observed_days(requests: Series) -> float:
    """How long it was looked at."""
    seen = observed(requests)
    return len(seen.values) * seen.period_s / DAY_S


def per_day(requests: Series) -> float:
    """Requests a day, since the first one was published."""
    return requests.total / max(observed_days(requests), 1 / 24)


def busy_s(variant: Variant, requests: Series) -> float | None:
    """Seconds of work in models, all requests together; None where no latency was seen."""
    latency = variant.series(Measure.LATENCY_MEAN)
    if latency is None:
        return None
    counts, mean = requests.summed(HOUR_S).filled, latency.mean or 0.0
    if len(counts) != len(latency.values):
        return requests.total * mean * MICROSECOND
    means = np.where(np.isfinite(latency.values), latency.values, mean)
    return float((counts * means).sum() * MICROSECOND)


def busy_s_a_month(variant: Variant, requests: Series) -> float | None:
    """The same as it would be in a month."""
    seconds = busy_s(variant, requests)
    return None if seconds is None else seconds / (observed_days(requests) * DAY_S) * MONTH_S


def busy_part(variant: Variant, requests: Series) -> float | None:
    """Of its instances' time: how much of it one request at a time would fill."""
    seconds = busy_s(variant, requests)
    return None if seconds is None else seconds / (observed_days(requests) * DAY_S * mean_count(variant))


def mean_count(variant: Variant) -> float:
    """Instances, over the time that was looked at: by how many have told of their CPUs; else as many as now."""
    samples = variant.series(Measure.CPU_SAMPLES)
    if samples is None or (samples := _whole_hours(samples)).is_empty:
        return float(variant.count)
    target = variant.scaling.target if variant.scaling else None
    most = max(variant.count, target.max_capacity if target else 0)
    peak, mean = samples.peak or 0.0, samples.mean or 0.0
    each = _AWS_SAMPLES if peak <= _AWS_SAMPLES * most * 2 else _OWN_SAMPLES
    return mean / each


def _whole_hours(samples: Series) -> Series:
    """Without the first hour that has any, which began before the variant did, and the last, which is not over."""
    present = np.flatnonzero(np.isfinite(samples.values))
    first, last = (int(present[0]) + 1, int(present[-1])) if len(present) else (0, 0)
    return Series(samples.start_s + first * samples.period_s, samples.period_s, samples.values[first:last])


def month_of(account: Account, variant: Variant, book: Book) -> Money:
    """What a variant costs a month, with as many instances as it had on average."""
    if variant.instance_type and (variant.count or variant.scaling):
        return instances_month(
            book, variant.instance_type, mean_count(variant), region=account.region, at_s=account.at_s
        )
    if variant.serverless is not None and (requests := variant.requests) is not None:
        seconds = busy_s_a_month(variant, requests) or 0.0
        return serverless_month(book, variant.serverless.memory_mib, seconds, region=account.region, at_s=account.at_s)
    return Money(0)


def gpus(instance_type: str) -> float:
    """How many there are in an instance; 0 where there are none, or the type is not known."""
    shape = shape_of(instance_type)
    return shape.accelerators if shape is not None and shape.accelerator_maker == "NVIDIA" else 0.0


def gpu_percent(variant: Variant, days: float) -> Series | None:
    """Use of a GPU by the hour, 0 to 100, of the last days; None where it has none, or nothing was published."""
    series, count = variant.series(Measure.GPU), gpus(variant.instance_type)
    if series is None or count <= 0:
        return None
    last = series.last(days * DAY_S)
    return None if last.is_empty else Series(last.start_s, last.period_s, last.values / max(count, 1.0))
