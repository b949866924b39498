"""The simulator: waits are a queue's, nothing is lost, costs add up, policies are the live ones, equal seeds are equal."""

from __future__ import annotations

import heapq
from math import factorial, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.sim.worlds import (
    EVENT,
    EVERY_MINUTE,
    ONE_SECOND,
    T0,
    TEN_SECONDS,
    moments,
    policies,
    simulated,
    steady,
    surge,
    workload,
)
from trimtab.errors import Invalid
from trimtab.resources.alarm import Watched
from trimtab.resources.cost import Part
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import (
    Predictive,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    TargetTracking,
)
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Fault, Mode, Outcome, OwnAlarm, Scenario, Serving, Work

EXPONENTIAL = tuple(-log(1 - part) for part in np.linspace(0.0, 1 - 1e-5, 20_001))
"""Quantiles of mean 1 (its last point is not endless)."""

# --- queues of which the truth is known ---------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [0.3, 0.6, 0.8])
def test_waits_with_equal_work_are_those_of_an_m_d_1_queue(used: float) -> None:
    found = simulated(steady(used / 0.05, 20_000), 0.05).served[0]
    assert found.mean_s == pytest.approx(0.05 + 0.05 * used / (2 * (1 - used)), rel=0.02)


@pytest.mark.parametrize(("servers", "used"), [(1, 0.5), (2, 0.7), (8, 0.8)])
@pytest.mark.parametrize("as_slots", [False, True])
def test_waits_with_exponential_work_are_those_of_an_m_m_c_queue(servers: int, used: float, as_slots: bool) -> None:
    quantiles = tuple(0.05 * one for one in EXPONENTIAL)
    work = Work(quantiles_s=quantiles, slots=servers if as_slots else 1)
    replicas = 1 if as_slots else servers
    load = used * servers
    found = simulated(
        steady(load / work.mean_s, int(600_000 / load * work.mean_s)),
        work,
        min_replicas=replicas,
        max_replicas=replicas,
    ).served[0]
    last = load**servers / factorial(servers) / (1 - used)
    waits = last / (sum(load**n / factorial(n) for n in range(servers)) + last)
    assert found.mean_s == pytest.approx(work.mean_s * (1 + waits / (servers * (1 - used))), rel=0.05)


def first_come_first_served(at_s: list[float], takes: list[float], servers: int) -> list[float]:
    free = [0.0] * servers
    took = []
    for came_s, takes_s in zip(at_s, takes, strict=True):
        start_s = max(came_s, heapq.heappop(free))
        heapq.heappush(free, start_s + takes_s)
        took.append(start_s + takes_s - came_s)
    return took


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 0.99)), min_size=1, max_size=80),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_each_request_takes_what_a_queue_request_by_request_gives(
    requests: list[tuple[float, float]], replicas: int, slots: int
) -> None:
    requests = sorted(requests)
    at_s, uniform = [at for at, _ in requests], [u for _, u in requests]
    work = Work(quantiles_s=(0.1, 2.0), slots=slots)
    found = simulated(
        moments(at_s, 20.0, uniform), work, min_replicas=replicas, max_replicas=replicas, timeout_s=1e6
    ).served[0]
    came_s = [T0 + at for at in at_s]  # on the same clock: beside an epoch time, seconds are rounded
    truth = first_come_first_served(came_s, work.service_s(np.array(uniform)).tolist(), replicas * slots)
    assert found.answered == len(requests)
    assert found.mean_s == pytest.approx(float(np.mean(truth)), rel=1e-6)
    assert found.max_s == pytest.approx(max(truth), rel=1e-6)
    assert found.p50_s == pytest.approx(float(np.quantile(truth, 0.5, method="inverted_cdf")), rel=0.012)


