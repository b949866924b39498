"""Batching's decisions: what goes together, when waiting pays, and what a latency target allows."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.policies.batching import (
    ADAPTIVE_ROWS,
    MOST_ROWS,
    Arrivals,
    Batching,
    CostLine,
    Limits,
    limits_of,
    together,
)


@dataclass
class One:
    key: object = "k"
    rows: int = 1
    size_bytes: int = 1


requests = st.lists(
    st.builds(One, st.sampled_from(["a", "b", None]), st.integers(1, 50), st.integers(0, 100)), max_size=40
)
costs = st.tuples(st.floats(1e-5, 1.0), st.floats(1e-6, 0.1))


# --- what a user asks for ------------------------------------------------------------------------------------------


def test_without_a_word_there_is_no_batching():
    assert limits_of({}) is None
    assert limits_of({"SAGEMAKER_TS_BATCH_SIZE": "1", "SAGEMAKER_TS_MAX_BATCH_DELAY": "50"}) is None
    assert limits_of({"TRIMTAB_BATCH_SIZE": "  "}) is None


def test_sagemakers_variables_turn_it_on():
    assert limits_of({"SAGEMAKER_TS_BATCH_SIZE": "8", "SAGEMAKER_TS_MAX_BATCH_DELAY": "50"}) == Limits(
        rows=8, delay_s=0.05
    )
    assert limits_of({"SAGEMAKER_TS_BATCH_SIZE": "8"}) == Limits(rows=8, delay_s=0.1)


def test_trimtabs_own_come_first():
    assert limits_of(
        {"TRIMTAB_BATCH_SIZE": "16", "SAGEMAKER_TS_BATCH_SIZE": "8", "TRIMTAB_BATCH_DELAY_MS": "2.5"}
    ) == Limits(rows=16, delay_s=0.0025)
    assert limits_of({"TRIMTAB_BATCH_SIZE": "1", "SAGEMAKER_TS_BATCH_SIZE": "8"}) is None


def test_a_latency_alone_turns_on_adaptive_batching():
    assert limits_of({"TRIMTAB_BATCH_LATENCY_MS": "20"}) == Limits(rows=ADAPTIVE_ROWS, latency_s=0.02)
    assert limits_of({"TRIMTAB_BATCH_LATENCY_MS": "20", "TRIMTAB_BATCH_SIZE": "64"}) == Limits(rows=64, latency_s=0.02)


@pytest.mark.parametrize("value", ["many", "0", "-1", "2.5", "5000", "nan", "inf", "1e9"])
@pytest.mark.parametrize("name", ["TRIMTAB_BATCH_SIZE", "SAGEMAKER_TS_BATCH_SIZE"])
def test_a_size_that_is_none_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        limits_of({name: value})


@pytest.mark.parametrize("name", ["TRIMTAB_BATCH_DELAY_MS", "SAGEMAKER_TS_MAX_BATCH_DELAY", "TRIMTAB_BATCH_LATENCY_MS"])
@pytest.mark.parametrize("value", ["soon", "-1", "nan", "60001"])
def test_a_time_that_is_none_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        limits_of({"TRIMTAB_BATCH_SIZE": "8", name: value})


# --- what goes together --------------------------------------------------------------------------------------------


@given(requests, st.integers(1, 64), st.integers(1, 500))
def test_a_batch_is_the_oldest_and_what_fits_to_it_in_order(waiting, rows, size_bytes):
    places = together(waiting, rows=rows, size_bytes=size_bytes)

    if not waiting:
        assert places == []
        return
    chosen = [waiting[place] for place in places]
    assert places[0] == 0
    assert places == sorted(set(places))
    assert len({one.key for one in chosen}) == 1
    if len(chosen) > 1:
        assert chosen[0].key is not None
        assert sum(one.rows for one in chosen) <= rows
        assert sum(one.size_bytes for one in chosen) <= size_bytes
    # None of a kind overtakes an older one of its kind.
    kind = [place for place, one in enumerate(waiting) if one.key == chosen[0].key]
    assert places == kind[: len(places)]


@given(requests, st.integers(1, 64))
def test_every_request_gets_its_turn(waiting, rows):
    left, rounds = list(waiting), 0
    while left:
        places = set(together(left, rows=rows, size_bytes=10**9))
        left = [one for place, one in enumerate(left) if place not in places]
        rounds += 1
    assert rounds <= len(waiting)


# --- the cost line -------------------------------------------------------------------------------------------------


@given(costs, st.lists(st.integers(1, 256), min_size=8, max_size=64))
def test_the_line_finds_a_model_that_is_one(cost, sizes):
    base_s, row_s = cost
    assume(max(sizes) - min(sizes) >= 4)
    line = CostLine()
    for rows in sizes * 4:
        line.observe(rows, base_s + row_s * rows)

    assert line.base_s == pytest.approx(base_s, rel=1e-3, abs=1e-6 + row_s * 1e-3)
    assert line.row_s == pytest.approx(row_s, rel=1e-3, abs=base_s * 1e-3)


@given(st.lists(st.tuples(st.integers(1, MOST_ROWS), st.floats(0, 100)), min_size=1, max_size=50))
def test_the_line_never_promises_less_than_nothing(batches):
    line = CostLine()
    for rows, took_s in batches:
        line.observe(rows, took_s)
        assert line.base_s >= 0
        assert line.row_s >= 0
        assert line.cost_s(rows) >= 0


def test_batches_of_one_size_do_not_tell_what_waiting_is_worth():
    line = CostLine()
    for _ in range(1000):
        line.observe(1, 0.001)
    assert line.base_s == 0.0


# --- whether to wait -----------------------------------------------------------------------------------------------


def learned(base_s: float, row_s: float, limits: Limits) -> Batching:
    batching = Batching(limits)
    for rows in (1, 2, 4, 8, 16) * 20:
        batching.observe(rows, base_s + row_s * rows)
    return batching


def arriving(batching: Batching, gap_s: float, count: int = 100) -> float:
    """So many requests, one every `gap_s`; the time of the last."""
    for number in range(1, count + 1):
        batching.arrivals.observe(1, number * gap_s)
    return count * gap_s


@given(costs, st.floats(1e-6, 1.0), st.integers(1, 31))
def test_waiting_is_chosen_exactly_when_the_sum_of_waits_is_smaller(cost, gap_s, rows):
    base_s, row_s = cost
    batching = learned(base_s, row_s, Limits(rows=32, delay_s=1e6))
    now_s = arriving(batching, gap_s)
    waiting = [One() for _ in range(rows)]
    wait_s = batching.wait_s(waiting, rows=rows, oldest_s=now_s, now_s=now_s)

    at_once = rows * (base_s + row_s * rows) + (base_s + row_s * rows - gap_s + base_s + row_s)
    together_ = rows * (gap_s + base_s + row_s * (rows + 1)) + base_s + row_s * (rows + 1)
    assume(abs(at_once - together_) > 1e-3 * at_once)  # the line is fitted, not given
    if base_s + row_s * rows > gap_s:  # the next comes while this batch would be in the model
        assert (wait_s > 0) is (together_ < at_once)
    if wait_s:
        assert wait_s <= base_s


@given(costs, st.floats(1e-6, 10.0), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1))
def test_a_wait_never_outlasts_the_delay_and_no_full_batch_waits(cost, gap_s, rows, delay_s, waited_s):
    batching = learned(*cost, Limits(rows=32, delay_s=delay_s))
    now_s = arriving(batching, gap_s)
    wait_s = batching.wait_s([One()] * rows, rows=rows, oldest_s=now_s - waited_s, now_s=now_s)

    assert 0 <= wait_s <= max(0.0, delay_s - waited_s) + 1e-9
    if rows >= 32:
        assert wait_s == 0


@given(costs, st.integers(1, 31))
def test_one_client_alone_is_never_made_to_wait(cost, rows):
    """Its next request comes after this one's answer: never sooner than a batch takes."""
    base_s, row_s = cost
    batching = learned(base_s, row_s, Limits(rows=32, delay_s=10.0))
    now_s = arriving(batching, base_s + row_s + 1e-5)

    assert batching.wait_s([One()] * rows, rows=rows, oldest_s=now_s, now_s=now_s) == 0


