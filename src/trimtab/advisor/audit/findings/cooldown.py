"""Instances that are given up so soon after one another that the next peak must start them again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import finding_id
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.resources.scaling import SIGNAL_NAMESPACE, ScalingPolicy

KIND: Final = "scale-in-cooldown-too-short"
LEAST_S: Final = 300
"""AWS's default for SageMaker variants; a new instance takes about as long to be ready."""


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Policies that may scale in again before LEAST_S. Those on trimtab's own signals are made for shorter ones."""
    for endpoint, variant in account.variants():
        for policy in variant.scaling.policies if variant.scaling is not None else ():
            cooldown_s = _scale_in_s(policy)
            if cooldown_s is not None and cooldown_s < LEAST_S:
                yield _finding(endpoint, variant, policy, cooldown_s)


def _scale_in_s(policy: ScalingPolicy) -> float | None:
    """None of a policy that never scales in, or that is meant for replicas that start in seconds."""
    if policy.tracking is not None:
        stat = policy.tracking.stat
        is_fast = stat is not None and stat.namespace == SIGNAL_NAMESPACE
        return None if policy.tracking.disable_scale_in or is_fast else policy.tracking.scale_in_cooldown_s
    if policy.step is not None and any(step.adjustment < 0 for step in policy.step.steps):
        return policy.step.cooldown_s
    return None


def _finding(endpoint: Endpoint, variant: Variant, policy: ScalingPolicy, cooldown_s: float) -> Finding:
    return Finding(
        id=f"{finding_id(KIND, endpoint, variant)}/{policy.name}",
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: {policy.name} may give up an instance every {cooldown_s:g} s",
        evidence={"policy": policy.name, "scale_in_cooldown_s": cooldown_s, "usual_s": LEAST_S},
        price_note="what starting instances again costs is seen in latency, not on the bill",
        risk=Risk.NONE,
        confidence=Confidence.HIGH,
        fix=Fix(title=f"A cooldown of {LEAST_S} s", calls=(_call(policy),), is_safe=True),
    )


def _call(policy: ScalingPolicy) -> Call:
    """The same policy, with the longer cooldown alone."""
    tracking = policy.tracking is not None
    change = {"ScaleInCooldown": LEAST_S} if tracking else {"Cooldown": LEAST_S}
    name = f"{'TargetTracking' if tracking else 'Step'}ScalingPolicyConfiguration"
    parameters: dict[str, Any] = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{policy.endpoint}/variant/{policy.variant}",
        "ScalableDimension": policy.dimension,
        "PolicyName": policy.name,
        "PolicyType": policy.kind,
        name: policy.document | change,
    }
    return Call(service="application-autoscaling", operation="put_scaling_policy", parameters=parameters)
