"""Findings on training, buckets and images: what is a fault, and what only looks like one."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.advisor.audit.account import Account, Container, Endpoint, Model, Variant
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.findings import (
    checkpoints_kept,
    flat_artifacts,
    image_tags,
    images_unscanned,
    images_untagged,
    training_checkpoints,
    training_spot,
    unversioned_artifacts,
)
from trimtab.advisor.audit.jobs import TrainingJob, TransformJob
from trimtab.advisor.audit.stored import Bucket, Folder, Image, Repository, Rule
from trimtab.advisor.finding import Finding
from trimtab.advisor.prices.book import aws_list

NOW_S = 1.8e9
DAY_S = 86_400
BOOK = aws_list()


def account(**given: Any) -> Account:
    return Account(account="123456789012", region="us-east-1", at_s=NOW_S, days=14, **given)


def job(name: str = "fraud-1", **given: Any) -> TrainingJob:
    values: dict[str, Any] = {
        "arn": f"arn:{name}", "status": "Completed", "created_s": NOW_S, "image": "i", "instance_type": "ml.g5.xlarge",
        "instance_count": 1, "is_spot": False, "training_s": 7200.0, "billable_s": 7200.0,
    }  # fmt: skip
    return TrainingJob(name=name, **(values | given))


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["fraud-7", "fraud-2026-11-01-10-20-30-123", "fraud-20261101", "fraud_3", "fraud-1.2", "fraud-4f3a9c1be2d7"]
)
def test_runs_of_one_training_are_one_family(name: str) -> None:
    assert job(name).family == "fraud"


def test_a_name_of_nothing_but_numbers_is_a_family_of_its_own() -> None:
    assert job("2026-11-01").family == "2026-11-01"


def test_what_spot_would_save_is_a_part_of_what_was_paid() -> None:
    [one] = training_spot.find(account(training=(job("fraud-1"), job("fraud-2"))), BOOK)
    price = BOOK.instance("ml.g5.xlarge", "training")
    assert price is not None
    paid = float(price.usd) * 4 / (14 * 24) * 730 * 1e6  # four hours in 14 days
    assert one.saves_micro_usd_per_month is not None
    assert 0 < one.saves_micro_usd_per_month < paid
    assert one.evidence["jobs"] == 2
    assert "derived" in one.price_note


def test_the_newest_run_says_what_the_next_will_be_like() -> None:
    runs = (job("fraud-1", created_s=NOW_S - 9), job("fraud-2", is_spot=True, checkpoints="s3://b/c/"))
    assert list(training_spot.find(account(training=runs), BOOK)) == []


def test_spot_without_checkpoints_and_hours_without_are_found_but_not_a_short_run() -> None:
    runs = (job("a-1", is_spot=True, training_s=60.0), job("b-1"), job("c-1", training_s=600.0))
    found = [one.id for one in training_checkpoints.find(account(training=runs), BOOK)]
    assert found == [f"training-without-checkpoints/{name}/ml.g5.xlarge" for name in "ab"]


def test_an_instance_without_a_price_is_found_without_a_figure_and_says_why() -> None:
    [one] = training_spot.find(account(training=(job(instance_type="ml.unheard.of"),)), BOOK)
    assert one.saves_micro_usd_per_month is None
    assert "ml.unheard.of" in one.price_note


def test_what_was_not_seen_is_no_ground_to_find_anything() -> None:
    blind = account(training=None, repositories=None, buckets=(Bucket(name="b", artifacts=("a.tar.gz",)),))
    checks = (training_spot, training_checkpoints, unversioned_artifacts, images_unscanned, images_untagged, image_tags)
    assert [one for check in checks for one in check.find(blind, BOOK)] == []


def test_batch_transform_is_a_part_of_the_months_bill() -> None:
    daily = tuple(
        TransformJob(name=f"t-{day}", status="Completed", created_s=NOW_S, seconds=3600.0, instance_type="ml.m5.xlarge",
                     instance_count=2)
        for day in range(14)
    )  # fmt: skip
    price = BOOK.instance("ml.m5.xlarge", "batch-transform")
    assert price is not None
    expected = float(price.usd) * 2 / 24 * 730 * 1e6
    assert audited(account(transforms=daily), BOOK).month_micro_usd == pytest.approx(expected, rel=1e-6)


# --- buckets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "flat", "proposed"),
    [
        ("model.tar.gz", True, "models/NAME/1/model.tar.gz"),
        ("fraud/model.tar.gz", True, "models/fraud/1/model.tar.gz"),
        ("models/fraud-v3.tar.gz", True, "models/fraud/3/model.tar.gz"),
        ("fraud-1.2.tgz", True, "models/fraud/1.2/model.tgz"),
        ("models/fraud/3/model.tar.gz", False, ""),
        ("trained/fraud-2026-01-01/output/model.tar.gz", False, ""),
    ],
)
def test_an_artifact_lies_in_a_folder_of_its_model_and_one_of_its_version(key: str, flat: bool, proposed: str) -> None:
    assert flat_artifacts.is_flat(key) is flat
    if flat:
        assert flat_artifacts.proposed(key) == proposed
        assert not flat_artifacts.is_flat(flat_artifacts.proposed(key))


def checkpointed(*rules: Rule, prefix: str = "ckpt/fraud/", **given: Any) -> list[Finding]:
    folder = Folder(prefix=prefix, objects=3, size_bytes=2**40, old_bytes=2**39, oldest_s=NOW_S - 99 * DAY_S)
    bucket = Bucket(name="b", versioning="", rules=rules, checkpoints=(folder,), **given)
    return list(checkpoints_kept.find(account(buckets=(bucket,)), BOOK))


def test_half_a_terabyte_of_old_checkpoints_would_cost_half_in_colder_storage() -> None:
    [one] = checkpointed()
    assert one.saves_micro_usd_per_month == round(512 * (0.023 - 0.0125) * 1e6)
    assert one.evidence["oldest_days"] == 99.0


@pytest.mark.parametrize(
    "rule",
    [
        Rule(id="r", prefix="", expires=True),
        Rule(id="r", prefix="ckpt/", colder="GLACIER_IR"),
        Rule(id="r", prefix="ckpt/fraud/", expires=True, colder="STANDARD_IA"),
    ],
)
def test_a_rule_that_holds_for_all_of_a_folder_is_enough(rule: Rule) -> None:
    assert checkpointed(rule) == []


@pytest.mark.parametrize(
    "rule",
    [
        Rule(id="r", prefix="logs/", expires=True),
        Rule(id="r", prefix="ckpt/fraud/old/", expires=True),
        Rule(id="r", prefix="", expires=True, is_narrowed=True),
        Rule(id="r", prefix=""),
    ],
)
def test_a_rule_for_something_else_or_for_some_is_not(rule: Rule) -> None:
    assert len(checkpointed(rule)) == 1


def test_the_fix_keeps_the_rules_that_are_there() -> None:
    there = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    [one] = checkpointed(Rule(id="logs", prefix="logs/", expires=True), rule_documents=(there,))
    assert one.fix is not None
    rules = one.fix.calls[0].parameters["LifecycleConfiguration"]["Rules"]
    assert rules[0] == there
    assert rules[1]["Filter"] == {"Prefix": "ckpt/fraud/"}
    assert "Expiration" not in rules[1]


def test_checkpoints_at_a_buckets_root_get_no_rule_that_would_take_all_else_along() -> None:
    [one] = checkpointed(prefix="")
    assert one.fix is not None
    assert one.fix.calls == ()
    assert not one.fix.is_safe


@pytest.mark.parametrize(("versioning", "count"), [("", 1), ("Suspended", 1), ("Enabled", 0), (None, 0)])
def test_versioning_must_be_on_where_artifacts_lie(versioning: str | None, count: int) -> None:
    used = Bucket(name="b", versioning=versioning, artifacts=("m/1/model.tar.gz",))
    unused = Bucket(name="c", versioning=versioning)
    assert len(list(unversioned_artifacts.find(account(buckets=(used, unused)), BOOK))) == count


# --- images -----------------------------------------------------------------------------------------------------------

URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/fraud"


def image(digest: str = "sha256:a", *tags: str, days: float = 20, scanned: bool = False) -> Image:
    return Image(digest=digest, tags=tags, pushed_s=NOW_S - days * DAY_S, size_bytes=2**31, is_scanned=scanned)


def repository(*images: Image, **given: Any) -> Repository:
    values: dict[str, Any] = {"arn": "arn:r", "uri": URI, "scans_on_push": False}
    return Repository(name="team/fraud", images=images, **(values | given))


def running(name: str) -> Endpoint:
    model = Model(name="m", arn="arn:m", containers=(Container(image=name),))
    variant = Variant(name="v", model=model, instance_type="ml.m5.large", count=1, initial_count=1, weight=1.0)
    return Endpoint(
        name="e", arn="arn:e", status="InService", created_s=0.0, changed_s=0.0, config="e", variants=(variant,)
    )


def untagged(*images: Image, endpoints: tuple[Endpoint, ...] = (), **given: Any) -> list[Finding]:
    known = account(repositories=(repository(*images, **given),), endpoints=endpoints)
    return list(images_untagged.find(known, BOOK))


def test_old_images_without_a_tag_are_paid_for() -> None:
    [one] = untagged(image("sha256:a"), image("sha256:b"), image("sha256:c", "1"), image("sha256:d", days=13))
    assert one.evidence["untagged"] == 2
    assert one.saves_micro_usd_per_month == round(4 * 0.1 * 1e6)
    assert one.fix is not None
    assert not one.fix.is_safe


def test_an_image_that_is_run_by_its_digest_is_in_use() -> None:
    assert untagged(image("sha256:a"), endpoints=(running(f"{URI}@sha256:a"),)) == []


@pytest.mark.parametrize(("expires", "count"), [(7.0, 0), (14.0, 0), (90.0, 1), (0.0, 1), (None, 0)])
def test_a_policy_that_lets_them_go_in_time_is_enough(expires: float | None, count: int) -> None:
    assert len(untagged(image(), expires_untagged_days=expires)) == count


def test_images_that_nobody_has_looked_into_are_found_unless_the_repository_scans() -> None:
    def found(*images: Image, on_push: bool = False) -> int:
        known = account(repositories=(repository(*images, scans_on_push=on_push),))
        return len(list(images_unscanned.find(known, BOOK)))

    assert found(image()) == 1
    assert found(image(scanned=True)) == 0
    assert found(image(), on_push=True) == 0
    assert found() == 0


@pytest.mark.parametrize(
    "tag",
    ["3.2-pytorch2.3", "fraud-7-xgboost1.7-py311", "fraud-v3-tf2.15", "abc1234-torch2.1", "torch2.1-4f3a9c1",
     "fraud-3-scikit-learn-1.4", "1.2.0-vllm0.6.3", "2.1.0-transformers4.37-gpu-py310"],
)  # fmt: skip
def test_a_tag_that_says_model_and_framework_version(tag: str) -> None:
    assert image_tags.says_both(tag)


@pytest.mark.parametrize("tag", ["latest", "v3", "prod", "1.4.2", "pytorch2.3", "pytorch2.3-cu121-py310", "2026-01-01"])
def test_a_tag_that_does_not(tag: str) -> None:
    assert not image_tags.says_both(tag)


def test_only_repositories_that_models_run_from_need_such_tags_and_one_tag_of_an_image_is_enough() -> None:
    vague = account(repositories=(repository(image("sha256:a", "latest")),))
    assert list(image_tags.find(vague, BOOK)) == []
    used = account(repositories=(repository(image("sha256:a", "latest")),), endpoints=(running(f"{URI}:latest"),))
    assert len(list(image_tags.find(used, BOOK))) == 1
    both = account(
        repositories=(repository(image("sha256:a", "latest", "7-sklearn1.4")),), endpoints=(running(f"{URI}:latest"),)
    )
    assert list(image_tags.find(both, BOOK)) == []
