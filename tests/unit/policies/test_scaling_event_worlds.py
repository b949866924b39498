"""Event scaling on simulated queues: quick in a surge, calm in a fluke, sparing with replicas."""

import random
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policies.queue_world import World, constant, exponential, poisson, target, tracking
from trimtab.policies.scaling.headroom import _by_blocks, _by_stretches, usual_rise
from trimtab.policies.scaling.queueing import replicas_for


def world(rates, service, *, seed=0, aim=1.0, bounds=(1, 10), cooldown_s=0.0, **of):
    """What came of Poisson arrivals at (seconds, rate) after one another."""
    rng = random.Random(seed)
    arrivals = poisson(rng, rates)
    made = World(tracking(aim, cooldown_s), target(*bounds), service, rng, **of)
    made.run(arrivals, sum(length_s for length_s, _ in rates))
    made.arrivals = arrivals
    return made


def flips(made):
    """Moments at which the direction changed."""
    return [b.at_s for a, b in pairwise(made.changes) if (a.wanted > a.before) != (b.wanted > b.before)]


def seconds_to(made, since_s, wanted):
    """From the first arrival since then until so many replicas were wanted."""
    first_s = next(at_s for at_s in made.arrivals if at_s >= since_s)
    there = [change.wanted for change in made.changes if change.at_s < first_s]
    if there and there[-1] >= wanted:
        return 0.0
    return next((c.at_s - first_s for c in made.changes if c.at_s >= first_s and c.wanted >= wanted), 99.0)


@pytest.mark.parametrize("service", [constant(0.05), exponential(0.05)], ids=["constant", "exponential"])
def test_twenty_times_a_low_rate_is_answered_within_a_quarter_second(service):
    took_s = sorted(
        seconds_to(world([(66, 1.5), (3, 30)], service, seed=seed, bounds=(1, 4)), 66, 2) for seed in range(120)
    )
    assert sum(each_s <= 0.25 for each_s in took_s) >= 0.9 * len(
        took_s
    )  # six requests have not come sooner in the rest
    assert took_s[-1] <= 0.75


def test_twenty_times_a_high_rate_is_answered_within_a_tenth_of_a_second():
    for seed in range(3):
        made = world([(15, 400), (2, 8000)], constant(1 / 4000), seed=seed, bounds=(1, 4))
        assert seconds_to(made, 15, 3) <= 0.1
        assert made.capacity in (3, 4)


@pytest.mark.parametrize("cooldown_s", [0, 60, 300])
def test_chance_at_a_low_rate_costs_a_tenth_of_a_replica_at_most(cooldown_s):
    made = world([(3600, 1.5)], constant(0.05), seed=7, cooldown_s=cooldown_s)
    assert made.replica_s <= 1.1 * 3600


def test_a_steady_load_gets_what_it_needs_and_keeps_it():
    made = world([(900, 30)], constant(0.05), seed=1, capacity=8)
    assert [change.wanted for change in made.changes] == [replicas_for(1.5, 1.0, 10)]
    assert made.changes[0].at_s >= 60


@pytest.mark.parametrize("start_s", [0.05, 5.0, 30.0])
def test_a_backlog_that_grew_while_replicas_start_is_not_taken_for_load(start_s):
    made = world([(70, 2), (120, 60)], constant(0.05), seed=3, bounds=(1, 30), start_s=start_s)
    needed = replicas_for(3.0, 1.0, 30)
    assert needed <= max(change.wanted for change in made.changes) <= 2 * needed + 1


def test_in_hand_alone_would_have_taken_it_for_load():
    made = world([(70, 2), (120, 60)], constant(0.05), seed=3, bounds=(1, 30), start_s=30.0)
    assert max(made.waits_s) * 60 > 10 * replicas_for(3.0, 1.0, 30)  # so many were in hand


def test_load_that_goes_takes_its_replicas_along_after_the_stable_window():
    made = world([(70, 2), (100, 60), (200, 2)], constant(0.05), seed=5)
    down = [change for change in made.changes if change.wanted < change.before and change.at_s > 170]
    assert 170 + 50 <= down[0].at_s <= 170 + 75
    assert made.capacity == 1


