"""Carrying out a fix: shown first, made once, seen afterwards, undone by the calls that it tells."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.audit.applying.apply import Done, carry_out, look, undoing
from trimtab.advisor.audit.applying.change import Answer, Refused
from trimtab.advisor.finding import Call, Finding, Fix
from trimtab.errors import Invalid

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/fraud/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


class Account:
    """A little account in memory, that answers as AWS does. `refuses`: operations that it denies."""

    def __init__(self, refuses: tuple[str, ...] = ()) -> None:
        self.state: dict[str, Any] = {"counts": {"main": 2}, "scan": False, "scanned": set()}
        self.refuses = refuses
        self.made: list[str] = []

    def call(self, call: Call) -> Answer:
        if call.operation in self.refuses:
            raise Refused("AccessDenied", "no")
        if not call.operation.startswith(("describe", "get")):
            self.made.append(call.operation)
        answer: Answer = copy.deepcopy(getattr(self, call.operation)(copy.deepcopy(call.parameters)) or {})
        return answer

    def describe_scalable_targets(self, asked: dict[str, Any]) -> Answer:
        return {"ScalableTargets": [self.state["target"]] if "target" in self.state else []}

    def register_scalable_target(self, asked: dict[str, Any]) -> None:
        self.state["target"] = self.state.get("target", {}) | asked

    def deregister_scalable_target(self, asked: dict[str, Any]) -> None:
        del self.state["target"]
        self.state.pop("policy", None)

    def describe_scaling_policies(self, asked: dict[str, Any]) -> Answer:
        return {"ScalingPolicies": [self.state["policy"]] if "policy" in self.state else []}

    def put_scaling_policy(self, asked: dict[str, Any]) -> None:
        if "target" not in self.state:
            raise Refused("ObjectNotFoundException", "no target")
        config = {"DisableScaleIn": False} | asked["TargetTrackingScalingPolicyConfiguration"]
        self.state["policy"] = asked | {"TargetTrackingScalingPolicyConfiguration": config}

    def delete_scaling_policy(self, asked: dict[str, Any]) -> None:
        del self.state["policy"]

    def describe_endpoint(self, asked: dict[str, Any]) -> Answer:
        counts = self.state["counts"].items()
        return {"ProductionVariants": [{"VariantName": name, "DesiredInstanceCount": count} for name, count in counts]}

    def update_endpoint_weights_and_capacities(self, asked: dict[str, Any]) -> None:
        for each in asked["DesiredWeightsAndCapacities"]:
            self.state["counts"][each["VariantName"]] = each["DesiredInstanceCount"]

    def get_bucket_versioning(self, asked: dict[str, Any]) -> Answer:
        return {"Status": self.state["versioning"]} if "versioning" in self.state else {}

    def put_bucket_versioning(self, asked: dict[str, Any]) -> None:
        self.state["versioning"] = asked["VersioningConfiguration"]["Status"]

    def get_bucket_lifecycle_configuration(self, asked: dict[str, Any]) -> Answer:
        if "rules" not in self.state:
            raise Refused("NoSuchLifecycleConfiguration", "none")
        return {"Rules": self.state["rules"]}

    def put_bucket_lifecycle_configuration(self, asked: dict[str, Any]) -> None:
        self.state["rules"] = asked["LifecycleConfiguration"]["Rules"]

    def delete_bucket_lifecycle(self, asked: dict[str, Any]) -> None:
        del self.state["rules"]

    def describe_repositories(self, asked: dict[str, Any]) -> Answer:
        return {"repositories": [{"imageScanningConfiguration": {"scanOnPush": self.state["scan"]}}]}

    def put_image_scanning_configuration(self, asked: dict[str, Any]) -> None:
        self.state["scan"] = asked["imageScanningConfiguration"]["scanOnPush"]


def finding(*calls: Call, is_safe: bool = True) -> Finding:
    return Finding(id="k/x", kind="k", resource="x", title="t", fix=Fix(title="f", calls=calls, is_safe=is_safe))


def bounds(low: int, high: int) -> Call:
    return Call(
        service="application-autoscaling",
        operation="register_scalable_target",
        parameters=TARGET | {"MinCapacity": low, "MaxCapacity": high},
    )


def policy(target: float, cooldown_s: int = 300) -> Call:
    config = {"TargetValue": target, "ScaleInCooldown": cooldown_s}
    return Call(
        service="application-autoscaling",
        operation="put_scaling_policy",
        parameters=TARGET
        | {
            "PolicyName": "p",
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": config,
        },
    )


def counts(**wanted: int) -> Call:
    each = [{"VariantName": name, "DesiredInstanceCount": count} for name, count in wanted.items()]
    return Call(
        service="sagemaker",
        operation="update_endpoint_weights_and_capacities",
        parameters={"EndpointName": "fraud", "DesiredWeightsAndCapacities": each},
    )


def versioning(status: str = "Enabled") -> Call:
    return Call(
        service="s3",
        operation="put_bucket_versioning",
        parameters={"Bucket": "b", "VersioningConfiguration": {"Status": status}},
    )


def rule(name: str, **given: Any) -> dict[str, Any]:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": f"{name}/"}} | given


def lifecycle(*rules: dict[str, Any]) -> Call:
    return Call(
        service="s3",
        operation="put_bucket_lifecycle_configuration",
        parameters={"Bucket": "b", "LifecycleConfiguration": {"Rules": list(rules)}},
    )


def scanning(on: bool = True) -> Call:
    return Call(
        service="ecr",
        operation="put_image_scanning_configuration",
        parameters={"repositoryName": "r", "imageScanningConfiguration": {"scanOnPush": on}},
    )


COLDER = rule("ckpt", Transitions=[{"Days": 30, "StorageClass": "STANDARD_IA"}])
FIXES: list[tuple[Call, ...]] = [
    (bounds(2, 6), policy(70.0)), (policy(50.0, 600),), (counts(main=3),), (versioning(),), (lifecycle(COLDER),),
    (scanning(),),
]  # fmt: skip


def before_bounds(account: Account) -> None:
    account.state["target"] = TARGET | {"MinCapacity": 1, "MaxCapacity": 2}


def before_policy(account: Account) -> None:
    before_bounds(account)
    account.call(policy(9.0, 10))
    account.made.clear()


def before_rules(account: Account) -> None:
    account.state["rules"] = [rule("logs", Expiration={"Days": 3})]


def before_suspended(account: Account) -> None:
    account.state["versioning"] = "Suspended"


BEFORE: list[Callable[[Account], None]] = [before_bounds, before_policy, before_rules, before_suspended]


def carried_out(found: Finding, account: Account) -> list[Done]:
    return list(carry_out(look(found, account), account))


@given(st.sampled_from(FIXES), st.lists(st.sampled_from(BEFORE), unique=True))
def test_a_fix_that_was_carried_out_finds_itself_done_and_its_undo_brings_back_what_was(
    calls: tuple[Call, ...], before: list[Callable[[Account], None]]
) -> None:
    account = Account()
    for make in before:
        make(account)
    if calls == (policy(50.0, 600),) and "target" not in account.state:
        before_bounds(account)
    was = copy.deepcopy(account.state)
    done = carried_out(finding(*calls), account)
    assert [one.failed for one in done] == [""] * len(done)
    assert all(one.is_seen for one in done)
    account.made.clear()
    assert carried_out(finding(*calls), account) == []
    assert account.made == []
    for call in undoing(done):
        account.call(call)
    if was.get("versioning") != account.state.get("versioning"):
        assert account.state["versioning"] == "Suspended"  # S3 has no way back to a bucket that never had it
        was["versioning"] = "Suspended"
    assert account.state == was


def test_looking_changes_nothing() -> None:
    account = Account()
    [first, second] = look(finding(bounds(1, 4), policy(70.0)), account)
    assert account.made == []
    assert (first.before, first.is_done) == ("nothing scales it", False)
    assert second.before == "there is no policy of this name"


def test_other_rules_of_a_bucket_stay() -> None:
    account = Account()
    before_rules(account)
    carried_out(finding(lifecycle(COLDER)), account)
    assert [each["ID"] for each in account.state["rules"]] == ["logs", "ckpt"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lifecycle(rule("ckpt", Expiration={"Days": 1})), "rule ckpt deletes objects"),
        (lifecycle(rule("ckpt", NoncurrentVersionExpiration={"NoncurrentDays": 1})), "rule ckpt deletes objects"),
        (versioning("Suspended"), "it takes versioning away"),
        (scanning(on=False), "it ends the scanning of images"),
        (counts(main=1), "it takes instances away from main"),
        (counts(other=3), "the endpoint has no variant other"),
        (Call(service="sagemaker", operation="delete_endpoint", parameters={}), "not a call that trimtab knows how"),
    ],
)
def test_what_may_lose_something_is_not_carried_out_though_it_says_that_it_is_safe(call: Call, why: str) -> None:
    account = Account()
    account.state |= {"versioning": "Enabled", "scan": True}
    with pytest.raises(Invalid, match=why):
        look(finding(call), account)
    assert account.made == []


def test_a_rule_that_deletes_is_no_danger_where_it_is_there_already() -> None:
    account = Account()
    before_rules(account)
    held = account.state["rules"][0]
    assert [one.is_seen for one in carried_out(finding(lifecycle(held, COLDER)), account)] == [True]


def test_a_fix_that_is_not_safe_and_one_that_a_person_must_make_are_refused() -> None:
    with pytest.raises(Invalid, match="may change answers or lose something"):
        look(finding(counts(main=3), is_safe=False), Account())
    with pytest.raises(Invalid, match="a person must decide"):
        look(Finding(id="k/x", kind="k", resource="x", title="t"), Account())


def test_the_first_refusal_ends_it_and_what_was_done_can_be_undone() -> None:
    account = Account(refuses=("put_scaling_policy",))
    done = carried_out(finding(bounds(1, 4), policy(70.0), counts(main=4)), account)
    assert [bool(one.failed) for one in done] == [False, True]
    assert done[1].failed == "AccessDenied: no"
    assert [call.operation for call in undoing(done)] == ["deregister_scalable_target"]
    assert account.made == ["register_scalable_target"]
    account.refuses = ()
    assert len(carried_out(finding(bounds(1, 4), policy(70.0), counts(main=4)), account)) == 2


def test_what_cannot_be_looked_at_is_not_changed() -> None:
    account = Account(refuses=("get_bucket_versioning",))
    with pytest.raises(Refused):
        look(finding(versioning()), account)
    assert account.made == []


def test_an_answer_that_cannot_be_seen_afterwards_is_told_as_such() -> None:
    account = Account()
    changes = look(finding(versioning()), account)
    account.refuses = ("get_bucket_versioning",)
    [done] = carry_out(changes, account)
    assert (done.failed, done.is_seen) == ("", False)
