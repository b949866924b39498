"""What scaling decides: AWS's rules of cooldowns, bounds, suspension and several policies, case by case."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from tests.unit.policies.scaling_targets import (
    World,
    event,
    finished,
    fired,
    foresees,
    load,
    rules,
    steps,
    tracks,
    tracks_1s,
)
from trimtab.policies.scaling.inputs import Bounds, Forecast, Scheduled, Tick
from trimtab.policies.scaling.state import State, pack, unpack
from trimtab.resources.scaling import PolicyAlarm, Suspended


def codes(decision) -> list[str]:
    return [why.code for why in decision.not_scaled]


def made(decision) -> int:
    assert decision is not None
    assert decision.made
    return decision.wanted


# --- target tracking


def test_a_high_alarm_scales_out_in_proportion_at_once():
    world = World(rules(tracks()))
    decision = world.alarm(100, 35.0)
    assert (decision.made, decision.before, decision.wanted) == (True, 1, 4)
    assert decision.policy == "track"
    assert decision.arithmetic == "ceil(1 * 35 / 10) = 4"
    assert decision.cause == "monitor alarm alarm of track in state ALARM triggered policy track"
    assert decision.inputs == {"metric": 35.0, "target": 10.0, "capacity": 1}


def test_more_than_the_maximum_is_the_maximum_and_says_so():
    decision = World(rules(tracks(), high=3)).alarm(0, 1000.0)
    assert (decision.wanted, decision.arithmetic) == (3, "ceil(1 * 1000 / 10) = 100, at most 3")


def test_at_the_maximum_nothing_is_done_and_AWS_reason_is_given():
    decision = World(rules(tracks(), high=3), capacity=3).alarm(0, 50.0)
    assert not decision.made
    assert codes(decision) == ["AlreadyAtMaxCapacity"]
    assert (decision.not_scaled[0].max_capacity, decision.not_scaled[0].current_capacity) == (3, 3)


def test_a_low_alarm_scales_in_to_what_keeps_the_metric_at_the_target():
    world = World(rules(tracks()), capacity=8)
    decision = world.alarm(0, 3.0, high=False)
    assert (decision.made, decision.wanted) == (True, 3)  # 8 * 3 = 24 invocations: three replicas, not two


def test_at_the_minimum_nothing_is_done():
    assert codes(World(rules(tracks(), low=2), capacity=2).alarm(0, 0.0, high=False)) == ["AlreadyAtMinCapacity"]


def test_less_that_would_be_too_little_is_anticipated_flapping():
    decision = World(rules(tracks()), capacity=2).alarm(0, 8.0, high=False)
    assert not decision.made
    assert codes(decision) == ["AutoScalingAnticipatedFlapping"]


def test_a_high_alarm_whose_newest_point_is_good_changes_nothing():
    decision = World(rules(tracks()), capacity=2).alarm(0, 4.0)
    assert codes(decision) == ["AlreadyAtDesiredCapacity"]
    assert decision.wanted == 2


def test_from_zero_the_formula_cannot_leave_zero():
    assert not World(rules(tracks(), low=0), capacity=0).alarm(0, 100.0).made


def test_disable_scale_in_leaves_only_the_high_alarm_acting():
    world = World(rules(tracks(disable_scale_in=True)), capacity=5)
    assert world.alarm(0, 0.0, high=False) is None
    assert made(world.alarm(60, 20.0)) == 10


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_decides_nothing(value):
    assert World(rules(tracks())).alarm(0, value) is None


def test_an_alarm_of_a_policy_that_is_no_more_or_of_somebody_else_decides_nothing():
    assert World(rules()).alarm(0, 100.0) is None
    named = tracks()
    named = type(named)(
        **{f: getattr(named, f) for f in named.__struct_fields__} | {"alarms": (PolicyAlarm("mine", "a"),)}
    )
    assert World(rules(named)).alarm(0, 100.0) is None


# --- cooldowns


def test_a_scale_out_cooldown_begins_when_the_change_finishes_not_when_it_is_decided():
    world = World(rules(tracks(scale_out_cooldown_s=100)))
    world.alarm(0, 20.0)
    world.finish(500)
    assert not world.alarm(599, 15.0).made
    assert made(world.alarm(600, 15.0)) == 3


def test_while_a_scale_out_is_under_way_what_it_adds_counts_as_already_there():
    world = World(rules(tracks()))
    world.alarm(0, 40.0)
    again = world.alarm(60, 40.0)  # still one replica serves: 4, not 16
    assert (again.made, again.wanted) == (False, 4)
    assert "counts as already there" in again.reason
    more = world.alarm(120, 60.0)
    assert (more.made, more.before, more.wanted) == (True, 4, 6)


def test_in_a_scale_out_cooldown_a_larger_scale_out_is_made():
    world = World(rules(tracks()))
    world.alarm(0, 20.0)
    world.finish(10)
    assert not world.alarm(200, 14.0).made  # 1 more, like the last time
    assert made(world.alarm(260, 20.0)) == 4  # 2 more


def test_a_step_in_a_cooldown_adds_what_it_is_larger_by():
    """AWS's example: 2 were added; a step of 3 in the cooldown adds one more."""
    world = World(rules(steps("steps", (0, 10, 2), (10, None, 3))))
    assert made(world.alarm(0, 15.0, name="steps")) == 3
    world.finish(1)
    assert not world.alarm(60, 15.0, name="steps").made
    assert made(world.alarm(120, 25.0, name="steps")) == 4
    world.finish(121)
    assert not world.alarm(180, 25.0, name="steps").made
    assert made(world.alarm(421, 25.0, name="steps")) == 7


