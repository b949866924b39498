"""The price book: each price with its date and source; what is derived, old or missing is said."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.advisor.prices.book import Book, aws_list, book
from trimtab.advisor.prices.fleet import Cost, hosting_cost, with_serverless
from trimtab.advisor.prices.price import Price, Use
from trimtab.errors import Invalid


def test_every_price_says_where_and_when_it_was_read() -> None:
    found = list(aws_list().instances())
    assert len(found) > 900
    for (kind, use, _), price in found:
        assert kind.startswith("ml.") != use.startswith("ec2")
        assert 0 < price.usd < 200
        assert price.as_of[:2] == "20"
        assert price.source.startswith(("listed:", "derived:"))
        assert price.is_derived == price.source.startswith("derived:")


def test_sagemaker_and_ec2_have_prices_of_their_own_and_names_with_and_without_ml_are_one() -> None:
    prices = book()
    hosting, plain, ec2 = (
        prices.instance("ml.g5.xlarge"),
        prices.instance("g5.xlarge"),
        prices.instance("ml.g5.xlarge", "ec2"),
    )
    assert hosting is not None
    assert ec2 is not None
    assert plain == hosting
    assert hosting.usd == Decimal("1.408")
    assert ec2.usd == Decimal("1.006")


def test_in_a_region_without_a_list_the_price_follows_ec2s_and_says_so() -> None:
    price = book().instance("ml.g5.xlarge", "async", "eu-central-1")
    assert price is not None
    assert price.is_derived
    assert price.region == "eu-central-1"
    assert price.usd == Decimal("1.7607")  # 1.408 x 1.258 / 1.006
    assert "1.258 / 1.006" in price.source


def test_an_unknown_type_has_no_price_and_that_is_said() -> None:
    prices = book()
    assert prices.instance("ml.unheard.of") is None
    assert prices.other("s3", "goodwill") is None
    assert prices.notes(date(2026, 8, 1)) == [
        "ml.unheard.of (hosting, us-east-1): no price is known, so it is left out",
        "s3, goodwill (us-east-1): no price is known, so it is left out",
    ]


@pytest.mark.parametrize("use", ["hosting", "training", "async", "batch-transform", "ec2", "ec2-spot", "ec2-reserved"])
def test_in_an_unknown_region_everything_costs_what_it_costs_at_home_and_says_so(use: Use) -> None:
    prices = book()
    for here, there in (
        (prices.instance("ml.g5.xlarge", use), prices.instance("ml.g5.xlarge", use, "mars-north-1")),
        (prices.serverless(2048), prices.serverless(2048, "mars-north-1")),
        (prices.other("ecr", "private repository storage"), prices.other("ecr", "private repository storage", "mars")),
    ):
        assert here is not None
        assert there is not None
        assert there.usd == here.usd
        assert there.is_derived
        assert "since none of mars" in there.source


def test_notes_tell_of_what_was_asked_for_and_is_derived_or_old_and_of_nothing_else() -> None:
    prices = book()
    prices.instance("ml.g5.xlarge")
    assert prices.notes(date(2026, 8, 1)) == []
    prices.instance("ml.c6i.large")
    prices.instance("ml.g4dn.xlarge")
    derived, old = prices.notes(date(2026, 8, 1))
    assert derived.startswith("ml.c6i.large in us-east-1: derived: EC2")
    assert old.startswith("ml.g4dn.xlarge in us-east-1: as of 2025-01-26, 552 days ago")
    prices.instance("ml.g4dn.4xlarge")
    assert prices.notes(date(2026, 8, 1))[1].startswith("ml.g4dn.xlarge, ml.g4dn.4xlarge in us-east-1: as of")
    assert prices.fresh().notes(date(2026, 8, 1)) == []


def test_a_price_that_is_dated_in_the_future_says_so_beside_the_figure_and_one_of_tomorrow_does_not() -> None:
    """Somewhere it is tomorrow already: a day ahead is a matter of time zones."""
    today = date(2026, 8, 1)
    price = Price(item="ml.box", unit="hour", region="", usd=Decimal(1), as_of="2027-08-01", source="told")
    assert price.mark(today) == "of 2027-08-01, to come"
    assert price.note(today) == "as of 2027-08-01, 365 days from now: it may not hold yet, or the date is wrong"
    assert price.age_days(today) == -365
    year = replace(price, as_of="2027")
    assert year.note(today).startswith("as of 2027, 153 days from now")
    tomorrow = replace(price, as_of="2026-08-02")
    assert (tomorrow.mark(today), tomorrow.note(today)) == ("", "")
    own = Book({}, {}, {"ml.box": price})
    assert own.instance("ml.box") == price
    assert own.notes(today) == [f"ml.box in any region: {price.note(today)}"]


def test_serverless_costs_in_proportion_to_memory() -> None:
    prices = book()
    three, one, six = prices.serverless(3072), prices.serverless(1024), prices.serverless(6144)
    assert three is not None
    assert one is not None
    assert six is not None
    assert not three.is_derived
    assert one.is_derived
    assert (one.usd, three.usd, six.usd) == (Decimal("0.00002"), Decimal("0.00006"), Decimal("0.00012"))
    assert one.micro_usd(1_000_000) == 20_000_000


def test_provisioned_concurrency_has_the_price_that_the_user_says_in_proportion_to_memory(tmp_path: Path) -> None:
    prices = book()
    assert prices.provisioned(2048) is None
    assert prices.notes(date(2026, 8, 1)) == [
        "provisioned concurrency of serverless inference (us-east-1): no price is known, so it is left out"
    ]
    path = tmp_path / "prices.csv"
    path.write_text(
        "service,item,region,unit,usd_per_unit,as_of,source\n"
        'sagemaker-serverless,"provisioned inference compute, 1 GB memory",us-east-1,second,0.000008,2026-10-01,bill\n'
    )
    prices = book(path)
    two, usual = prices.provisioned(2048), prices.serverless(2048)
    assert two is not None
    assert usual is not None
    assert two.usd == Decimal("0.000016")
    assert two.is_derived
    assert usual.usd == Decimal("0.00004")


def test_costs_add_up_and_say_what_they_leave_out() -> None:
    cost = hosting_cost([("ml.m5.large", 2), ("ml.g5.xlarge", 1), ("ml.unheard.of", 3)], book())
    assert cost is not None
    assert cost.usd_per_hour == pytest.approx(2 * 0.115 + 1.408)
    assert cost.missing == ("ml.unheard.of",)


def test_nothing_is_said_of_instances_without_a_price() -> None:
    assert hosting_cost([("local", 1)], book()) is None
    assert hosting_cost([], book()) is None


def test_a_thousand_requests_cost_what_their_time_costs() -> None:
    assert Cost(3.6).per_1000_requests(1000) == pytest.approx(0.001)
    assert Cost(3.6).per_1000_requests(0) is None


def test_serverless_requests_cost_what_each_is_billed_whatever_the_rate() -> None:
    cost = with_serverless(None, 0.5, book())
    assert cost is not None
    assert cost.per_1000_requests(7.0) == cost.per_1000_requests(70.0) == pytest.approx(0.01)
    both = with_serverless(Cost(3.6), 0.5, book())
    assert both is not None
    assert both.per_1000_requests(1000) == pytest.approx(0.011)


def test_hardware_of_the_users_own_costs_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[hardware.local]\nusd_per_hour = 0.35\n[hardware."my-a6000"]\npurchase_usd = 6574.5\nyears = 3\n'
        "power_w = 500\nusd_per_kwh = 0.30\nhours_per_day = 12\nas_of = 2026-03-01\n"
    )
    prices = book(path)
    local, bought = prices.instance("local"), prices.instance("my-a6000", "async", "eu-west-1")
    assert local is not None
    assert bought is not None
    assert local.usd == Decimal("0.35")
    assert bought.usd == Decimal("0.65")  # 6574.5 / (3 x 365.25 x 12) = 0.50, and half a kilowatt at 0.30
    assert bought.as_of == "2026-03-01"
    assert prices.is_own("local")
    assert not prices.is_own("ml.g5.xlarge")


def test_a_newer_list_replaces_prices_and_what_was_derived_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ours.csv"
    path.write_text(
        "instance_type,service,region,usd_per_hour,as_of,source\n"
        "ml.g5.xlarge,sagemaker-hosting,us-east-1,1.5,2026-10-01,our contract\n"
    )
    monkeypatch.setenv("TRIMTAB_PRICES", str(path))
    prices = book()
    hosting, asynchronous, other = (
        prices.instance("ml.g5.xlarge"),
        prices.instance("ml.g5.xlarge", "async"),
        prices.instance("ml.m5.large"),
    )
    assert hosting is not None
    assert asynchronous is not None
    assert other is not None
    assert (hosting.usd, asynchronous.usd, other.usd) == (Decimal("1.5"), Decimal("1.5"), Decimal("0.115"))
    assert asynchronous.source == "derived: async at the rate of hosting; our contract"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.toml", "[hardware.local]\nusd_per_hour = 'much'\n", "usd_per_hour must be a number"),
        ("p.toml", "[hardware.local]\nusd_per_hour = -1\n", "'-1' is no number of dollars"),
        ("p.toml", "[hardware.local]\nyears = 3\n", "purchase_usd is missing"),
        ("p.toml", "[hardware.local]\npurchase_usd = 100\nyears = 0\n", "years must be from 0.01 to 100, not 0"),
        ("p.toml", "[hardware.local]\npurchase_usd = 100\nyears = 1e-300\n", "years must be from 0.01 to 100"),
        ("p.toml", "[hardware.local]\npurchase_usd = 100\nyears = 1\nhours_per_day = 1e-300\n", "at least 0.01"),
        ("p.toml", "[hardware.local]\nusd_per_hour = 1e400\n", "usd_per_hour: '1E+400' is no number of dollars"),
        ("p.toml", "[hardware.local]\npurchase_usd = 100\nyears = 1\nhours_per_day = 25\n", "at most 24"),
        ("p.toml", "[hardware.local]\npurchase_usd = 100\nyears = 1\npower_w = 300\n", "usd_per_kwh is missing"),
        ("p.toml", "[hardware.local]\nprice = 1\n", "unknown key 'price'"),
        ("p.toml", "[local]\nusd_per_hour = 1\n", "unknown table 'local'"),
        ("p.toml", "[hardware.local\n", "line 1"),
        ("p.toml", "hardware = 3\n", "[hardware.NAME]"),
        ("p.csv", "instance_type,price\n", "no column 'service'"),
        ("p.csv", "service,price\n", "no column 'item'"),
        (
            "p.csv",
            "service,item,region,unit,usd_per_unit,as_of,source\necr,,us-east-1,GB,1,2026,x\n",
            "line 2: only the source",
        ),
        (
            "p.csv",
            "instance_type,service,region,usd_per_hour,as_of,source\nml.a,sagemaker,us-east-1,1,2026-01-01,x\n",
            "line 2: service 'sagemaker' is none of",
        ),
        (
            "p.csv",
            "instance_type,service,region,usd_per_hour,as_of,source\nml.a,ec2,us-east-1,x,2026-01-01,x\n",
            "line 2, usd_per_hour: 'x'",
        ),
        (
            "p.csv",
            "instance_type,service,region,usd_per_hour,as_of,source\nml.a,ec2,us-east-1,1,yesterday,x\n",
            "as_of 'yesterday' is no date",
        ),
        ("p.txt", "", "must end in .csv"),
    ],
)
def test_what_is_wrong_in_the_users_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(Invalid) as raised:
        book(path)
    assert message in str(raised.value)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is there"):
        book(tmp_path / "prices.toml")


@pytest.mark.parametrize(
    ("home", "there", "here"),
    [("2026-04-21", "2025-11-30", "2026-07-20"), ("2025", "2025-11-30", "2026-07-20"), ("2026-01-02", "2026", "2027")],
)
def test_a_derived_price_is_as_old_as_its_oldest_part_and_says_the_dates_of_all(
    home: str, there: str, here: str
) -> None:
    def price(item: str, region: str, usd: str, as_of: str) -> Price:
        return Price(item=item, unit="hour", region=region, usd=Decimal(usd), as_of=as_of, source="listed: here")

    prices = Book(
        {
            ("ml.g5.xlarge", "hosting", "us-east-1"): price("ml.g5.xlarge", "us-east-1", "1.4", home),
            ("g5.xlarge", "ec2", "eu-west-1"): price("g5.xlarge", "eu-west-1", "1.2", there),
            ("g5.xlarge", "ec2", "us-east-1"): price("g5.xlarge", "us-east-1", "1.0", here),
        },
        {},
    )
    found = prices.instance("ml.g5.xlarge", "hosting", "eu-west-1")
    assert found is not None
    assert found.usd == Decimal("1.68")
    assert found.as_of == min(home, there, here)
    assert f"(of {home}, {there} and {here})" in found.note(date(2026, 11, 27))
