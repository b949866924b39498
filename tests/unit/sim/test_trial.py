"""One variant and its load: what rules would have made of it, and what orders made of it."""

from __future__ import annotations

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
)
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import AlarmFired, Forecast, Input, Load, Scheduled
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.state import State
from trimtab.resources.scaling import Predictive, ScalableTarget, ScalingPolicy, TargetTracking
from trimtab.sim.arrivals import Rates
from trimtab.sim.replay.trial import Machine, under_orders, under_rules

MACHINE = Machine(work_s=0.05, start_s=0.05)


def rules(*tracking: TargetTracking, least: int = 1, most: int = 4, **more: Any) -> Rules:
    target = ScalableTarget(endpoint="e", variant="AllTraffic", min_capacity=least, max_capacity=most, created_s=T0)
    return Rules(target=target, policies=policies(*tracking), **more)


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracking", [EVERY_MINUTE, ONE_SECOND, EVENT])
def test_a_surge_scales_out_within_bounds_and_back_in(tracking: TargetTracking) -> None:
    found = under_rules(surge(), rules(tracking), MACHINE)
    assert (found.least, found.most) == (1, 4)
    assert found.decisions[-1].wanted < 4
    assert found.series.ready[-1] < 4
    assert found.served.waiting == 0


def test_it_is_what_an_endpoint_with_the_same_policy_does() -> None:
    whole = simulated(surge(), 0.05, max_replicas=4, start_s=0.05, policies=policies(EVENT))
    found = under_rules(surge(), rules(EVENT), MACHINE)
    # Other requests (chance belongs to a workload's name) with the same rates.
    assert found.replica_s == pytest.approx(whole.used[0].replica_s, rel=0.1)


def test_the_same_inputs_give_the_same_outcome() -> None:
    one, other = (under_rules(surge(), rules(EVENT), MACHINE) for _ in range(2))
    assert one.decisions == other.decisions
    assert (one.served.histogram == other.served.histogram).all()


def test_a_wake_from_zero_answers_what_waits() -> None:
    found = under_rules(moments([5.0, 5.1], 20.0), rules(EVERY_MINUTE, least=0), Machine(work_s=0.05, start_s=0.1))
    assert (found.served.answered, found.served.waiting) == (2, 0)
    assert found.decisions[0].wanted == 1


def test_what_comes_from_outside_moves_bounds_and_capacity() -> None:
    due = Scheduled(at_s=T0 + 30, capacity=0, action="monday", min_capacity=3, max_capacity=5)
    noted: list[tuple[Rules, Input]] = []
    found = under_rules(
        steady(1, 60), rules(EVERY_MINUTE), MACHINE, given=[due],
        note=lambda of, before, given, decisions, after: noted.append((of, given)),
    )  # fmt: skip
    assert [(change.at_s, change.wanted) for change in found.decisions] == [(T0 + 30, 3)]
    assert found.replica_s == pytest.approx(60 + 2 * 30)
    scheduled = next(given for _, given in noted if isinstance(given, Scheduled))
    assert (scheduled.at_s, scheduled.capacity) == (T0 + 30, 1)
    assert noted[-1][0].target.max_capacity == 5


def test_a_forecast_from_outside_is_followed() -> None:
    foresees = ScalingPolicy(
        name="foresees", arn="arn:f", endpoint="e", variant="AllTraffic", created_s=T0,
        predictive=Predictive(
            target_value=600.0, predefined="SageMakerVariantInvocationsPerInstance", mode="ForecastAndScale"
        ),
    )  # fmt: skip
    of = rules()
    due = Forecast(at_s=T0 + 10, capacity=0, policy="arn:f", wanted=2.4)
    found = under_rules(steady(1, 30), replace(of, policies=(foresees,)), MACHINE, given=[due])
    assert [change.wanted for change in found.decisions] == [3]


def test_a_ceiling_holds_whatever_the_bounds_say() -> None:
    assert under_rules(surge(), rules(EVENT, ceiling=2), MACHINE).most == 2