@given(costs, st.floats(1e-6, 0.1))
def test_a_wait_ends_when_nothing_more_comes(cost, gap_s):
    batching = learned(*cost, Limits(rows=32, delay_s=1e6))
    began_s = now_s = arriving(batching, gap_s)
    while (wait_s := batching.wait_s([One()], rows=1, oldest_s=began_s, now_s=now_s)) > 1e-12:
        now_s += wait_s
        assert now_s - began_s <= cost[0] + 1e-9
    assert now_s - began_s <= cost[0] / 2 + 1e-9


@given(costs, st.floats(1e-6, 1.0))
def test_a_request_that_comes_alone_is_begun_at_once_exactly_where_it_would_not_wait(cost, gap_s):
    batching = learned(*cost, Limits(rows=32, delay_s=1e6))
    now_s = arriving(batching, gap_s) + gap_s
    at_once = batching.alone(now_s)

    assert at_once is (batching.wait_s([One()], rows=1, oldest_s=now_s, now_s=now_s) == 0)


def test_what_cannot_be_joined_does_not_wait():
    batching = learned(1.0, 0.001, Limits(rows=32, delay_s=10.0))
    now_s = arriving(batching, 1e-4)
    assert batching.wait_s([One()], rows=1, oldest_s=now_s, now_s=now_s) > 0
    assert batching.wait_s([One(key=None)], rows=1, oldest_s=now_s, now_s=now_s) == 0
    batching.stop()
    assert batching.wait_s([One()], rows=1, oldest_s=now_s, now_s=now_s) == 0
    assert batching.next_batch([One(), One()]) == [0]


