"""What callers say of targets, policies and scheduled actions: kept, checked, limited, and forgotten with the endpoint."""

import msgspec
import pytest
from msgspec.structs import replace

from trimtab.control.scaling import book
from trimtab.errors import Invalid, LimitExceeded, NotFound
from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import PROVISIONED, SIGNAL_EVENT, VARIANT_COUNT, ScalingPolicy, Suspended, TargetTracking
from trimtab.testing.live_scaling import LiveScalingWorld
from trimtab.testing.scaling import a_policy, a_target, an_action

MAIN = ("ep", "main", VARIANT_COUNT)


def test_what_was_registered_is_found_whatever_the_case_and_changed_in_part(world: LiveScalingWorld) -> None:
    first = world.register(1, 4, tags={"team": "risk"}, role_arn="arn:role")
    again = world.api.register(
        "EP", "MAIN", VARIANT_COUNT, min_capacity=None, max_capacity=6, role_arn="", suspended=None, tags={"a": "b"}
    )
    assert again == replace(first, max_capacity=6, tags={"team": "risk", "a": "b"})
    world.clock.advance(10.0)
    assert world.register(1, 6, suspended=Suspended(scale_in=True)).created_s == first.created_s
    world.restart()
    [target] = world.api.targets()
    assert target == replace(again, suspended=Suspended(scale_in=True))


def test_a_target_needs_an_endpoint_a_variant_and_bounds_that_make_sense(world: LiveScalingWorld) -> None:
    def register(
        endpoint: str = "ep", variant: str = "main", dimension: str = VARIANT_COUNT, **more: int | None
    ) -> None:
        bounds = {"min_capacity": 1, "max_capacity": 2} | more
        world.api.register(endpoint, variant, dimension, role_arn="", suspended=None, tags={}, **bounds)

    with pytest.raises(NotFound) as caught:
        register(endpoint="nobody")
    assert caught.value.kind == "endpoint"
    with pytest.raises(NotFound) as caught:
        register(variant="nobody")
    assert caught.value.kind == "variant"
    with pytest.raises(Invalid, match="has instances"):
        register(dimension=PROVISIONED)
    for bounds in ({"min_capacity": 3}, {"min_capacity": -1}, {"min_capacity": None}, {"max_capacity": None}):
        with pytest.raises(Invalid, match="Capacity"):
            register(**bounds)
    assert world.api.targets() == []


def test_policies_and_actions_need_a_target(world: LiveScalingWorld) -> None:
    with pytest.raises(NotFound) as caught:
        world.track()
    assert caught.value.kind == "scalable-target"
    with pytest.raises(NotFound) as caught:
        world.schedule("rate(1 hour)", 1, None)
    assert caught.value.kind == "scalable-target"
    with pytest.raises(NotFound):
        world.api.deregister(*MAIN)
    for call, kind in ((world.api.delete_policy, "scaling-policy"), (world.api.delete_action, "scheduled-action")):
        with pytest.raises(NotFound) as caught:
            call(*MAIN, "nobody")
        assert caught.value.kind == kind
    with pytest.raises(NotFound):
        world.api.set_tags("nobody", {})


def test_target_tracking_makes_its_alarms_and_takes_them_along(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    policy = world.track(target=10.0)
    assert policy.arn.startswith("arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:")
    assert policy.arn.endswith(":resource/sagemaker/endpoint/ep/variant/main:policyName/track")
    high, low = world.high(policy), world.low(policy)
    assert high.name.startswith("TargetTracking-endpoint/ep/variant/main-AlarmHigh-")
    assert high.description == f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}."
    assert high.alarm_actions == low.alarm_actions == (policy.arn,)
    assert high.watched is not None
    assert low.watched is not None
    assert (high.watched.threshold, low.watched.threshold) == (10.0, 9.0)
    assert [alarm.arn.rpartition(":alarm:")[2] for alarm in policy.alarms] == [high.name, low.name]
    world.track(signal=SIGNAL_EVENT)
    assert world.alarms.list() == []
    [event] = world.api.policies()
    assert (event.arn, event.alarms) == (policy.arn, ())
    world.track(target=10.0)
    world.api.delete_policy(*MAIN, "track")
    assert world.alarms.list() == []
    assert world.api.policies() == []


