"""Prices that no list has: from EC2's, as AWS marks up types like it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import botocore.session
import pytest

from trimtab.advisor.prices.book import DATA_PROCESSED, HOSTING, aws_list, book
from trimtab.advisor.prices.derived import FAMILIES, mark_up
from trimtab.advisor.prices.shapes import shapes

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


def test_every_family_is_one_that_sagemaker_hosts_on() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    hosted = {name.split(".")[1] for name in model.shape_for("ProductionVariantInstanceType").enum}
    assert hosted >= FAMILIES
    known = {shape.family for shape in shapes().values()}
    assert known & hosted - FAMILIES <= {"p3", "p3dn", "p5e"}  # withdrawn, or without a price on demand


def test_a_renewed_price_of_ec2_renews_what_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "service,item,region,unit,usd_per_unit,as_of,source\n"
        "ec2,c6i.large,us-east-1,hour,0.1,2026-10-01,new\n"
        "sagemaker-hosting,endpoint storage volume gp2,us-east-1,GB-month,0.15,2026-10-01,new\n"
    )
    prices = book(path)
    hosting, training = prices.instance("ml.c6i.large"), prices.instance("ml.c6i.large", "training")
    assert hosting is not None
    assert training is not None
    assert (hosting.usd, training.usd) == (Decimal("0.120"), Decimal("0.120"))
    assert hosting.source.endswith("; new")
    assert prices.instance("c6i.large", "ec2-spot") == book().instance("c6i.large", "ec2-spot") is not None
    assert prices.other(HOSTING, DATA_PROCESSED) == book().other(HOSTING, DATA_PROCESSED) is not None


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
