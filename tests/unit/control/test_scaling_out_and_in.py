"""Counts that autoscaling changes: each variant by itself, overtaken by newer counts, and what becomes of failures."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.control.actions import Publish, Record, Save, StartReplica
from trimtab.errors import InUse, Invalid, LimitExceeded, NotFound
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.replica import Failure, StartCause
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.engine import Fault
from trimtab.testing.world import World

RAISED = Failure(reason="ModelLoadFailed", message="model_fn raised.", tail="ValueError: no")
EXITED = Failure(reason="Exited", message="exit status 3")
SCALED = ("scaled", "main", "")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def serve(world: World, **counts: int) -> None:
    world.create("ep", world.config("c1", counts=counts or {"main": 1}))
    world.settle()
    world.told.clear()


def counts(world: World) -> dict[str, tuple[int, int]]:
    return {v.name: (v.desired_count, v.current_count) for v in world.endpoint("ep").variants}


def move(world: World, moves: int = 1) -> None:
    for _ in range(moves):
        while world.turn() == 0.0:
            pass
        world.deliver()
        world.engine.step()


def test_a_decided_count_is_made_true_and_its_end_is_told(world: World) -> None:
    serve(world)
    assert world.scale("ep", 4, why="4.2 in hand per replica")
    assert world.endpoint("ep").status is E.UPDATING
    assert counts(world) == {"main": (4, 1)}
    world.settle()
    assert counts(world) == {"main": (4, 4)}
    assert world.history["ep"][-2:] == [E.UPDATING, E.IN_SERVICE]
    assert world.outcomes("ep") == [SCALED]
    reasons = [event.reason for event in world.control.get_endpoint("ep").events]
    assert "scale main 1 -> 4: 4.2 in hand per replica" in reasons
    assert reasons.count("scale out: 4.2 in hand per replica") == 3


def test_the_count_that_is_wanted_already_changes_nothing(world: World) -> None:
    serve(world)
    before = world.store.get_endpoint("ep")
    assert not world.scale("ep", 1)
    assert world.store.get_endpoint("ep") == before


def test_starts_are_ordered_first_of_all_and_after_a_single_write(world: World) -> None:
    serve(world)
    revision = world.endpoint("ep").revision
    world.actions.clear()
    world.scale("ep", 4)
    assert world.endpoint("ep").revision == revision + 1
    world.turn()
    kinds = [type(action) for action in world.actions]
    assert kinds[:3] == [StartReplica] * 3
    assert not {Save, Publish} & set(kinds)
    assert kinds[3:] == [Record]


def test_a_starts_budget_counts_from_the_decision_also_in_the_next_control(world: World) -> None:
    serve(world)
    world.clock.advance(10)
    decided_s = world.clock.monotonic_s() - 0.004
    world.scale("ep", 3, detect_s=0.02, decided_monotonic_s=decided_s)
    world.clock.advance(0.25)
    world.restart()
    world.turn()
    specs = [world.engine.spec(id_) for id_ in world.engine.ids(R.STARTING)]
    assert {(s.detect_s, s.decide_s, s.decided_monotonic_s) for s in specs} == {(0.02, 0.0, decided_s)}
    assert {spec.cause for spec in specs} == {StartCause.SCALE_OUT}


def test_without_a_time_the_decision_is_now_and_a_later_restart_has_a_budget_of_its_own(world: World) -> None:
    serve(world)
    world.clock.advance(5)
    world.scale("ep", 2)
    world.turn()
    (first,) = world.engine.ids(R.STARTING)
    assert world.engine.spec(first).decided_monotonic_s == world.clock.monotonic_s()
    world.settle()
    world.clock.advance(5)
    world.engine.kill(first)
    world.settle()
    again = world.engine.spec(world.engine.ids(R.READY)[-1])
    assert (again.cause, again.decided_monotonic_s) == (StartCause.RESTART, world.clock.monotonic_s())


def test_a_decision_of_before_the_machine_started_anew_does_not_count(world: World) -> None:
    serve(world)
    world.scale("ep", 2, decided_monotonic_s=1e6)
    world.turn()
    assert world.engine.spec(world.engine.ids(R.STARTING)[0]).decided_monotonic_s == world.clock.monotonic_s()


# overtaken


def test_a_scale_out_under_way_grows_with_the_newest_count(world: World) -> None:
    serve(world)
    world.scale("ep", 3)
    world.turn()
    under_way = world.engine.ids(R.STARTING)
    assert world.scale("ep", 5)
    world.settle()
    assert counts(world) == {"main": (5, 5)}
    assert set(under_way) < set(world.engine.ids(R.READY))
    assert world.outcomes("ep") == [SCALED]


def test_what_an_overtaken_change_had_not_reached_yet_is_no_promise(world: World) -> None:
    serve(world)
    world.scale("ep", 4)
    world.engine.capacity = 2
    world.scale("ep", 6)
    world.turn()
    assert {world.engine.spec(id_).cause for id_ in world.engine.ids(R.STARTING)} == {StartCause.SCALE_OUT}
    world.settle()
    assert counts(world) == {"main": (2, 2)}
    assert world.outcomes("ep") == [("scaling failed", "main", "InsufficientInstanceCapacity")]


def test_a_scaling_is_over_when_every_gateway_routes_by_it(world: World) -> None:
    serve(world)
    world.scale("ep", 2)
    for _ in range(5):
        world.turn()
        world.engine.step()
    assert world.lanes("ep") == {"main": 2}
    assert world.outcomes("ep") == []
    world.deliver()
    world.turn()
    assert world.outcomes("ep") == [SCALED]


def test_a_scale_out_under_way_is_turned_back(world: World) -> None:
    serve(world)
    first = world.engine.ids()
    world.scale("ep", 4)
    world.turn()
    assert len(world.engine.ids(R.STARTING)) == 3
    world.scale("ep", 1)
    world.settle()
    assert world.engine.ids() == first
    assert counts(world) == {"main": (1, 1)}
    assert world.outcomes("ep") == [SCALED]


def test_scaling_in_keeps_the_oldest_and_drains_the_others(world: World) -> None:
    serve(world)
    first = world.engine.ids()
    world.clock.advance(1)
    world.scale("ep", 4)
    world.settle()
    world.floors["ep"] = 1
    world.scale("ep", 1)
    world.settle()
    assert world.engine.ids() == first
    assert len([order for order in world.engine.orders if order[0] == "drain"]) == 3
    assert world.outcomes("ep") == [SCALED, SCALED]


def test_a_replica_that_drains_is_not_called_back(world: World) -> None:
    serve(world, main=4)
    world.floors["ep"] = 1
    world.scale("ep", 1)
    while not world.engine.ids(R.DRAINING):
        world.turn()
        world.deliver()
    leaving = set(world.engine.ids(R.DRAINING))
    world.scale("ep", 4)
    world.settle()
    assert not leaving & set(world.engine.ids())
    assert counts(world) == {"main": (4, 4)}


def test_a_scale_out_is_over_although_what_an_overtaken_one_let_go_still_works(world: World) -> None:
    serve(world, main=3)
    world.scale("ep", 1)
    while not world.engine.ids(R.DRAINING):
        world.turn()
        world.deliver()
    leaving = world.engine.ids(R.DRAINING)
    world.scale("ep", 2)
    world.turn()
    (new,) = world.engine.ids(R.STARTING)
    world.engine.put(replace(_status(world, new), state=R.READY, addresses=("unix:/x",)))
    while world.turn() == 0.0 or world.deliver():
        pass
    assert world.outcomes("ep") == [SCALED]
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.engine.ids(R.DRAINING) == leaving


def _status(world: World, replica_id: str) -> object:
    return next(status for status in world.engine.observe() if status.id == replica_id)


def test_variants_are_scaled_each_by_itself(world: World) -> None:
    serve(world, a=1, b=1)
    world.engine.faults.append(Fault(steps=3))
    world.scale("ep", 2, "a")
    world.turn()
    world.scale("ep", 2, "b")
    move(world, 3)
    assert world.outcomes("ep") == [("scaled", "b", "")]
    assert counts(world) == {"a": (2, 1), "b": (2, 2)}
    assert world.endpoint("ep").status is E.UPDATING
    world.settle()
    assert world.outcomes("ep") == [("scaled", "b", ""), ("scaled", "a", "")]


def test_a_callers_change_is_refused_while_a_scaling_is_under_way_and_made_afterwards(world: World) -> None:
    serve(world)
    world.scale("ep", 2)
    with pytest.raises(InUse):
        world.control.update_weights_and_counts("ep", {}, {"main": 3})
    with pytest.raises(InUse):
        world.update("ep", "c1")
    with pytest.raises(InUse):
        world.control.delete_endpoint("ep")
    world.settle()
    world.control.update_weights_and_counts("ep", {}, {"main": 3})
    world.settle()
    assert counts(world) == {"main": (3, 3)}


def test_a_callers_change_of_counts_is_overtaken_and_its_weights_stay(world: World) -> None:
    serve(world, a=1, b=1)
    world.control.update_weights_and_counts("ep", {"a": 5.0}, {"a": 2, "b": 3})
    world.turn()
    assert world.scale("ep", 4, "a")
    world.settle()
    assert counts(world) == {"a": (4, 4), "b": (3, 3)}
    assert world.endpoint("ep").variants[0].current_weight == 5.0
    assert world.outcomes("ep") == [("scaled", "a", "")]


def test_a_callers_change_that_fails_is_undone_around_what_autoscaling_made(world: World) -> None:
    serve(world, a=1, b=1)
    world.control.update_weights_and_counts("ep", {}, {"b": 2})
    world.engine.faults.append(Fault(failure=RAISED))
    world.turn()
    world.scale("ep", 3, "a")
    world.settle()
    assert counts(world) == {"a": (3, 3), "b": (1, 1)}
    assert world.history["ep"][-2:] == [E.ROLLING_BACK, E.IN_SERVICE]
    assert "ModelLoadFailed" in world.endpoint("ep").failure_reason
    assert world.outcomes("ep") == [("scaling failed", "a", "ModelLoadFailed")]


# refused


def test_what_cannot_be_scaled_says_so(world: World) -> None:
    with pytest.raises(NotFound):
        world.scale("ep", 2)
    world.create("ep", world.config("c1"))
    with pytest.raises(InUse):
        world.scale("ep", 2)
    world.settle()
    with pytest.raises(NotFound, match="not present") as caught:
        world.scale("ep", 2, "other")
    assert caught.value.kind == "variant"
    with pytest.raises(Invalid, match="at least 0"):
        world.scale("ep", -1)
    with pytest.raises(LimitExceeded):
        world.scale("ep", 1001)
    world.update("ep", "c1")
    with pytest.raises(InUse):
        world.scale("ep", 2)
    while not world.engine.ids(R.DRAINING):  # traffic is on the new deployment, the old one leaves
        if world.turn() != 0.0:
            world.deliver()
            world.engine.step()
    with pytest.raises(InUse):
        world.scale("ep", 2)
    world.settle()
    world.control.delete_endpoint("ep")
    with pytest.raises(InUse):
        world.scale("ep", 2)


def test_an_endpoint_that_has_failed_or_rolls_back_is_not_scaled(world: World) -> None:
    world.engine.standing_faults["bad"] = Fault(failure=RAISED)
    world.create("ep", world.config("bad"))
    world.settle()
    with pytest.raises(Invalid, match="Failed"):
        world.scale("ep", 2)
    world.update("ep", world.config("c1"))
    world.settle()
    world.update("ep", "bad")
    while world.endpoint("ep").status is not E.ROLLING_BACK:
        world.turn()
        world.engine.step()
    with pytest.raises(InUse):
        world.scale("ep", 2)


def test_an_update_may_neither_remove_a_scalable_variant_nor_change_its_instance_type(world: World) -> None:
    serve(world, main=1, other=1)
    world.targets["ep", "main"] = 1
    world.config("c2", counts={"other": 1})
    with pytest.raises(Invalid, match="is not part of"):
        world.update("ep", "c2")
    variant = VariantSpec(name="main", model_name="m", instance_type="ml.c5.large")
    world.control.create_endpoint_config(EndpointConfig(name="c3", created_s=0.0, variants=(variant,)), {})
    with pytest.raises(Invalid, match="another instance type in.*Deregister"):
        world.update("ep", "c3")
    world.update("ep", world.config("c4"))  # `other` is no target
    world.settle()
    assert list(counts(world)) == ["main"]


def test_an_update_goes_back_to_the_initial_count_unless_told_to_retain(world: World) -> None:
    serve(world)
    world.scale("ep", 3)
    world.settle()
    world.update("ep", world.config("c2"), retain_counts=True)
    world.settle()
    assert counts(world) == {"main": (3, 3)}
    world.update("ep", world.config("c3"))
    world.settle()
    assert counts(world) == {"main": (1, 1)}


# failures


def test_a_scaling_that_finds_no_room_keeps_what_there_is_and_says_so_in_awss_word(world: World) -> None:
    serve(world)
    world.engine.capacity = 3
    world.floors["ep"] = 1
    world.scale("ep", 5)
    world.settle()
    assert counts(world) == {"main": (3, 3)}
    endpoint = world.endpoint("ep")
    assert endpoint.status is E.IN_SERVICE
    assert E.ROLLING_BACK not in world.history["ep"]
    assert endpoint.failure_reason.startswith(
        "InsufficientInstanceCapacity: Scaling variant main to 5 instance(s) failed"
    )
    assert "it keeps 3. The machine has room for 3 replicas." in endpoint.failure_reason
    assert world.outcomes("ep") == [("scaling failed", "main", "InsufficientInstanceCapacity")]
    assert world.told[-2][1].reason == endpoint.failure_reason


def test_what_found_no_room_is_scaled_when_there_is_some_and_the_failure_is_forgotten(world: World) -> None:
    serve(world)
    world.engine.capacity = 2
    world.scale("ep", 4)
    world.settle()
    world.engine.capacity = 4
    assert world.scale("ep", 4)
    assert world.endpoint("ep").failure_reason == ""
    began_s = world.clock.now_s()
    world.settle()
    assert world.clock.now_s() == began_s
    assert counts(world) == {"main": (4, 4)}
    assert world.outcomes("ep")[-1] == SCALED


def test_room_that_comes_free_is_used_without_waiting_for_the_back_off(world: World) -> None:
    serve(world)
    world.create("other", "c1")
    world.settle()
    world.scale("ep", 0)
    world.settle()
    world.engine.capacity = 1
    world.scale("ep", 1)
    for _ in range(12):
        move(world, 2)
        world.clock.advance(30)
    wait_s = world.turn()
    assert wait_s is not None
    assert wait_s > 20
    world.control.delete_endpoint("other")
    began_s = world.clock.now_s()
    while world.endpoint("ep").variants[0].current_count != 1 or not world.lanes("ep")["main"]:
        move(world)
        world.clock.advance(0.001)
        assert world.clock.now_s() - began_s < 1


def test_what_is_under_way_is_known_to_the_next_control(world: World) -> None:
    serve(world)
    world.scale("ep", 3, why="load")
    world.restart()
    scaling = world.control.scaling_of("ep", "main")
    assert scaling is not None
    assert (scaling.wanted, scaling.least, scaling.why) == (3, 1, "load")
    world.settle()
    assert world.control.scaling_of("ep", "main") is None


def test_replicas_that_come_up_stay_when_another_of_the_same_scaling_fails(world: World) -> None:
    serve(world)
    world.engine.faults.append(Fault(failure=RAISED))
    world.scale("ep", 4)
    world.settle()
    assert counts(world) == {"main": (3, 3)}
    assert world.outcomes("ep") == [("scaling failed", "main", "ModelLoadFailed")]
    assert world.endpoint("ep").failure_reason.endswith("ValueError: no")


def test_a_replica_that_crashes_once_on_its_way_is_tried_again(world: World) -> None:
    serve(world)
    world.engine.faults.append(Fault(failure=EXITED))
    world.scale("ep", 3)
    world.settle()
    assert counts(world) == {"main": (3, 3)}
    assert world.outcomes("ep") == [SCALED]


def test_a_replica_that_never_becomes_healthy_leaves_the_others_and_other_variants_alone(world: World) -> None:
    serve(world, a=1, b=1)
    world.engine.faults.append(Fault(never_ready=True))
    world.scale("ep", 2, "a")
    world.turn()
    world.scale("ep", 3, "b")
    world.settle()
    assert counts(world) == {"a": (1, 1), "b": (3, 3)}
    assert world.outcomes("ep") == [("scaled", "b", ""), ("scaling failed", "a", "StartTimeout")]
    assert "did not pass the ping health check" in world.endpoint("ep").failure_reason


def test_crashes_of_before_do_not_condemn_a_new_scaling_even_with_a_clock_set_back(world: World) -> None:
    serve(world)
    world.engine.faults.append(Fault(failure=RAISED))
    world.scale("ep", 2)
    world.settle()
    world.clock.set_wall(world.clock.now_s() - 86_400)
    world.engine.faults.append(Fault(failure=EXITED))
    world.scale("ep", 2)
    world.settle()
    assert counts(world) == {"main": (2, 2)}
    assert world.outcomes("ep")[-1] == SCALED


def test_a_failed_scaling_never_goes_below_what_was_promised_before(world: World) -> None:
    serve(world, main=2)
    world.engine.standing_faults["c1"] = Fault(failure=RAISED)
    world.scale("ep", 4)
    world.turn()
    world.engine.kill(world.engine.ids(R.READY)[0])
    move(world, 2)
    assert world.endpoint("ep").variants[0].desired_count == 2
    del world.engine.standing_faults["c1"]
    world.settle()
    assert counts(world) == {"main": (2, 2)}
    assert len(world.engine.ids(R.READY)) == 2


def test_a_replica_that_dies_while_scaling_in_does_not_fail_it(world: World) -> None:
    serve(world, main=4)
    world.scale("ep", 2)
    world.engine.fail(world.engine.ids()[-1], RAISED)
    world.settle()
    assert counts(world) == {"main": (2, 2)}
    assert world.outcomes("ep") == [SCALED]


# none at all


def test_a_variant_is_scaled_to_none_and_keeps_its_place_in_the_routes(world: World) -> None:
    serve(world)
    world.scale("ep", 0, why="idle")
    world.settle()
    assert counts(world) == {"main": (0, 0)}
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.engine.observe() == []
    route = world.book.route("ep")
    assert route is not None
    assert [(v.name, v.lanes, v.signals) for v in route.variants] == [("main", (), True)]
    world.scale("ep", 1, why="a request waits")
    world.settle()
    assert world.lanes("ep") == {"main": 1}
    route = world.book.route("ep")
    assert route is not None
    assert not route.variants[0].signals
    assert world.outcomes("ep") == [SCALED, SCALED]


def test_waking_that_fails_leaves_one_wanted_and_goes_on_trying(world: World) -> None:
    serve(world)
    world.scale("ep", 0)
    world.settle()
    world.engine.capacity = 0
    world.scale("ep", 1)
    move(world, 3)
    assert world.outcomes("ep")[-1] == ("scaling failed", "main", "InsufficientInstanceCapacity")
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.endpoint("ep").variants[0].desired_count == 1
    world.engine.capacity = 1
    world.settle()
    assert world.lanes("ep") == {"main": 1}


def test_a_caller_may_ask_for_none_where_a_scalable_target_allows_it(world: World) -> None:
    serve(world)
    with pytest.raises(Invalid, match="register a scalable target for the variant with MinCapacity 0"):
        world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.targets["ep", "main"] = 2
    with pytest.raises(Invalid, match="at least 1"):
        world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.control.update_weights_and_counts("ep", {}, {"main": 1})  # AWS: a caller is not bound by the target's minimum
    world.settle()
    world.targets["ep", "main"] = 0
    world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.settle()
    assert counts(world) == {"main": (0, 0)}


def test_an_endpoint_whose_managed_scaling_begins_at_none_is_created_without_replicas(world: World) -> None:
    world.config("c1")
    none = VariantSpec(name="main", model_name="m", initial_count=0)
    with pytest.raises(Invalid, match="ManagedInstanceScaling with MinInstanceCount 0"):
        world.control.create_endpoint_config(EndpointConfig(name="c2", created_s=0.0, variants=(none,)), {})
    managed = replace(none, managed_min=0, managed_max=3)
    world.control.create_endpoint_config(EndpointConfig(name="c2", created_s=0.0, variants=(managed,)), {})
    world.create("ep", "c2")
    world.settle()
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.lanes("ep") == {"main": 0}
    world.scale("ep", 1)
    world.settle()
    assert world.lanes("ep") == {"main": 1}


def test_an_endpoint_at_none_is_updated_and_deleted(world: World) -> None:
    serve(world)
    world.scale("ep", 0)
    world.settle()
    world.update("ep", world.config("c2"), retain_counts=True)
    world.settle()
    assert (world.endpoint("ep").config_name, counts(world)) == ("c2", {"main": (0, 0)})
    world.control.delete_endpoint("ep")
    world.settle()
    assert world.control.list_endpoints() == []


def test_a_variant_that_begins_or_ceases_to_be_scaled_by_events_is_published_so(world: World) -> None:
    serve(world)
    for wanted in (True, False):
        (world.signals.add if wanted else world.signals.discard)(("ep", "main"))
        world.settle()
        route = world.book.route("ep")
        assert route is not None
        assert route.variants[0].signals is wanted
