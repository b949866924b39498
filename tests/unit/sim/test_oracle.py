"""The oracle: no policy is cheaper than its bound, and where the best can be found by trying all, it is close."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from math import inf, isinf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.oracle.bound import Asked, Lower, Terms, lower_bound, work_each
from trimtab.sim.oracle.kernels import cheapest, forced, spread
from trimtab.sim.oracle.windows import summed, window_of

END_S = 40.0


class Life(Struct):
    """A replica, from its order to its end. Those ordered before 0 are ready at 0."""

    ordered_s: float
    ended_s: float


def bound(at_s: Sequence[float], service_s: Sequence[float], terms: Terms, within_s: float, kept: float = 1.0, end_s: float = END_S, cell_s: float | None = None) -> Lower:  # fmt: skip
    asked = [Asked(np.array(at_s, dtype=float), np.array(service_s, dtype=float))]
    return lower_bound(lambda: asked, terms, within_s=within_s, kept=kept, start_s=0.0, end_s=end_s, cell_s=cell_s)


def paid_s(lives: Sequence[Life], terms: Terms, end_s: float = END_S) -> float:
    total = 0.0
    for life in lives:
        until_s = min(life.ended_s, end_s)
        if life.ordered_s >= 0:
            until_s = min(max(until_s, life.ordered_s + terms.least_billed_s), end_s)
        total += max(until_s - max(life.ordered_s, 0.0), 0.0)
    return total


def kept_by(lives: Sequence[Life], terms: Terms, requests: Sequence[tuple[float, float]], within_s: float) -> float:
    """The part that first come, first served keeps: each goes to the slot on which it can begin first."""
    free = [
        [life.ordered_s + terms.start_s if life.ordered_s >= 0 else 0.0, life.ended_s]
        for life in lives
        for _ in range(terms.slots)
    ]
    kept = 0
    for at_s, service_s in sorted(requests):
        able = [slot for slot in free if max(slot[0], at_s) + service_s <= slot[1]]
        if not able:
            continue
        slot = min(able, key=lambda one: one[0])
        slot[0] = max(slot[0], at_s) + service_s
        kept += slot[0] <= at_s + within_s
    return kept / len(requests)


moments = st.floats(0.0, END_S - 1.0)
requests_of = st.lists(st.tuples(moments, st.floats(0.05, 3.0)), min_size=1, max_size=25)
lives_of = st.lists(st.tuples(st.floats(-4.0, END_S), st.floats(0.1, 30.0)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    requests=requests_of,
    drawn=lives_of,
    least=st.integers(0, 2),
    slots=st.integers(1, 2),
    start_s=st.sampled_from((0.0, 0.3, 2.0, 6.0)),
    billed_s=st.sampled_from((0.0, 5.0)),
    within_s=st.floats(0.1, 6.0),
    cell_s=st.sampled_from((None, 0.1, 0.5)),
)
def test_whatever_a_policy_does_it_pays_no_less_than_the_bound_for_what_it_keeps(requests, drawn, least, slots, start_s, billed_s, within_s, cell_s) -> None:  # fmt: skip
    terms = Terms(start_s=start_s, slots=slots, least=least, least_billed_s=billed_s)
    lives = [Life(-1.0, inf)] * least + [
        Life(at_s, (0.0 if at_s < 0 else at_s + start_s) + long_s) for at_s, long_s in drawn
    ]
    kept = kept_by(lives, terms, requests, within_s)
    found = bound(*zip(*requests, strict=True), terms, within_s, kept, cell_s=cell_s)
    assert found.replica_s <= paid_s(lives, terms) + 1e-6


def best_by_trying(requests: Sequence[tuple[float, float]], terms: Terms, within_s: float, steps: int, most: int) -> float:  # fmt: skip
    """The least that any capacity costs that changes at whole seconds; replicas end youngest first."""
    best = inf
    for capacity in itertools.product(range(terms.least, most + 1), repeat=steps):
        lives, living = [], []
        for at_s, count in enumerate([*capacity, 0]):
            while len(living) < count:
                # ordered before 0: it may as well be ready at 0, and costs the same
                living.append(Life(at_s - terms.start_s if at_s >= terms.start_s else -1.0, inf))
                lives.append(living[-1])
            while len(living) > count:
                living.pop().ended_s = float(at_s)
        cost = paid_s(lives, terms, steps)
        if cost < best and kept_by(lives, terms, requests, within_s) >= 1.0:
            best = cost
    return best


@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.integers(0, 3), min_size=1, max_size=5).filter(lambda some: max(Counter(some).values()) <= 3),
    within_s=st.sampled_from((1.0, 2.0)),
    start_s=st.sampled_from((1.0, 2.0, 3.0)),
    least=st.integers(0, 1),
)
def test_the_bound_is_near_what_trying_everything_finds(arrivals, within_s, start_s, least) -> None:
    requests = [(float(at_s), 1.0) for at_s in arrivals]
    terms = Terms(start_s=start_s, least=least)
    best = best_by_trying(requests, terms, within_s, 4 + int(within_s), min(3, len(arrivals)))
    found = bound(*zip(*requests, strict=True), terms, within_s, end_s=4.0 + within_s, cell_s=0.05)
    assert found.replica_s <= best + 1e-6
    if within_s == 1.0 and not isinf(best):  # nothing can be put off: the relaxation has only its grid to lose
        assert found.replica_s >= best - 0.15 * (len(arrivals) + least) - 1e-6


@settings(max_examples=100, deadline=None)
@given(
    came=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    late=st.integers(0, 2),
    least=st.integers(0, 1),
    up_cost=st.sampled_from((0.0, 0.5, 2.0, 5.0)),
    drop_cost=st.sampled_from((0.7, 3.0, inf)),
)
def test_the_programme_finds_the_best_capacity_of_all(came, late, least, up_cost, drop_cost) -> None:
    earliest = np.concatenate(([0], np.cumsum(came))).astype(np.int64)
    latest = np.concatenate((np.zeros(late, dtype=np.int64), earliest))[: len(earliest)]
    ups = np.array([0.0] + [up_cost] * (len(came) - 1))
    best = inf
    for capacity in itertools.product(range(least, 5), repeat=len(came)):
        done, cost, before = 0, 0.0, None
        for cell, count in enumerate(capacity):
            cost += count + (up_cost * max(count - before, 0) if before is not None else 0.0)
            before = count
            done = min(done + count, int(earliest[cell + 1]))
            short = max(int(latest[cell + 1]) - done, 0)
            if short:
                cost, done = cost + short * drop_cost, done + short
        best = min(best, cost)
    caps = np.full(len(came), 4)
    assert cheapest(earliest, latest, least, caps, 1.0, ups, drop_cost) == pytest.approx(best)


def test_a_quiet_time_shorter_than_a_start_is_paid_through_and_a_longer_one_is_not() -> None:
    terms = Terms(start_s=10.0, least=0)
    busy = [(float(second), 1.0) for second in (*range(5), *range(12, 17))]
    short = bound(*zip(*busy, strict=True), terms, 1.0, end_s=60.0, cell_s=0.05).replica_s
    assert short == pytest.approx(17.0, abs=0.2)
    later = [(at_s if at_s < 5 else at_s + 20.0, service_s) for at_s, service_s in busy]
    assert bound(*zip(*later, strict=True), terms, 1.0, end_s=60.0, cell_s=0.05).replica_s == pytest.approx(20.0, abs=0.2)  # fmt: skip


def test_the_least_that_is_billed_raises_the_bound_of_lives_that_are_shorter() -> None:
    plain = Terms(start_s=1.0, least=0)
    billed = Terms(start_s=1.0, least=0, least_billed_s=20.0)
    assert bound([70.0], [1.0], plain, 1.0, end_s=200.0, cell_s=0.05).replica_s == pytest.approx(2.0, abs=0.2)
    assert 15.0 <= bound([70.0], [1.0], billed, 1.0, end_s=200.0, cell_s=0.05).replica_s <= 20.0


def test_the_dearest_requests_are_left_out_as_far_as_the_slo_allows() -> None:
    at_s = [float(second) for second in range(0, 40, 2)]
    peak = [*at_s, *[20.0] * 5]
    terms = Terms(start_s=3.0)
    everything = bound(peak, [1.0] * len(peak), terms, 1.0, cell_s=0.05).replica_s
    all_but_five = bound(peak, [1.0] * len(peak), terms, 1.0, kept=20 / 25, cell_s=0.05).replica_s
    assert everything == pytest.approx(END_S + 5 * 4.0, abs=0.8)
    assert all_but_five == pytest.approx(END_S, abs=0.2)


def test_what_nobody_can_keep_is_infinitely_dear() -> None:
    terms = Terms(start_s=3.0, most=1)
    assert isinf(bound([1.0], [2.0], terms, 1.0).replica_s)
    assert isinf(bound([1.0, 1.0, 1.0], [1.0] * 3, terms, 1.5).replica_s)
    assert not isinf(bound([1.0, 1.0, 1.0], [1.0] * 3, terms, 1.5, kept=0.3).replica_s)


def test_batches_lower_the_work_of_requests_only_where_they_help() -> None:
    terms = Terms(start_s=1.0, slots=2, batch=4, row_s=0.1)
    assert work_each(np.array([0.05, 0.1, 0.5]), terms) == pytest.approx([0.025, 0.05, 0.1])


def test_without_starts_only_the_work_counts() -> None:
    terms = Terms(start_s=0.0, least=1)
    at_s = [float(second) for second in range(10) for _ in range(3)]
    found = bound(at_s, [1.0] * 30, terms, 1.0, end_s=20.0)
    assert found.is_fluid
    assert found.replica_s == pytest.approx(20.0 + 20.0, rel=1e-3)


def test_work_is_spread_over_the_time_in_which_it_may_be_done() -> None:
    into = np.zeros(4)
    spread(into, np.array([0.5, 3.5]), np.array([2.0, 2.0]), np.array([4.0, 4.0]), 1.0)
    assert into == pytest.approx([1.0, 2.0, 1.0, 1.0])
    spread(into, np.array([1.0]), np.array([0.0]), np.array([5.0]), 1.0)
    assert into[0] == pytest.approx(6.0)
    assert forced(np.array([0.0, 3.0, 3.0]), np.array([0.0, 0.0, 3.0]), 1.0) == pytest.approx(1.0)


def test_terms_that_make_no_sense_are_refused() -> None:
    for terms, within_s, kept in ((Terms(start_s=1.0, slots=0), 1.0, 0.9), (Terms(start_s=1.0), 0.0, 0.9), (Terms(start_s=1.0, least=3, most=2), 1.0, 0.9), (Terms(start_s=1.0), 1.0, 1.5)):  # fmt: skip
        with pytest.raises(Invalid):
            bound([1.0], [0.1], terms, within_s, kept)


@settings(max_examples=200, deadline=None)
@given(
    requests=requests_of,
    drawn=lives_of,
    least=st.integers(0, 2),
    start_s=st.sampled_from((0.3, 2.0, 6.0)),
    within_s=st.floats(0.1, 6.0),
    cuts=st.lists(st.floats(1.0, END_S - 1.0), max_size=3, unique=True),
    threshold_s=st.floats(0.0, 3.0),
    most_steps=st.sampled_from((0.0, 1e5, 1e7)),
)
def test_windows_summed_are_no_more_than_what_any_policy_pays(requests, drawn, least, start_s, within_s, cuts, threshold_s, most_steps) -> None:  # fmt: skip
    terms = Terms(start_s=start_s, least=least)
    lives = [Life(-1.0, inf)] * least + [
        Life(at_s, (0.0 if at_s < 0 else at_s + start_s) + long_s) for at_s, long_s in drawn
    ]
    kept = kept_by(lives, terms, requests, within_s)
    edges = [0.0, *sorted(cuts), END_S]
    windows = []
    for begin_s, end_s in itertools.pairwise(edges):
        inside = [one for one in requests if begin_s <= one[0] < end_s]
        asked = [Asked(np.array([at for at, _ in inside]), np.array([takes for _, takes in inside]))]
        windows.append(
            window_of(
                lambda asked=asked: asked,
                terms,
                within_s=within_s,
                start_s=begin_s,
                end_s=end_s,
                threshold_s=threshold_s,
                most_steps=most_steps,
            )
        )
    assert summed(windows, kept) <= paid_s(lives, terms) + 1e-6


def test_one_window_says_what_the_bound_says_up_to_the_prices_that_are_tried() -> None:
    rng = np.random.default_rng(1)
    at_s, service_s = np.sort(rng.uniform(0, 600, 2000)), rng.exponential(1.0, 2000)
    terms = Terms(start_s=5.0)
    asked = [Asked(at_s, service_s)]
    whole = lower_bound(lambda: asked, terms, within_s=8.0, kept=0.999, start_s=0.0, end_s=600.0).replica_s
    threshold_s = float(np.sort(service_s[service_s <= 8.0])[-2])
    window = window_of(
        lambda: asked, terms, within_s=8.0, start_s=0.0, end_s=600.0, threshold_s=threshold_s, most_steps=1.5e8
    )
    assert whole * 0.99 <= summed([window], 0.999) <= whole + 1e-6
    assert isinf(summed([window], 1.0)) == bool((service_s > 8.0).any())


def test_windows_of_several_kinds_are_not_summed() -> None:
    asked = [Asked(np.array([1.0]), np.array([0.5]))]
    made = [
        window_of(lambda: asked, Terms(start_s=1.0), within_s=1.0, start_s=0.0, end_s=9.0, threshold_s=threshold_s)
        for threshold_s in (1.0, 2.0)
    ]
    with pytest.raises(ValueError, match="one threshold"):
        summed(made, 0.9)
