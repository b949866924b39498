"""Alarms that need not be told of: whatever their value, nothing is changed, and nothing that counts is remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.policies.queue_world import target
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Input
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.state import State
from trimtab.policies.scaling.vain import asks_in_vain
from trimtab.resources.scaling import ScalingPolicy, TargetTracking

TRACKING = TargetTracking(target_value=600.0, predefined="SageMakerVariantInvocationsPerInstance")
POLICY = ScalingPolicy(name="p", arn="arn:p", endpoint="e", variant="AllTraffic", created_s=0.0, tracking=TRACKING)

alarms = st.tuples(st.booleans(), st.floats(0.0, 5000.0), st.floats(1.0, 400.0), st.booleans())


def fired(at_s: float, capacity: int, value: float, *, is_high: bool) -> AlarmFired:
    name = "high" if is_high else "low"
    return AlarmFired(
        at_s=at_s, capacity=capacity, policy=POLICY.arn, alarm=name, is_high=is_high, value=value, threshold=600.0
    )


def told(rules: Rules, history: list[tuple[bool, float, float, bool]], *, leave_out: bool) -> list[object]:
    """What is decided in turn. `leave_out`: alarms that ask in vain are not told."""
    state, capacity, at_s, made = State(), 2, 0.0, []
    state, _ = step(rules, state, Bounds(at_s=at_s, capacity=capacity))
    for is_high, value, after_s, is_over in history:
        at_s += after_s
        given_: list[Input] = [fired(at_s, capacity, value, is_high=is_high)]
        if leave_out and asks_in_vain(rules, state, capacity, at_s, is_high=is_high):
            given_ = []
        if is_over:
            given_.append(Finished(at_s=at_s, capacity=capacity, ok=True))
        for one in given_:
            state, decisions = step(rules, state, replace(one, capacity=capacity))
            for decision in decisions:
                if decision.made:
                    capacity = decision.wanted
                    made.append(decision)
    return [*made, replace(state, lows={})]


@given(history=st.lists(alarms, max_size=40), bounds=st.sampled_from([(1, 2), (1, 6), (2, 2), (0, 3)]))
def test_what_is_decided_is_the_same_without_the_alarms_that_ask_in_vain(
    history: list[tuple[bool, float, float, bool]], bounds: tuple[int, int]
) -> None:
    rules = Rules(target=target(*bounds), policies=(POLICY,))
    assert told(rules, history, leave_out=True) == told(rules, history, leave_out=False)


def test_only_an_alarm_of_the_only_policy_asks_in_vain_and_only_at_a_bound() -> None:
    one, two = Rules(target=target(1, 4), policies=(POLICY,)), replace(POLICY, name="q", arn="arn:q")
    both = replace(one, policies=(POLICY, two))
    found = [asks_in_vain(one, State(), capacity, 0.0, is_high=False) for capacity in (1, 2, 4)]
    assert found == [True, False, False]
    assert [asks_in_vain(one, State(), capacity, 0.0, is_high=True) for capacity in (1, 4)] == [False, True]
    assert not asks_in_vain(both, State(), 1, 0.0, is_high=False)