def test_a_free_replica_takes_as_many_as_make_a_batch() -> None:
    found = simulated(moments([0.0, 0.1, 0.2, 0.3, 0.4], 10.0), Work(quantiles_s=(1.0,), row_s=0.1, batch=3)).served[0]
    # Alone until 1.0; three until 2.2; the last until 3.2.
    assert found.mean_s * 5 == pytest.approx(1.0 + (2.2 - 0.1) + (2.2 - 0.2) + (2.2 - 0.3) + (3.2 - 0.4))


# --- what may not happen ------------------------------------------------------------------------------------------------

TRACKING = [EVERY_MINUTE, TEN_SECONDS, ONE_SECOND, EVENT]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=8),
    st.sampled_from([*TRACKING, None]),
    st.sampled_from([Mode.REAL_TIME, Mode.ASYNC]),
    st.sampled_from([0.0, 0.05, 7.0]),
    st.sampled_from([None, 3.0]),
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 300), st.sampled_from(["kill", "spot", "slow", "outage"])), max_size=3),
    st.integers(0, 9),
)
def test_no_request_is_lost_or_made_and_costs_add_up_whatever_happens(
    levels: list[float],
    tracking: TargetTracking | None,
    mode: Mode,
    start_s: float,
    drain_s: float | None,
    is_spot: bool,
    faults: list[tuple[float, str]],
    seed: int,
) -> None:
    from trimtab.sim.arrivals import Rates

    arrivals = Rates(rate=np.array(levels), step_s=40.0, start_s=T0)
    found = simulated(
        arrivals, Work(quantiles_s=(0.02, 0.1), slots=2, batch=2), seed=seed, mode=mode, min_replicas=1, max_replicas=5,
        start_s=start_s, drain_s=drain_s, is_spot=is_spot, queue=100, timeout_s=5.0,
        policies=() if tracking is None else policies(tracking),
        faults=tuple(Fault(at_s=T0 + at_s, endpoint="e", kind=kind, factor=3.0, lasting_s=20.0) for at_s, kind in faults),
    )  # fmt: skip
    served, used = found.served[0], found.used[0]
    came = sum(len(chunk.at_s) for chunk in arrivals.chunks(_seed_of_w(seed)))
    assert served.requests == used.requests == came
    assert served.answered + served.refused + served.failed + served.waiting == came
    assert served.histogram.sum() == served.answered
    assert sum(used.parts.values()) == pytest.approx(used.replica_s)
    assert min(used.parts.values(), default=0.0) >= 0
    # what was ordered is at least what was ready
    assert used.replica_s >= 0.9 * sum(used.parts.get(part, 0) for part in (Part.SERVING, Part.HEADROOM, Part.IDLE))
    assert all(decision.made for decision in used.decisions)


def _seed_of_w(seed: int) -> int:
    from zlib import crc32

    return crc32(b"w", seed)


def same(one: Outcome, other: Outcome) -> bool:
    pairs = [(one.served[0].histogram, other.served[0].histogram)]
    first, second = one.used[0].series, other.used[0].series
    assert first is not None
    assert second is not None
    pairs += [(getattr(first, name), getattr(second, name)) for name in ("requests", "ready", "wanted", "p99_s")]
    arrays = all(np.array_equal(left, right, equal_nan=True) for left, right in pairs)

    def rest(outcome: Outcome) -> Any:
        nothing = np.empty(0)
        return (
            replace(outcome.served[0], histogram=nothing).mean_s,
            outcome.served[0].max_s,
            outcome.used[0].parts,
            outcome.used[0].decisions,
        )

    return arrays and rest(one) == rest(other)