def test_a_backlog_keeps_its_replicas_for_a_stable_window_after_it_has_gone():
    made = world([(70, 2), (60, 200), (250, 2)], constant(0.05), seed=5, bounds=(1, 4))
    gone_s = 130 + (200 * 60 - 80 * 60) / 80
    down = next(change for change in made.changes if change.wanted < change.before and change.at_s > 130)
    assert gone_s + 50 <= down.at_s <= gone_s + 75


def test_bursts_that_come_back_do_not_flap():
    made = world([(1, 40), (19, 0.5)] * 45, constant(0.05), seed=2)
    assert len(flips(made)) <= 2


def test_replicas_that_do_several_requests_at_once_are_not_multiplied():
    made = world([(300, 10), (600, 150), (300, 10)], constant(0.05), aim=4.0, bounds=(1, 20), together=4, seed=4)
    assert made.capacity == 1
    late = [change.wanted for change in made.changes if 500 < change.at_s < 900]
    assert max(late, default=0) <= 4


def test_slow_starts_keep_headroom_for_the_usual_rise_and_quick_ones_do_not():
    waves = [(120, 5), (60, 40)] * 8
    quick, slow = (world(waves, constant(0.05), seed=6, start_s=start_s, bounds=(1, 12)) for start_s in (0.05, 60.0))
    assert quick.state.levels.rise == 0.0
    assert slow.state.levels.rise > 1.0
    late = [change for change in slow.changes if "a start takes" in change.wish.reason]
    assert late


def test_headroom_is_as_much_as_the_policy_asks_for():
    history = (*[1.0, 2.0, 5.0, 3.0] * 30, 4.0)
    most, usual, half = (usual_rise(history, 5.0, quantile) for quantile in (1.0, 0.95, 0.5))
    assert most == 3.0
    assert most >= usual >= half > 0
    assert usual_rise(history, 5.0, 0.0) == 0.0


SHAPES = 200


@pytest.mark.parametrize("tenth", range(10))
def test_random_loads_stay_in_bounds_and_do_not_oscillate(tenth):
    for seed in range(tenth, SHAPES, 10):
        rng = random.Random(seed)
        rates = [(rng.uniform(20, 90), rng.choice([0, 0.5, 3, 10, 25]) * rng.uniform(0.5, 1.5)) for _ in range(4)]
        bounds = (rng.choice([0, 1, 2]), rng.choice([4, 8]))
        service = rng.choice([constant, exponential])(0.05)
        made = world(
            rates, service, seed=seed, bounds=bounds, capacity=max(bounds[0], 1), start_s=rng.choice([0.05, 2, 20])
        )
        assert all(bounds[0] <= change.wanted <= bounds[1] for change in made.changes)
        assert len(flips(made)) <= 2 * len(rates), (seed, made.changes)
        for before, after in pairwise(made.changes):
            if after.wanted < after.before and before.wanted > before.before:
                assert after.at_s - before.at_s >= 5.9


def test_more_load_never_ends_with_fewer_replicas():
    ends = []
    for rate in (1, 4, 12, 25, 50, 90):
        rng = random.Random(rate)
        made = World(tracking(), target(1, 20), constant(0.05), rng)
        made.run([n / rate for n in range(90 * rate)], 90)
        ends.append(made.capacity)
    assert ends == sorted(ends)
    assert ends[-1] >= ceil(90 * 0.05)


@given(
    values=st.lists(st.floats(-100.0, 100.0) | st.just(0.0), max_size=80).map(tuple),
    points=st.integers(1, 40),
)
def test_the_largest_of_so_many_values_in_a_row_is_found_by_blocks_and_by_stretches_alike(values, points):
    plain = tuple(max(values[first : first + points]) for first in range(len(values) - points + 1))
    assert _by_blocks(values, points) == _by_stretches(values, points) == plain
