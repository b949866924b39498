"""Renewing prices: from AWS's pricing API, from an offer file, from a file of the user's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pricing_server import PUBLISHED, PricingServer

from trimtab.advisor.prices import tables, updates
from trimtab.advisor.prices.book import DATA_PROCESSED, HOSTING, SERVERLESS, book
from trimtab.advisor.prices.offers import offer_file
from trimtab.advisor.prices.pricing_api import fetch
from trimtab.advisor.prices.updates import changes, read_list, save
from trimtab.errors import Invalid, Unavailable

HEADER = ",".join(tables.GENERAL)


def test_the_pricing_api_gives_every_use_of_an_instance_page_by_page_and_nothing_else(aws: PricingServer) -> None:
    found = fetch(["us-east-1"])
    assert {(kind, use): str(price.usd) for (kind, use, _), price in found.instances.items()} == {
        ("ml.g5.xlarge", "hosting"): "1.508",
        ("ml.g5.xlarge", "training"): "1.408",
        ("ml.g5.xlarge", "async"): "1.408",
        ("ml.g5.xlarge", "batch-transform"): "1.408",
        ("g5.xlarge", "ec2"): "1.006",
    }
    assert found.others[SERVERLESS, "inference compute, 2 GB memory", "us-east-1"].usd == Decimal("0.00004")
    assert found.others[HOSTING, DATA_PROCESSED, "us-east-1"].usd == Decimal("0.016")
    hosting = found.instances["ml.g5.xlarge", "hosting", "us-east-1"]
    assert (hosting.as_of, hosting.unit, hosting.is_derived) == ("2026-10-02", "hour", False)
    assert hosting.source.startswith("listed: AWS Price List, published 2026-10-02, SKU SKU")
    assert len(aws.calls) == 5  # seven products of SageMaker and one of EC2, two a page
    assert all(call["MaxResults"] == 100 for call in aws.calls)


def test_a_trimtabs_address_in_the_environment_is_not_asked_for_prices(
    aws: PricingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert fetch(["eu-west-1"]).instances["ml.g5.xlarge", "hosting", "eu-west-1"].usd == Decimal("1.5722")


def test_throttling_is_waited_out(aws: PricingServer) -> None:
    aws.failures = [(400, "ThrottlingException")]
    assert len(fetch(["us-east-1"]).instances) == 5


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        ((400, "AccessDeniedException"), Invalid, "they need the permission pricing:GetProducts"),
        ((400, "UnrecognizedClientException"), Invalid, "Name a profile with --profile"),
        ((400, "ThrottlingException"), Unavailable, "Try again later"),
        ((500, "InternalErrorException"), Unavailable, "Try again later"),
        ((400, "InvalidParameterException"), Invalid, "says the test"),
    ],
)
def test_a_refusal_says_what_to_do(
    aws: PricingServer, failure: tuple[int, str], kind: type[Exception], message: str
) -> None:
    aws.failures = [failure]
    with pytest.raises(kind, match=message):
        fetch(["us-east-1"], attempts=1)


def test_without_credentials_or_with_an_unknown_region_or_profile_it_says_so(
    aws: PricingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="nothing of the region 'mars-north-1'"):
        fetch(["mars-north-1"])
    with pytest.raises(Invalid, match="nobody"):
        fetch(["us-east-1"], profile="nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Invalid, match="No AWS credentials"):
        fetch(["us-east-1"])


def test_an_unreachable_api_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="does not answer"):
        fetch(["us-east-1"], attempts=1)


def _offer(aws: PricingServer) -> bytes:
    """The same products as AWS's offer files hold them."""
    entries = [json.loads(text) for text in aws.entries]
    return json.dumps(
        {
            "formatVersion": "v1.0", "disclaimer": "...", "offerCode": "AmazonSageMaker",
            "publicationDate": PUBLISHED,
            "products": {each["product"]["sku"]: each["product"] for each in entries},
            "terms": {"OnDemand": {each["product"]["sku"]: each["terms"]["OnDemand"] for each in entries}},
        }
    ).encode()  # fmt: skip


def test_offer_files_and_saved_answers_hold_the_same_prices_as_the_api(aws: PricingServer) -> None:
    del aws.entries[-1]  # two products with one SKU cannot be in one offer file
    whole = fetch(["us-east-1", "eu-west-1"])
    assert offer_file(_offer(aws), "index.json") == whole
    assert offer_file(json.dumps({"FormatVersion": "aws_v1", "PriceList": aws.entries}).encode(), "saved.json") == whole


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"products": 3}', '{"products": {}, "publicationDate": "2026"}'])
def test_what_is_no_offer_file_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="index.json is no price list of AWS"):
        offer_file(text.encode(), "index.json")


