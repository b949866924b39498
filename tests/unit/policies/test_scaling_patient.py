"""Event scaling for callers who may wait: replicas follow what waits, nothing that is busy goes, what is idle does."""

from __future__ import annotations

import random
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.policies.queue_world import World, constant, exponential, poisson, target, tracking
from trimtab.policies.scaling.event_patient import need, usual_swell
from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.windows import Mark, windows_of

PATIENT = {"StableWindowSeconds": 30}


def world(rates, service, *, seed=0, bounds=(1, 40), patience_s=15.0, idle_s=0.0, aim=1.0, headroom=0, **of):
    """What came of Poisson arrivals at (seconds, rate) after one another, with callers who wait for `patience_s`."""
    rng = random.Random(seed)
    told = tracking(aim, PatienceSeconds=patience_s, PanicWindowSeconds=idle_s, HeadroomQuantile=headroom, **PATIENT)
    made = World(told, target(*bounds), service, rng, **of)
    return made.run(poisson(rng, rates), sum(length_s for length_s, _ in rates))


def load(now, waiting, capacity=10):
    return Load(
        at_s=0.0, capacity=capacity, ready=capacity, in_hand=float(now), now=now, waiting=waiting, arrived=now, ended=0,
        work_s=0.0, start_s=5.0,
    )  # fmt: skip


def test_a_burst_gets_as_many_replicas_as_begin_it_in_time_and_no_more():
    made = world([(60, 0.5), (1, 300), (60, 0.2)], constant(1.0), start_s=5.0, seed=1)
    most = max(change.wanted for change in made.changes)
    assert ceil(240 / 15) <= most <= ceil(1.4 * 300 / 15)  # what a request costs is known of a few only
    assert max(made.waits_s) <= 15.0 + 5.0 + 1.0


def test_it_costs_little_more_than_the_work_that_came():
    rates = [(60, 0.5), *[(1, 200), (59, 0.5)] * 10]
    patient = world(rates, constant(1.0), start_s=5.0, seed=2)
    rng = random.Random(2)
    arrivals = poisson(rng, rates)
    quick = World(tracking(1.0), target(1, 40), constant(1.0), rng, start_s=5.0).run(
        arrivals, sum(length_s for length_s, _ in rates)
    )
    work_s = float(len(arrivals))
    assert patient.replica_s <= 1.5 * work_s  # one replica idles most of the time
    assert quick.replica_s >= 2 * patient.replica_s


def test_what_is_idle_stays_for_the_panic_window_and_then_goes():
    at_once, kept = (
        world([(60, 0.5), (1, 200), (80, 0)], constant(1.0), start_s=2.0, seed=3, idle_s=idle_s)
        for idle_s in (0.0, 20.0)
    )
    assert at_once.capacity == kept.capacity == 1
    assert kept.replica_s - at_once.replica_s >= 0.5 * 20 * 200 / 15


def test_to_zero_after_a_stable_window_without_a_request_and_back_for_one():
    made = world([(60, 1), (120, 0), (10, 1)], constant(0.5), bounds=(0, 4), seed=4)
    down = next(change for change in made.changes if change.wanted == 0)
    assert 60 + 25 <= down.at_s <= 60 + 40
    assert any(change.wanted >= 1 and change.at_s > 180 for change in made.changes)


def test_before_it_is_known_what_requests_cost_what_is_in_hand_decides():
    made = world([(20, 2.0)], constant(60.0), seed=5)
    assert max(change.wanted for change in made.changes) > 4


def test_the_targets_value_is_the_most_that_is_ordered():
    told = [world([(60, 0.5), (1, 200), (60, 0.5)], constant(1.0), start_s=5.0, seed=6, aim=aim) for aim in (1.0, 40.0)]
    most = [max(change.wanted for change in made.changes) for made in told]
    assert most[1] <= ceil(230 / 40) < most[0]


def marks(counts, step_s=1.0):
    """So many requests in each step."""
    made, came = [Mark(0.0, 0, 0, 0.0, 0.0)], 0
    for number, count in enumerate(counts, 1):
        came += count
        made.append(Mark(number * step_s, came, 0, 0.0, 0.0))
    return tuple(made)


def test_a_swell_is_what_comes_beyond_the_average_while_a_replica_starts():
    even, clumps = marks([20] * 60), marks([200 if step % 10 == 5 else 0 for step in range(60)])
    assert usual_swell(even, 5.0, 0.95) == pytest.approx(0.0)
    assert usual_swell(clumps, 5.0, 0.95) == pytest.approx(200 - 20 * 5)
    assert usual_swell(clumps, 5.0, 0.3) == 0.0  # half of the stretches have no clump
    assert usual_swell(clumps, 5.0, 0.0) == 0.0


