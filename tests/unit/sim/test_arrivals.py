"""When requests come: as often and as unevenly as was asked for, in order, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sim.worlds import T0, moments, steady
from trimtab.errors import Invalid
from trimtab.sim.arrivals import CHUNK, Counted, Merged, Rates, Thinned, Times, weibull_shape
from trimtab.sim.world import Arrivals


def test_draws_of_known_requests_are_spread_evenly_in_an_order_by_chance() -> None:
    times = Times(at_s=np.linspace(0.0, 10.0, 50), start_s=0.0, end_s=10.0)
    first, second = (next(iter(times.chunks(seed))).uniform for seed in (1, 2))
    assert sorted((first * 50).astype(int)) == list(range(50))
    assert sorted((second * 50).astype(int)) == list(range(50))
    assert (first.argsort() != second.argsort()).any()


def all_of(arrivals: Arrivals, seed: int = 1) -> np.ndarray:
    chunks = [chunk.at_s for chunk in arrivals.chunks(seed)]
    return np.concatenate(chunks) if chunks else np.empty(0)


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("family", ["gamma", "weibull"])
def test_gaps_have_the_mean_and_the_spread_that_were_asked_for(cv: float, family: str) -> None:
    at_s = all_of(steady(50.0, 4000, cv=cv, family=family))
    gaps = np.diff(at_s)
    assert len(at_s) == pytest.approx(200_000, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)


def test_rates_that_change_are_followed_and_nothing_comes_where_there_is_none() -> None:
    rates = Rates(rate=np.array([10.0, 0.0, 100.0]), step_s=100.0, start_s=T0)
    counts, _ = np.histogram(all_of(rates), bins=T0 + np.array([0.0, 100.0, 200.0, 300.0]))
    assert counts[1] == 0
    assert counts[0] == pytest.approx(1000, rel=0.15)
    assert counts[2] == pytest.approx(10_000, rel=0.05)


def test_spread_may_change_from_step_to_step() -> None:
    rates = Rates(rate=np.full(2, 100.0), step_s=1000.0, start_s=T0, cv=np.array([0.2, 3.0]))
    at_s = all_of(rates)
    before, after = np.diff(at_s[at_s < T0 + 1000]), np.diff(at_s[at_s > T0 + 1000])
    assert before.std() / before.mean() == pytest.approx(0.2, rel=0.05)
    assert after.std() / after.mean() == pytest.approx(3.0, rel=0.1)


def test_smooth_rates_keep_the_total() -> None:
    rates = Rates(rate=np.array([10.0, 10.0, 10.0]), step_s=60.0, start_s=T0).smooth(1.0)
    assert rates.step_s == 1.0
    assert rates.end_s == T0 + 180
    assert rates.rate.sum() == pytest.approx(1800.0)


def test_a_chunk_is_bounded_however_many_come() -> None:
    rates = Rates(rate=np.full(40, 50_000.0), step_s=1.0, start_s=T0)
    sizes = [len(chunk.at_s) for chunk in rates.chunks(1)]
    assert max(sizes) <= CHUNK + 50_000
    assert sum(sizes) == pytest.approx(2_000_000, rel=0.01)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=40), st.floats(0.2, 4), st.integers(0, 5))
def test_moments_are_in_order_inside_of_the_span_and_the_same_for_the_same_seed(
    levels: list[float], cv: float, seed: int
) -> None:
    rates = Rates(rate=np.array(levels), step_s=2.0, start_s=T0, cv=cv)
    merged = Merged((rates, rates.scaled(0.5), Times(at_s=np.array([T0, T0 + 1]), start_s=T0, end_s=T0 + 1)))
    for arrivals in (rates, merged, Thinned(arrivals=merged, factor=1.7), Thinned(arrivals=rates, factor=0.4)):
        at_s = all_of(arrivals, seed)
        assert (np.diff(at_s) >= 0).all()
        assert not len(at_s) or T0 <= at_s[0] <= at_s[-1] <= arrivals.end_s
        assert (at_s == all_of(arrivals, seed)).all()
        for chunk in arrivals.chunks(seed):
            assert len(chunk.at_s) == len(chunk.uniform)
            assert (chunk.uniform >= 0).all()
            assert (chunk.uniform < 1).all()


def test_clients_that_are_merged_all_come_each_by_its_own_chance() -> None:
    one = steady(20.0, 500)
    both = all_of(Merged((one, one)))
    assert len(both) == pytest.approx(20_000, rel=0.05)
    assert len(np.unique(both)) == len(both)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.5])
def test_a_factor_makes_so_many_of_them(factor: float) -> None:
    assert len(all_of(Thinned(arrivals=steady(100.0, 200), factor=factor))) == pytest.approx(20_000 * factor, rel=0.05)


def test_known_moments_are_taken_as_they_are() -> None:
    known = moments([0.5, 1.5, 1.5], 3.0, uniform=[0.1, 0.2, 0.3])
    (chunk,) = known.chunks(7)
    assert chunk.at_s.tolist() == [T0 + 0.5, T0 + 1.5, T0 + 1.5]
    assert chunk.uniform.tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("at_s", [[2.0, 1.0], [1.0, float("nan")], [-1.0], [11.0]])
def test_moments_out_of_order_or_span_are_refused(at_s: list[float]) -> None:
    with pytest.raises(Invalid, match="Moments"):
        moments(at_s, 10.0)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"rate": np.array([])}, "Rates"),
        ({"rate": np.array([-1.0])}, "Rates"),
        ({"step_s": 0.0}, "step"),
        ({"cv": 0.0}, "coefficient"),
        ({"cv": np.array([1.0, 1.0])}, "coefficients"),
        ({"family": "pareto"}, "pareto"),
    ],
)
def test_rates_that_mean_nothing_are_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        Rates(**({"rate": np.ones(1), "step_s": 1.0} | more))  # type: ignore[arg-type]


def test_a_weibull_distribution_of_spread_one_is_exponential() -> None:
    assert weibull_shape(1.0) == pytest.approx(1.0)


def test_streams_that_mean_nothing_are_refused() -> None:
    with pytest.raises(Invalid, match="no stream"):
        Merged(())
    for factor in (-1.0, float("nan"), float("inf")):
        with pytest.raises(Invalid, match="scaled"):
            Thinned(arrivals=steady(1.0, 1), factor=factor)


# --- counts ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 400)), min_size=1, max_size=30), st.integers(0, 5))
def test_so_many_come_in_each_span_as_were_counted(spans: list[tuple[float, int]], seed: int) -> None:
    edges_s = np.concatenate([[0.0], np.cumsum([length for length, _ in spans])])
    counts = np.array([count for _, count in spans])
    arrivals = Counted(edges_s=edges_s, counts=counts)
    chunks = list(arrivals.chunks(seed))
    came = np.concatenate([np.empty(0), *(chunk.at_s for chunk in chunks)])
    assert len(came) == arrivals.total
    assert (np.diff(came) >= 0).all()
    upto = np.concatenate([[0], np.cumsum(counts)])
    for row in range(len(counts)):
        inside = came[upto[row] : upto[row + 1]]
        assert ((inside >= edges_s[row]) & (inside <= edges_s[row + 1])).all()


def test_counts_are_drawn_in_chunks_of_bounded_size_the_same_for_the_same_seed() -> None:
    arrivals = Counted(edges_s=np.arange(1001.0), counts=np.full(1000, 1000))
    sizes = [len(chunk.at_s) for chunk in arrivals.chunks(1)]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= CHUNK
    one, same, other = (np.concatenate([chunk.at_s for chunk in arrivals.chunks(seed)]) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize(
    ("edges", "counts"), [([0.0], []), ([0.0, 1.0], [1, 2]), ([1.0, 0.0], [1]), ([0.0, 1.0], [-1])]
)
def test_counts_that_are_none_are_refused(edges: list[float], counts: list[int]) -> None:
    with pytest.raises(Invalid):
        Counted(edges_s=np.array(edges), counts=np.array(counts, dtype=np.int64))


def test_a_chunk_of_one_long_step_is_bounded_too_and_has_its_rate_throughout() -> None:
    rates = Rates(rate=np.array([500.0]), step_s=4000.0, start_s=T0)
    assert max(len(chunk.at_s) for chunk in rates.chunks(1)) <= CHUNK * 1.05
    at_s = all_of(rates)
    assert at_s[0] >= T0
    assert at_s[-1] <= rates.end_s
    assert (np.diff(at_s) >= 0).all()
    counts, _ = np.histogram(at_s, bins=T0 + np.linspace(0.0, 4000.0, 21))
    assert counts == pytest.approx(np.full(20, 100_000.0), rel=0.02)
    assert np.diff(at_s).std() * 500.0 == pytest.approx(1.0, rel=0.01)
