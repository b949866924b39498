"""Which endpoints are to have two instances, and that no other finding's fix takes the second away. Pure.

SageMaker spreads a variant's instances over availability zones where there are two or more, and its own advice is two
for each production endpoint (SageMaker developer guide, "Best practices for deploying models"; AWS Security Hub's
control SageMaker.4 asks the same). Which endpoints are for production is not to be guessed from their traffic: they say
so by a tag, or the user names them.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.totals import of
from trimtab.advisor.finding import Call, Finding, Fix

TWO: Final = 2
KIND: Final = "too-few-instances"
_STAGE_TAGS: Final = frozenset({"environment", "env", "stage", "tier", "deployment-environment"})
_PRODUCTION: Final = frozenset({"prod", "prd", "production", "live"})


def asked_by(endpoint: Endpoint, patterns: Iterable[str] = ()) -> str:
    """Who asks for two instances of it, in words; "" where nobody does. Only of what answers at once, on instances."""
    if not endpoint.is_real_time:
        return ""
    for pattern in patterns:
        if fnmatchcase(endpoint.name, pattern):
            return f"--resilient {pattern}"
    for name, value in (endpoint.tags or {}).items():
        if name.rpartition(":")[2].lower() in _STAGE_TAGS and value.lower() in _PRODUCTION:
            return f"its tag {name}={value}"
    return ""


def floor(endpoint: Endpoint, account: Account) -> int:
    """How many instances a variant of it is to keep: fixes of other findings go no lower."""
    return TWO if asked_by(endpoint, account.resilient) else 1


def promised(variant: Variant) -> int:
    """The fewest instances that it is left with: what its scaling may go down to, else what it has."""
    if variant.scaling is not None and variant.scaling.target is not None:
        return variant.scaling.target.min_capacity
    if variant.managed is not None:
        return variant.managed[0]
    return variant.count


def kept(findings: Iterable[Finding], account: Account) -> list[Finding]:
    """The findings; those whose fix would leave a protected endpoint with fewer than two instances say so, and are not
    carried out: whoever mends that cost decides about that safety, too."""
    protected = {
        name: (endpoint, why)
        for endpoint in account.endpoints
        if (why := asked_by(endpoint, account.resilient))
        for name in (endpoint.name, endpoint.arn)
    }
    return [_guarded(finding, protected) for finding in findings]


def _guarded(finding: Finding, protected: dict[str, tuple[Endpoint, str]]) -> Finding:
    if finding.kind == KIND or finding.fix is None:
        return finding
    broken = {protected[name][0].name: protected[name][1] for name in of(finding) if name in protected}
    for call in finding.fix.calls:
        target = _endpoint_of(call)
        if target in protected:
            broken.setdefault(protected[target][0].name, protected[target][1])
    if not broken or not _goes_below(finding.fix):
        return finding
    said = "; ".join(f"{name} by {why}" for name, why in sorted(broken.items()))
    warning = f"Two instances are asked for of {said}. This leaves fewer: keep two, or decide against that rule."
    return replace(
        finding,
        evidence={**finding.evidence, "breaks_rule": f"two instances of {said}"},
        fix=replace(finding.fix, is_safe=False, document="\n\n".join(filter(None, (warning, finding.fix.document)))),
    )


def _endpoint_of(call: Call) -> str:
    """The endpoint that a call is about; "" where it is of something else."""
    resource = str(call.parameters.get("ResourceId", ""))
    if resource.startswith("endpoint/"):
        return resource.split("/")[1]
    return str(call.parameters.get("EndpointName", ""))


def _goes_below(fix: Fix) -> bool:
    """Whether it leaves fewer than two instances somewhere, or takes an endpoint away."""
    return any(_leaves(call) < TWO for call in fix.calls)


def _leaves(call: Call) -> int:
    match call.operation:
        case "register_scalable_target":
            return int(call.parameters.get("MinCapacity", TWO))
        case "update_endpoint_weights_and_capacities":
            each = call.parameters["DesiredWeightsAndCapacities"]
            return min((int(one.get("DesiredInstanceCount", TWO)) for one in each), default=TWO)
        case "create_endpoint_config":
            each = call.parameters["ProductionVariants"]
            return min((int(one.get("InitialInstanceCount", TWO)) for one in each), default=TWO)
        case "delete_endpoint":
            return 0
        case _:
            return TWO