def test_of_starts_as_long_as_the_window_nothing_is_said():
    clumps = marks([200 if step % 10 == 5 else 0 for step in range(60)])
    assert usual_swell(clumps, 60.0, 0.95) == usual_swell(clumps[:3], 5.0, 0.95) == 0.0


def test_of_a_start_that_is_shorter_than_a_step_a_swell_is_a_part_of_the_steps():
    clumps = marks([40 if step % 4 else 0 for step in range(60)])
    assert usual_swell(clumps, 0.5, 0.95) == pytest.approx(usual_swell(clumps, 1.0, 0.95) / 2)


@given(
    counts=st.lists(st.integers(0, 500), min_size=2, max_size=400),
    start_s=st.floats(0.01, 100),
    quantile=st.floats(0, 1),
)
def test_a_swell_is_never_more_than_all_that_came_and_grows_with_the_quantile(counts, start_s, quantile) -> None:
    swell = usual_swell(marks(counts), start_s, quantile)
    assert 0 <= swell <= sum(counts)
    assert swell <= usual_swell(marks(counts), start_s, 1.0)


def test_room_for_swells_is_kept_between_bursts_and_callers_wait_for_less():
    rates = [(60, 2.0), *[(0.2, 400), (9.8, 2.0)] * 12]
    without, with_room = (
        world(rates, constant(1.0), start_s=5.0, seed=7, idle_s=2.0, patience_s=8.0, headroom=part)
        for part in (0, 0.95)
    )
    quick = [sum(wait <= 6.0 for wait in made.waits_s) / len(made.waits_s) for made in (without, with_room)]
    assert quick[1] > quick[0]
    said = [change.wish.arithmetic for change in with_room.changes if change.wanted > change.before]
    assert any(text.startswith("ceil((") and " + " in text for text in said)


def test_reasons_are_told_in_numbers():
    made = world([(60, 0.5), (1, 200), (60, 0.5)], constant(1.0), start_s=5.0, seed=1)
    up = next(change for change in made.changes if change.wanted > change.before)
    down = next(change for change in made.changes if change.wanted < change.before)
    assert "callers may wait for 15 s" in up.wish.reason
    assert up.wish.arithmetic.endswith(f" / 15 s) = {up.wanted}")
    assert "are busy, and what waits needs" in down.wish.reason
    assert down.wish.arithmetic.endswith(f"= {down.wanted}")


@settings(max_examples=200)
@given(
    now=st.integers(0, 500),
    waits=st.floats(0, 1),
    capacity=st.integers(1, 50),
    work_s=st.floats(0.001, 100),
    together=st.integers(1, 8),
    patience_s=st.floats(0.1, 1000),
)
def test_longer_patience_never_needs_more_and_nobody_busy_is_idle(
    now, waits, capacity, work_s, together, patience_s
) -> None:
    told = load(now, int(now * waits), capacity)
    found, longer = (need(told, work_s, together, seconds) for seconds in (patience_s, 2 * patience_s))
    assert longer.queue <= found.queue
    assert found.queue * patience_s >= told.waiting * work_s * (1 - 1e-6) - 1e-6
    assert found.busy * together >= min(now - told.waiting, capacity * together)
    assert found.busy <= capacity


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rates=st.lists(st.tuples(st.floats(5, 40), st.sampled_from((0, 0.5, 4, 25))), min_size=1, max_size=4),
    start_s=st.sampled_from((0.05, 5.0, 30.0)),
    patience_s=st.sampled_from((1.0, 10.0, 60.0)),
    idle_s=st.sampled_from((0.0, 5.0)),
    bounds=st.sampled_from(((0, 6), (1, 12))),
)
def test_whatever_comes_it_stays_in_bounds_and_answers_all_that_can_be(
    seed, rates, start_s, patience_s, idle_s, bounds
) -> None:
    rates = [*rates, (300.0, 0)]
    made = world(
        rates, exponential(0.3), seed=seed, bounds=bounds, start_s=start_s, patience_s=patience_s, idle_s=idle_s
    )
    assert all(bounds[0] <= change.wanted <= bounds[1] for change in made.changes)
    assert made.capacity == bounds[0]
    assert len(made.waits_s) == len(poisson(random.Random(seed), rates))


@pytest.mark.parametrize("value", ["-1", "nan", "soon", "86401"])
def test_patience_out_of_bounds_is_refused_by_name(value) -> None:
    with pytest.raises(ValueError, match="PatienceSeconds must be a number of seconds from 0 to 86400"):
        windows_of(tracking(1.0, PatienceSeconds=value))


def test_without_patience_the_panic_window_has_a_least_length() -> None:
    assert windows_of(tracking(1.0, PatienceSeconds=5, PanicWindowSeconds=0)).panic_s == 0
    with pytest.raises(ValueError, match="PanicWindowSeconds"):
        windows_of(tracking(1.0, PanicWindowSeconds=0))
