"""How the benchmark of the simulator against live compares, and what is asked in its cases."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.sim_live_cases import CASES, asks, moments
from benchmarks.sim_vs_live import Seen, between, compared

SEEN = Seen(usd=1.0, replica_s=100.0, p50_s=0.1, p99_s=0.2, requests=10, lost=0)


def test_each_simulation_is_held_against_the_run_that_it_was_recorded_of() -> None:
    live = [SEEN, replace(SEEN, replica_s=200.0)]
    made = [[replace(SEEN, replica_s=104.0), replace(SEEN, replica_s=106.0)], [replace(SEEN, replica_s=190.0)]]
    found = compared(live, made)["replica_s"]
    assert found["simulated"] == [105.0, 190.0]
    assert found["off"] == pytest.approx(0.05)  # one too high and one too low do not make up for each other
    assert found["spread"] == pytest.approx(100 / 150)


def test_a_figure_is_kept_within_its_goal_or_the_chance_that_live_runs_show() -> None:
    made = [[replace(SEEN, usd=1.03, p99_s=0.215)]] * 2
    alike = compared([SEEN, SEEN], made)
    assert (alike["usd"]["kept"], alike["replica_s"]["kept"], alike["p99_s"]["kept"]) == (False, True, True)
    apart = compared([replace(SEEN, usd=1.0), replace(SEEN, usd=1.06)], [[replace(SEEN, usd=1.04)]] * 2)
    assert apart["usd"]["kept"]


def test_a_scenario_is_of_the_time_in_which_its_policy_was_there(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("arrivals: {trace: t.csv.gz, from: '2026-01-01T00:00:00', until: '2026-01-01T00:01:00'}")
    between(path, 1_767_225_602.25, 1_767_225_663.5)
    assert "from: '2026-01-01T00:00:02.250', until: '2026-01-01T00:01:03.500'}" in path.read_text()


def test_both_runs_of_a_case_are_asked_the_same() -> None:
    for case in CASES.values():
        once, again = (list(itertools.islice(asks(case, "e"), 30)) for _ in range(2))
        assert once == again
        assert moments(case.rates(40.0), 7) == moments(case.rates(40.0), 7)
        assert moments(case.rates(40.0), 7)[-1] <= 40.0
    assert len(set(itertools.islice(asks(CASES["ocr"], "e"), 30))) == 5
