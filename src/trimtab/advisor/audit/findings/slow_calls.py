"""Large payloads and long calls on endpoints that answer at once: asynchronous inference is made for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import (
    MICROSECOND,
    busy_s,
    finding_id,
    mean_count,
    month_of,
    observed,
    per_day,
    used,
)
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import instances_month
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "async-candidate"
LARGE_BYTES: Final = 4_000_000
LONG_S: Final = 10.0
_REGULARLY: Final = 0.05  # of the hours with requests have a p99 as long
_LINGER_S: Final = 900  # target tracking gives an instance up after 15 minutes without load
_START_S: Final = 300


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Real-time variants with mean payloads over 4 MB, or with calls over 10 s in more than 5 % of the hours."""
    for endpoint, variant, requests in used(account):
        if not endpoint.is_real_time or endpoint.is_multi_model:
            continue
        why = _why(endpoint, variant)
        if why:
            yield _finding(account, endpoint, variant, requests, why, book)


def _why(endpoint: Endpoint, variant: Variant) -> dict[str, float | int | str]:
    """The evidence; empty where there is none."""
    found: dict[str, float | int | str] = {}
    if endpoint.payload is not None and endpoint.payload.mean_bytes > LARGE_BYTES:
        found["mean_payload_mb"] = round(endpoint.payload.mean_bytes / 1e6, 2)
        found["payloads_measured"] = endpoint.payload.requests
        found["payloads_told_by"] = endpoint.payload.how
    slow = variant.series(Measure.LATENCY_P99) or variant.series(Measure.LATENCY_MAX)
    if slow is not None:
        part = float((slow.present * MICROSECOND > LONG_S).mean())
        if part > _REGULARLY:
            found["hours_with_calls_over_10_s_percent"] = round(part * 100, 1)
            found["p99_s"] = round((slow.quantile(0.5) or 0.0) * MICROSECOND, 2)
    return found


def _finding(
    account: Account,
    endpoint: Endpoint,
    variant: Variant,
    requests: Series,
    why: dict[str, float | int | str],
    book: Book,
) -> Finding:
    now = month_of(account, variant, book)
    hours = _part_running(variant, requests)
    then = instances_month(book, variant.instance_type, hours, region=account.region, at_s=account.at_s, use="async")
    saves = now.minus(then)
    what = "payloads over 4 MB" if "mean_payload_mb" in why else f"calls over {LONG_S:.0f} s"
    return Finding(
        id=finding_id(KIND, endpoint, variant),
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: {what} on a real-time endpoint",
        evidence=why
        | {
            "requests_per_day": round(per_day(requests), 1),
            "instances_running_on_average": round(hours, 2),
            "now_usd_per_month": now.usd,
            "then_usd_per_month": then.usd,
        },
        saves_micro_usd_per_month=None if saves.micro_usd is None else max(0, saves.micro_usd),
        price_note=saves.note,
        risk=Risk.HIGH,
        confidence=Confidence.MEDIUM,
        fix=_fix(endpoint, variant),
    )


def _part_running(variant: Variant, requests: Series) -> float:
    """Instances on average, if they come from zero when there is work and go after 15 minutes without.

    At least the work itself; never more than there are now.
    """
    seen = observed(requests)
    active = seen.filled > 0
    linger = max(1, round((_LINGER_S + _START_S) / seen.period_s))
    running, left = 0, 0
    for is_active in active:
        left = linger + 1 if is_active else left - 1
        running += left > 0
    span_s = len(active) * seen.period_s
    work = (busy_s(variant, requests) or 0.0) / span_s
    return min(mean_count(variant), max(running / len(active), work))


def _fix(endpoint: Endpoint, variant: Variant) -> Fix:
    model = variant.model.name if variant.model is not None else "the endpoint's model"
    return Fix(
        title="An asynchronous endpoint that scales to zero",
        document=(
            f"Make a config with variant {variant.name} ({model}, {variant.instance_type}) and "
            'AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://BUCKET/results/", "NotificationConfig": '
            '{"SuccessTopic": ..., "ErrorTopic": ...}}}, an endpoint of it, a scalable target from 0, target tracking '
            "on ApproximateBacklogSizePerInstance, and a step policy of +1 on HasBacklogWithoutCapacity. Callers put "
            "the input into S3, call InvokeEndpointAsync, and take the answer from S3 or the topic: up to 1 GB and "
            f"one hour of work. Then delete {endpoint.name}."
        ),
    )
