"""Traffic that rises within seconds, watched by the minute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import finding_id
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.series import DAY_S, Series
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.resources.scaling import VARIANT_COUNT, ScalingPolicy

KIND: Final = "slow-metric-on-spiky-traffic"
_RISE: Final = 3.0  # times the ten minutes before
_BEFORE: Final = 10  # minutes
_LEAST: Final = 30  # requests a minute more than before: less is noise of few requests
_KNOWN: Final = 0.5  # of the minutes: an endpoint may publish as rarely as every 5 minutes (AWS: MetricsConfig)
_A_DAY: Final = 1.0  # such rises, to be called spiky
_ALARM_PERIODS: Final = 3  # AWS: target tracking scales out after three
_HIGH_S: Final = 10


class Spikes(Struct, frozen=True):
    """Minutes that had several times the requests of those before."""

    a_day: float
    largest: float  # times


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Variants whose scaling looks at metrics of 60 s or more, while their traffic rises threefold within a minute."""
    for endpoint, variant in account.variants():
        if variant.scaling is None or variant.minutes is None:
            continue
        spikes = spikes_of(variant.minutes)
        if spikes is None or spikes.a_day < _A_DAY:
            continue
        quickest_s = min(variant.scaling.periods_s.values(), default=0)
        slow = [each for each in variant.scaling.policies if each.tracking is not None]
        if slow and quickest_s >= 60:
            yield _finding(endpoint, variant, slow[0], spikes, quickest_s)


def spikes_of(minutes: Series) -> Spikes | None:
    """How often and how much the requests of a minute outgrow the ten before; None where too few minutes are known."""
    counts, is_known = minutes.filled, np.isfinite(minutes.values)
    if len(counts) <= _BEFORE or is_known.mean() < _KNOWN:
        return None
    window = np.ones(_BEFORE)
    known = np.convolve(is_known, window, mode="valid")[:-1]
    before = np.convolve(counts, window, mode="valid")[:-1] / np.maximum(known, 1.0)
    now = counts[_BEFORE:]
    is_spike = (known >= _BEFORE / 2) & (now >= _RISE * before) & (now - before >= _LEAST)
    begins = is_spike & ~np.concatenate(([False], is_spike[:-1]))
    days = is_known.sum() * minutes.period_s / DAY_S
    times = now[is_spike] / np.maximum(before[is_spike], 1.0)
    return Spikes(float(begins.sum() / days), float(times.max()) if len(times) else 0.0)


def _finding(endpoint: Endpoint, variant: Variant, policy: ScalingPolicy, spikes: Spikes, period_s: int) -> Finding:
    return Finding(
        id=finding_id(KIND, endpoint, variant),
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: watched every {period_s} s, while traffic rises {spikes.largest:.0f}-fold in a minute",
        evidence={
            "policy": policy.name,
            "spikes_per_day": round(spikes.a_day, 1),
            "largest_rise_times": round(spikes.largest, 1),
            "noticed_after_s": _ALARM_PERIODS * period_s,
            "could_be_noticed_after_s": _ALARM_PERIODS * _HIGH_S,
        },
        price_note="it costs latency, and the headroom that is kept against it",
        risk=Risk.LOW,
        confidence=Confidence.HIGH,
        fix=_fix(variant, policy),
    )


def _fix(variant: Variant, policy: ScalingPolicy) -> Fix:
    """A policy on concurrency beside the old one: the larger capacity wins, so nothing gets slower by it."""
    concurrency = variant.series(Measure.CONCURRENCY)
    typical = concurrency.quantile(0.75) if concurrency is not None else None
    configuration: dict[str, Any] = {
        "TargetValue": round(max(1.0, typical or 1.0), 1),
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        },
        "ScaleInCooldown": 300,
        "ScaleOutCooldown": 30,
    }
    call = Call(
        service="application-autoscaling",
        operation="put_scaling_policy",
        parameters={
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{policy.endpoint}/variant/{policy.variant}",
            "ScalableDimension": VARIANT_COUNT,
            "PolicyName": f"{policy.name}-10s",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": configuration,
        },
    )
    return Fix(title="A second policy, on concurrency at a resolution of 10 s", calls=(call,))