def test_the_gap_is_that_of_requests_not_of_readings():
    arrivals = Arrivals()
    arrivals.observe(1, 1.0)
    arrivals.observe(10, 2.0)
    assert arrivals.gap_s(2.0) == pytest.approx(0.1)
    assert arrivals.gap_s(5.0) == pytest.approx(3.0)


# --- a latency target ----------------------------------------------------------------------------------------------


def saturated(batching: Batching, base_s: float, row_s: float, rounds: int = 60) -> list[int]:
    """More requests than the model can take: every batch is full. The bounds that were chosen."""
    bounds = []
    for _ in range(rounds):
        rows = batching.rows
        batching.observe(rows, base_s + row_s * rows)
        bounds.append(rows)
    return bounds


@given(costs, st.floats(1e-3, 2.0), st.integers(2, 512))
def test_the_bound_converges_to_what_the_target_allows(cost, latency_s, most):
    base_s, row_s = cost
    batching = Batching(Limits(rows=most, latency_s=latency_s))
    bounds = saturated(batching, base_s, row_s)

    ideal = min(most, max(1, floor((latency_s * 0.45 - base_s) / row_s)))
    settled = bounds[30:]
    assert all(1 <= rows <= most for rows in bounds)
    assert max(settled) <= ideal + 1
    assert min(settled) >= max(1, floor(ideal * 0.9) - 1)


@given(costs, st.floats(1e-3, 2.0), st.lists(st.floats(0.8, 1.25), min_size=60, max_size=60))
def test_noise_does_not_move_the_bound_far(cost, latency_s, noise):
    base_s, row_s = cost
    batching = Batching(Limits(rows=512, latency_s=latency_s))
    ideal = min(512, max(1, floor((latency_s * 0.45 - base_s) / row_s)))
    for number, factor in enumerate(noise):
        rows = batching.rows
        batching.observe(rows, (base_s + row_s * rows) * factor)
        assert 1 <= batching.rows <= 512
        if number > 30:  # noise may pretend that a batch which takes a quarter more than it should fits
            assert batching.rows <= 2 * ideal + 2 or (base_s + row_s * batching.rows) * 0.8 <= latency_s * 0.45


def test_a_model_that_becomes_slower_is_given_less_at_once():
    batching = Batching(Limits(rows=128, latency_s=0.02))
    assert saturated(batching, 0.0005, 0.00008)[-1] > 90
    before = batching.rows
    batching.observe(before, 0.04)
    assert batching.rows <= before // 2
    assert saturated(batching, 0.001, 0.0005)[-1] == pytest.approx(16, abs=2)
