"""Production endpoints that one lost instance takes down: what the second costs."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.money import Money, instances_month
from trimtab.advisor.audit.resilience import KIND, TWO, asked_by, promised
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Variants that may be left with fewer than two, where two are asked for."""
    for endpoint, variant in account.variants():
        reason = asked_by(endpoint, account.resilient)
        if reason and variant.instance_type and variant.weight > 0 and promised(variant) < TWO:
            yield _finding(account, book, endpoint, variant, reason)


def _finding(account: Account, book: Book, endpoint: Endpoint, variant: Variant, reason: str) -> Finding:
    fewest = promised(variant)
    each = instances_month(book, variant.instance_type, 1, region=account.region, at_s=account.at_s)
    costs = Money(None if each.micro_usd is None else -each.micro_usd * (TWO - fewest), each.note)
    target = variant.scaling.target if variant.scaling else None
    said = f"may go down to {fewest}" if target or variant.managed else f"has {fewest}"
    return Finding(
        id=f"{KIND}/{endpoint.name}/{variant.name}",
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name} is to have two instances and {said}",
        evidence={
            "asked_for_by": reason,
            "variant": variant.name,
            "instance_type": variant.instance_type,
            "instances_now": variant.count,
            "fewest_instances": fewest,
        },
        saves_micro_usd_per_month=costs.micro_usd,
        price_note=costs.note,
        risk=Risk.NONE,
        confidence=Confidence.HIGH,
        fix=_fix(endpoint, variant),
    )


def _fix(endpoint: Endpoint, variant: Variant) -> Fix:
    target = variant.scaling.target if variant.scaling else None
    if variant.managed is not None and target is None:
        document = (
            f"The config {endpoint.config} bounds the instances (ManagedInstanceScaling): make one like it with "
            f"MinInstanceCount {TWO}, and update the endpoint to it."
        )
        return Fix(title="Let it keep two instances", document=document)
    if target is not None:
        parameters = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": target.resource_id,
            "ScalableDimension": target.dimension,
            "MinCapacity": TWO,
            "MaxCapacity": max(TWO, target.max_capacity),
        }
        call = Call(service="application-autoscaling", operation="register_scalable_target", parameters=parameters)
        return Fix(title="Let its scaling go no lower than two", calls=(call,), is_safe=True)
    wanted = [{"VariantName": variant.name, "DesiredInstanceCount": TWO}]
    call = Call(
        service="sagemaker",
        operation="update_endpoint_weights_and_capacities",
        parameters={"EndpointName": endpoint.name, "DesiredWeightsAndCapacities": wanted},
    )
    return Fix(title="Give it a second instance", calls=(call,), is_safe=True)
