"""What a variant takes in."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ModelFailed, NoCapacity
from trimtab.policies.admission import Impatience, Refusals, overdue, overfull, oversize
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


def test_refusals_now_and_then_are_no_crowd():
    refusals = Refusals()
    assert not any(refusals.crowd(float(second)) for second in range(100, 110))


@given(st.lists(st.floats(0, 0.01), min_size=1, max_size=3000))
def test_more_refusals_than_their_budget_are_a_crowd(gaps_s):
    refusals, now_s, quiet_s = Refusals(), 1000.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        if not refusals.crowd(now_s):
            quiet_s.append(now_s)
    burst = Refusals.PER_S * Refusals.BURST_S
    within_1_s = max((sum(first <= at <= first + 1.0 for at in quiet_s) for first in quiet_s[::100]), default=0)
    assert within_1_s <= Refusals.PER_S + burst + 2


def test_a_crowd_is_forgotten_soon_after_it_has_gone():
    refusals = Refusals()
    assert [refusals.crowd(1000.0) for _ in range(5000)][-1]
    assert not refusals.crowd(1000.0 + 2 * Refusals.BURST_S + 0.01)


def test_who_asks_again_at_once_waits_twice_as_long_each_time_up_to_a_bound():
    impatience, now_s, pauses_s = Impatience(), 1000.0, []
    for _ in range(15):
        pauses_s.append(impatience.pause_s(now_s))
        now_s += pauses_s[-1]
    assert pauses_s[:4] == [0.02, 0.04, 0.08, 0.16]
    assert pauses_s[-1] == Impatience.MOST_S


@given(st.lists(st.floats(0.071, 60), min_size=1))
def test_who_backs_off_by_itself_is_never_held_for_long(gaps_s):
    impatience, now_s = Impatience(), 1000.0
    for gap_s in gaps_s:
        assert impatience.pause_s(now_s) == Impatience.FIRST_S
        now_s += gap_s


def test_a_clock_that_goes_back_begins_anew():
    impatience = Impatience()
    impatience.pause_s(1000.0)
    assert impatience.pause_s(10.0) == Impatience.FIRST_S
