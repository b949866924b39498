"""Which models go for room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.models.eviction import Candidate, victims
from trimtab.policies.models.memory import Size

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        model=st.uuids().map(str),
        version=st.just("1"),
        size=st.builds(Size, st.integers(1, 1000), st.sampled_from([0, 0, 10, 500])),
        loss=st.floats(0, 100),
    ),
    max_size=20,
)
NEEDS = st.builds(Size, st.integers(-10, 3000), st.sampled_from([-1, 0, 0, 300]))


@given(CANDIDATES, NEEDS)
def test_enough_goes_or_nothing_and_nothing_that_is_not_needed(candidates: list[Candidate], need: Size) -> None:
    chosen = victims(candidates, need)
    everything = sum((one.size for one in candidates), Size())
    freed = sum((one.size for one in chosen), Size())
    if not need.lack.fits(everything):
        assert chosen == ()
        return
    assert need.lack.fits(freed)
    for one in chosen:
        assert not need.lack.fits(freed - one.size), "each of them is needed"


@given(CANDIDATES, st.integers(1, 3000))
def test_none_goes_that_is_worth_more_a_byte_than_one_that_stays_and_would_do(
    candidates: list[Candidate], need: int
) -> None:
    chosen = {one.model for one in victims(candidates, Size(need))}
    densest = max((one.loss / one.size.bytes for one in candidates if one.model in chosen), default=0.0)
    low = [one for one in candidates if one.loss / one.size.bytes < densest]
    if chosen and sum(one.size.bytes for one in low) >= need:
        assert all(one.loss / one.size.bytes <= densest for one in candidates if one.model in chosen)
        raise AssertionError("cheaper ones would have sufficed")


def test_gpu_memory_that_is_short_is_freed_by_models_that_have_some() -> None:
    plain = Candidate("plain", "1", Size(1000, 0), 0.1)
    on_gpu = Candidate("gpu", "1", Size(10, 500), 5.0)
    assert victims([plain, on_gpu], Size(0, 300)) == (on_gpu,)
