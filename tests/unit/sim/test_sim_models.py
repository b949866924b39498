"""A replica of many models under a virtual clock, and what no choice of models can beat."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.policies.models.cache import ModelCache
from trimtab.policies.models.inputs import Set
from trimtab.sim.models.bound import bound
from trimtab.sim.models.one_replica import SimModel, Timing, Trace, run
from trimtab.sim.models.rivals import Rival

MIB = 2**20
AT_ONCE = Timing(fetch_s=0.0, serve_s=1e-6, unload_s=0.0)


def model(name: str, mib: int, load_s: float) -> SimModel:
    return SimModel(name=name, kind="onnx", artifact_bytes=mib * MIB, footprint_bytes=mib * MIB, load_s=load_s)


def trace(models: list[SimModel], asked: list[tuple[float, int]]) -> Trace:
    asked = sorted(asked)
    return Trace(models, np.array([at for at, _ in asked]), np.array([which for _, which in asked], dtype=np.int64))


def test_a_trace_that_fits_loads_each_model_once() -> None:
    given = trace([model("a", 10, 1.0), model("b", 10, 2.0)], [(float(i), i % 2) for i in range(100)])
    found = run(given, ModelCache(100 * MIB))
    assert (found.loads, found.load_s, found.refused) == (2, 3.0, 0)
    assert found.evictions == {}
    assert found.waits_s[0] == 1.0 + Timing().fetch_s
    assert (found.waits_s[10:] == 0).all()


def test_pinned_models_are_never_given_up() -> None:
    rng = np.random.default_rng(1)
    models = [model(f"m{i}", 10, 1.0) for i in range(20)]
    given = trace(models, [(float(at), int(rng.integers(20))) for at in np.cumsum(rng.exponential(1.0, 2000))])
    found = run(given, ModelCache(50 * MIB), first=(Set((), {"m7": "pinned", "m8": "pinned"}),))
    assert "m7" not in found.evictions
    assert "m8" not in found.evictions
    assert sum(found.evictions.values()) > 100
    assert found.most_bytes <= 50 * MIB


def test_what_is_dear_to_load_is_kept_better_than_by_recency_alone() -> None:
    rng = np.random.default_rng(2)
    models = [model(f"m{i}", 10, 5.0 if i < 5 else 0.2) for i in range(20)]
    given = trace(models, [(float(at), int(rng.integers(20))) for at in np.cumsum(rng.exponential(2.0, 3000))])
    live = run(given, ModelCache(100 * MIB)).load_s
    lru = run(given, Rival(given, 100 * MIB, "lru")).load_s
    assert live < 0.5 * lru
    assert live >= bound(given, 100 * MIB, late_s=0.2).least_s


WORLDS = st.tuples(
    st.lists(st.tuples(st.integers(1, 4), st.floats(0.1, 5.0)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3)), min_size=1, max_size=9, unique_by=lambda one: one[0]),
    st.integers(1, 8),
)


@settings(deadline=None, max_examples=60)
@given(WORLDS)
def test_no_choice_of_what_to_keep_saves_more_than_the_bound(world: tuple) -> None:  # type: ignore[type-arg]
    """Against all choices: each gap kept or not, where what is kept fits at all times."""
    shapes, asked, memory_mib = world
    models = [model(f"m{i}", mib, load_s) for i, (mib, load_s) in enumerate(shapes)]
    given_trace = trace(models, [(float(at), which % len(models)) for at, which in asked])
    gaps = []
    last: dict[int, float] = {}
    for at, which in zip(given_trace.at_s, given_trace.which, strict=True):
        if int(which) in last:
            gaps.append((last[int(which)], float(at), models[which]))
        last[int(which)] = float(at)
    best = 0.0
    for kept in itertools.product((False, True), repeat=len(gaps)):
        chosen = [gap for gap, keep in zip(gaps, kept, strict=True) if keep]
        moments = [begin for begin, _, _ in chosen]
        if all(
            sum(one.footprint_bytes for begin, end, one in chosen if begin <= at < end) <= memory_mib * MIB
            for at in moments
        ):
            best = max(best, sum(one.load_s for _, _, one in chosen))
    assert bound(given_trace, memory_mib * MIB, slices=20, rounds=30).saved_s >= best - 1e-6


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(4, 20))
def test_whatever_policy_runs_it_loads_no_less_than_the_bound_says(seed: int, memory_mib: int) -> None:
    rng = np.random.default_rng(seed)
    models = [model(f"m{i}", int(rng.integers(1, 4)), float(rng.uniform(0.01, 0.2))) for i in range(12)]
    given_trace = trace(models, [(float(at), int(rng.integers(12))) for at in np.cumsum(rng.exponential(0.5, 200))])
    for policy in (Rival(given_trace, memory_mib * MIB, "lru"), Rival(given_trace, memory_mib * MIB, "gdsf")):
        found = run(given_trace, policy, AT_ONCE)
        assert found.load_s >= bound(given_trace, memory_mib * MIB, late_s=found.late_s, rounds=30).least_s - 1e-6