def test_a_scale_out_that_failed_has_no_cooldown():
    world = World(rules(tracks()))
    world.alarm(0, 20.0)
    world.capacity = 1
    world.finish(5, ok=False)
    assert made(world.alarm(70, 20.0)) == 2


def test_a_scale_in_cooldown_holds_up_the_next_scale_in():
    world = World(rules(tracks(scale_in_cooldown_s=100)), capacity=8)
    assert made(world.alarm(0, 5.0, high=False)) == 4
    assert not world.alarm(10, 2.0, high=False).made  # under way
    world.finish(20)
    held = world.alarm(119, 2.0, high=False)
    assert not held.made
    assert "cooldown" in held.reason
    assert made(world.alarm(120, 2.0, high=False)) == 1


def test_a_scale_in_cooldown_never_delays_a_scale_out_and_is_ended_by_it():
    world = World(rules(tracks(scale_in_cooldown_s=1000, scale_out_cooldown_s=0)), capacity=8)
    world.alarm(0, 5.0, high=False)
    world.finish(10)
    assert made(world.alarm(80, 20.0)) == 8
    world.finish(90)
    assert made(world.alarm(200, 5.0, high=False)) == 4  # 190 s after the scale-in


def test_a_scale_out_is_made_while_a_scale_in_is_under_way_and_reckons_with_what_still_serves():
    world = World(rules(tracks()), capacity=4)
    world.alarm(0, 4.0, high=False)
    assert world.capacity == 2
    assert made(world.alarm(60, 11.0)) == 5  # of four that serve


def test_a_scale_in_that_came_to_nothing_has_no_cooldown():
    world = World(rules(tracks()), capacity=8)
    world.alarm(0, 5.0, high=False)
    world.capacity = 8
    world.finish(1, ok=False)
    assert made(world.alarm(61, 5.0, high=False)) == 4


def test_an_effect_is_seen_before_it_is_undone_no_scale_in_in_a_scale_out_cooldown():
    world = World(rules(tracks_1s(scale_out_cooldown_s=60, scale_in_cooldown_s=0)))
    world.alarm(0, 4.0, name="fast")
    world.finish(1)
    assert not world.alarm(60, 0.1, name="fast", high=False).made
    assert made(world.alarm(61, 0.1, name="fast", high=False)) == 1


def test_a_metric_a_period_old_is_reckoned_with_the_replicas_of_then():
    world = World(rules(tracks(scale_out_cooldown_s=0)))
    world.alarm(0, 40.0)
    world.finish(30)
    assert not world.alarm(60, 40.0).made  # of when one replica served
    assert made(world.alarm(92, 20.0)) == 8


# --- several policies


def test_scale_out_needs_any_and_the_largest_wins():
    world = World(rules(tracks("a"), tracks("b")))
    assert made(world.alarm(0, 20.0, name="a")) == 2
    assert made(world.alarm(0, 50.0, name="b")) == 5
    assert not world.alarm(0, 30.0, name="a").made


def test_scale_in_needs_all_and_the_largest_wins():
    world = World(rules(tracks("a"), tracks("b")), capacity=10)
    alone = world.alarm(0, 1.0, name="a", high=False)
    assert not alone.made
    assert alone.reason.endswith("policy b is not ready to scale in")
    both = world.alarm(20, 4.0, name="b", high=False)
    assert (both.made, both.wanted, both.policy) == (True, 4, "b")