@pytest.mark.parametrize("tracking", TRACKING)
def test_equal_seeds_give_equal_outcomes_bit_for_bit_and_others_do_not(tracking: TargetTracking) -> None:
    runs = [simulated(surge(), 0.05, seed=seed, max_replicas=4, policies=policies(tracking)) for seed in (3, 3, 4)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_a_workload_meets_the_same_requests_whoever_serves_it() -> None:
    one, other = (
        workload(steady(5, 100), Work(quantiles_s=(0.01, 0.1)), "a"),
        workload(steady(9, 100), Work(quantiles_s=(0.02,)), "b"),
    )
    plain = {"mode": Mode.REAL_TIME, "instance_type": "x", "min_replicas": 4, "max_replicas": 4}
    apart = Architecture(
        name="apart",
        endpoints=tuple(Serving(name=name, workloads=(name,), **plain) for name in "ab"),  # type: ignore[arg-type]
    )
    joint = Architecture(name="joint", endpoints=(Serving(name="j", workloads=("a", "b"), **plain),))  # type: ignore[arg-type]
    scenario = Scenario(name="s", workloads=(one, other), architectures=(apart, joint))
    found = [simulate(scenario, architecture) for architecture in (apart, joint)]
    for of_apart, of_joint in zip(found[0].served, found[1].served, strict=True):
        assert of_apart.workload == of_joint.workload
        assert of_apart.requests == of_joint.requests
        assert of_apart.p50_s == pytest.approx(of_joint.p50_s, rel=0.02)


# --- limits -------------------------------------------------------------------------------------------------------------


def test_one_that_waits_too_long_fails_and_one_that_finds_the_queue_full_is_refused() -> None:
    found = simulated(moments([0.0, 0.1, 0.2, 0.3], 20.0), 3.0, queue=2, timeout_s=5.0).served[0]
    # The first takes until 3; the second fails at 5.1 in work, the third at 5.2 in the queue; the fourth is refused.
    assert (found.answered, found.failed, found.refused, found.waiting) == (1, 2, 1, 0)


def test_asynchronous_requests_wait_for_as_long_as_it_takes() -> None:
    found = simulated(moments([0.0] * 50, 400.0), 3.0, mode=Mode.ASYNC, queue=2, timeout_s=5.0).served[0]
    assert (found.answered, found.failed, found.refused) == (50, 0, 0)
    assert found.max_s == pytest.approx(150.0)


def test_asynchronous_work_that_takes_too_long_is_stopped() -> None:
    found = simulated(moments([0.0, 1.0], 400.0), 30.0, mode=Mode.ASYNC, timeout_s=5.0)
    assert found.served[0].failed == 2
    assert found.used[0].parts[Part.RETRIES] == pytest.approx(10.0)


def test_those_that_come_while_there_is_no_replica_are_cold_and_wait_for_one() -> None:
    found = simulated(moments([5.0, 5.1], 30.0), 0.05, min_replicas=0, max_replicas=2, start_s=4.0)
    assert found.served[0].cold == 2
    assert found.served[0].max_s == pytest.approx(4.05, abs=0.02)
    assert [decision.wanted for decision in found.used[0].decisions] == [1]


def test_requests_that_nobody_answers_are_told() -> None:
    found = simulated(moments([1.0], 10.0), 0.05, min_replicas=0, max_replicas=0).served[0]
    assert (found.answered, found.waiting + found.failed) == (0, 1)
    assert found.within_slo == 0.0


# --- costs --------------------------------------------------------------------------------------------------------------


def test_a_replica_costs_from_its_order_until_it_has_gone() -> None:
    grows = ScheduledAction(
        name="up",
        arn="arn:up",
        endpoint="e",
        variant="AllTraffic",
        schedule="at(2023-11-14T22:14:30)",
        created_s=T0,
        min_capacity=3,
    )
    found = simulated(moments([], 100.0), 0.05, max_replicas=5, start_s=10.0, schedule=(grows,)).used[0]
    assert found.replica_s == pytest.approx(100 + 2 * 70)
    assert found.parts[Part.COLD_STARTS] == pytest.approx(20.0)
    assert found.parts[Part.HEADROOM] == pytest.approx(100 + 2 * 60)


def test_a_replica_without_a_request_for_five_minutes_is_idle() -> None:
    parts = simulated(moments([10.0], 1000.0), 2.0).used[0].parts
    assert parts == pytest.approx({Part.SERVING: 2.0, Part.HEADROOM: 10.0 + 300.0, Part.IDLE: 1000.0 - 312.0})


def test_work_that_died_with_its_replica_is_thrown_away() -> None:
    faults = (Fault(at_s=T0 + 3.0, endpoint="e", kind="kill"),)
    lost = simulated(moments([1.0], 60.0), 5.0, start_s=10.0, faults=faults)
    assert lost.served[0].failed == 1
    assert lost.used[0].parts[Part.RETRIES] == pytest.approx(2.0)
    again = simulated(moments([1.0], 60.0), 5.0, start_s=10.0, faults=faults, mode=Mode.ASYNC)
    assert again.served[0].answered == 1
    assert again.served[0].max_s == pytest.approx(2.0 + 10.0 + 5.0)


def test_a_spot_replica_that_is_taken_away_may_end_its_work_for_two_minutes() -> None:
    faults = (Fault(at_s=T0 + 3.0, endpoint="e", kind="spot"),)
    quick = simulated(moments([1.0], 600.0), 50.0, timeout_s=600.0, is_spot=True, faults=faults).served[0]
    slow = simulated(moments([1.0], 600.0), 200.0, timeout_s=600.0, is_spot=True, faults=faults).served[0]
    assert (quick.answered, slow.failed) == (1, 1)


def test_a_spot_interruption_takes_nothing_away_that_is_not_on_spot() -> None:
    faults = (Fault(at_s=T0 + 3.0, endpoint="e", kind="spot"),)
    spot, demand = (
        simulated(moments([1.0], 600.0), 200.0, timeout_s=600.0, start_s=30.0, is_spot=one, faults=faults)
        for one in (True, False)
    )
    assert (spot.served[0].failed, demand.served[0].answered) == (1, 1)
    assert Part.COLD_STARTS in spot.used[0].parts
    assert Part.COLD_STARTS not in demand.used[0].parts


def test_while_starts_fail_nothing_is_added() -> None:
    faults = (Fault(at_s=T0 + 250.0, endpoint="e", kind="outage", lasting_s=200.0),)
    found = simulated(surge(), 0.05, max_replicas=4, policies=policies(EVENT), faults=faults).used[0]
    assert found.series is not None
    at_s = np.arange(len(found.series.ready)) * found.series.step_s
    assert found.series.ready[(at_s > 300) & (at_s < 445)].max() == pytest.approx(1.0)
    assert found.series.ready[(at_s > 455) & (at_s < 590)].max() > 2.0


def test_slow_replicas_take_so_many_times_as_long() -> None:
    faults = (Fault(at_s=T0 + 5.0, endpoint="e", kind="slow", factor=4.0, lasting_s=10.0),)
    found = simulated(moments([1.0, 6.0, 20.0], 60.0), 0.5, faults=faults).served[0]
    assert found.mean_s * 3 == pytest.approx(0.5 + 2.0 + 0.5)


# --- policies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", TRACKING)
def test_a_surge_scales_out_within_bounds_and_back_in(tracking: TargetTracking) -> None:
    found = simulated(surge(), 0.05, max_replicas=4, start_s=0.05, policies=policies(tracking)).used[0]
    wanted = [decision.wanted for decision in found.decisions]
    assert max(wanted) == 4
    assert min(wanted) >= 1
    # Of ten seconds CloudWatch has the most that was in hand at any moment: chance keeps that above the threshold.
    assert wanted[-1] < 4 or tracking is TEN_SECONDS


def test_faster_signals_react_sooner() -> None:
    first = []
    for tracking in (EVENT, ONE_SECOND, TEN_SECONDS, EVERY_MINUTE):
        found = simulated(surge(), 0.05, max_replicas=4, start_s=0.05, policies=policies(tracking)).used[0]
        out = next(change for change in found.decisions if change.wanted > change.before and change.at_s > T0 + 300)
        first.append(out.at_s - T0 - 300)
    assert first == sorted(first)
    assert first[0] <= 1.0
    assert 180 <= first[3] <= 242


def test_a_steady_load_of_many_requests_is_not_taken_for_bursts_by_an_event_policy() -> None:
    found = simulated(steady(100.0, 600), 0.05, max_replicas=24, initial_replicas=8, policies=policies(EVENT)).used[0]
    assert 100 * 0.05 / 0.7 <= found.replica_s / 600 <= 12  # looked at too rarely it had all 24 all the time
    assert len(found.decisions) < 10


def test_a_step_policy_acts_on_its_callers_alarm() -> None:
    policy = ScalingPolicy(
        name="steps", arn="arn:steps", endpoint="e", variant="AllTraffic", created_s=T0,
        step=StepScaling(adjustment_type="ChangeInCapacity", steps=(StepAdjustment(0.0, None, 2),), cooldown_s=60),
    )  # fmt: skip
    stat = MetricStat("AWS/SageMaker", "Invocations", (), 60, "Sum")
    alarm = OwnAlarm(
        "steps", Watched(stat=stat, comparison="GreaterThanThreshold", threshold=600.0, evaluation_periods=1)
    )
    found = simulated(surge(), 0.05, max_replicas=4, policies=(policy,), alarms=(alarm,)).used[0]
    assert [decision.wanted for decision in found.decisions][:1] == [3]


@pytest.mark.parametrize(("mode", "heard_s"), [(Mode.ASYNC, 0.02), (Mode.REAL_TIME, 0.0)])
def test_a_queue_that_has_written_a_request_tells_of_it_a_moment_later(mode: Mode, heard_s: float) -> None:
    given = {"min_replicas": 0, "max_replicas": 2, "initial_replicas": 0, "policies": policies(EVENT)}
    found = simulated(moments([5.4, 70.0], 90.0), 0.1, mode=mode, start_s=1.0, **given)
    first = found.used[0].decisions[0]
    assert (first.wanted, first.at_s - T0) == (1, pytest.approx(5.4 + heard_s, abs=1e-6))
    assert found.served[0].max_s == pytest.approx(1.1 + heard_s, abs=0.01)


def test_an_asynchronous_endpoint_scales_by_its_backlog_from_zero_and_back() -> None:
    stat = MetricStat("AWS/SageMaker", "ApproximateBacklogSizePerInstance", (), 60, "Average")
    found = simulated(
        moments([100.0] * 600, 3600.0), 1.0, mode=Mode.ASYNC, min_replicas=0, max_replicas=5, start_s=30.0,
        policies=policies(TargetTracking(target_value=5.0, stat=stat)),
    )  # fmt: skip
    wanted = [decision.wanted for decision in found.used[0].decisions]
    assert found.served[0].answered == 600
    assert wanted[0] == 1
    assert max(wanted) == 5
    assert wanted[-1] < 5


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_an_architecture_must_serve_each_workload_once() -> None:
    one = workload(steady(1, 10), Work(quantiles_s=(0.1,)))
    serving = Serving(name="e", mode=Mode.REAL_TIME, workloads=("w",), instance_type="x")
    for endpoints, says in (((), "not"), ((serving, replace(serving, name="f")), "2 times")):
        architecture = Architecture(name="a", endpoints=endpoints)
        with pytest.raises(Invalid, match=says):
            simulate(Scenario(name="s", workloads=(one,), architectures=(architecture,)), architecture)


def test_work_that_is_not_known_on_an_instance_type_is_told_by_name() -> None:
    one = replace(workload(steady(1, 10), Work(quantiles_s=(0.1,))), work={"ml.g5.xlarge": Work(quantiles_s=(0.1,))})
    architecture = Architecture(
        name="a", endpoints=(Serving(name="e", mode=Mode.REAL_TIME, workloads=("w",), instance_type="ml.m5.large"),)
    )
    with pytest.raises(Invalid, match=r"ml\.m5\.large"):
        simulate(Scenario(name="s", workloads=(one,), architectures=(architecture,)), architecture)


def test_a_fault_of_no_known_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="flood"):
        simulated(steady(1, 10), 0.1, faults=(Fault(at_s=T0, endpoint="e", kind="flood"),))


