"""Which variant, which lane, and how much a lane may hold."""

import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.routing import WINDOW_MOST, Pace, SmoothWeighted, least_outstanding


@dataclass
class Lane:
    outstanding: int
    window: int = 64
    ready: bool = True


LANES = st.lists(st.builds(Lane, st.integers(0, 5), st.integers(1, 5), st.booleans()), max_size=8)


@given(LANES, st.integers())
def test_a_request_goes_to_a_ready_lane_with_room_and_the_fewest_outstanding(lanes, seed):
    chosen = least_outstanding(lanes, random.Random(seed).random)
    open_lanes = [lane for lane in lanes if lane.ready and lane.outstanding < lane.window]
    if not open_lanes:
        assert chosen is None
    else:
        assert chosen in open_lanes
        assert chosen.outstanding == min(lane.outstanding for lane in open_lanes)


def test_ties_are_drawn_evenly():
    lanes = [Lane(1), Lane(0), Lane(0), Lane(0)]
    draw = random.Random(3).random
    counts = Counter(id(least_outstanding(lanes, draw)) for _ in range(6000))
    assert set(counts) == {id(lane) for lane in lanes[1:]}
    assert all(1800 < count < 2200 for count in counts.values())


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any))
def test_shares_are_exact_over_a_round(weights):
    turns = SmoothWeighted(weights)
    counts = Counter(turns.next() for _ in range(sum(weights) * 2))
    assert [counts[index] for index in range(len(weights))] == [2 * weight for weight in weights]


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=4))
def test_fractional_weights_come_close_at_any_time(weights):
    turns = SmoothWeighted(weights)
    total = sum(map(Fraction, weights))
    counts = Counter()
    for sent in range(1, 200):
        counts[turns.next()] += 1
        for index, weight in enumerate(weights):
            assert abs(counts[index] - sent * float(Fraction(weight) / total)) < len(weights)


def test_a_variant_of_weight_zero_gets_nothing_and_all_zero_is_nobody():
    assert {SmoothWeighted([0, 3]).next() for _ in range(10)} == {1}
    assert SmoothWeighted([0, 0]).next() is None
    assert SmoothWeighted([]).next() is None


@pytest.mark.parametrize(
    ("gap_s", "concurrency", "window"),
    [(0.000_001, 1, WINDOW_MOST), (0.0005, 1, 4), (0.002, 1, 1), (0.3, 1, 1), (0.3, 4, 4), (0.000_001, 300, 300)],
)
def test_a_lane_holds_two_milliseconds_of_work(gap_s, concurrency, window):
    pace = Pace(concurrency)
    assert pace.window == concurrency
    for _ in range(100):
        pace.observe(gap_s)
    assert pace.window in (window, window - 1) if window > 1 else pace.window == window


@given(st.lists(st.floats(0, 100), max_size=50), st.integers(1, 200))
def test_a_lane_that_batches_holds_two_full_batches_at_least(gaps_s, batch_size):
    pace = Pace(1, batch_size)
    assert pace.window == 2 * batch_size
    for gap_s in gaps_s:
        assert 2 * batch_size <= pace.observe(gap_s) <= max(WINDOW_MOST, 2 * batch_size)


@given(st.lists(st.floats(0, 100), max_size=50), st.integers(0, 80))
def test_a_window_is_never_smaller_than_the_lane_can_work_on(gaps_s, concurrency):
    pace = Pace(concurrency)
    for gap_s in gaps_s:
        assert max(1, concurrency) <= pace.observe(gap_s) <= max(WINDOW_MOST, concurrency)
