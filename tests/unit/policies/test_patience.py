"""Looking costs processor time, so it is for traffic that is quick anyway."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.patience import ALONE_IN_A_ROW, LOOK_MOST_S, Gaps
from trimtab.policies.patience import look_s as look_after

gaps = st.floats(0, 100, allow_nan=False)


def look_s(expected_s: float) -> float:
    return look_after(expected_s, ALONE_IN_A_ROW)


@given(gaps, st.integers(0, ALONE_IN_A_ROW - 1))
def test_requests_that_come_together_are_never_looked_for(expected_s: float, alone_in_a_row: int) -> None:
    assert look_after(expected_s, alone_in_a_row) == 0


@given(gaps)
def test_nobody_looks_longer_than_the_bound_nor_for_what_comes_later(expected_s: float) -> None:
    assert look_s(expected_s) == (LOOK_MOST_S if expected_s <= LOOK_MOST_S else 0.0)


def test_who_has_seen_no_traffic_sleeps() -> None:
    assert look_s(Gaps().average_s) == 0


@given(st.lists(gaps, max_size=50))
def test_quick_traffic_is_looked_for_soon_whatever_was_before(earlier: list[float]) -> None:
    pauses = Gaps()
    for gap_s in earlier:
        pauses.observe(gap_s)
    for _ in range(40):
        pauses.observe(LOOK_MOST_S / 2)
    assert look_s(pauses.average_s) > 0


@given(st.floats(0.005, 100))
def test_one_real_pause_ends_it(pause_s: float) -> None:
    pauses = Gaps()
    for _ in range(100):
        pauses.observe(0.0)
    pauses.observe(pause_s)
    assert look_s(pauses.average_s) == 0
