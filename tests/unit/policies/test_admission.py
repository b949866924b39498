"""What a variant takes in."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ModelFailed, NoCapacity
from trimtab.policies.admission import overdue, overfull, oversize
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
