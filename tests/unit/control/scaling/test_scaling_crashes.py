"""Control may die at any point of scaling: the next one finishes, or ends, what was under way."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.policies.scaling.inputs import Finished
from trimtab.policies.scaling.state import unpack
from trimtab.resources.alarm import AlarmState
from trimtab.resources.scaling import ActivityStatus, ScalingActivity
from trimtab.testing.live_scaling import LiveScalingWorld

A = ActivityStatus


@pytest.mark.parametrize("crashes_at", range(12))
@pytest.mark.parametrize("wanted", [1, 4])
def test_a_change_that_control_died_in_is_finished_by_the_next_one(
    tmp_path: Path, crashes_at: int, wanted: int
) -> None:
    world = LiveScalingWorld(tmp_path, count=2)
    world.register(wanted, wanted)
    world.follow()
    world.settle(crashes_at=crashes_at)
    assert world.lanes("ep") == {"main": wanted}
    assert [activity.status for activity in world.activities()] == [A.SUCCESSFUL]
    assert len(world.activities()) == 1
    kept = world.store.scaling.state("ep", "main")
    assert kept is not None
    change = unpack(kept).change
    assert change is not None
    assert change.ended_s is not None
    world.close()


def test_a_change_that_was_not_written_down_is_known_from_the_endpoint(world: LiveScalingWorld) -> None:
    world.register(3, 3)
    assert world.count == 3
    world.restart()  # what waited to be written is lost
    [activity] = world.activities()
    assert (activity.status, activity.cause) == (A.IN_PROGRESS, "minimum capacity was set to 3")
    world.settle()
    [activity] = world.activities()
    assert (activity.status, activity.description) == (A.SUCCESSFUL, "Setting desired instance count to 3.")


def test_a_change_that_was_written_down_and_not_ordered_is_ended(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.register(2, 4)
    world.follow()
    world.settle()
    [done] = world.activities()
    lost = with_status(done, A.IN_PROGRESS, id="lost", details='{"before": 2, "desired": 4, "policy": ""}')
    world.store.scaling.save_activity(lost)
    world.restart()
    [ended] = [activity for activity in world.activities() if activity.id == "lost"]
    assert ended.status is A.FAILED
    assert ended.end_s is not None
    assert world.count == 2


def test_a_change_that_ended_while_control_was_away_is_told_to_the_reducer(world: LiveScalingWorld) -> None:
    world.register(2, 4)
    world.follow()
    unheard = world.store.scaling.state("ep", "main")
    running = world.activities()[0]
    world.settle()
    assert unheard is not None
    world.store.scaling.save_state("ep", "main", unheard)  # as if it had died just before it heard of the end
    world.store.scaling.save_activity(running)
    world.noted.clear()
    world.restart()
    world.follow()
    assert [activity.status for activity in world.activities()] == [A.SUCCESSFUL]
    [noted] = world.noted
    assert isinstance(noted.given, Finished)
    assert noted.given.ok


def test_cooldowns_outlive_control(world: LiveScalingWorld) -> None:
    world.register(1, 8)
    policy = world.track(target=2.0, scale_out_cooldown_s=300.0)
    world.metric(4.0)
    world.fire(world.high(policy))
    world.settle()
    assert world.count == 2
    world.restart()
    world.clock.advance(30.0)
    world.metric(4.0)
    world.fire(world.high(policy))
    assert world.count <= 4
    world.restart()
    world.clock.advance(1.0)
    world.metric(0.0)
    world.fire(world.low(policy))
    assert world.count >= 2  # no scale-in while the scale-out's cooldown runs


def test_bounds_that_were_saved_and_not_kept_are_kept_at_the_next_start(world: LiveScalingWorld) -> None:
    target = world.register(1, 4)
    world.store.scaling.save_target(replace(target, min_capacity=3))  # and control died
    world.restart()
    assert world.count == 3
    world.settle()
    world.update("ep", "c1", retain_counts=True)
    world.store.scaling.save_target(replace(target, min_capacity=4))
    world.restart()
    world.settle()
    assert world.count == 4


def test_a_state_that_cannot_be_read_begins_anew(world: LiveScalingWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.register(1, 4)
    world.store.scaling.save_state("ep", "main", b"\xc1")
    world.restart()
    assert "cooldowns cannot be read" in caplog.text
    world.register(2, 4)
    assert world.count == 2


def break_alarms(world: LiveScalingWorld, after: int) -> None:
    """Control dies after so many more writes of alarms."""

    class Died(BaseException):
        pass

    put, left = world.alarms.put, [after]

    def dying(alarm: object) -> None:
        if left[0] == 0:
            raise Died
        left[0] -= 1
        put(alarm)  # type: ignore[arg-type]

    world.alarms.put = dying  # type: ignore[method-assign]
    with pytest.raises(Died):
        world.track()


@pytest.mark.parametrize("after", [0, 1])
def test_alarms_that_control_died_before_making_are_made_at_the_next_start(world: LiveScalingWorld, after: int) -> None:
    world.register(1, 4)
    break_alarms(world, after)
    world.restart()
    [policy] = world.api.policies()
    assert {alarm.name for alarm in world.alarms.list()} == {alarm.name for alarm in policy.alarms}
    assert len(policy.alarms) == 2


def test_alarms_of_policies_that_are_no_more_are_deleted_at_the_next_start(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track()
    world.store.scaling.delete_target("ep", "main", policy.dimension)  # and control died
    world.restart()
    assert world.alarms.list() == []


def test_an_alarm_goes_on_from_its_state_after_a_restart(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track()
    world.metric(6.0)
    world.fire(world.high(policy))
    before = world.high(policy)
    world.restart()
    assert world.high(policy) == before
    assert before.state is AlarmState.ALARM


@pytest.mark.parametrize(("away_s", "count"), [(50.0, 2), (100.0, 1)], ids=["in its minute", "its minute is over"])
def test_a_scheduled_action_that_was_due_while_control_was_away(
    world: LiveScalingWorld, away_s: float, count: int
) -> None:
    world.register(1, 4)
    world.schedule("rate(1 hour)", 2, None)
    world.clock.advance(3600.0 - 1.0)
    world.live.schedules.step()
    world.clock.advance(away_s)
    world.restart()
    world.live.schedules.step()
    assert world.count == count


def test_a_scheduled_action_that_was_carried_out_before_the_crash_changes_nothing_more(
    world: LiveScalingWorld,
) -> None:
    world.register(1, 4)
    world.schedule("rate(1 hour)", 2, None)
    world.clock.advance(3600.0)
    world.live.schedules.step()
    world.settle()
    world.restart()
    world.live.schedules.step()
    world.settle()
    assert world.count == 2
    assert len([activity for activity in world.activities() if "instance count" in activity.description]) == 1


def with_status(activity: ScalingActivity, status: ActivityStatus, **more: object) -> ScalingActivity:
    return replace(activity, status=status, end_s=None, **more)
