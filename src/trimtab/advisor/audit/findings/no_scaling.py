"""Instances that are there whatever comes: nothing changes their number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import finding_id, month_of, per_day, used
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import instances_month
from trimtab.advisor.audit.resilience import floor
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.resources.scaling import VARIANT_COUNT

KIND: Final = "no-scaling-policy"
_FEWEST: Final = 2  # kept by the fix where there are as many now: one machine's loss must not be an outage
_MARGIN: Final = 0.8  # of what an instance had to take at the peak: policies keep this much on each
_QUIET_S: Final = 900  # AWS: target tracking takes 15 minutes of low load for lower


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Variants with requests, without a policy or schedule that can act.

    The saving is that of a count that follows the load, at the headroom that it has at its peak today, and never below
    two where there are two: what policies take to notice it is in no hour's count, so it is an estimate.
    """
    for endpoint, variant, requests in used(account):
        why = _why(variant)
        if not why:
            continue
        fewest = 0 if endpoint.is_async else max(min(variant.count, _FEWEST), floor(endpoint, account))
        needed = _needed(requests, variant.count, fewest)
        now = month_of(account, variant, book)
        then = instances_month(book, variant.instance_type, needed, region=account.region, at_s=account.at_s)
        saves = now.minus(then)
        yield Finding(
            id=finding_id(KIND, endpoint, variant),
            kind=KIND,
            resource=endpoint.arn,
            title=f"{endpoint.name}: {variant.count} x {variant.instance_type} whatever comes ({why})",
            evidence={
                "instances": variant.count,
                "instances_needed_on_average": round(needed, 2),
                "requests_per_day": round(per_day(requests)),
                "peak_per_s": round((requests.peak or 0.0) / requests.period_s, 3),
                "mean_per_s": round(per_day(requests) / 86_400, 3),
                "now_usd_per_month": now.usd,
            },
            saves_micro_usd_per_month=None if saves.micro_usd is None else max(0, saves.micro_usd),
            price_note=saves.note,
            risk=Risk.LOW,
            confidence=Confidence.MEDIUM,
            fix=_fix(endpoint, variant, requests, fewest),
        )


def _why(variant: Variant) -> str:
    """Why nothing changes its count; "" where something does, or that was not seen."""
    scaling = variant.scaling
    if scaling is None or variant.managed or variant.hosts_components:
        return ""
    target = scaling.target
    if target is None or not (scaling.policies or scaling.schedule):
        return "no policy"
    if (
        target.suspended.scale_in
        and target.suspended.scale_out
        and (target.suspended.scheduled or not scaling.schedule)
    ):
        return "its scaling is suspended"
    if target.min_capacity >= target.max_capacity and not scaling.schedule:
        return f"its policy may have {target.max_capacity} at least and at most"
    return ""


def _needed(requests: Series, count: int, fewest: int) -> float:
    """The mean of as many as the load needs, if at its peak it needs all that there are."""
    rates, peak = requests.filled, requests.peak or 0.0
    quiet = math.ceil(_QUIET_S / requests.period_s)
    latest = np.lib.stride_tricks.sliding_window_view(np.pad(rates, (quiet, 0)), quiet + 1).max(axis=1)
    return float(np.clip(np.ceil(count * latest / peak - 1e-9), fewest, max(fewest, count)).mean())


def _fix(endpoint: Endpoint, variant: Variant, requests: Series, fewest: int) -> Fix:
    resource = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint.name}/variant/{variant.name}",
        "ScalableDimension": VARIANT_COUNT,
    }
    service = "application-autoscaling"
    bounds = {**resource, "MinCapacity": fewest, "MaxCapacity": max(2, 2 * variant.count)}
    policy = {
        **resource,
        "PolicyName": f"{endpoint.name}-follows-load",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": _tracking(endpoint, variant, requests),
    }
    calls = [Call(service=service, operation="register_scalable_target", parameters=bounds)]
    calls.append(Call(service=service, operation="put_scaling_policy", parameters=policy))
    document = (
        "At zero instances target tracking cannot begin: add a step policy of +1 on an alarm of "
        "HasBacklogWithoutCapacity >= 1 (Average, 2 x 60 s)."
        if endpoint.is_async
        else ""
    )
    return Fix(
        title="Let the number of instances follow the load",
        calls=tuple(calls),
        document=document,
        is_safe=not endpoint.is_async,
    )


def _tracking(endpoint: Endpoint, variant: Variant, requests: Series) -> dict[str, Any]:
    """By what an instance has had at its peak: concurrency where that was measured, else requests a minute."""
    cooldowns = {"ScaleInCooldown": 300, "ScaleOutCooldown": 60}
    if endpoint.is_async:
        metric = {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint.name}],
            "Statistic": "Average",
        }
        return {"TargetValue": 5.0, "CustomizedMetricSpecification": metric, **cooldowns}
    concurrency = variant.series(Measure.CONCURRENCY)
    busiest = concurrency.quantile(0.99) if concurrency is not None else None
    if busiest:
        kind, target = "SageMakerVariantConcurrentRequestsPerModelHighResolution", max(1.0, busiest * _MARGIN)
    else:
        minutes = requests.period_s / 60
        kind = "SageMakerVariantInvocationsPerInstance"
        target = max(1.0, (requests.peak or 0.0) / minutes / variant.count * _MARGIN)
    return {
        "TargetValue": round(target, 1),
        "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
        **cooldowns,
    }
