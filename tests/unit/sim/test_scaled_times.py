"""When the simulator looks at an endpoint."""

from math import ceil, floor

from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.control.scaling.signal_metrics import CLOSES_S
from trimtab.sim.scaling.scaled import _passes_s

EPOCH_S = 1_700_000_000


@given(st.floats(min_value=0.0, max_value=2e9))
@example(3600 + CLOSES_S)
@example(EPOCH_S + CLOSES_S)
def test_time_passes_once_a_second_and_never_stands_still(now_s: float) -> None:
    passes_s = _passes_s(now_s)
    assert now_s < passes_s <= now_s + 1.0 + 1e-6
    assert abs(passes_s - CLOSES_S - round(passes_s - CLOSES_S)) < 1e-6


def test_it_goes_on_from_each_second_of_a_day() -> None:
    for second in range(86_400):
        at_s = second + CLOSES_S
        assert floor(_passes_s(at_s)) == ceil(at_s)
