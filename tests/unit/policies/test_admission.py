"""What a variant takes in."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ModelFailed, NoCapacity
from trimtab.policies.admission import Refusals, overdue, overfull, oversize
from trimtab.resources.routing import VariantRoute

ROUTE = VariantRoute(name="v", weight=1, lanes=(), max_queue=3, max_payload_bytes=100, timeout_s=2)


@given(st.integers(0, 1000))
def test_bodies_up_to_the_limit_are_taken(size_bytes):
    refusal = oversize(ROUTE, size_bytes)
    assert (refusal is None) == (size_bytes <= 100)
    assert refusal is None or (refusal.limit_bytes == 100 and str(size_bytes) in str(refusal))


@given(st.integers(0, 10))
def test_the_queue_is_bounded(waiting):
    assert (overfull(ROUTE, waiting=waiting) is None) == (waiting < 3)


def test_time_in_a_replica_is_the_models_and_time_in_the_queue_is_ours():
    sent = overdue(ROUTE, sent=True)
    assert isinstance(sent, ModelFailed)
    assert sent.status == 0
    assert "timed out while waiting for a response from container primary" in str(sent)
    assert isinstance(overdue(ROUTE, sent=False), NoCapacity)


def test_one_refusal_now_and_then_costs_its_caller_nothing():
    refusals = Refusals()
    assert [refusals.pause_s(float(second)) for second in range(100, 110)] == [0.0] * 10


@given(st.lists(st.floats(0, 0.01), min_size=1, max_size=3000))
def test_refusals_are_spaced_so_that_they_stay_within_their_budget(gaps_s):
    refusals, now_s, ends_s = Refusals(), 1000.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        pause_s = refusals.pause_s(now_s)
        assert 0.0 <= pause_s <= Refusals.MOST_S
        if pause_s < Refusals.MOST_S:
            ends_s.append(now_s + pause_s)
    burst = Refusals.PER_S * Refusals.BURST_S
    within_1_s = max((sum(first <= end <= first + 1.0 for end in ends_s) for first in ends_s[::100]), default=0)
    assert within_1_s <= Refusals.PER_S + burst + 2


def test_a_clock_that_goes_back_holds_nobody_longer_than_the_longest_pause():
    refusals = Refusals()
    refusals.pause_s(1000.0)
    assert refusals.pause_s(10.0) <= Refusals.MOST_S
