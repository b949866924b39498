"""Few requests, far apart: serverless inference is paid by the millisecond."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.schedule import schedule_of
from trimtab.advisor.audit.findings.usage import (
    HABIT_DAYS,
    MICROSECOND,
    busy_s_a_month,
    finding_id,
    gpus,
    month_of,
    observed,
    per_day,
    used,
)
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import serverless_month
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.shapes import shape_of
from trimtab.resources.serverless import MAX_CONCURRENCY, MAX_PAYLOAD_BYTES, MEMORY_MIB, TIMEOUT_S

KIND: Final = "sporadic-traffic"
_ACTIVE: Final = 0.25  # at most, of the 300 s: more is no longer sporadic
_CHEAPER: Final = 0.5  # of what it costs now, at most, to be worth a cold start
_ROOM: Final = 1.25  # of memory
_SLOWER: Final = 1.5  # AWS gives processor time in proportion to memory: the same work is taken to be longer


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Real-time CPU variants that would cost less than half as serverless ones, and that AWS would take as such."""
    for endpoint, variant, requests in used(account, least_days=HABIT_DAYS):
        if not may_be_serverless(endpoint, variant) or schedule_of(requests) is not None:
            continue
        seen = observed(requests).filled
        active = float((seen > 0).mean()) if len(seen) else 1.0
        work_s = busy_s_a_month(variant, requests)
        if active <= _ACTIVE and work_s is not None:
            yield from _cheaper(account, endpoint, variant, requests, active, work_s, book)


def may_be_serverless(endpoint: Endpoint, variant: Variant) -> bool:
    """AWS: no GPU, no multi-model, pipeline, several variants, VPC or network isolation; 4 MB; 60 s; 6 GB."""
    model = variant.model
    if model is None or not endpoint.is_real_time or len(endpoint.variants) > 1 or endpoint.shadows:
        return False
    if model.is_multi_model or model.is_isolated or len(model.containers) > 1 or gpus(variant.instance_type):
        return False
    longest = variant.series(Measure.LATENCY_MAX)
    if longest is not None and (longest.peak or 0.0) * MICROSECOND * _SLOWER > TIMEOUT_S:
        return False
    large = endpoint.payload is not None and endpoint.payload.mean_bytes > MAX_PAYLOAD_BYTES / 2
    return not large and memory_mib(variant) is not None


def memory_mib(variant: Variant) -> int | None:
    """The size that holds what was held at the peak; the largest where that was not seen; None where none does."""
    memory, shape = variant.series(Measure.MEMORY), shape_of(variant.instance_type)
    if memory is None or shape is None:
        return MEMORY_MIB[-1]
    held_mib = (memory.peak or 0.0) / 100 * shape.memory_gib * 1024 * _ROOM
    return next((size for size in MEMORY_MIB if size >= held_mib), None)


def _cheaper(
    account: Account,
    endpoint: Endpoint,
    variant: Variant,
    requests: Series,
    active: float,
    work_s: float,
    book: Book,
) -> Iterator[Finding]:
    size = memory_mib(variant) or MEMORY_MIB[-1]
    now = month_of(account, variant, book)
    then = serverless_month(book, size, work_s * _SLOWER, region=account.region, at_s=account.at_s)
    saves = now.minus(then)
    if now.micro_usd is None or then.micro_usd is None or then.micro_usd > _CHEAPER * now.micro_usd:
        return
    yield Finding(
        id=finding_id(KIND, endpoint, variant),
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: asked in {active * 100:.0f} % of the time, paid for in all of it",
        evidence={
            "requests_per_day": round(per_day(requests), 1),
            "time_with_requests_percent": round(active * 100, 1),
            "work_in_a_month_s": round(work_s),
            "assumed_times_as_long": _SLOWER,
            "memory_mb": size,
            "now_usd_per_month": now.usd,
            "then_usd_per_month": then.usd,
        },
        saves_micro_usd_per_month=saves.micro_usd,
        price_note=saves.note,
        risk=Risk.MEDIUM,
        confidence=Confidence.HIGH if variant.series(Measure.MEMORY) is not None else Confidence.MEDIUM,
        fix=_fix(endpoint, variant, size),
    )


def _fix(endpoint: Endpoint, variant: Variant, size: int) -> Fix:
    concurrency = variant.series(Measure.CONCURRENCY)
    peak = math.ceil((concurrency.peak or 1.0) * max(1, variant.count)) if concurrency is not None else 1
    name = f"{endpoint.name}-serverless"
    serverless = {"MemorySizeInMB": size, "MaxConcurrency": min(MAX_CONCURRENCY, max(5, 2 * peak))}
    model = variant.model.name if variant.model is not None else ""
    config = {
        "EndpointConfigName": name,
        "ProductionVariants": [{"VariantName": variant.name, "ModelName": model, "ServerlessConfig": serverless}],
    }
    calls = (
        Call(service="sagemaker", operation="create_endpoint_config", parameters=config),
        Call(
            service="sagemaker",
            operation="create_endpoint",
            parameters={"EndpointName": name, "EndpointConfigName": name},
        ),
    )
    return Fix(
        title="A serverless endpoint beside it; then callers go over, and it is deleted",
        calls=calls,
        document=(
            "AWS refuses to update a real-time endpoint to a serverless one, so it has another name. The first request "
            "after a pause waits for a cold start: measure it, or keep one environment provisioned."
        ),
    )
