"""Arrivals: at the rates that were asked for, in order, and the same from the same seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.patterns import BLOCK, PointArrivals, ProfileArrivals, Schedule
from trimtab.jobs.loadtest.profiles import RateProfile, constant, diurnal, of_counts, steps

rates = st.floats(0.5, 2000)
durations = st.floats(0.5, 20)


@st.composite
def profiles(draw) -> RateProfile:
    widths = draw(st.lists(st.floats(0.1, 5), min_size=1, max_size=8))
    edges = [0.0, *itertools.accumulate(widths)]
    levels = draw(st.lists(st.floats(0, 400), min_size=len(widths), max_size=len(widths)))
    return RateProfile(tuple(edges), tuple(levels))


def times_of(arrivals) -> np.ndarray:
    blocks = list(arrivals.blocks())
    return np.concatenate(blocks) if blocks else np.zeros(0)


@given(profiles(), st.booleans(), st.integers(0, 99))
def test_arrivals_are_in_order_within_the_test_and_as_many_as_the_profile_asks_for(profile, random, seed) -> None:
    times = times_of(ProfileArrivals(profile, random=random, seed=seed))
    assert (np.diff(times) >= 0).all()
    assert not times.size or 0 <= times[0] <= times[-1] <= profile.duration_s
    allowed = 6 * math.sqrt(profile.expected) + 6 if random else 1
    assert abs(times.size - profile.expected) <= allowed


@given(profiles(), st.integers(0, 99))
def test_every_piece_of_a_profile_has_its_own_rate(profile, seed) -> None:
    times = times_of(ProfileArrivals(profile, seed=seed))
    for start, end, rate in zip(profile.edges_s, profile.edges_s[1:], profile.rates, strict=False):
        found = ((times >= start) & (times < end)).sum()
        expected = rate * (end - start)
        assert abs(found - expected) <= 6 * math.sqrt(expected) + 6


@given(rates, durations)
def test_a_constant_load_is_evenly_spaced(rate, duration_s) -> None:
    times = times_of(ProfileArrivals(constant(rate, duration_s), random=False))
    assert times[0] == 0
    assert np.allclose(np.diff(times), 1 / rate)


def test_gaps_of_a_poisson_load_are_exponential() -> None:
    gaps = np.diff(times_of(ProfileArrivals(constant(1000, 100), seed=3)))
    assert np.mean(gaps) == pytest.approx(1e-3, rel=0.02)
    assert np.std(gaps) == pytest.approx(1e-3, rel=0.02)
    assert np.mean(gaps > 2e-3) == pytest.approx(math.exp(-2), rel=0.05)


@given(profiles(), st.integers(0, 99))
def test_a_seed_draws_the_same_again_and_another_one_something_else(profile, seed) -> None:
    arrivals = ProfileArrivals(profile, seed=seed)
    assert np.array_equal(times_of(arrivals), times_of(arrivals))
    other = times_of(ProfileArrivals(profile, seed=seed + 1))
    assert other.size < 3 or not np.array_equal(times_of(arrivals), other)


@given(profiles(), st.integers(0, 9), st.integers(1, 5), st.lists(st.floats(0.1, 5), min_size=1, max_size=4))
def test_shares_of_several_processes_are_together_the_same_requests(profile, seed, processes, weights) -> None:
    schedule = Schedule(ProfileArrivals(profile, seed=seed), tuple(weights), seed)
    whole = requests_of(schedule)
    shared = [request for share in range(processes) for request in requests_of(schedule, share, processes)]
    assert sorted(shared) == sorted(whole)
    assert schedule.count() == len(whole)


def requests_of(schedule: Schedule, share: int = 0, of: int = 1) -> list[tuple[float, int]]:
    return [pair for times, chosen in schedule.blocks(share, of) for pair in zip(times, chosen, strict=True)]


def test_shares_are_equal_across_blocks() -> None:
    schedule = Schedule(ProfileArrivals(constant(1000, 2.5 * BLOCK / 1000), random=False))
    sizes = [len(requests_of(schedule, share, 3)) for share in range(3)]
    assert max(sizes) - min(sizes) <= 1


def test_payloads_are_drawn_by_weight() -> None:
    schedule = Schedule(ProfileArrivals(constant(1000, 20)), (3.0, 1.0, 0.0))
    chosen = [payload for _, payload in requests_of(schedule)]
    assert chosen.count(0) / len(chosen) == pytest.approx(0.75, abs=0.02)
    assert 2 not in chosen


def test_steps_rise_to_the_rate() -> None:
    assert steps(100, 50, 5) == RateProfile((0, 10, 20, 30, 40, 50), (20, 40, 60, 80, 100))


@given(st.floats(1, 500), st.floats(0, 1), st.integers(1, 3))
def test_a_day_goes_from_its_trough_to_its_peak_and_back(rate, trough, days) -> None:
    profile = diurnal(rate, 100.0 * days, day_s=100, trough=trough)
    assert max(profile.rates) == pytest.approx(rate, rel=1e-3)
    assert min(profile.rates) == pytest.approx(rate * trough, abs=rate * 1e-3)
    assert profile.expected == pytest.approx(rate * (1 + trough) / 2 * 100 * days, rel=1e-3)
    assert profile.rates[0] == pytest.approx(min(profile.rates))


@given(profiles(), st.floats(0.1, 10))
def test_scaling_and_speeding_up_change_what_they_say(profile, factor) -> None:
    assert profile.scaled(factor).expected == pytest.approx(profile.expected * factor)
    quick = profile.sped_up(factor)
    assert quick.expected == pytest.approx(profile.expected)
    assert quick.duration_s == pytest.approx(profile.duration_s / factor)


@given(profiles(), st.floats(0.01, 50))
def test_a_cut_profile_is_the_beginning_of_the_whole_one(profile, duration_s) -> None:
    cut = profile.cut(duration_s)
    assert cut.duration_s == min(duration_s, profile.duration_s)
    assert cut.expected <= profile.expected * (1 + 1e-9)
    assert cut.rates == profile.rates[: len(cut.rates)]


def test_nothing_is_sent_where_a_step_is_missing() -> None:
    profile = of_counts([100, 110, 140], [10, 20, 30], 10)
    assert profile == RateProfile((0, 10, 20, 40, 50), (1, 2, 0, 3))


def test_points_are_replayed_as_they_are() -> None:
    arrivals = PointArrivals((0.0, 0.5, 0.5, 2.0), 2.0)
    assert times_of(arrivals).tolist() == [0.0, 0.5, 0.5]
    assert arrivals.expected == 3


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_that_are_none_are_refused(rate) -> None:
    with pytest.raises(Invalid, match="the rate must be a finite number above 0"):
        constant(rate, 1)
    with pytest.raises(Invalid, match="the rate"):
        diurnal(rate, 1, day_s=1, trough=0)
