"""Targets that are scaled live: what alarms, callers, schedules and load lead to."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from msgspec.structs import replace

from trimtab.errors import NotFound, NotSupported, Unavailable
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Load, Scheduled, Tick
from trimtab.policies.scaling.windows import TOLD_WITHIN_S
from trimtab.resources.alarm import Alarm, AlarmState, Watched
from trimtab.resources.endpoint import EndpointStatus
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.replica import Failure
from trimtab.resources.scaling import SIGNAL_EVENT, VARIANT_COUNT, ActivityStatus, Suspended
from trimtab.testing.engine import Fault
from trimtab.testing.live_scaling import LiveScalingWorld

A = ActivityStatus


def test_registering_moves_capacity_inside_the_bounds_at_once(world: LiveScalingWorld) -> None:
    world.register(2, 4)
    assert world.count == 2
    [activity] = world.activities()
    assert (activity.status, activity.cause) == (A.IN_PROGRESS, "minimum capacity was set to 2")
    assert activity.description == "Setting desired instance count to 2."
    assert activity.status_message == (
        "Successfully set desired instance count to 2. Waiting for change to be fulfilled by sagemaker."
    )
    world.settle()
    [activity] = world.activities()
    assert activity.status is A.SUCCESSFUL
    assert activity.status_message == (
        "Successfully set desired instance count to 2. Change successfully fulfilled by sagemaker."
    )
    assert activity.end_s is not None
    assert activity.end_s >= activity.start_s


def test_an_alarm_whose_action_is_a_policy_scales_out_by_the_newest_value(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0)
    world.metric(6.0)
    world.fire(world.high(policy))
    assert world.count == 3
    world.settle()
    [activity] = world.activities(A.SUCCESSFUL)
    assert activity.cause == f"monitor alarm {world.high(policy).name} in state ALARM triggered policy track"
    assert world.lanes("ep") == {"main": 3}
    assert [type(noted.given) for noted in world.noted] == [Bounds, AlarmFired, Finished]
    assert [len(noted.decisions) for noted in world.noted] == [0, 1, 0]


def test_an_alarm_without_a_value_says_so_in_its_history_and_scales_nothing(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track()
    world.fire(world.high(policy))
    assert world.count == 1
    newest = world.alarms.history(world.high(policy).name)[0]
    assert "no data now" in newest.summary
    world.register(1, 4)


def test_an_alarm_that_was_set_by_hand_acts_upon_the_period_that_is_not_over(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.steps(adjustment=2)
    world.metric(25.0, seconds=1)
    dimensions = (("EndpointName", "ep"), ("VariantName", "main"))
    stat = MetricStat("trimtab/Endpoints", "ConcurrencyPerReplica1s", dimensions, 60, "Maximum")
    watched = Watched(stat=stat, comparison="GreaterThanThreshold", threshold=10.0, evaluation_periods=1)
    alarm = Alarm(
        name="mine", watched=watched, alarm_actions=(policy.arn,), configured_s=0, state_updated_s=0, state_changed_s=0
    )
    world.alarms.put(alarm)
    world.fire(alarm)
    assert world.count == 3
    fired = next(noted.given for noted in world.noted if isinstance(noted.given, AlarmFired))
    assert (fired.value, fired.threshold, fired.is_high) == (25.0, 10.0, True)


def test_actions_that_are_no_policies_are_refused_by_name(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    alarm = world.high(world.track())
    with pytest.raises(NotSupported, match="arn:aws:sns:us-east-1:1:topic"):
        asyncio.run(world.live.act(alarm, "arn:aws:sns:us-east-1:1:topic"))
    gone = "arn:aws:autoscaling:us-east-1:1:scalingPolicy:1:resource/sagemaker/endpoint/x/variant/y:policyName/z"
    with pytest.raises(NotFound, match="no scaling policy"):
        asyncio.run(world.live.act(alarm, gone))
    with pytest.raises(Unavailable):
        asyncio.run(world.live.act(alarm, alarm.alarm_actions[0]))


def test_the_same_reason_not_to_scale_is_recorded_once_until_it_changes(world: LiveScalingWorld) -> None:
    world.register(1, 1)
    policy = world.track()
    for _ in range(3):
        world.metric(6.0)
        world.fire(world.high(policy))
        world.clock.advance(60.0)
    [left] = world.left()
    assert [reason.code for reason in left.not_scaled] == ["AlreadyAtMaxCapacity"]
    world.register(1, 2)
    world.metric(6.0)
    world.fire(world.high(policy))
    world.settle()
    world.clock.advance(600.0)
    world.metric(6.0)
    world.fire(world.high(policy))
    assert len(world.left()) == 2


def test_an_endpoint_that_is_updated_refuses_and_the_next_alarm_action_tries_again(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0)
    world.update("ep", world.config("c2"))
    world.metric(6.0)
    world.fire(world.high(policy))
    assert world.count == 1
    [refused] = world.left()
    assert refused.status is A.FAILED
    assert refused.status_message.startswith("Failed to set desired instance count to 3. Reason: ")
    assert [reason.code for reason in refused.not_scaled] == ["TargetServicePutResourceAsUnscalable"]
    world.settle()
    world.clock.advance(60.0)
    world.metric(6.0)
    world.fire(world.high(policy))
    assert world.count == 3


def test_bounds_that_an_update_was_in_the_way_of_are_kept_once_it_is_over(world: LiveScalingWorld) -> None:
    world.update("ep", world.config("c2"))
    world.register(2, 4)
    assert world.count == 1
    world.settle()
    assert world.count == 2
    assert world.activities(A.SUCCESSFUL)[0].cause == "minimum capacity was set to 2"


def test_a_full_machine_fails_the_activity_with_the_reason_and_is_asked_again(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0)
    world.engine.capacity = 2
    world.metric(8.0)
    world.fire(world.high(policy))
    world.settle()
    [failed] = world.activities()
    assert failed.status is A.FAILED
    assert failed.status_message.startswith("Failed to set desired instance count to 4. Reason: ")
    assert "InsufficientInstanceCapacity" in failed.status_message
    assert world.count == 2
    assert world.endpoint("ep").status is EndpointStatus.IN_SERVICE
    world.engine.capacity = None
    for _ in range(40):
        world.metric(8.0)
        world.act_again()
    world.settle()
    assert world.count > 2
    assert world.activities()[0].status is A.SUCCESSFUL


def test_bounds_that_found_no_room_are_kept_once_a_replica_has_left_the_machine(world: LiveScalingWorld) -> None:
    world.create("other", world.config("c2", counts={"main": 1}))
    world.settle()
    world.engine.capacity = 2
    world.register(2, 4)
    world.settle()
    assert world.count == 1
    assert "InsufficientInstanceCapacity" in world.activities()[0].status_message
    for _ in range(6):  # pauses grow
        world.act_again(60.0)
        world.settle()
    world.act_again()
    failed = len(world.activities())
    world.control.delete_endpoint("other")
    world.settle()
    world.act_again()  # one second: the pause is at its longest
    world.settle()
    assert world.count == 2
    assert world.activities()[0].status is A.SUCCESSFUL
    assert len(world.activities()) == failed + 1


def test_bounds_that_found_no_room_are_asked_for_ever_more_slowly_each_30_s_at_last(world: LiveScalingWorld) -> None:
    world.engine.capacity = 1
    world.register(2, 4)
    asked_s = []
    for second in range(200):
        before = len(world.activities())
        world.settle()
        world.act_again()
        if len(world.activities()) > before:
            asked_s.append(second)
    pauses = [after - before for before, after in pairwise(asked_s)]
    assert pauses == sorted(pauses)
    assert 29 <= pauses[-1] <= 32
    world.engine.capacity = None  # nobody tells
    for _ in range(32):
        world.act_again()
        world.settle()
    assert world.count == 2


def test_load_that_found_no_room_asks_again_once_a_replica_has_left_the_machine(world: LiveScalingWorld) -> None:
    world.create("other", world.config("c2", counts={"main": 1}))
    world.settle()
    world.engine.capacity = 2
    world.register(1, 4)
    world.track("event", SIGNAL_EVENT)
    for _ in range(6):
        world.clock.advance(60.0)
        crowd(world)
        world.settle()
    assert world.count == 1
    failed = len(world.activities())
    world.act_again()
    crowd(world)  # the pause is long by now
    assert len(world.activities()) == failed
    world.control.delete_endpoint("other")
    world.settle()
    world.act_again()
    crowd(world)
    world.settle()
    assert len(world.activities()) > failed
    assert world.count == 2


def test_what_failed_itself_makes_no_room_when_it_is_cleared_away(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track("event", SIGNAL_EVENT)
    world.engine.standing_faults["c1"] = Fault(failure=Failure(reason="ModelLoadFailed", message="model_fn raised."))
    for _ in range(15):  # a minute: 1, 2, 4, 8, 16 s and 30 s from one to the next
        crowd(world)
        for _ in range(10):  # takes time: what has failed is cleared away a moment after its failure is told
            world.turn()
            world.deliver()
            world.engine.step()
            world.clock.advance(0.1)
        world.act_again(0.0)
    assert 3 <= len(world.activities()) <= 7


def test_a_count_that_a_caller_set_outside_the_bounds_is_left_there(world: LiveScalingWorld) -> None:
    world.register(2, 4)
    world.settle()
    world.control.update_weights_and_counts("ep", {}, {"main": 1})
    for _ in range(40):
        world.settle()
        world.act_again()
    assert world.count == 1


def test_a_replica_that_never_becomes_healthy_fails_the_activity(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0)
    world.engine.standing_faults["c1"] = Fault(failure=Failure(reason="ModelLoadFailed", message="model_fn raised."))
    world.metric(4.0)
    world.fire(world.high(policy))
    world.settle()
    [failed] = world.activities()
    assert failed.status is A.FAILED
    assert "model_fn raised." in failed.status_message
    assert world.lanes("ep") == {"main": 1}


def test_of_two_policies_that_disagree_the_larger_capacity_wins(world: LiveScalingWorld) -> None:
    world.register(1, 8)
    few = world.track("few", target=4.0, scale_out_cooldown_s=0.0, scale_in_cooldown_s=0.0)
    many = world.track("many", target=1.0, scale_out_cooldown_s=0.0, scale_in_cooldown_s=0.0)
    world.metric(4.0)
    for policy in (many, few):
        world.fire(world.high(policy))
        world.settle()
    assert world.count == 4
    world.clock.advance(60.0)
    world.metric(1.0)
    world.fire(world.low(few))
    world.settle()
    assert world.count == 4
    world.api.delete_policy("ep", "main", VARIANT_COUNT, "many")  # nobody disagrees any more
    world.fire(world.low(few))
    world.settle()
    assert world.count == 1


def test_a_larger_scale_out_overrides_the_one_under_way(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0, scale_out_cooldown_s=0.0)
    world.metric(4.0)
    world.fire(world.high(policy))
    assert world.count == 2
    world.register(4, 4)
    newest, older = world.activities()
    assert (newest.status, older.status) == (A.IN_PROGRESS, A.OVERRIDDEN)
    world.settle()
    assert [activity.status for activity in world.activities()] == [A.SUCCESSFUL, A.OVERRIDDEN]
    assert world.count == 4


def test_a_scheduled_action_moves_the_bounds_of_the_target_and_capacity_inside_them(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    at = datetime.fromtimestamp(world.clock.now_s() + 30, UTC)
    world.schedule(f"at({at:%Y-%m-%dT%H:%M:%S})", 2, 3)
    assert world.live.schedules.step() <= 10.0
    assert world.count == 1
    world.clock.advance(30.0)
    world.live.schedules.step()
    world.settle()
    assert world.count == 2
    [target] = world.api.targets()
    assert (target.min_capacity, target.max_capacity) == (2, 3)
    assert {activity.cause for activity in world.activities()} == {"scheduled action name morning was triggered"}
    world.live.schedules.step()
    assert sum(isinstance(noted.given, Scheduled) for noted in world.noted) == 1


def test_a_suspended_target_does_not_grow(world: LiveScalingWorld) -> None:
    world.register(1, 4, suspended=Suspended(scale_out=True))
    policy = world.track(target=2.0)
    world.metric(6.0)
    world.fire(world.high(policy))
    assert world.count == 1


def test_a_request_wakes_a_variant_that_is_at_zero(world: LiveScalingWorld) -> None:
    world.register(0, 2)
    policy = world.track(scale_in_cooldown_s=0.0)
    world.metric(0.0)
    world.fire(world.low(policy))
    world.settle()
    assert world.count == 0
    world.load(3, waiting=3)
    assert world.count == 1
    world.settle()
    assert world.lanes("ep") == {"main": 1}
    assert world.activities(A.SUCCESSFUL)[0].description == "Setting desired instance count to 1."
    world.clock.advance(1.0)
    world.load(3, waiting=3)
    assert sum(isinstance(noted.given, Load) for noted in world.noted) == 1  # no event policy: load is not looked at


def test_time_passes_each_second_for_event_policies_alone(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track()
    world.live.seconds.step()
    assert not any(isinstance(noted.given, Tick) for noted in world.noted)
    world.track("event", SIGNAL_EVENT)
    world.load(0)
    world.live.seconds.step()
    assert isinstance(world.noted[-1].given, Tick)


def test_what_gateways_say_nothing_of_is_idle(world: LiveScalingWorld) -> None:
    world.register(0, 4)
    world.track("event", SIGNAL_EVENT, scale_in_cooldown_s=0.0)
    world.live.seconds.step()
    idle = world.noted[-1].given
    assert isinstance(idle, Load)
    assert (idle.now, idle.in_hand, idle.capacity) == (0, 0.0, 1)
    world.live.seconds.step()
    assert isinstance(world.noted[-1].given, Tick)
    for _ in range(300):
        world.clock.advance(1.0)
        world.live.seconds.step()
    world.settle()
    assert world.count == 0


def test_a_request_after_a_silence_does_not_stand_for_all_of_it(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track("event", SIGNAL_EVENT)
    world.load(0)
    world.clock.advance(4.0)
    world.load(1, arrived=1)
    told = world.noted[-1].given
    assert isinstance(told, Load)
    assert told.in_hand * 4.0 == pytest.approx(TOLD_WITHIN_S)
    world.clock.advance(0.1)
    world.load(3, arrived=3)
    told = world.noted[-1].given
    assert isinstance(told, Load)
    assert told.in_hand == 3.0
    assert world.count == 1


def crowd(world: LiveScalingWorld) -> None:
    """More is in hand for three seconds than one replica is to have."""
    for tenth in range(30):
        world.clock.advance(0.1)
        world.load(20, waiting=16, arrived=4 * tenth + 20, ended=4 * tenth, busy_s=0.1 * tenth)


def test_gateways_that_went_away_are_no_sign_that_less_is_needed(world: LiveScalingWorld) -> None:
    world.register(0, 4)
    world.track("event", SIGNAL_EVENT, scale_in_cooldown_s=0.0)
    crowd(world)
    world.settle()
    grown = world.count
    assert grown > 1
    world.connected = False
    world.load(0)  # what the gateways had in hand went with them
    for _ in range(300):
        world.act_again()
        world.settle()
    assert world.count == grown
    world.connected = True
    for _ in range(300):
        world.act_again()
        world.settle()
    assert world.count == 0


def test_more_is_seen_to_be_needed_although_a_gateway_is_away(world: LiveScalingWorld) -> None:
    world.register(0, 4)
    world.track("event", SIGNAL_EVENT)
    world.connected = False
    crowd(world)
    assert world.count > 1


def test_load_reaches_an_event_policy_at_once_with_what_starts_took(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track("event", SIGNAL_EVENT)
    world.load(5)
    given = world.noted[-1].given
    assert isinstance(given, Load)
    assert (given.capacity, given.ready, given.now) == (1, 1, 5)
    assert given.start_s == pytest.approx(world.engine.observe()[0].budget.load_time_s or 0.0)


def test_load_is_not_decided_upon_while_an_update_is_in_the_way(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track("event", SIGNAL_EVENT)
    world.update("ep", world.config("c2"))
    world.follow()
    world.load(50)
    assert not any(isinstance(noted.given, Load) for noted in world.noted)
    world.settle()
    world.load(50)
    assert isinstance(world.noted[-1].given, Load)


def test_a_change_by_hand_is_what_scaling_goes_on_from(world: LiveScalingWorld) -> None:
    world.register(1, 8)
    policy = world.track(target=2.0)
    world.control.update_weights_and_counts("ep", {}, {"main": 3})
    world.settle()
    world.metric(4.0)
    world.fire(world.high(policy))
    assert world.count == 6


def test_a_minimum_of_zero_lets_callers_have_none(world: LiveScalingWorld) -> None:
    world.register(0, 2)
    world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.settle()
    assert world.count == 0


def test_a_mistake_of_ours_does_not_end_scaling(
    world: LiveScalingWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.register(1, 4)
    policy = world.track(target=2.0)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("trimtab.control.scaling.scaler.step", broken)
        world.metric(6.0)
        world.fire(world.high(policy))
    assert "autoscaling failed inside trimtab" in caplog.text
    world.fire(world.high(policy))
    assert world.count == 3


def test_the_alarm_of_a_policy_that_changed_meanwhile_is_the_new_ones(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    before = world.track(target=2.0)
    after = world.track(target=4.0)
    assert after.alarms == before.alarms
    assert after.arn == before.arn
    assert world.high(after).watched is not None
    assert world.high(after).watched == replace(world.high(after).watched, threshold=4.0)  # type: ignore[type-var]
    assert world.high(after).state is AlarmState.INSUFFICIENT_DATA