def test_a_first_range_for_nothing_is_not_the_price() -> None:
    dimensions = {
        "b": {"unit": "Seconds", "beginRange": "150000", "endRange": "Inf", "pricePerUnit": {"USD": "0.00008"}},
        "a": {"unit": "Seconds", "beginRange": "0", "endRange": "150000", "pricePerUnit": {"USD": "0.0"}},
    }
    product = {"sku": "S", "attributes": {"regionCode": "us-east-1", "usagetype": "ServerlessInf:Mem-4GB"}}
    document = {
        "publicationDate": PUBLISHED,
        "products": {"S": product},
        "terms": {"OnDemand": {"S": {"S.1": {"priceDimensions": dimensions}}}},
    }
    found = offer_file(json.dumps(document).encode(), "index.json")
    assert found.others[SERVERLESS, "inference compute, 4 GB memory", "us-east-1"].usd == Decimal("0.00008")


def test_what_is_saved_is_laid_over_the_list_and_keeps_what_was_saved_before(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(
        f"{HEADER}\nsagemaker-hosting,ml.g5.xlarge,us-east-1,hour,1.6,2026-10-01,a\necr,private repository storage,us-east-1,GB-month,0.2,2026-10-01,b\n"
    )
    second.write_text(f"{HEADER}\nsagemaker-hosting,ml.g5.xlarge,us-east-1,hour,1.7,2026-10-02,c\n")
    before = book()
    assert [(c.after.usd, c.before and c.before.usd) for c in changes(before, read_list(first))] == [
        (Decimal("1.6"), Decimal("1.408")),
        (Decimal("0.2"), Decimal("0.1")),
    ]
    path = save(read_list(first))
    assert path == tmp_path / "config" / "trimtab" / "prices.csv"
    assert changes(book(), read_list(first)) == []
    save(read_list(second))
    after = book()
    hosting, storage = after.instance("ml.g5.xlarge"), after.other("ecr", "private repository storage")
    assert hosting is not None
    assert storage is not None
    assert (hosting.usd, storage.usd) == (Decimal("1.7"), Decimal("0.2"))
    assert [each.name for each in path.parent.iterdir()] == ["prices.csv"]


def test_nobody_else_changes_the_list_between_its_reading_and_its_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer.csv"
    newer.write_text(f"{HEADER}\nsagemaker-hosting,ml.g5.xlarge,us-east-1,hour,1.6,2026-10-01,a\n")
    folder = save(read_list(newer)).parent
    at: list[str] = []

    def locked(what: str, then: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            descriptor = os.open(folder, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(descriptor)
            at.append(what)
            return then(*given, **named)

        return call

    newest = read_list(newer)
    monkeypatch.setattr(tables, "text_of", locked("read", tables.text_of))
    monkeypatch.setattr(updates, "write_whole", locked("written", updates.write_whole))
    save(newest)
    assert at == ["read", "written"]


def test_every_table_is_written_as_it_was_read() -> None:
    listed = tables.read(tables.own("prices.csv"), "prices.csv")
    others = tables.read(tables.own("other_prices.csv"), "other_prices.csv")
    whole = tables.Prices(listed.instances, others.others)
    assert tables.read(tables.written(whole), "again") == whole


@pytest.mark.parametrize(("name", "text"), [("a.csv", HEADER), ("a.json", "{}"), ("a.xls", ""), ("missing.csv", None)])
def test_a_file_without_a_price_is_refused(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(Invalid):
        read_list(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("sagemaker-hosting,g5.xlarge,us-east-1,hour", "it would be ml.g5.xlarge"),
        ("ec2,ml.g5.xlarge,us-east-1,hour", "it would be g5.xlarge"),
        ("sagemaker-hosting,ml.g5.xlarge,us-east-1,week", "by the hour, not by the week"),
        ("sagemaker-hostings,ml.g5.xlarge,us-east-1,hour", "nothing is priced as sagemaker-hostings"),
        ('sagemaker-serverless,"inference compute, 2 GB memory",us-east-1,hour', "by the second, not by the hour"),
    ],
)
def test_a_price_that_nothing_would_ask_for_is_refused(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "contract.csv"
    path.write_text(f"{HEADER}\n{row},1.5,2026-11-01,us\n")
    with pytest.raises(Invalid, match=said):
        read_list(path)
