"""Prices: each with its date and source; costs that add up."""

from __future__ import annotations

import pytest

from trimtab.advisor.prices import Cost, hosting_cost, hosting_prices


def test_every_price_says_where_and_when_it_was_read() -> None:
    assert len(hosting_prices()) > 90
    for name, price in hosting_prices().items():
        assert name.startswith("ml.")
        assert 0 < price.usd_per_hour < 100
        assert price.region == "us-east-1"
        assert price.as_of[:2] == "20"
        assert price.source.startswith(("listed:", "derived:"))


def test_costs_add_up_and_say_what_they_leave_out() -> None:
    cost = hosting_cost([("ml.m5.large", 2), ("ml.g5.xlarge", 1), ("ml.unheard.of", 3)])
    assert cost is not None
    prices = hosting_prices()
    assert cost.usd_per_hour == pytest.approx(
        2 * prices["ml.m5.large"].usd_per_hour + prices["ml.g5.xlarge"].usd_per_hour
    )
    assert cost.missing == ("ml.unheard.of",)


def test_nothing_is_said_of_instances_without_a_price() -> None:
    assert hosting_cost([("local", 1)]) is None
    assert hosting_cost([]) is None


def test_a_thousand_requests_cost_what_their_time_costs() -> None:
    assert Cost(3.6).per_1000_requests(1000) == pytest.approx(0.001)
    assert Cost(3.6).per_1000_requests(0) is None
