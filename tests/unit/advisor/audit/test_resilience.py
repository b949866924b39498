"""Two instances where they are asked for: found where they lack, and taken away by no other fix unsaid."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Endpoint, Scaling, Variant
from trimtab.advisor.audit.findings import too_few_instances
from trimtab.advisor.audit.resilience import asked_by, floor, kept
from trimtab.advisor.finding import Call, Finding, Fix
from trimtab.advisor.prices.book import aws_list
from trimtab.resources.cost import MICRO
from trimtab.resources.scaling import ScalableTarget

PROD = {"environment": "production"}


def endpoint(name: str = "fraud", count: int = 1, **given: Any) -> Endpoint:
    variant = Variant(
        name="main", model=None, instance_type="ml.m5.xlarge", count=count, initial_count=count, weight=1.0
    )
    values: dict[str, Any] = {
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}", "status": "InService", "created_s": 0.0,
        "changed_s": 0.0, "config": name, "variants": (variant,), "tags": PROD,
    }  # fmt: skip
    return Endpoint(name=name, **(values | given))


def account(*endpoints: Endpoint, resilient: tuple[str, ...] = ()) -> Account:
    return Account(
        account="123456789012", region="us-east-1", at_s=1.8e9, days=14, endpoints=endpoints, resilient=resilient
    )


def found(*endpoints: Endpoint, resilient: tuple[str, ...] = ()) -> list[Finding]:
    return list(too_few_instances.find(account(*endpoints, resilient=resilient), aws_list()))


def scaled(to: int, count: int = 2) -> Endpoint:
    made = endpoint(count=count)
    target = ScalableTarget(endpoint="fraud", variant="main", min_capacity=to, max_capacity=4, created_s=0.0)
    return replace(made, variants=(replace(made.variants[0], scaling=Scaling(target=target)),))


@pytest.mark.parametrize(
    ("tags", "wants"),
    [
        ({"environment": "production"}, True),
        ({"Env": "PROD"}, True),
        ({"acme:stage": "live"}, True),
        ({"environment": "staging"}, False),
        ({"team": "prod"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_tag_says_that_an_endpoint_is_for_production(tags: dict[str, str] | None, wants: bool) -> None:
    assert bool(asked_by(endpoint(tags=tags))) is wants


def test_the_user_names_endpoints_by_patterns() -> None:
    assert asked_by(endpoint("fraud-eu", tags={}), ["ocr-*", "fraud-*"]) == "--resilient fraud-*"
    assert floor(endpoint(tags={}), account(resilient=("fraud",))) == 2
    assert floor(endpoint(tags={}), account()) == 1


def test_what_answers_later_or_by_the_millisecond_needs_no_second_instance() -> None:
    assert asked_by(endpoint(is_async=True)) == ""


def test_the_second_instance_is_priced() -> None:
    [one] = found(endpoint())
    each = aws_list().instance("ml.m5.xlarge")
    assert each is not None
    assert one.saves_micro_usd_per_month == -int(each.usd * 730 * MICRO)
    assert one.fix is not None
    assert one.fix.calls[0].parameters["DesiredWeightsAndCapacities"] == [
        {"VariantName": "main", "DesiredInstanceCount": 2}
    ]


def test_scaling_that_may_go_down_to_one_is_found_though_there_are_two_now() -> None:
    [one] = found(scaled(to=1))
    assert one.fix is not None
    assert one.fix.calls[0].parameters["MinCapacity"] == 2
    assert one.fix.calls[0].parameters["MaxCapacity"] == 4
    assert found(scaled(to=2)) == []


def test_two_instances_and_endpoints_that_are_not_for_production_are_not_found() -> None:
    assert found(endpoint(count=2), endpoint(tags={"env": "dev"})) == []


def lowering(resource: str, call: Call) -> Finding:
    fix = Fix(title="less", calls=(call,), document="why", is_safe=True)
    return Finding(id="x/fraud", kind="x", resource=resource, title="", fix=fix)


BOUNDS = Call(
    service="application-autoscaling",
    operation="register_scalable_target",
    parameters={"ResourceId": "endpoint/fraud/variant/main", "MinCapacity": 1, "MaxCapacity": 4},
)
CONFIG = Call(
    service="sagemaker",
    operation="create_endpoint_config",
    parameters={"ProductionVariants": [{"VariantName": "main", "InitialInstanceCount": 1}]},
)
DELETION = Call(service="sagemaker", operation="delete_endpoint", parameters={"EndpointName": "fraud"})


@pytest.mark.parametrize("call", [BOUNDS, CONFIG, DELETION], ids=["bounds", "config", "deletion"])
def test_a_fix_that_leaves_fewer_than_two_says_so_and_is_not_carried_out(call: Call) -> None:
    protected = endpoint(count=2)
    [one] = kept([lowering(protected.arn, call)], account(protected))
    assert one.fix is not None
    assert not one.fix.is_safe
    assert one.fix.document.startswith("Two instances are asked for of fraud by its tag environment=production.")
    assert one.fix.document.endswith("why")
    assert one.evidence["breaks_rule"]


def test_other_endpoints_fixes_and_those_that_keep_two_stay_as_they_are() -> None:
    protected = endpoint(count=2)
    enough = replace(BOUNDS, parameters={**BOUNDS.parameters, "MinCapacity": 2})
    findings = [lowering(protected.arn, enough), lowering("arn:other", CONFIG)]
    assert kept(findings, account(protected)) == findings
    findings = [lowering(endpoint(tags={}).arn, BOUNDS)]
    assert kept(findings, account(endpoint(tags={}))) == findings


def test_one_of_several_endpoints_that_would_share_is_enough_to_say_so() -> None:
    protected, other = endpoint(count=2), endpoint("other", tags={})
    shared = replace(lowering(other.arn, CONFIG), covers=(other.arn, protected.arn))
    [one] = kept([shared], account(protected, other))
    assert "fraud" in str(one.evidence["breaks_rule"])
