"""Forecasts of load, and what is made of them."""

import csv
import math
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.policies.scaling.predictive import forecast, wanted
from trimtab.resources.scaling import Predictive

HOUR_S, DAY_S = 3600.0, 86400.0
BEGIN_S = 1_800_000_000.0 // DAY_S * DAY_S
POLICY = Predictive(target_value=2.0, mode="ForecastAndScale")


def daily(days, step_s=HOUR_S, level=1.0):
    """Loads that rise and fall with the hour, and rest on two days of the week."""
    points = []
    for step in range(int(days * DAY_S / step_s)):
        at_s = step * step_s
        working = 1.0 if int(at_s // DAY_S) % 7 < 5 else 0.2
        points.append((BEGIN_S + at_s, level * working * (2 + math.sin(2 * math.pi * at_s / DAY_S))))
    return points


@pytest.mark.parametrize("step_s", [300.0, 3600.0])
def test_a_load_that_repeats_by_day_and_week_is_foreseen(step_s):
    points = daily(16, step_s)
    now_s = BEGIN_S + 14 * DAY_S
    made = forecast([point for point in points if point[0] < now_s], now_s, 2 * DAY_S - step_s)
    assert made[0][0] == now_s
    assert [at_s for at_s, _ in made] == [at_s for at_s, _ in points if at_s >= now_s]
    assert [load for _, load in made] == pytest.approx([load for at_s, load in points if at_s >= now_s], rel=1e-6)


def test_a_level_that_has_risen_is_carried_on_in_part():
    points = [*daily(13), *((at_s, 2 * load) for at_s, load in daily(14)[13 * 24 :])]
    now_s = BEGIN_S + 14 * DAY_S
    made, before = forecast(points, now_s, DAY_S), forecast(daily(14), now_s, DAY_S)
    assert made[0][1] > 1.5 * before[0][1]
    assert all(1.2 * usual <= risen <= 2 * usual for (_, usual), (_, risen) in zip(before, made, strict=True))


def test_a_day_must_have_been_seen():
    now_s = BEGIN_S + 23 * HOUR_S
    assert forecast(daily(1)[:23], now_s, DAY_S) == []
    assert len(forecast(daily(1), now_s + HOUR_S, DAY_S)) == 25
    assert forecast([], now_s, DAY_S) == []


def test_only_the_last_fourteen_days_count():
    now_s = BEGIN_S + 40 * DAY_S
    assert forecast(daily(20), now_s, DAY_S) == []


def test_an_hour_that_is_not_over_does_not_count():
    now_s = BEGIN_S + 7.5 * HOUR_S + 3 * DAY_S
    points = daily(4)[: 3 * 24 + 7]
    half = [*points, (BEGIN_S + 3 * DAY_S + 7 * HOUR_S, 1e6)]
    assert forecast(half, now_s, DAY_S) == forecast(points, now_s, DAY_S)


def test_gaps_leave_the_days_that_were_seen():
    points = [point for index, point in enumerate(daily(14)) if index % 24 not in (5, 6) or index < 48]
    made = dict(forecast(points, BEGIN_S + 14 * DAY_S, DAY_S))
    assert len(made) == 25
    assert made[BEGIN_S + 14 * DAY_S + 5 * HOUR_S] > 0


def test_points_at_irregular_times_are_refused():
    points = [(BEGIN_S + 7001 * step, 1.0) for step in range(40)]
    with pytest.raises(ValueError, match="points at regular times"):
        forecast(points, BEGIN_S + 7001 * 40, DAY_S)


@given(st.lists(st.tuples(st.integers(0, 14 * 24), st.floats(0, 1e9)), max_size=200), st.floats(0, 16 * DAY_S))
def test_whatever_was_seen_a_forecast_is_finite_and_within_reason(rows, after_s):
    points = [(BEGIN_S + hour * HOUR_S, load) for hour, load in rows]
    made = forecast([*points, *daily(1)], BEGIN_S + after_s, DAY_S)
    most = max([load for _, load in points], default=0.0) + 3
    assert all(0 <= load <= 6 * most for _, load in made)
    assert all(later[0] - earlier[0] >= HOUR_S - 1 for earlier, later in pairwise(made))


def taxi():
    rows = csv.DictReader((Path(__file__).parent / "data" / "nyc_taxi_hourly.csv").read_text("utf-8").splitlines())
    hours = [(datetime.fromisoformat(row["hour"] + ":00"), float(row["passengers_per_half_hour"])) for row in rows]
    return [(hour.replace(tzinfo=UTC).timestamp(), load) for hour, load in hours]


@pytest.mark.parametrize(("days", "share"), [(7, 0.85), (14, 0.6)])
def test_on_real_traffic_it_errs_less_than_yesterdays_figures(days, share):
    points = taxi()
    real, errs, naive_errs = dict(points), 0.0, 0.0
    for hours in range(0, 7 * 24, 7):
        now_s = points[0][0] + days * DAY_S + hours * HOUR_S
        for at_s, load in forecast([point for point in points if point[0] < now_s], now_s, DAY_S - HOUR_S):
            if at_s in real:
                errs += abs(load - real[at_s])
                naive_errs += abs(real[at_s - DAY_S] - real[at_s])
    assert errs < share * naive_errs


FORECAST = [(BEGIN_S + 300 * step, load) for step, load in enumerate([4.0, 10.0, 6.0, 30.0])]


def test_capacity_is_there_a_buffer_before_the_load():
    assert wanted(POLICY, FORECAST, BEGIN_S, max_capacity=100) == 5.0
    assert wanted(replace(POLICY, buffer_s=0), FORECAST, BEGIN_S, max_capacity=100) == 2.0
    assert wanted(replace(POLICY, buffer_s=900), FORECAST, BEGIN_S + 10, max_capacity=100) == 15.0
    assert wanted(POLICY, FORECAST, BEGIN_S + 1100, max_capacity=100) == 15.0


def test_forecast_only_decides_nothing():
    assert wanted(Predictive(target_value=1.0), FORECAST, BEGIN_S, max_capacity=9) is None


def test_without_a_forecast_for_now_there_is_nothing_to_decide():
    assert wanted(POLICY, [], BEGIN_S, max_capacity=9) is None
    assert wanted(POLICY, FORECAST, BEGIN_S + 1200, max_capacity=9) is None
    assert wanted(POLICY, FORECAST, BEGIN_S - 301, max_capacity=9) is None


def test_the_maximum_is_honoured_unless_it_may_be_increased():
    later_s = BEGIN_S + 800
    assert wanted(POLICY, FORECAST, later_s, max_capacity=9) == 9.0
    assert wanted(replace(POLICY, max_capacity_breach="IncreaseMaxCapacity"), FORECAST, later_s, max_capacity=9) == 15.0