def test_deregistering_forgets_policies_actions_and_alarms(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track()
    world.schedule("rate(1 hour)", 2, None)
    world.api.deregister(*MAIN)
    assert [*world.api.targets(), *world.api.policies(), *world.api.actions(), *world.alarms.list()] == []
    world.restart()
    assert [*world.api.targets(), *world.api.policies(), *world.api.actions(), *world.alarms.list()] == []


def test_with_the_endpoint_go_its_targets(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track()
    world.control.delete_endpoint("ep")
    assert world.api.targets() == []
    assert world.alarms.list() == []
    world.settle()
    world.create("ep", "c1")
    world.settle()
    assert world.api.targets() == []


def test_a_target_does_not_pass_to_an_endpoint_that_was_made_anew(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    kept = world.store.scaling.targets()
    world.control.delete_endpoint("ep")
    world.settle()
    world.clock.advance(10.0)
    world.create("ep", "c1")
    world.settle()
    world.store.scaling.save_target(kept[0])  # as if control had died before it could forget it
    world.restart()
    assert world.api.targets() == []
    assert world.store.scaling.targets() == []


def test_control_hears_which_variants_are_scaled_how(world: LiveScalingWorld) -> None:
    assert (world.api.floor("ep", "main"), world.api.is_scalable("ep", "main")) == (1, False)
    world.register(1, 4)
    assert not world.api.wants_signals("ep", "main")
    world.track(signal=SIGNAL_EVENT)
    assert world.api.wants_signals("EP", "Main")
    world.settle()
    route = world.book.route("ep")
    assert route is not None
    assert route.variants[0].signals
    world.api.delete_policy(*MAIN, "track")
    assert not world.api.wants_signals("ep", "main")
    world.register(0, 4)
    assert world.api.wants_signals("ep", "main")
    assert (world.api.floor("ep", "main"), world.api.is_scalable("ep", "main")) == (0, True)


def test_there_are_as_many_of_each_as_on_aws(world: LiveScalingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (book.MAX_TARGETS, book.MAX_POLICIES, book.MAX_ACTIONS) == (500, 50, 200)
    for limit in ("MAX_TARGETS", "MAX_POLICIES", "MAX_ACTIONS"):
        monkeypatch.setattr(book, limit, 1)
    held = book.Book(world.store.scaling)
    for first, second, save in (
        (a_target("a"), a_target("b"), held.save_target),
        (a_policy("a"), a_policy("b"), held.save_policy),
        (an_action("a"), an_action("b"), held.save_action),
    ):
        save(first)  # type: ignore[operator]
        save(first)  # type: ignore[operator]
        with pytest.raises(LimitExceeded):
            save(second)  # type: ignore[operator]
    held.save_target(a_target("c", managed=True))
    with pytest.raises(LimitExceeded):
        held.save_target(a_target("c"))


def test_tags_are_replaced_and_limited(world: LiveScalingWorld) -> None:
    target = world.register(1, 4, tags={"a": "b"})
    world.api.set_tags(target.id, {"c": "d"})
    assert world.api.targets()[0].tags == {"c": "d"}
    with pytest.raises(LimitExceeded):
        world.api.set_tags(target.id, {str(number): "" for number in range(51)})


def test_a_schedule_that_cannot_be_read_or_is_over_is_refused(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    for schedule, least, most in (
        ("every day", 1, 2),
        ("at(2001-01-01T00:00:00)", 1, 2),
        ("rate(1 hour)", None, None),
        ("rate(1 hour)", 3, 2),
    ):
        with pytest.raises(Invalid):
            world.schedule(schedule, least, most)
    assert world.api.actions() == []


def test_an_action_is_changed_in_part_and_keeps_its_arn(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.schedule("rate(1 hour)", 2, None)
    [first] = world.api.actions()
    assert ":scheduledAction:" in first.arn
    world.clock.advance(5.0)
    world.schedule("rate(2 hours)", None, 3)
    [second] = world.api.actions()
    assert second == replace(first, schedule="rate(2 hours)", max_capacity=3)


def test_steps_that_aws_refuses_are_refused(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    with pytest.raises(Invalid):
        world.steps(min_magnitude=-1)
    assert world.api.policies() == []


def test_managed_instance_scaling_is_a_target_of_its_own_until_a_caller_registers_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    world = LiveScalingWorld(tmp_path_factory.mktemp("managed"), managed=(1, 3))

    def follow() -> None:
        world.live.seconds.step()
        world.follow()

    follow()
    [target] = world.api.targets()
    assert (target.managed, target.min_capacity, target.max_capacity) == (True, 1, 3)
    assert world.api.policies() == []  # callers have made none
    assert world.api.wants_signals("ep", "main")
    assert not world.api.is_scalable("ep", "main")
    with pytest.raises(NotFound):
        world.api.deregister(*MAIN)
    own = world.register(2, 5)
    follow()
    assert list(world.api.targets()) == [own]
    assert not world.api.wants_signals("ep", "main")
    world.api.deregister(*MAIN)
    follow()
    [again] = world.api.targets()
    assert again.managed
    world.settle()
    world.update("ep", world.config("c2"))
    world.settle()
    follow()
    assert world.api.targets() == []
    world.close()


def test_a_policy_is_put_anew_without_a_second_pair_of_alarms(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    made: list[ScalingPolicy] = [world.track(target=float(target)) for target in (1, 2, 2)]
    assert len({policy.arn for policy in made}) == 1
    assert len(world.alarms.list()) == 2
    changes = [item for item in world.alarms.history(world.high(made[0]).name) if "updated" in item.summary]
    assert len(changes) == 1


def test_the_history_of_a_policys_alarm_on_math_tells_of_its_metrics(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    work = MetricQuery("work", stat=MetricStat("N", "m", (), 60, "Sum", "Count"), return_data=False)
    queries = (work, MetricQuery("half", expression="work / 2", label="half of it"))
    declared = replace(
        a_policy(endpoint="ep", variant="main"), tracking=TargetTracking(target_value=1.0, queries=queries)
    )
    made = world.api.put_policy(declared)
    [item] = [one for one in world.alarms.history(world.high(made).name) if "created" in one.summary]
    first, second = msgspec.json.decode(item.data)["createdAlarm"]["metrics"]
    assert first["metricStat"]["unit"] == "Count"
    assert (second["expression"], second["label"]) == ("work / 2", "half of it")
