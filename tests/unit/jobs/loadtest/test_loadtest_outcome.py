"""What is made of counts: SLOs, figures, documents."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest_server import evenly

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.crew import Run
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.slo import Slo, quantile_with_failures
from trimtab.jobs.loadtest.tally import Tally, sketch_of
from trimtab.metrics.sketch import Sketch


def tally_of(latencies: list[float], *, failed: int = 0, late: int = 0) -> Tally:
    tally = Tally(due=len(latencies) + failed, sent=len(latencies) + failed, answered=len(latencies))
    tally.answered_in_time = len(latencies) - late
    tally.step(0).due = tally.due
    tally.step(0).latency = Sketch.of(latencies)
    tally.step(0).answered = len(latencies)
    tally.service = Sketch.of(latencies)
    tally.lag = Sketch.of([1e-5] * tally.due)
    if failed:
        tally.fail("ModelError", 424, "no", failed)
    return tally


positive = st.floats(1e-9, 1e6)


@given(st.lists(st.one_of(positive, st.just(0.0)), max_size=200))
def test_many_values_at_once_are_the_sketch_of_each(values) -> None:
    mine, theirs = sketch_of(np.asarray(values, dtype=np.float64)), Sketch.of(values)
    assert (mine.count, mine.min, mine.max) == (theirs.count, theirs.min, theirs.max)
    assert mine.sum == pytest.approx(theirs.sum)
    assert mine.buckets == theirs.buckets


@given(st.lists(st.lists(positive, min_size=1, max_size=30), min_size=1, max_size=5))
def test_tallies_add_up(parts) -> None:
    total = Tally()
    for part in parts:
        total.merge(tally_of(part, failed=len(part)))
    count = sum(map(len, parts))
    assert (total.answered, total.failed, total.due) == (count, count, 2 * count)
    assert total.latency().count == count
    assert total.latency().max == max(max(part) for part in parts)


def test_an_slo_is_kept_or_says_why_not() -> None:
    slo = Slo("p99", 0.2, 0.01)
    assert str(slo) == "p99 <= 200 ms, errors <= 1%"
    assert slo.broken_by(tally_of([0.1] * 1000), 10) == []
    assert slo.broken_by(tally_of([0.1] * 985 + [0.3] * 15), 10) == ["p99 is 299 ms (limit 200 ms)"]  # to within 1 %
    [rate, latency] = slo.broken_by(tally_of([0.1] * 95, failed=5), 10)
    assert "5.00% of the requests failed (limit 1.00%)" in rate
    assert "endless" in latency
    assert slo.broken_by(Tally(), 10) == ["no request was answered"]


def test_a_queue_that_only_grows_keeps_no_slo() -> None:
    [why] = Slo("p99", 0.2).broken_by(tally_of([0.1] * 1000, late=100), 10)
    assert why == "the queue grew: 100 requests were still open at the end"
    assert Slo("p99", 2.0).broken_by(tally_of([0.1] * 1000, late=100), 10) == []  # they are within their time


def test_failures_count_as_slower_than_anything() -> None:
    tally = tally_of([0.1] * 98 + [0.2], failed=1)
    assert quantile_with_failures(tally, 0.99) == pytest.approx(0.2, rel=0.02)
    assert quantile_with_failures(tally, 0.999) == float("inf")


def test_an_slo_can_be_lost_before_the_end() -> None:
    slo, tally = Slo("p99", 0.2), tally_of([0.1] * 100)
    assert not slo.lost(tally, 1000)
    tally.late_answers = 12
    assert slo.lost(tally, 1000)
    assert not slo.lost(tally, 2000)


def test_there_are_only_so_many_quantiles() -> None:
    with pytest.raises(Invalid, match="no quantile 'p42'"):
        Slo("p42", 1)


def test_a_document_holds_what_was_measured_and_null_for_what_was_not() -> None:
    plan = evenly(100, 1)
    outcome = Outcome(plan, Run(tally_of([0.01] * 99, failed=1), 0.0, 1.0), Slo("p99", 0.2))
    document = json.loads(json.dumps(outcome.document(), allow_nan=False))
    assert document["schema"] == "trimtab.bench/1"
    assert (document["offered_per_s"], document["achieved_per_s"], document["error_rate"]) == (100, 99, 0.01)
    assert document["errors"] == [{"kind": "ModelError", "status": 424, "count": 1, "example": "no"}]
    assert document["latency_s"]["p99"] == pytest.approx(0.01, rel=0.01)
    assert document["stream"] is None
    assert document["slo"]["kept"] is True
    assert document["timeline"]["steps"][0]["due"] == 100
    empty = Outcome(plan, Run(Tally(), 0.0, 1.0)).document()
    assert (empty["latency_s"], empty["slo"], empty["timeline"]["steps"]) == (None, None, [])


def test_a_long_test_is_told_in_longer_steps() -> None:
    assert evenly(1, 900).step_s == 1
    assert evenly(1, 3600).step_s == 4


def test_a_plan_that_is_larger_than_allowed_is_refused_before_it_is_drawn() -> None:
    assert evenly(100, 10).requests() == 1000
    assert evenly(100, 10, warm_up_s=1, warm_up_rate=50).requests() == 1050
    with pytest.raises(Invalid, match="1,000,000,000,000 requests, more than --max-requests 1,000,000"):
        evenly(1e6, 1e6).requests()
    with pytest.raises(Invalid, match="more than --max-requests 999"):
        evenly(100, 10, max_requests=999).requests()
