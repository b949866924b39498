"""Bills: lines and parts sum to the same, exactly; what has no price is said."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trimtab.advisor.bill import bill_of
from trimtab.advisor.prices.book import aws_list, book
from trimtab.resources.cost import Part
from trimtab.sim.world import Mode, Outcome, Used

BOOK = aws_list()
amounts = st.floats(0, 1e9, allow_nan=False)


def used(endpoint: str = "fraud", mode: Mode = Mode.REAL_TIME, **given: object) -> Used:
    values: dict[str, object] = {
        "instance_type": "ml.g5.xlarge", "is_spot": False, "replica_s": 0.0, "billed_gb_s": 0.0,
        "provisioned_gb_s": 0.0, "request_bytes": 0.0, "requests": 1, "loads": 0, "evictions": 0, "parts": {},
    }  # fmt: skip
    return Used(endpoint=endpoint, mode=mode, **(values | given))  # type: ignore[arg-type]


def outcome(*each: Used, end_s: float = 3600.0) -> Outcome:
    return Outcome(architecture="now", start_s=0.0, end_s=end_s, served=(), used=each)


@given(
    st.lists(
        st.builds(
            used,
            st.sampled_from(["fraud", "ocr"]),
            st.sampled_from(Mode),
            instance_type=st.sampled_from(["ml.g5.xlarge", "ml.m5.large", "ml.unheard.of"]),
            is_spot=st.booleans(),
            replica_s=amounts,
            billed_gb_s=amounts,
            provisioned_gb_s=amounts,
            request_bytes=amounts,
            parts=st.dictionaries(st.sampled_from(Part), amounts),
        ),
        max_size=5,
    )
)
def test_lines_and_parts_sum_to_the_bill_exactly(each: list[Used]) -> None:
    bill = bill_of(outcome(*each), BOOK)
    assert sum(line.micro_usd for line in bill.lines) == bill.micro_usd
    assert sum(bill.parts.values()) == bill.micro_usd
    assert all(sum(line.parts.values()) == line.micro_usd for line in bill.lines)
    assert bill.of_endpoint("fraud") + bill.of_endpoint("ocr") == bill.micro_usd


def test_replica_seconds_cost_the_hourly_price_and_bytes_what_aws_takes_for_data() -> None:
    bill = bill_of(outcome(used(replica_s=7200.0, request_bytes=2.0**31, parts={Part.SERVING: 1, Part.IDLE: 3})), BOOK)
    assert [line.micro_usd for line in bill.lines] == [2_816_000, 32_000]
    assert bill.parts == {Part.SERVING: 704_000 + 32_000, Part.IDLE: 2_112_000}
    assert bill.micro_usd_per_month == 730 * bill.micro_usd
    assert bill.missing == ()


def test_serverless_costs_its_gigabyte_seconds() -> None:
    bill = bill_of(outcome(used(mode=Mode.SERVERLESS, billed_gb_s=1e6, parts={Part.SERVING: 1e6})), BOOK)
    assert bill.micro_usd == 20_000_000
    assert bill.parts == {Part.SERVING: 20_000_000}


def test_spot_costs_what_ec2_takes_for_spot() -> None:
    spot, demand = (bill_of(outcome(used(replica_s=3600.0, is_spot=one)), BOOK).micro_usd for one in (True, False))
    assert 0 < spot < demand


def test_what_has_no_price_is_left_out_and_named() -> None:
    bill = bill_of(outcome(used(replica_s=3600.0, instance_type="ml.unheard.of")), BOOK)
    assert bill.micro_usd == 0
    assert bill.missing == ("ml.unheard.of (hosting)",)


def test_aws_charges_nothing_for_data_beside_hardware_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("[hardware.den]\nusd_per_hour = 0.4\n")
    both = used(replica_s=3600.0, request_bytes=2.0**30, instance_type="den", parts={Part.SERVING: 1.0})
    bill = bill_of(outcome(both), book(path))
    assert bill.parts == {Part.SERVING: 400_000}
    assert [line.item for line in bill.lines] == ["den (hosting)"]


def test_provisioned_concurrency_without_a_price_is_named() -> None:
    bill = bill_of(outcome(used(mode=Mode.SERVERLESS, billed_gb_s=1.0, provisioned_gb_s=5.0)), BOOK)
    assert bill.missing == ("provisioned concurrency",)
