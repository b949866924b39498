"""What the case study and its neighbours draw and judge, before anything is served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import many_models
from benchmarks.case_models import CaseModel
from benchmarks.case_study import CALLS, day, drawn, pinned_evictions

HOT = [CaseModel(name=name, use="u", kind="k", archive=b"", body=b"", hot=True) for name in CALLS]
COLD = [CaseModel(name=f"cold-{n}", use="u", kind="k", archive=b"", body=b"") for n in range(8)]


def test_calls_fall_where_the_trace_has_some() -> None:
    times = drawn(np.array([0.0, 3.0, 0.0, 1.0]), 4000, np.random.default_rng(1))

    steps = np.bincount((times * 4).astype(int), minlength=4)
    assert steps[0] == steps[2] == 0
    assert steps[1] == pytest.approx(3000, rel=0.1)


def test_a_day_has_every_model_and_is_the_same_again() -> None:
    at, which = day(HOT + COLD, seed=1)

    assert list(at) == sorted(at)
    assert at[0] >= 0
    assert at[-1] < 1
    counts = np.bincount(which, minlength=11)
    assert min(counts[:3]) > 800
    assert 0 < max(counts[3:]) < 60
    again, _ = day(HOT + COLD, seed=1)
    assert np.array_equal(at, again)


def test_only_evictions_of_pinned_models_are_held_against_a_run() -> None:
    assert pinned_evictions([{"evictions": 3, "pinned": False}, {"evictions": 2, "pinned": True}]) == 2


def found(**listed: float) -> dict[str, Any]:
    row = {"p99": 4.0, "longest": 20.0, "own": 5.0}
    kinds = {kind: {"one": dict(row), "many": dict(row)} for kind in many_models.KINDS}
    kinds["listed"]["many"].update(listed)
    return {"kinds": kinds, "listings": {"boto3": {"short": 0}}}


def test_a_wait_beside_a_listing_that_was_not_for_a_core_is_a_stall() -> None:
    assert many_models.reached(found(longest=150.0))
    assert not many_models.reached(found(longest=150.0, own=21.0))


def test_a_listing_that_is_not_whole_is_a_failure() -> None:
    seen = found()
    seen["listings"]["boto3"]["short"] = 1

    assert not many_models.reached(seen)