# --- batch transform ------------------------------------------------------------------------------------------------------


def test_a_batch_works_on_all_that_came_since_the_last_and_costs_from_order_to_the_last_answer() -> None:
    found = simulated(
        moments([10.0, 20.0, 3700.0, 7300.0], 7400.0), 5.0, mode=Mode.BATCH, runs_at="rate(1 hour)", min_replicas=2,
        start_s=100.0, timeout_s=60.0,
    )  # fmt: skip
    served, used = found.served[0], found.used[0]
    assert (served.requests, served.answered, served.waiting) == (4, 3, 1)
    assert served.max_s == pytest.approx(3600 + 100 + 5 - 10)
    assert used.replica_s == pytest.approx(2 * 105 + 2 * 105)
    assert used.parts == pytest.approx({Part.SERVING: 15.0, Part.COLD_STARTS: 400.0, Part.HEADROOM: 5.0})


def test_no_batch_is_run_for_nothing() -> None:
    found = simulated(moments([], 86_400.0), 5.0, mode=Mode.BATCH, runs_at="rate(1 hour)", start_s=100.0).used[0]
    assert found.replica_s == 0


@pytest.mark.parametrize("more", [{"runs_at": ""}, {"runs_at": "when it rains"}])
def test_a_batch_without_a_schedule_that_can_be_read_is_refused(more: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        simulated(steady(1, 10), 0.1, mode=Mode.BATCH, **more)


def test_a_predictive_policy_has_replicas_ready_before_a_rush_that_came_the_days_before() -> None:
    from trimtab.sim.arrivals import Rates

    hours = np.full(24, 1.0)
    hours[9:12] = 60.0
    arrivals = Rates(rate=np.tile(hours, 4), step_s=3600.0, start_s=T0 - T0 % 86_400)
    policy = ScalingPolicy(
        name="foresees", arn="arn:f", endpoint="e", variant="AllTraffic", created_s=T0,
        predictive=Predictive(
            target_value=600.0, predefined="SageMakerVariantInvocationsPerInstance", mode="ForecastAndScale"
        ),
    )  # fmt: skip
    found = simulated(arrivals, 0.05, max_replicas=10, start_s=120.0, policies=(*policies(EVERY_MINUTE), policy)).used[
        0
    ]
    outs = [
        change.at_s % 86_400 - 9 * 3600
        for change in found.decisions
        if change.wanted > change.before and change.policy == "foresees"
    ]
    assert any(-360 <= before <= -240 for before in outs)


@pytest.mark.parametrize("least", [0, 1])
def test_long_times_without_requests_are_passed_over_with_the_same_outcome(least: int) -> None:
    from trimtab.sim.replicas.station import Station, feed
    from trimtab.sim.scaling.scaled import Scaled

    bursts = [base + n * 0.02 for base in (100.0, 20_000.0, 20_700.0, 60_000.3) for n in range(200)]
    one = workload(moments(bursts, 80_000.0), Work(quantiles_s=(0.1,)))
    serving = Serving(
        name="e", mode=Mode.REAL_TIME, workloads=("w",), instance_type="x", min_replicas=least, max_replicas=6,
        start_s=5.0, policies=policies(EVENT),
    )  # fmt: skip
    runs, told = [], []
    for skips in (True, False):
        station = Station(serving, [one], feed([one], [one.work["*"]], 1), T0, waits=False)
        count = [0]

        def note(*given: object, count: list[int] = count) -> None:
            count[0] += 1

        run = Scaled(serving, station, T0 + 80_000.0, chance=np.random.default_rng(1), skips=skips, note=note)
        run.run()
        runs.append(([(d.wanted, round(d.at_s, 3), d.reason) for d in run.decisions], station.books.histogram.copy()))
        told.append(count[0])
    assert runs[0][0] == runs[1][0]
    assert (runs[0][1] == runs[1][1]).all()
    assert told[0] < told[1] / 3
