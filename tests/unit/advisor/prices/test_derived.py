"""Prices that no list has: from EC2's, as AWS marks up types like it."""

from __future__ import annotations

from decimal import Decimal

import botocore.session
import pytest

from trimtab.advisor.prices.book import aws_list, book
from trimtab.advisor.prices.derived import FAMILIES, mark_up

UNLIKE = {"p3", "inf2"}  # withdrawn; its xlarge is at 1.31


def test_the_mark_ups_are_those_of_the_listed_prices() -> None:
    prices = dict(aws_list().instances())
    compared = 0
    for (kind, use, region), price in prices.items():
        plain = kind.removeprefix("ml.")
        ec2 = prices.get((plain, "ec2", region))
        if use != "hosting" or price.is_derived or ec2 is None or plain.split(".")[0] in UNLIKE:
            continue
        ratio = mark_up(plain)
        assert ratio is not None
        assert price.usd / ec2.usd == pytest.approx(ratio, rel=Decimal("0.01")), kind
        compared += 1
    assert compared > 40


def test_every_family_is_one_that_sagemaker_hosts_on_and_none_is_listed() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    hosted = {name.split(".")[1] for name in model.shape_for("ProductionVariantInstanceType").enum}
    assert hosted >= FAMILIES
    listed = {kind.split(".")[1] for (kind, use, _), _ in aws_list().instances() if use == "hosting"}
    assert not (FAMILIES - {"p5"}) & listed  # p5.4xlarge alone is not


@pytest.mark.parametrize("use", ["hosting", "async", "training", "batch-transform"])
def test_a_type_that_no_list_of_sagemaker_has_follows_ec2(use: str) -> None:
    price, ec2 = book().instance("ml.c7g.xlarge", use), book().instance("c7g.xlarge", "ec2")  # type: ignore[arg-type]
    assert price is not None
    assert ec2 is not None
    assert price.usd == ec2.usd * Decimal("1.20")
    assert price.is_derived
    assert price.item == "ml.c7g.xlarge"
    assert "EC2 on demand x 1.20" in price.source
    abroad = book().instance("ml.c7g.xlarge", use, "eu-west-1")  # type: ignore[arg-type]
    assert abroad is not None
    assert abroad.usd == price.usd


def test_a_type_that_sagemaker_does_not_have_gets_no_price() -> None:
    assert book().instance("c7a.xlarge", "ec2") is not None
    assert book().instance("ml.c7a.xlarge") is None
