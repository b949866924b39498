"""Commitments: the newsvendor's quantile, futures drawn from the past, and never more than 95 of 100 futures bear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.advisor.commitments import backtest, cost_of, newsvendor, sized
from trimtab.errors import Invalid

RNG = np.random.default_rng(1)
DAYS = 28
CYCLE = 6 + 4 * np.sin(np.arange(DAYS * 24) / 24 * 2 * np.pi)


@settings(max_examples=100, deadline=None)
@given(
    usage=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    discount=st.floats(0.05, 0.9),
    other=st.floats(0.0, 20.0),
)
def test_no_other_commitment_is_cheaper_in_hindsight_than_the_newsvendors(usage, discount, other) -> None:
    hours = np.array(usage, dtype=float)
    best = newsvendor(hours, discount)
    assert cost_of(hours, best, discount) <= cost_of(hours, other, discount) + 1e-9


def test_a_load_that_never_changes_is_committed_to_nearly_whole() -> None:
    found = sized([10.0] * 24 * 28, 0.36, term_h=24 * 28)
    assert 8.0 <= found.units <= 11.0
    assert found.saves == pytest.approx(0.36, abs=0.06)
    assert found.saves_at_least > 0.2


def test_a_daily_cycle_is_committed_to_at_its_lower_part() -> None:
    found = sized(CYCLE, 0.32, term_h=24 * 28)
    assert abs(found.units - newsvendor(CYCLE, 0.32)) < 1.0
    assert 0 < found.saves < 0.32
    assert 0.3 < found.covers < 0.95


def test_nothing_is_committed_to_where_it_does_not_pay_in_95_of_100_futures() -> None:
    wild = np.exp(RNG.standard_normal(8).repeat(168) * 1.5)
    assert sized(wild, 0.1, term_h=8760).units < 0.3 * wild.mean()
    assert sized(np.zeros(48), 0.3).units == 0.0


def test_the_same_history_is_given_the_same_commitment() -> None:
    assert sized(CYCLE, 0.36, seed=3) == sized(CYCLE, 0.36, seed=3)


def test_a_short_history_is_said_to_say_little_of_a_long_term() -> None:
    assert "14 days say little of 365" in sized(CYCLE[: 14 * 24], 0.36).note
    assert not sized(CYCLE, 0.36, term_h=24 * 28).note


def test_in_a_backtest_on_a_steady_cycle_regret_is_small_and_no_term_is_worse_than_on_demand() -> None:
    usage = np.tile(CYCLE, 4) * (1 + 0.05 * RNG.standard_normal(4 * DAYS * 24))
    found = backtest(usage, 0.36, history_h=28 * 24, term_h=28 * 24, step_h=7 * 24)
    assert found.terms == 9
    assert 0 <= found.regret <= 0.02
    assert found.worse_than_on_demand == 0


def test_usage_that_is_no_usage_is_refused() -> None:
    for usage, discount in (([], 0.3), ([-1.0] * 30, 0.3), ([float("nan")] * 30, 0.3), ([1.0] * 30, 1.0), ([1.0] * 5, 0.3)):  # fmt: skip
        with pytest.raises(Invalid):
            sized(usage, discount)
    with pytest.raises(Invalid):
        backtest([1.0] * 100, 0.3, history_h=90, term_h=24)
