"""The published figures of the case study, to the dollar."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from benchmarks import case_sums
from trimtab.advisor.bill import bill_of
from trimtab.advisor.prices.book import book
from trimtab.cli.simulating.running import loaded
from trimtab.resources.cost import MICRO
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Work

SCENARIO = Path(__file__).parents[3] / "examples" / "scenarios" / "case-study.yaml"
PRICES = SCENARIO.with_name("case-study-prices.toml")
PAGE = Path(__file__).parents[3] / "docs" / "case-study.md"


def test_eleven_endpoints_and_two_cost_what_was_published_a_day() -> None:
    assert case_sums.endpoints_day(11) == 316_800_000
    assert case_sums.endpoints_day(2) == 57_600_000


def test_what_was_spent_once_is_saved_after_39_days() -> None:
    saved = case_sums.MONTH_BEFORE - case_sums.MONTH_AFTER

    assert saved == 14_300 * MICRO
    assert case_sums.break_even_days(case_sums.ONCE, saved) == Fraction(18_500 * 30, 14_300)
    assert round(case_sums.break_even_days(case_sums.ONCE, saved)) == 39


def test_the_ratio_of_inference_prices_follows_and_the_prices_hold_at_under_two_percent_utilisation() -> None:
    assert round(case_sums.EACH_BEFORE * Fraction(47, 89), -1) == case_sums.EACH_AFTER
    assert case_sums.utilisation(case_sums.EACH_BEFORE, 47) == Fraction(12, 10) / 3600 / 47 / Fraction(41, 100_000)
    assert Fraction(16, 1000) < case_sums.utilisation(case_sums.EACH_AFTER, 89) < Fraction(2, 100)


def test_dollars_are_rounded_exactly() -> None:
    assert case_sums.dollars(1_234_567_890) == "$1,234.57"
    assert case_sums.dollars(7, 6) == "$0.000007"
    assert case_sums.dollars(23_400 * MICRO, 0) == "$23,400"


def test_the_page_has_the_table_as_it_is_computed() -> None:
    assert case_sums.table() in PAGE.read_text()


def test_the_scenario_costs_what_was_published_to_the_micro_dollar() -> None:
    scenario = loaded(SCENARIO).scenario
    before = next(one for one in scenario.architectures if one.name == "before")

    assert bill_of(simulate(scenario, before), book(PRICES)).micro_usd == case_sums.endpoints_day(11)


def test_hot_endpoints_of_the_scenario_are_12_to_14_percent_busy_off_peak() -> None:
    for workload in loaded(SCENARIO).scenario.workloads:
        work: Work = workload.work["ml.g4dn.xlarge"]
        evening_s = workload.arrivals.start_s + 20 * 3600
        calls = [at_s for chunk in workload.arrivals.chunks(1) for at_s in chunk.at_s[chunk.at_s >= evening_s].tolist()]
        if workload.name in ("fraud-eu", "documents-invoices", "search-base"):
            assert 0.12 < len(calls) * work.mean_s / (4 * 3600) < 0.14, workload.name
        else:
            assert len(calls) < 20, workload.name