def test_the_largest_wins_although_another_asks():
    world = World(rules(tracks("a"), tracks("b")), capacity=10)
    world.alarm(0, 4.0, name="b", high=False)
    decision = world.alarm(20, 1.0, name="a", high=False)
    assert (decision.made, decision.wanted) == (True, 4)
    assert "policy b wants ceil(10 * 4 / 10) = 4" in decision.reason


def test_an_agreement_lapses_when_it_is_not_repeated():
    world = World(rules(tracks("a"), tracks("b")), capacity=10)
    world.alarm(0, 1.0, name="b", high=False)
    assert not world.alarm(76, 1.0, name="a", high=False).made


def test_a_high_alarm_takes_an_agreement_back():
    world = World(rules(tracks("a"), tracks("b")), capacity=10)
    world.alarm(0, 1.0, name="b", high=False)
    world.alarm(5, 10.0, name="b", high=True)
    assert not world.alarm(10, 1.0, name="a", high=False).made


def test_a_policy_that_may_not_scale_in_is_not_asked():
    world = World(rules(tracks("a"), tracks("b", disable_scale_in=True)), capacity=10)
    assert made(world.alarm(0, 1.0, name="a", high=False)) == 1


def test_a_step_policys_scale_in_is_not_held_up_by_target_tracking():
    world = World(rules(tracks("a"), steps("s", (None, 0, -2))), capacity=10)
    assert made(world.alarm(0, 8.0, name="s", high=False)) == 8


def test_a_step_policy_is_not_asked_when_target_tracking_scales_in():
    world = World(rules(tracks("a"), steps("s", (0, None, 1))), capacity=10)
    assert made(world.alarm(0, 5.0, name="a", high=False)) == 5


# --- step scaling


def test_a_value_that_no_step_is_for_is_told():
    decision = World(rules(steps("s", (0, None, 1)))).alarm(0, 5.0, name="s", high=False, threshold=10.0)
    assert not decision.made
    assert decision.reason.endswith("no step adjustment is for that")


def test_a_step_policy_leaves_zero():
    assert made(World(rules(steps("s", (0, None, 1)), low=0), capacity=0).alarm(0, 11.0, name="s")) == 1


def test_an_exact_capacity_that_is_there_already_changes_nothing():
    world = World(rules(steps("s", (0, None, 4), kind="ExactCapacity")), capacity=4)
    assert codes(world.alarm(0, 11.0, name="s")) == ["AlreadyAtDesiredCapacity"]


# --- suspension, bounds, schedules


def test_what_is_suspended_is_not_done_and_told():
    both = Suspended(scale_in=True, scale_out=True)
    world = World(rules(tracks(), suspended=both), capacity=4)
    assert world.alarm(0, 20.0).reason.endswith("scaling out is suspended")
    assert world.alarm(60, 2.0, high=False).reason.endswith("scaling in is suspended")
    assert world.capacity == 4


@pytest.mark.parametrize(
    ("capacity", "wanted", "cause"), [(1, 2, "minimum capacity was set to 2"), (9, 6, "maximum capacity was set to 6")]
)
def test_registration_moves_capacity_inside_the_bounds_whatever_cooldown_runs(capacity, wanted, cause):
    world = World(rules(tracks(), low=2, high=6), capacity=5)
    world.alarm(0, 3.0, high=False)
    world.finish(1)
    world.capacity = capacity
    (decision,) = world.give(Bounds(at_s=2, capacity=capacity))
    assert (decision.made, decision.wanted, decision.cause) == (True, wanted, cause)


def test_registration_around_capacity_changes_nothing():
    assert not World(rules(low=2, high=6)).give(Bounds(at_s=0, capacity=4))


def test_bounds_hold_even_where_scaling_is_suspended():
    world = World(rules(low=2, suspended=Suspended(scale_in=True, scale_out=True)), capacity=0)
    (decision,) = world.give(Bounds(at_s=0, capacity=0))
    assert (decision.made, decision.wanted) == (True, 2)


def due(at_s: float, capacity: int, low: int | None, high: int | None) -> Scheduled:
    return Scheduled(at_s=at_s, capacity=capacity, action="mornings", min_capacity=low, max_capacity=high)


