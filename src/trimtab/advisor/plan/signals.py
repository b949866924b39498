"""The scaling policies that a plan chooses among, with the documents that PutScalingPolicy takes."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.plan.documents import tracking_document
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, SIGNAL_NAMESPACE, ScalingPolicy, TargetTracking

VARIANT: Final = "AllTraffic"
STABLE: Final = "StableWindowSeconds"
HEADROOM: Final = "HeadroomQuantile"
PATIENCE: Final = "PatienceSeconds"
NO_SETTINGS: Final[Mapping[str, str]] = {}
BACKLOG: Final = "ApproximateBacklogSizePerInstance"
_PREDEFINED: Final = {
    "60s": "SageMakerVariantInvocationsPerInstance",
    "10s": "SageMakerVariantConcurrentRequestsPerModelHighResolution",
}


class Where(enum.StrEnum):
    """What a plan is built on: it decides what there is to choose from."""

    TRIMTAB = "trimtab"
    AWS = "aws"


class Signal(enum.StrEnum):
    """What replicas are counted by."""

    FIXED = "fixed"  # by nothing
    MINUTE = "60s"  # AWS's default: invocations per instance
    TEN = "10s"  # AWS's high resolution: concurrent requests
    BACKLOG = "backlog"  # AWS's, of asynchronous endpoints
    EVENT = "event"  # trimtab's: every change of what is in hand


def tracked(
    endpoint: str,
    signal: Signal,
    target: float,
    *,
    scale_in_s: float = 300.0,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> ScalingPolicy:
    """A target-tracking policy by `signal`; `settings` (dimensions of the metric, by name) are of EVENT alone.
    ValueError for FIXED, which has none.

    `target` is in the signal's own unit: invocations a minute and instance, or requests in hand per replica.
    """
    if signal is Signal.FIXED:
        raise ValueError("a fixed number of replicas has no policy")
    target = round(target, 6)
    predefined = _PREDEFINED.get(signal, "")
    stat = None if predefined else _stat(endpoint, signal, settings)
    name = f"{endpoint}-{signal}"
    tracking = TargetTracking(target_value=target, predefined=predefined, stat=stat, scale_in_cooldown_s=scale_in_s)
    return ScalingPolicy(
        name=name,
        arn=f"policy:{name}",
        endpoint=endpoint,
        variant=VARIANT,
        created_s=0.0,
        tracking=tracking,
        document=tracking_document(tracking),
    )


def changed(
    policy: ScalingPolicy,
    *,
    target: float | None = None,
    scale_in_s: float | None = None,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> ScalingPolicy:
    """A tracking policy with this changed, and nothing else: whoever made it may have set more than plans do.
    `settings`: further ones of EVENT."""
    before = policy.tracking
    assert before is not None
    stat = before.stat
    if settings and stat is not None:
        stat = replace(stat, dimensions=tuple({**dict(stat.dimensions), **settings}.items()))
    tracking = replace(
        before,
        target_value=before.target_value if target is None else round(target, 6),
        scale_in_cooldown_s=before.scale_in_cooldown_s if scale_in_s is None else scale_in_s,
        stat=stat,
    )
    return replace(policy, tracking=tracking, document=tracking_document(tracking))


def settings_of(tracking: TargetTracking) -> dict[str, str]:
    """What an EVENT policy is set to, beside its target: dimensions that are not the endpoint's and the variant's."""
    dimensions = tracking.stat.dimensions if tracking.stat is not None else ()
    return {name: value for name, value in dimensions if name in (STABLE, HEADROOM, PATIENCE)}


def _stat(endpoint: str, signal: Signal, settings: Mapping[str, str]) -> MetricStat:
    if signal is Signal.BACKLOG:
        return MetricStat("AWS/SageMaker", BACKLOG, (("EndpointName", endpoint),), 60, "Average")
    dimensions = (("EndpointName", endpoint), ("VariantName", VARIANT), *sorted(settings.items()))
    return MetricStat(SIGNAL_NAMESPACE, SIGNAL_EVENT, dimensions, 0, "Average")


def signal_of(policies: tuple[ScalingPolicy, ...]) -> str:
    """In a word, for a table."""
    for policy in policies:
        tracking = policy.tracking
        if tracking is None:
            return "steps" if policy.step is not None else "forecast"
        if tracking.is_event:
            return Signal.EVENT
        for signal, name in _PREDEFINED.items():
            if tracking.predefined == name:
                return signal
        if tracking.stat is not None:
            return Signal.BACKLOG if tracking.stat.name == BACKLOG else tracking.stat.name
    return Signal.FIXED
