"""Requests that come at set hours only: a batch transform job at those hours does the same work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import (
    busy_s,
    finding_id,
    mean_count,
    month_of,
    observed,
    observed_days,
    per_day,
    used,
)
from trimtab.advisor.audit.money import MONTH_HOURS, instances_month
from trimtab.advisor.audit.series import DAY_S, HOUR_S, Series
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "scheduled-traffic"
_MOST_HOURS: Final = 4  # of a day
_REPEATED: Final = 0.8  # of the days with requests have them in the same hours
_FEWEST_DAYS: Final = 4  # with requests; or two, of the same weekday
_FEWEST_A_RUN: Final = 100  # requests: fewer are somebody's, not a job's
_START_S: Final = 300  # AWS bills a job's instances from their start, and a container must come up


class Schedule(Struct, frozen=True):
    """Hours of the day (UTC) in which requests come, and the weekdays (0: Monday)."""

    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    runs: int  # days on which they came
    days: float  # that were looked at

    @property
    def cron(self) -> str:
        """When a job would have to start, as AWS's schedules write it (its Sunday is 1)."""
        hour = self.hours[0]
        if len(self.weekdays) == 7 or self.runs >= 0.9 * self.days:
            return f"cron(0 {hour} * * ? *)"
        return f"cron(0 {hour} ? * {','.join(str((day + 1) % 7 + 1) for day in self.weekdays)} *)"


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Real-time variants whose requests come in the same few hours of the day, many at once, and at no other time."""
    for endpoint, variant, requests in used(account):
        schedule = schedule_of(requests)
        if schedule is not None and endpoint.is_real_time:
            yield _finding(account, endpoint, variant, requests, schedule, book)


def schedule_of(requests: Series) -> Schedule | None:
    """The hours that requests keep to; None where they keep to none."""
    hours = observed(requests).summed(HOUR_S)
    counts = hours.filled
    moments = [datetime.fromtimestamp(hours.start_s + i * HOUR_S, UTC) for i in np.flatnonzero(counts)]
    days = {moment.date() for moment in moments}
    weekdays = {day.weekday() for day in days}
    if len(days) < _FEWEST_DAYS and not (len(days) >= 2 and len(weekdays) == 1):
        return None
    if counts.sum() < _FEWEST_A_RUN * len(days):
        return None
    of_hour = {hour: {moment.date() for moment in moments if moment.hour == hour} for hour in range(24)}
    kept = tuple(hour for hour, on in of_hour.items() if on)
    steady = [hour for hour in kept if len(of_hour[hour]) >= _REPEATED * len(days)]
    if not steady or len(kept) > _MOST_HOURS:
        return None
    return Schedule(_in_order(kept), tuple(sorted(weekdays)), len(days), len(counts) / 24)


def _in_order(hours: tuple[int, ...]) -> tuple[int, ...]:
    """From the first after the longest pause: a job over midnight begins in the evening."""
    pauses = [((hour - hours[i - 1]) % 24, hour) for i, hour in enumerate(hours)]
    first = max(pauses)[1]
    return tuple(sorted(hours, key=lambda hour: (hour - first) % 24))


def _finding(
    account: Account, endpoint: Endpoint, variant: Variant, requests: Series, schedule: Schedule, book: Book
) -> Finding:
    now = month_of(account, variant, book)
    busy_hours, month_hours = _hours(variant, requests, schedule), MONTH_HOURS
    then = instances_month(
        book,
        variant.instance_type,
        busy_hours / month_hours,
        region=account.region,
        at_s=account.at_s,
        use="batch-transform",
    )
    saves = now.minus(then)
    return Finding(
        id=finding_id(KIND, endpoint, variant),
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: requests come at {', '.join(f'{hour}:00' for hour in schedule.hours)} UTC only",
        evidence={
            "days_with_requests": schedule.runs,
            "observed_days": round(schedule.days, 1),
            "requests_on_such_a_day": round(per_day(requests) * observed_days(requests) / schedule.runs),
            "hours_of_work_in_a_month": round(busy_hours, 1),
            "schedule": schedule.cron,
            "now_usd_per_month": now.usd,
            "then_usd_per_month": then.usd,
        },
        saves_micro_usd_per_month=saves.micro_usd,
        price_note=saves.note,
        risk=Risk.HIGH,
        confidence=Confidence.MEDIUM,
        fix=_fix(endpoint, variant, schedule),
    )


def _hours(variant: Variant, requests: Series, schedule: Schedule) -> float:
    """Instance-hours of a month of jobs: the work, or as long as it took with all instances where that is less."""
    active_s = float((requests.filled > 0).sum() * requests.period_s) * max(1.0, mean_count(variant))
    work_s = busy_s(variant, requests)
    spent_s = min(active_s, work_s) if work_s is not None else active_s
    a_day_s = (spent_s + schedule.runs * _START_S) / (observed_days(requests) * DAY_S) * DAY_S
    return a_day_s * MONTH_HOURS / 24 / 3600


def _fix(endpoint: Endpoint, variant: Variant, schedule: Schedule) -> Fix:
    model = variant.model.name if variant.model is not None else "the endpoint's model"
    return Fix(
        title="A batch transform job at those hours, and no endpoint",
        document=(
            f"Have EventBridge Scheduler call CreateTransformJob at {schedule.cron} with ModelName {model}, "
            f"{max(1, variant.count)} x {variant.instance_type}, the inputs in S3 and BatchStrategy MultiRecord; read "
            f"the results from its output path, then delete endpoint {endpoint.name}. Who calls the endpoint now "
            "writes its inputs to S3 instead."
        ),
    )