def test_a_scheduled_action_moves_bounds_and_capacity_inside_them_whatever_cooldown_runs():
    world = World(rules(tracks()), capacity=5)
    world.alarm(0, 2.0, high=False)
    (decision,) = world.give(due(1, 1, 4, 8))
    assert (decision.made, decision.wanted, decision.bounds) == (True, 4, (4, 8))
    assert decision.cause == "scheduled action name mornings was triggered"
    assert decision.reason == "Setting min capacity to 4 and max capacity to 8"


def test_a_scheduled_action_around_capacity_moves_the_bounds_alone():
    (decision,) = World(rules()).give(due(0, 5, 2, None))
    assert (decision.made, decision.bounds) == (False, (2, 10))


@pytest.mark.parametrize(("low", "high", "bounds"), [(20, None, (20, 20)), (None, 0, (0, 0))])
def test_a_bound_that_is_not_given_makes_way(low, high, bounds):
    (decision,) = World(rules()).give(due(0, 5, low, high))
    assert decision.bounds == bounds


def test_a_scheduled_action_that_is_suspended_moves_nothing():
    (decision,) = World(rules(suspended=Suspended(scheduled=True))).give(due(0, 5, 7, None))
    assert (decision.made, decision.bounds) == (False, None)
    assert decision.reason.endswith("scheduled scaling is suspended")


# --- load


@pytest.mark.parametrize("policies", [(), (tracks(),), (steps("s", (0, None, 1)),), (event(),)])
def test_a_request_that_waits_wakes_any_target_from_zero(policies):
    world = World(rules(*policies, low=0), capacity=0)
    decision = world.load(0, in_hand=1, waiting=1)
    assert (decision.made, decision.wanted) == (True, 1)


def test_waking_takes_as_many_as_the_event_policy_wants():
    assert made(World(rules(event(), low=0), capacity=0).load(0, in_hand=5, waiting=5)) == 5


def test_nothing_wakes_without_a_request_or_when_the_maximum_is_zero_or_when_suspended():
    assert World(rules(low=0), capacity=0).load(0) is None
    assert codes(World(rules(low=0, high=0), capacity=0).load(0, waiting=1)) == ["AlreadyAtMaxCapacity"]
    told = World(rules(low=0, suspended=Suspended(scale_out=True)), capacity=0).load(0, waiting=1)
    assert (told.made, told.reason) == (
        False,
        "1 requests wait, and there is no replica; not done: scaling out is suspended",
    )


def test_why_nothing_is_done_on_load_is_told_once_a_minute():
    world = World(rules(low=0, suspended=Suspended(scale_out=True)), capacity=0)
    for tick in range(200):
        world.load(tick * 0.5, waiting=1)
    assert [decision.at_s for decision in world.decisions] == [0, 60]


def test_an_event_policy_grows_at_any_time_if_it_wants_more():
    world = World(rules(event()))
    assert made(world.load(0, in_hand=3)) == 3
    assert world.load(0.02, in_hand=3) is None
    assert made(world.load(0.04, in_hand=5)) == 5
    world.finish(0.1)
    assert made(world.load(0.2, in_hand=9)) == 9


def test_an_event_policy_shrinks_no_sooner_than_a_scale_in_cooldown_after_any_change():
    world = World(rules(event(scale_in_cooldown_s=60)))
    world.load(0, in_hand=6)
    assert not world.load(1, in_hand=3).made
    world.finish(2)
    assert not world.load(61.9, in_hand=3).made
    assert made(world.load(62, in_hand=3)) == 3
    world.finish(63)
    assert not world.load(100, in_hand=1).made
    assert made(world.load(123, in_hand=1)) == 1


def test_an_event_policy_that_knows_nothing_decides_nothing():
    world = World(rules(event()), capacity=5)
    assert not world.give(Tick(at_s=0, capacity=5))


def test_an_event_policy_that_may_not_scale_in_does_not():
    world = World(rules(event(disable_scale_in=True)), capacity=5)
    assert world.load(0, in_hand=1) is None


def test_an_event_policy_and_an_alarm_policy_agree_to_scale_in():
    world = World(rules(tracks("a"), event(scale_in_cooldown_s=0)), capacity=10)
    assert not world.load(0, in_hand=3).made
    assert made(world.alarm(1, 1.0, name="a", high=False)) == 3
    world.finish(2)


