from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.spares import BURST_S, LATELY_S, MOST, SPARE_BYTES, largest_burst, pause_s, wanted

GIB = 2**30
TIMES = st.lists(st.floats(0, 5000), max_size=50).map(sorted)


def count(births_s: list[float], now_s: float = 5000.0, waiting: int = 0, available: int = 8 * GIB) -> int:
    return wanted(births_s, waiting=waiting, now_s=now_s, available_bytes=available, total_bytes=16 * GIB)


def test_none_before_the_first_order() -> None:
    assert count([]) == 0


def test_as_many_as_came_at_once_lately() -> None:
    assert count([100, 100.1, 100.2, 110, 110.1], now_s=111) == 3


def test_one_is_kept_when_nothing_has_come_for_long() -> None:
    assert count([100, 100.1, 100.2], now_s=101 + LATELY_S) == 1


def test_none_when_memory_is_short_and_those_that_wait_are_to_go() -> None:
    assert count([4999], waiting=3, available=GIB) == 0


def test_no_more_than_fit_beside_what_must_stay_free() -> None:
    births_s = [4999.0] * 8
    assert count(births_s, available=int(1.6 * GIB) + 2 * SPARE_BYTES + 1) == 2
    assert count(births_s, waiting=1, available=int(1.6 * GIB) + 2 * SPARE_BYTES + 1) == 3


@given(TIMES, st.integers(0, MOST), st.integers(0, 32 * GIB))
def test_never_more_than_the_most_nor_fewer_than_none(births_s: list[float], waiting: int, available: int) -> None:
    assert 0 <= count(births_s, waiting=waiting, available=available) <= MOST


@given(TIMES, st.integers(0, 16 * GIB), st.integers(0, GIB))
def test_more_memory_never_means_fewer(births_s: list[float], available: int, more: int) -> None:
    assert count(births_s, available=available) <= count(births_s, available=available + more)


@given(TIMES.filter(bool))
def test_a_burst_is_the_most_orders_that_lie_so_close_together(births_s: list[float]) -> None:
    assert largest_burst(births_s) == max(sum(1 for b in births_s if a <= b and b - a <= BURST_S) for a in births_s)


def test_pauses_grow_with_failures_in_a_row_and_have_an_end() -> None:
    assert pause_s(0) == 0
    assert [pause_s(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert pause_s(1000) == 600
