"""CloudWatch's view of a simulation: alarms are in the state, and fire at the time, that AWS's rules give."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sim.worlds import DIMENSIONS, T0
from trimtab.errors import Invalid
from trimtab.policies.alarms import LATE_S
from trimtab.resources.alarm import AlarmState, Watched
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.sim.scaling.metrics import Sample, SimAlarm


def a_second(arrivals: float, in_hand: float | None = None) -> Sample:
    """Of one replica."""
    hand = arrivals if in_hand is None else in_hand
    return Sample(
        arrivals=arrivals, in_hand=hand, waiting=0.0, busy_s=0.0, ready=1, wanted=1, span_s=1.0, least_hand=hand,
        most_hand=hand,
    )  # fmt: skip


def watched(period_s: int, stat: str, comparison: str, threshold: float, periods: int, **more: Any) -> Watched:
    name = "Invocations" if stat == "Sum" else "ConcurrentRequestsPerModel"
    return Watched(
        stat=MetricStat("AWS/SageMaker", name, DIMENSIONS, period_s, stat), comparison=comparison, threshold=threshold,
        evaluation_periods=periods, **more,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(60, "Sum"), (10, "Maximum"), (1, "Average"), (300, "Sum"), (30, "Maximum")]),
    st.lists(st.integers(0, 6), min_size=4, max_size=12),
    st.integers(1, 4),
    st.booleans(),
)
def test_an_alarm_is_in_the_state_that_judging_all_its_points_gives(
    of: tuple[int, str], levels: list[int], periods: int, high: bool
) -> None:
    period_s, stat = of
    alarm = watched(
        period_s, stat, "GreaterThanThreshold" if high else "LessThanThreshold",
        3.0 * (period_s if stat == "Sum" else 1), periods,
    )  # fmt: skip
    quick = SimAlarm(alarm)
    slow = SimAlarm(alarm)
    slow._points = -(10**9)  # it never knows enough to do without `judge`
    for second in range(len(levels) * max(10, period_s)):
        level = float(levels[second // max(10, period_s)])
        sample = a_second(level)
        for one in (quick, slow):
            one.see(T0 + second, sample)
        assert quick.fires(T0 + second + 1) == slow.fires(T0 + second + 1)
        assert quick.state is slow.state


def test_an_alarm_of_minutes_fires_when_the_third_minute_is_over_and_then_each_minute() -> None:
    alarm = SimAlarm(watched(60, "Sum", "GreaterThanThreshold", 100.0, 3))
    fired = []
    for second in range(420):
        alarm.see(T0 + second, a_second(10.0, in_hand=1.0))
        if alarm.fires(T0 + second + 1):
            fired.append(second + 1)
    assert fired[0] == 180 + LATE_S
    assert [b - a for a, b in itertools.pairwise(fired[1:])] == [60] * (len(fired) - 2)
    assert alarm.state is AlarmState.ALARM


@pytest.mark.parametrize(
    "broken",
    [
        Watched(queries=(MetricQuery("e", expression="1"),), comparison="GreaterThanThreshold", threshold=1, evaluation_periods=1),
        Watched(stat=MetricStat("My", "Own", (), 60, "Sum"), comparison="GreaterThanThreshold", threshold=1, evaluation_periods=1),
        watched(60, "p99", "GreaterThanThreshold", 1.0, 1),
    ],
)  # fmt: skip
def test_what_the_model_does_not_have_is_refused_by_name(broken: Watched) -> None:
    with pytest.raises(Invalid, match="simulat"):
        SimAlarm(broken)
