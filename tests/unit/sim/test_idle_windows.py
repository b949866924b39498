"""What the simulator learns of idle environments in machine code is what the live policy learns, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.policies.serverless.keep_warm import REMEMBERED, SHORT_S, IdleTimes

pytest.importorskip("numba")

from trimtab.sim.serverless import idle_windows

IDLE_S = st.floats(SHORT_S, 1e5) | st.sampled_from([SHORT_S, 5.0, 300.0, 300.5, 86_400.0])


@settings(deadline=None)
@given(times=st.lists(IDLE_S, max_size=3 * REMEMBERED), cold_s=st.sampled_from([840.0, 90.0, 40.0, 4000.0]))
def test_every_window_on_the_way_is_the_same(times: list[float], cold_s: float) -> None:
    policy, learned = IdleTimes(), idle_windows.learned(2)
    from_s, until_s = np.zeros(idle_windows.SPANS), np.zeros(idle_windows.SPANS)
    for idle_s in times:
        policy.add(idle_s)
        idle_windows.add(learned, 1, idle_s)
        spans = idle_windows.window(learned, 1, cold_s, from_s, until_s)
        assert tuple(zip(from_s[:spans], until_s[:spans], strict=True)) == policy.window(cold_s).spans
    assert learned.known.tolist() == [0, min(len(times), REMEMBERED)]


def test_before_any_idle_time_the_standard_holds() -> None:
    from_s, until_s = np.zeros(idle_windows.SPANS), np.zeros(idle_windows.SPANS)
    spans = idle_windows.window(idle_windows.learned(1), 0, 840.0, from_s, until_s)
    assert tuple(zip(from_s[:spans], until_s[:spans], strict=True)) == IdleTimes().window(840.0).spans