def test_time_passes_once_a_second_while_nothing_is_in_hand_however_short_the_windows() -> None:
    dimensions = (("StableWindowSeconds", "10"),)
    short = replace(EVENT, stat=replace(EVENT.stat, dimensions=dimensions))
    noted: list[Input] = []
    under_rules(
        moments([5.0, 5.3], 30.0), rules(short, least=0), MACHINE, replicas=1,
        note=lambda of, before, given, decisions, after: noted.append(given),
    )  # fmt: skip
    after = [given.at_s - T0 for given in noted if isinstance(given, Load) and given.at_s > T0 + 6.0]
    assert np.diff(after) == pytest.approx(1.0, abs=1e-3)
    assert {round(at_s % 1, 2) for at_s in after} == {0.15}


def test_each_step_of_the_reducer_is_noted_and_decides_the_same_again() -> None:
    noted: list[tuple[Rules, State, Input, tuple[Decision, ...], State]] = []
    found = under_rules(surge(), rules(EVERY_MINUTE, EVENT), MACHINE, note=lambda *told: noted.append(told))
    state = noted[0][1]
    made = []
    for of, before, given_, decisions, after in noted:
        assert before == state
        state, again = step(of, state, given_)
        assert (again, state) == (decisions, after)
        made += [decision for decision in decisions if decision.made]
    assert tuple(made) == found.decisions
    assert any(isinstance(given_, AlarmFired) for _, _, given_, _, _ in noted)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 200), min_size=2, max_size=8), st.sampled_from([EVERY_MINUTE, TEN_SECONDS, EVENT]))
def test_capacity_is_within_the_bounds_whatever_comes(levels: list[float], tracking: TargetTracking) -> None:
    arrivals = Rates(rate=np.repeat(np.array(levels), 100), step_s=1.0, start_s=T0)
    found = under_rules(arrivals, rules(tracking, least=2, most=5), MACHINE)
    assert 2 <= found.least <= found.most <= 5


# --- orders ----------------------------------------------------------------------------------------------------------


def test_orders_are_followed_and_cost_from_then_until_replicas_have_gone() -> None:
    found = under_orders(
        moments([], 100.0), Machine(work_s=0.05, start_s=10.0), replicas=1, orders=[(T0 + 20, 3), (T0 + 60, 2)]
    )
    assert found.replica_s == pytest.approx(1 * 20 + 3 * 40 + 2 * 40)
    assert (found.least, found.most) == (1, 3)
    at_s = np.arange(len(found.series.ready)) * found.series.step_s
    assert found.series.ready[at_s < 29].max() == pytest.approx(1.0, abs=1e-4)
    assert found.series.ready[(at_s > 31) & (at_s < 59)].min() == pytest.approx(3.0, abs=1e-4)
    assert found.series.ready[-1] == pytest.approx(2.0, abs=1e-4)
    assert found.series.wanted[(at_s > 21) & (at_s < 59)].min() == pytest.approx(3.0, abs=1e-4)


def test_orders_that_rules_gave_have_the_outcome_that_rules_had() -> None:
    under = under_rules(surge(), rules(EVENT), MACHINE)
    again = under_orders(
        surge(), MACHINE, replicas=1, orders=[(change.at_s, change.wanted) for change in under.decisions]
    )
    assert (again.served.histogram == under.served.histogram).all()
    assert again.replica_s == pytest.approx(under.replica_s)


def test_requests_that_come_while_there_is_no_replica_wait_until_there_is() -> None:
    found = under_orders(moments([1.5], 6.0), Machine(work_s=0.01, start_s=1.0), replicas=0, orders=[(T0 + 3.0, 1)])
    assert found.served.max_s == pytest.approx(2.51)
    assert (found.slow, found.served.waiting) == (1, 0)


def test_requests_that_nobody_answers_are_told() -> None:
    found = under_orders(moments([0.1, 0.2, 0.3], 2.0), MACHINE, replicas=0, orders=())
    assert (found.served.waiting, found.slow, found.served.p99_s) == (3, 3, 0.0)


def test_nobody_gives_up_and_nobody_is_refused() -> None:
    found = under_orders(moments([0.0] * 20_000, 1000.0), Machine(work_s=0.05, slots=2), replicas=1, orders=())
    assert found.served.answered == 20_000
    assert found.served.max_s == pytest.approx(500.0)
