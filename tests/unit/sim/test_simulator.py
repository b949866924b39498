"""The simulator: what goes in comes out, waits are a queue's, alarms are CloudWatch's, policies are the live ones."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.policies.alarms import LATE_S
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import AlarmFired, Input, Load, Scheduled
from trimtab.resources.alarm import AlarmState, Watched
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import (
    SIGNAL_1S,
    SIGNAL_EVENT,
    ScalableTarget,
    ScalingPolicy,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)
from trimtab.sim.latency import Told, histogram_of, quantile, summed, told
from trimtab.sim.load import LoadShape, drawn, of_counts, of_loads, work_of
from trimtab.sim.metrics import Sample, SimAlarm
from trimtab.sim.plant import Machine, Plant
from trimtab.sim.run import OwnAlarm, Run, follow, run

T0 = 1_700_000_040.0  # a whole minute
DIMENSIONS = (("EndpointName", "e"), ("VariantName", "v"))
EVERY_MINUTE = TargetTracking(target_value=600.0, predefined="SageMakerVariantInvocationsPerInstance")
TEN_SECONDS = TargetTracking(target_value=0.7, predefined="SageMakerVariantConcurrentRequestsPerModelHighResolution")
ONE_SECOND = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_1S, DIMENSIONS, 1, "Average"))
EVENT = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, DIMENSIONS, 0, "Average"))


def rules(*tracking: TargetTracking, least: int = 1, most: int = 4, **more: Any) -> Rules:
    target = ScalableTarget(endpoint="e", variant="v", min_capacity=least, max_capacity=most, created_s=T0)
    policies = tuple(
        ScalingPolicy(name=f"p{n}", arn=f"arn:p{n}", endpoint="e", variant="v", created_s=T0, tracking=one)
        for n, one in enumerate(tracking)
    )
    return Rules(target=target, policies=policies, **more)


def surge(before: int = 300, during: int = 300, after: int = 1300) -> LoadShape:
    rate = np.concatenate([np.full(before, 2.0), np.full(during, 40.0), np.full(after, 2.0)])
    return drawn(LoadShape(rate, 1.0, T0), seed=1)


MACHINE = Machine(work_s=0.05, start_s=0.05)


# --- the plant -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 6)), min_size=1, max_size=60), st.floats(0.001, 2))
def test_no_request_is_lost_or_made_whatever_is_ordered(steps: list[tuple[float, int]], work_s: float) -> None:
    plant = Plant(Machine(work_s=work_s, start_s=1.5, drain_s=2.5), ready=1)
    came = gone = 0.0
    for number, (arrivals, wanted) in enumerate(steps):
        plant.scale(wanted, float(number))
        assert plant.capacity == wanted
        plant.turn(float(number))
        seen = plant.step(arrivals, 1.0)
        came, gone = came + arrivals, gone + seen.served
        assert seen.served <= plant.ready * 1.0 / work_s + 1e-9
        assert came == pytest.approx(gone + plant.waiting)
        assert 0 <= seen.busy_s <= plant.ready


def test_a_replica_serves_once_it_has_started_and_costs_until_it_has_drained() -> None:
    plant = Plant(Machine(work_s=0.1, start_s=2.0, drain_s=3.0), ready=1)
    plant.scale(3, 10.0)
    assert (plant.ready, plant.alive, plant.is_settled) == (1, 3, False)
    plant.turn(11.9)
    assert plant.ready == 1
    plant.turn(12.0)
    assert (plant.ready, plant.is_settled) == (3, True)
    plant.scale(1, 20.0)
    assert (plant.ready, plant.alive) == (1, 3)
    plant.turn(23.0)
    assert (plant.alive, plant.is_settled) == (1, True)


def test_what_there_is_no_room_for_is_not_started() -> None:
    plant = Plant(Machine(work_s=0.1, most=2), ready=1)
    assert not plant.scale(4, 0.0)
    assert plant.capacity == 2


# --- latencies -------------------------------------------------------------------------------------------------------


def exact(arrivals: list[float], servers: int, work_s: float) -> list[float]:
    """First come, first served, request by request."""
    free = [0.0] * servers
    taken = []
    for at_s in arrivals:
        start_s = max(at_s, heapq.heappop(free))
        heapq.heappush(free, start_s + work_s)
        taken.append(start_s + work_s - at_s)
    return taken


@pytest.mark.parametrize(("rate", "servers"), [(4, 1), (10, 1), (15, 1), (20, 2), (50, 4), (70, 4), (100, 8)])
def test_percentiles_are_near_those_of_a_queue_simulated_request_by_request(rate: float, servers: int) -> None:
    work_s, seconds = 0.05, 2000
    chance = random.Random(rate)
    moments, at_s = [], 0.0
    while at_s < seconds:
        at_s += chance.expovariate(rate)
        moments.append(at_s)
    truth = np.sort(exact(moments, servers, work_s))
    counts = np.bincount(np.array(moments, dtype=int), minlength=seconds)[:seconds].astype(float)
    load = LoadShape(counts, 1.0, T0)
    found = follow(load, rules(), Machine(work_s=work_s), replicas=servers, orders=()).latencies()
    assert found.p50_s == pytest.approx(float(truth[len(truth) // 2]), rel=0.12)
    assert found.p99_s == pytest.approx(float(truth[int(len(truth) * 0.99)]), rel=0.2)
    assert found.mean_s == pytest.approx(float(truth.mean()), rel=0.12)


def test_requests_that_come_while_there_is_no_replica_wait_until_there_is() -> None:
    load = LoadShape(np.array([0.0, 4.0, 0.0, 0.0, 0.0, 0.0]), 1.0, T0)
    found = follow(load, rules(least=0), Machine(work_s=0.01, start_s=1.0), replicas=0, orders=[(T0 + 3.0, 1)])
    assert found.latencies().p50_s == pytest.approx(2.5, abs=0.1)
    assert found.latencies().unanswered == 0


def test_requests_that_nobody_answers_are_told() -> None:
    load = LoadShape(np.array([3.0, 0.0]), 1.0, T0)
    found = follow(load, rules(least=0), MACHINE, replicas=0, orders=()).latencies()
    assert found.unanswered == found.slow == 3.0


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=200))
def test_quantiles_are_within_their_bins(values: list[float]) -> None:
    points = Told(np.array([values]), np.ones((1, len(values))))
    for part in (0.5, 0.9):
        found = quantile(histogram_of(points), part)
        true = float(np.quantile(values, part, method="inverted_cdf"))
        assert found == pytest.approx(true, rel=0.02)


def test_an_empty_load_has_no_latencies() -> None:
    nothing = told(np.zeros(5), np.zeros(5), np.ones(5), 0.05, 1.0)
    assert summed(nothing).requests == 0


# --- loads -----------------------------------------------------------------------------------------------------------


def test_counts_are_kept_when_they_are_spread_over_seconds() -> None:
    load = of_counts([60.0] * 10, 60.0)
    assert load.total == pytest.approx(600.0)
    assert len(load.arrivals) == 600


def test_a_drawn_load_is_the_same_for_the_same_seed() -> None:
    load = of_counts([60.0, 600.0, 60.0], 60.0)
    assert (drawn(load, 3).arrivals == drawn(load, 3).arrivals).all()
    assert (drawn(load, 3).arrivals != drawn(load, 4).arrivals).any()


@pytest.mark.parametrize("counts", [[], [-1.0], [float("nan")]])
def test_a_load_that_is_none_is_refused(counts: list[float]) -> None:
    with pytest.raises(Invalid):
        of_counts(counts, 60.0)


def a_load(at_s: float, arrived: int, ended: int = 0, work_s: float = 0.0) -> Load:
    return Load(
        at_s=at_s,
        capacity=1,
        ready=1,
        in_hand=0,
        now=0,
        waiting=0,
        arrived=arrived,
        ended=ended,
        work_s=work_s,
        start_s=0,
    )


def test_a_recorded_load_is_what_counters_grew_by() -> None:
    load = of_loads([a_load(T0, 100), a_load(T0 + 2, 104), a_load(T0 + 3, 105)])
    assert load.arrivals.tolist() == pytest.approx([2.0, 2.0, 1.0])


def test_a_gateway_that_went_takes_no_requests_along() -> None:
    load = of_loads([a_load(T0, 100), a_load(T0 + 1, 104), a_load(T0 + 2, 7), a_load(T0 + 3, 9)])
    assert load.total == pytest.approx(6.0)


def test_work_is_what_replicas_were_busy_for_by_request() -> None:
    assert work_of([a_load(T0, 0), a_load(T0 + 1, 10, 10, 0.5), a_load(T0 + 2, 20, 20, 1.0)]) == pytest.approx(0.05)
    assert work_of([a_load(T0, 0), a_load(T0 + 1, 0)]) is None


# --- alarms ----------------------------------------------------------------------------------------------------------


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
        sample = Sample(level, level, 0.0, 0.0, 1, 1, 1.0)
        for one in (quick, slow):
            one.see(T0 + second, sample)
        assert quick.fires(T0 + second + 1) == slow.fires(T0 + second + 1)
        assert quick.state is slow.state


def test_an_alarm_of_minutes_fires_when_the_third_minute_is_over_and_then_each_minute() -> None:
    alarm = SimAlarm(watched(60, "Sum", "GreaterThanThreshold", 100.0, 3))
    fired = []
    for second in range(420):
        alarm.see(T0 + second, Sample(10.0, 1, 0, 0, 1, 1, 1.0))
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


# --- the run ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", [EVERY_MINUTE, TEN_SECONDS, ONE_SECOND, EVENT])
def test_a_surge_scales_out_within_bounds_and_back_in(tracking: TargetTracking) -> None:
    found = run(surge(), rules(tracking), MACHINE)
    assert found.ready.min() >= 1
    assert found.ready.max() == 4
    assert found.ready[-1] < 4
    assert found.latencies().unanswered == 0


def test_faster_signals_react_sooner() -> None:
    first = {}
    for name, tracking in (("60 s", EVERY_MINUTE), ("10 s", TEN_SECONDS), ("1 s", ONE_SECOND), ("event", EVENT)):
        out = next(change for change in run(surge(), rules(tracking), MACHINE).changes if change.wanted > change.before)
        first[name] = out.at_s - T0 - 300
    assert first["event"] <= 2.0
    assert first["event"] < first["1 s"] < first["10 s"] < first["60 s"]
    assert 180 <= first["60 s"] <= 240 + LATE_S


def test_the_same_inputs_give_the_same_run() -> None:
    one, other = (run(surge(), rules(EVENT), MACHINE) for _ in range(2))
    assert one.decisions == other.decisions
    assert (one.ready == other.ready).all()


def test_a_wake_from_zero_answers_what_waits() -> None:
    arrivals = np.zeros(20)
    arrivals[5] = 3.0
    found = run(
        LoadShape(arrivals, 1.0, T0), rules(EVERY_MINUTE, least=0), Machine(work_s=0.05, start_s=0.1), replicas=0
    )
    assert found.latencies().unanswered == 0
    assert found.changes[0].wanted == 1


def test_a_scheduled_action_moves_bounds_and_capacity() -> None:
    due = Scheduled(at_s=T0 + 30, capacity=0, action="monday", min_capacity=3, max_capacity=5)
    found = run(LoadShape(np.ones(60), 1.0, T0), rules(EVERY_MINUTE), MACHINE, given=[due])
    assert found.ready[10] == 1
    assert found.ready[-1] == 3
    assert found.rules.target.max_capacity == 5


def test_a_step_policy_acts_on_its_callers_alarm() -> None:
    policy = ScalingPolicy(
        name="steps", arn="arn:steps", endpoint="e", variant="v", created_s=T0,
        step=StepScaling(adjustment_type="ChangeInCapacity", steps=(StepAdjustment(0.0, None, 2),), cooldown_s=60),
    )  # fmt: skip
    alarm = OwnAlarm("steps", watched(60, "Sum", "GreaterThanThreshold", 600.0, 1))
    found = run(surge(), replace(rules(), policies=(policy,)), MACHINE, own_alarms=[alarm])
    assert [change.wanted for change in found.changes][:1] == [3]


def test_each_step_of_the_reducer_is_noted() -> None:
    noted: list[Input] = []
    run(surge(), rules(EVERY_MINUTE), MACHINE, note=lambda rules, before, given, decisions, after: noted.append(given))
    assert any(isinstance(given, AlarmFired) and given.is_high for given in noted)


def test_steps_too_long_for_a_signal_are_refused() -> None:
    with pytest.raises(Invalid, match="too long"):
        run(LoadShape(np.ones(10), 5.0, T0), rules(ONE_SECOND), MACHINE)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 200), min_size=2, max_size=8), st.sampled_from([EVERY_MINUTE, TEN_SECONDS, EVENT]))
def test_capacity_is_within_the_bounds_whatever_comes(levels: list[float], tracking: TargetTracking) -> None:
    load = LoadShape(np.repeat(np.array(levels), 100), 1.0, T0)
    found = run(load, rules(tracking, least=2, most=5), MACHINE)
    assert found.wanted.min() >= 2
    assert found.wanted.max() <= 5


def test_a_day_of_alarms_takes_a_moment() -> None:
    load = drawn(LoadShape(20 + 19 * np.sin(np.arange(86_400) / 86_400 * 2 * np.pi), 1.0, T0), seed=1)
    began_s = time.process_time()
    found: Run = run(load, rules(EVERY_MINUTE), MACHINE)
    found.latencies()
    assert time.process_time() - began_s < 10
