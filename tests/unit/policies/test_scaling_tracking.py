"""Target tracking: the formula, the metrics that AWS predefines, and the alarms that a policy needs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.policies.scaling_targets import DIMENSIONS, event, steps, tracks, tracks_1s
from trimtab.metrics.names import TRIMTAB
from trimtab.policies.scaling import tracking
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import SIGNAL_10S, SIGNAL_EVENT, SIGNAL_NAMESPACE, TargetTracking


@pytest.mark.parametrize(
    ("current", "metric", "target", "wanted"),
    [
        (1, 4.0, 1.0, 4),
        (4, 10.0, 10.0, 4),
        (4, 10.01, 10.0, 5),
        (2, 8.0, 10.0, 2),  # one alone would have 16
        (10, 0.0, 10.0, 0),
        (10, 1e-300, 10.0, 1),  # there is load
        (0, 100.0, 10.0, 0),
        (3, 0.1, 0.3, 1),  # 3 * 0.1 / 0.3 is a little more than 1 in floating point
        (7, 0.7, 0.07, 70),
        (1, 1e300, 1e-300, 1_000_000),
        (1, -5.0, 1.0, 0),
    ],
)
def test_capacity_is_in_proportion_rounded_up(current, metric, target, wanted):
    assert tracking.capacity(current, metric, target) == wanted


@given(st.integers(1, 1000), st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_capacity_is_the_least_that_keeps_the_metric_at_or_below_the_target(current, metric, target):
    wanted = tracking.capacity(current, metric, target)
    total = current * metric
    assert wanted == 1_000_000 or total <= wanted * target * (1 + 1e-8)
    assert wanted <= 1 or total > (wanted - 1) * target * (1 - 1e-8)


@given(st.integers(0, 1000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_a_higher_metric_never_asks_for_less(current, one, two, target):
    less, more = sorted((one, two))
    assert tracking.capacity(current, less, target) <= tracking.capacity(current, more, target)


def alarms(policy):
    return tracking.alarms_of(policy, "id-1", "id-2")


def test_a_standard_metric_has_3_and_15_minutes_and_AWS_names():
    high, low = alarms(tracks(target_value=70.0))
    assert high.name == "TargetTracking-endpoint/e/variant/v-AlarmHigh-id-1"
    assert low.name == "TargetTracking-endpoint/e/variant/v-AlarmLow-id-2"
    assert high.description == low.description == "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy arn:track."
    assert (high.is_high, low.is_high) == (True, False)
    stat = MetricStat("AWS/SageMaker", "InvocationsPerInstance", DIMENSIONS, 60, "Sum")
    assert high.watched.stat == low.watched.stat == stat
    assert (high.watched.comparison, high.watched.threshold, high.watched.evaluation_periods) == (
        "GreaterThanThreshold",
        70.0,
        3,
    )
    assert (low.watched.comparison, low.watched.evaluation_periods) == ("LessThanThreshold", 15)
    assert math.isclose(low.watched.threshold, 63.0)
    assert high.watched.treat_missing == low.watched.treat_missing == "missing"
    assert high.watched.datapoints_to_alarm is None


def test_the_high_resolution_metric_has_3_and_90_times_ten_seconds():
    high, low = alarms(tracks(predefined="SageMakerVariantConcurrentRequestsPerModelHighResolution"))
    assert high.watched.stat == MetricStat("AWS/SageMaker", "ConcurrentRequestsPerModel", DIMENSIONS, 10, "Maximum")
    assert (high.watched.evaluation_periods, low.watched.evaluation_periods) == (3, 90)


def test_trimtabs_1_s_signal_has_3_and_60_seconds():
    high, low = alarms(tracks_1s())
    assert high.watched.period_s == 1
    assert (high.watched.evaluation_periods, low.watched.evaluation_periods) == (3, 60)


def test_a_signal_has_its_own_period_whatever_was_said():
    stat = MetricStat("trimtab/Endpoints", SIGNAL_10S, DIMENSIONS, 60, "Average")
    high, low = alarms(tracks(predefined="", stat=stat))
    assert (high.watched.period_s, high.watched.evaluation_periods, low.watched.evaluation_periods) == (10, 3, 90)


def test_metric_math_is_watched_as_it_was_declared():
    queries = (
        MetricQuery("m1", MetricStat("my", "metric", (), 60, "Sum"), return_data=False),
        MetricQuery("e1", expression="m1 / 2"),
    )
    high, low = alarms(tracks(predefined="", queries=queries))
    assert high.watched.stat is None
    assert high.watched.queries == low.watched.queries == queries
    assert low.watched.evaluation_periods == 15


def test_a_policy_that_decides_by_events_or_steps_has_no_alarms_of_its_own():
    assert alarms(event()) == alarms(steps("s", (0, None, 1))) == ()


def test_disable_scale_in_keeps_both_alarms():
    assert len(alarms(tracks(disable_scale_in=True))) == 2


def test_only_trimtabs_own_event_signal_decides_by_events():
    def tracks_event_of(namespace: str) -> TargetTracking:
        stat = MetricStat(namespace, SIGNAL_EVENT, DIMENSIONS, 60, "Average")
        return TargetTracking(target_value=1.0, stat=stat)

    assert SIGNAL_NAMESPACE == TRIMTAB
    assert tracks_event_of(SIGNAL_NAMESPACE).is_event
    assert not tracks_event_of("Mine").is_event