def test_an_event_policy_without_news_does_not_agree():
    world = World(rules(tracks("a"), event()), capacity=10)
    world.load(0, in_hand=3)
    decision = world.alarm(6, 1.0, name="a", high=False)
    assert (decision.made, decision.reason.endswith("policy event has no data")) == (False, True)


def test_what_an_event_policy_would_get_back_at_once_is_not_taken():
    world = World(rules(event(disable_scale_in=True), steps("s", (None, 0, -3))), capacity=6)
    world.load(0, in_hand=6)
    decision = world.alarm(1, 0.0, name="s", high=False)
    assert codes(decision) == ["AutoScalingAnticipatedFlapping"]


def test_after_scale_outs_that_failed_load_asks_again_later_and_later():
    world = World(rules(event()))
    tries = []
    for tick in range(2000):
        at_s = tick * 0.1
        decision = world.load(at_s, in_hand=2)
        if decision is not None and decision.made:
            tries.append(at_s)
            world.capacity = 1
            world.finish(at_s, ok=False)
    assert [round(after - before) for before, after in pairwise(tries)] == [1, 2, 4, 8, 16, 32, 60, 60]


# --- forecasts


def foreseen(at_s: float, capacity: int, wanted: float) -> Forecast:
    return Forecast(at_s=at_s, capacity=capacity, policy="arn:foresees", wanted=wanted)


def test_a_forecast_scales_out_and_never_in():
    world = World(rules(foresees()))
    (decision,) = world.give(foreseen(0, 1, 3.2))
    assert (decision.made, decision.wanted, decision.policy) == (True, 4, "foresees")
    assert not world.give(foreseen(300, 4, 1.0))


def test_other_policies_do_not_go_below_what_is_foreseen_until_the_next_forecast():
    world = World(rules(foresees(), tracks("a", scale_in_cooldown_s=0)), capacity=8)
    world.give(foreseen(0, 8, 4.0))
    assert made(world.alarm(1, 1.0, name="a", high=False)) == 4
    world.finish(2)
    assert codes(world.alarm(100, 0.0, name="a", high=False)) == ["AlreadyAtMinCapacity"]
    world.give(foreseen(300, 4, 1.0))
    assert made(world.alarm(301, 1.0, name="a", high=False)) == 1


def test_a_forecast_that_only_forecasts_decides_nothing():
    assert not World(rules(foresees(mode="ForecastOnly"))).give(foreseen(0, 1, 9.0))


def test_a_forecast_beyond_the_maximum_stops_there_or_lifts_it():
    (stays,) = World(rules(foresees(), high=5)).give(foreseen(0, 1, 8.0))
    assert stays.wanted == 5
    lifting = World(
        rules(foresees(max_capacity_breach="IncreaseMaxCapacity", max_capacity_buffer=25), tracks("a"), high=5)
    )
    (lifts,) = lifting.give(foreseen(0, 1, 8.0))
    assert lifts.wanted == 8
    lifting.finish(1)
    assert made(lifting.alarm(400, 100.0, name="a")) == 10


def test_a_forecast_of_a_policy_that_is_no_more_holds_no_longer():
    world = World(rules(foresees(), tracks("a")), capacity=8)
    world.give(foreseen(0, 8, 6.0))
    world.rules = rules(tracks("a"))
    assert made(world.alarm(1, 1.0, name="a", high=False)) == 1


# --- what is kept


def test_cooldowns_outlive_a_restart_and_windows_do_not():
    world = World(rules(tracks(), event()), capacity=8)
    world.load(0, in_hand=8)
    world.alarm(1, 20.0)
    world.finish(2)
    kept = unpack(pack(world.state))
    assert (kept.change, kept.out_until_s, kept.in_until_s) == (world.state.change, 302, 302)
    assert (kept.events, kept.wishes, kept.lows, kept.told) == ({}, {}, {}, {})


def test_a_state_of_another_version_can_be_read():
    assert unpack(msgspec.msgpack.encode({"in_until_s": 7.0, "of_the_future": [1, 2]})) == State(in_until_s=7.0)
    assert unpack(msgspec.msgpack.encode({})) == State()


def test_a_finish_without_a_change_means_nothing():
    world = World(rules(tracks()))
    world.give(finished(0, 1))
    assert world.state == State()


def test_a_load_decides_nothing_where_no_policy_is_for_it():
    assert World(rules(tracks())).give(load(0, 1, 100, waiting=90)) == ()
    assert World(rules()).give(fired(0, 1, 100)) == ()
