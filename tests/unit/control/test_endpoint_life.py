"""An endpoint's life, told through control with a fake engine: what the plan does, and in which order."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.control.actions import DrainReplica, Publish, StartReplica
from trimtab.control.plan import plan
from trimtab.errors import AlreadyExists, InUse, Invalid, NotFound
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import Failure
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.engine import Fault
from trimtab.testing.world import World

RAISED = Failure(
    reason="ModelLoadFailed",
    message="inference.py raised ValueError in model_fn.",
    tail="Traceback (most recent call last):\nValueError: no such file: model.onnx",
)
EXITED = Failure(reason="Exited", message="The model server exited with status 3.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def whats(world: World, name: str) -> list[str]:
    return [event.what for event in world.control.get_endpoint(name).events]


def test_a_new_endpoint_is_creating_and_then_in_service(world: World) -> None:
    created = world.create("ep", world.config("c1", counts={"main": 2}))
    assert created.status is E.CREATING
    assert created.variants[0].current_count == 0
    world.settle()
    endpoint = world.endpoint("ep")
    assert endpoint.status is E.IN_SERVICE
    assert endpoint.variants[0].current_count == 2
    assert world.history["ep"] == [E.CREATING, E.IN_SERVICE]
    assert whats(world, "ep")[0] == "endpoint Creating"
    assert whats(world, "ep")[-1] == "endpoint InService"


def test_in_service_means_that_every_gateway_routes_to_it(world: World) -> None:
    world.create("ep", world.config("c1"))
    for _ in range(10):
        world.turn()
        world.engine.step()
    assert world.endpoint("ep").status is E.CREATING
    assert world.lanes("ep") == {"main": 1}
    world.deliver()
    world.turn()
    assert world.endpoint("ep").status is E.IN_SERVICE


def test_nothing_is_routed_before_all_variants_are_ready(world: World) -> None:
    world.engine.faults.append(Fault(steps=3))
    world.create("ep", world.config("c1", counts={"a": 1, "b": 2}))
    world.turn()
    world.engine.step()
    world.turn()
    assert len(world.engine.ids(R.READY)) == 2
    assert world.lanes("ep") == {}
    world.settle()
    assert world.lanes("ep") == {"a": 1, "b": 2}


def test_a_model_that_raises_while_loading_fails_the_endpoint_at_once(world: World) -> None:
    world.engine.standing_faults["c1"] = Fault(failure=RAISED)
    world.create("ep", world.config("c1"))
    began_s = world.clock.now_s()
    world.settle()
    endpoint = world.endpoint("ep")
    assert endpoint.status is E.FAILED
    assert world.clock.now_s() - began_s < 1
    assert "primary container for production variant main failed (ModelLoadFailed)" in endpoint.failure_reason
    assert "inference.py raised ValueError" in endpoint.failure_reason
    assert "trimtab logs ep" in endpoint.failure_reason
    assert endpoint.failure_reason.endswith("ValueError: no such file: model.onnx")
    assert world.engine.observe() == []


def test_a_failure_reason_fits_aws_and_keeps_the_end_of_the_traceback(world: World) -> None:
    tail = "\n".join(f"line {n}" for n in range(2000)) + "\nthe cause"
    world.engine.standing_faults["c1"] = Fault(failure=Failure(reason="ModelLoadFailed", message="m", tail=tail))
    world.create("ep", world.config("c1"))
    world.settle()
    reason = world.endpoint("ep").failure_reason
    assert len(reason) <= 1024
    assert reason.endswith("the cause")


def test_a_server_that_crashes_is_tried_three_times_with_growing_waits(world: World) -> None:
    world.engine.standing_faults["c1"] = Fault(failure=EXITED)
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    assert world.endpoint("ep").status is E.FAILED
    assert len([order for order in world.engine.orders if order[0] == "start"]) == 6
    assert "6 starts failed." in world.endpoint("ep").failure_reason
    assert "exited with status 3" in world.endpoint("ep").failure_reason


def test_a_server_that_crashes_once_is_forgiven(world: World) -> None:
    world.engine.faults.append(Fault(failure=EXITED))
    world.create("ep", world.config("c1"))
    world.settle()
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.endpoint("ep").failure_reason == ""


def test_a_server_that_never_answers_fails_after_the_startup_timeout_in_aws_words(world: World) -> None:
    world.engine.standing_faults["c1"] = Fault(never_ready=True)
    world.create("ep", world.config("c1"))
    began_s = world.clock.now_s()
    world.settle()
    assert 240 <= world.clock.now_s() - began_s < 250
    reason = world.endpoint("ep").failure_reason
    assert "primary container for production variant main did not pass the ping health check" in reason
    assert "not ready within 240 s" in reason


def test_no_capacity_fails_the_creation_with_the_machines_words(world: World) -> None:
    world.engine.capacity = 1
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    assert world.endpoint("ep").status is E.FAILED
    assert "The machine has room for 1 replicas." in world.endpoint("ep").failure_reason


def test_a_dead_replica_is_replaced_at_once_and_leaves_the_routes(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    victim = world.engine.ids()[0]
    world.engine.kill(victim)
    world.actions.clear()
    world.turn()
    assert isinstance(world.actions[0], StartReplica)
    assert world.actions[0].why == f"replaces {victim}"
    assert isinstance(world.actions[1], Publish)
    assert world.lanes("ep") == {"main": 1}
    began_s = world.clock.now_s()
    world.settle()
    assert world.clock.now_s() == began_s
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert "replica lost" in whats(world, "ep")


@pytest.mark.parametrize("how", ["kill", "vanish", "fail"])
def test_however_a_replica_ends_it_is_replaced(world: World, how: str) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    victim = world.engine.ids()[0]
    if how == "fail":
        world.engine.fail(victim, EXITED)
    else:
        getattr(world.engine, how)(victim)
    world.settle()
    assert world.engine.ids(R.READY) != [victim]
    assert "replica lost" in whats(world, "ep")


def test_a_replica_that_dies_again_and_again_is_restarted_ever_more_slowly_and_never_given_up(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    began_s = world.clock.now_s()
    waits = []
    for _ in range(13):
        world.engine.kill(world.engine.ids(R.READY)[0])
        died_s = world.clock.now_s()
        world.settle()
        waits.append(round(world.clock.now_s() - died_s, 3))
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 60
    assert world.clock.now_s() > began_s
    assert world.endpoint("ep").status is E.IN_SERVICE


def test_a_replica_killed_after_it_had_settled_is_always_replaced_at_once(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    for _ in range(20):
        world.clock.advance(1.5)
        began_s = world.clock.now_s()
        world.engine.kill(world.engine.ids(R.READY)[0])
        world.settle()
        assert world.clock.now_s() == began_s


def test_an_update_launches_all_of_the_new_before_any_of_the_old_leaves(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    updated = world.update("ep", world.config("c2", counts={"main": 3}))
    assert (updated.status, updated.config_name, updated.pending_config_name) == (E.UPDATING, "c1", "c2")
    old = set(world.engine.ids())
    world.actions.clear()
    world.settle()
    kinds = [type(a) for a in world.actions if isinstance(a, StartReplica | Publish | DrainReplica)]
    assert kinds == [StartReplica] * 3 + [Publish] + [DrainReplica] * 2
    endpoint = world.endpoint("ep")
    assert (endpoint.status, endpoint.config_name, endpoint.pending_config_name) == (E.IN_SERVICE, "c2", "")
    assert endpoint.variants[0].current_count == 3
    assert not old & set(world.engine.ids())


def test_a_slow_gateway_keeps_the_old_replicas_until_it_has_the_new_table(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.update("ep", world.config("c2"))
    for _ in range(5):
        world.turn()
        world.engine.step()
    world.book.applied(0, world.book.table.version)
    world.turn()
    assert world.endpoint("ep").config_name == "c1"
    assert len(world.engine.ids(R.READY)) == 2
    world.book.disconnected(1)  # it holds nothing up any more
    del world.gateways[1]
    world.gateways[0].table = world.book.table
    world.settle()
    assert world.endpoint("ep").config_name == "c2"


def test_until_the_old_replicas_have_gone_describe_shows_the_old_config_and_the_new_one_pending(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.update("ep", world.config("c2", counts={"main": 2}))
    while not world.engine.ids(R.DRAINING):
        assert world.endpoint("ep").config_name == "c1"
        if world.turn() != 0.0:
            world.deliver()
            world.engine.step()
    endpoint = world.endpoint("ep")
    assert (endpoint.status, endpoint.config_name, endpoint.pending_config_name) == (E.UPDATING, "c1", "c2")
    assert (endpoint.variants[0].desired_count, endpoint.pending_variants[0].desired_count) == (1, 2)
    world.engine.step()
    world.settle()
    endpoint = world.endpoint("ep")
    assert (endpoint.status, endpoint.config_name, endpoint.pending_config_name) == (E.IN_SERVICE, "c2", "")
    assert endpoint.variants[0].current_count == 2


def test_a_failed_update_leaves_the_old_version_serving_and_says_why(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    old = world.engine.ids()
    world.engine.standing_faults["c2"] = Fault(failure=RAISED)
    world.update("ep", world.config("c2"))
    world.settle()
    endpoint = world.endpoint("ep")
    assert world.history["ep"][-3:] == [E.UPDATING, E.ROLLING_BACK, E.IN_SERVICE]
    assert (endpoint.status, endpoint.config_name, endpoint.pending_config_name) == (E.IN_SERVICE, "c1", "")
    assert endpoint.pending_variants == ()
    assert "The update to endpoint configuration 'c2' failed and was undone" in endpoint.failure_reason
    assert "'c1' has been serving all the time" in endpoint.failure_reason
    assert endpoint.failure_reason.endswith("ValueError: no such file: model.onnx")
    assert world.engine.ids() == old


def test_a_clock_that_is_set_back_during_a_failing_update_does_not_keep_it_going(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.engine.standing_faults["c2"] = Fault(failure=RAISED)
    world.update("ep", world.config("c2"))
    world.clock.set_wall(world.clock.now_s() - 86_400)
    world.settle(patience_s=600)
    assert world.history["ep"][-3:] == [E.UPDATING, E.ROLLING_BACK, E.IN_SERVICE]


def test_the_next_good_update_clears_the_failure_reason(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.engine.standing_faults["c2"] = Fault(failure=RAISED)
    world.update("ep", world.config("c2"))
    world.settle()
    world.update("ep", world.config("c3"))
    assert world.endpoint("ep").failure_reason == ""
    world.settle()
    assert world.endpoint("ep").config_name == "c3"
    assert world.endpoint("ep").failure_reason == ""


def test_updating_to_the_config_in_use_deploys_it_again(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    old = world.engine.ids()
    world.update("ep", "c1")
    world.settle()
    assert world.endpoint("ep").config_name == "c1"
    assert len(world.engine.ids()) == 1
    assert world.engine.ids() != old


def test_a_failed_endpoint_can_be_updated_into_service(world: World) -> None:
    world.engine.standing_faults["c1"] = Fault(failure=RAISED)
    world.create("ep", world.config("c1"))
    world.settle()
    world.update("ep", world.config("c2"))
    world.settle()
    assert (world.endpoint("ep").status, world.endpoint("ep").config_name) == (E.IN_SERVICE, "c2")


def test_a_failed_endpoint_whose_update_fails_is_failed_again(world: World) -> None:
    world.engine.standing_faults["c1"] = world.engine.standing_faults["c2"] = Fault(failure=RAISED)
    world.create("ep", world.config("c1"))
    world.settle()
    world.update("ep", world.config("c2"))
    world.settle()
    assert world.endpoint("ep").status is E.FAILED
    assert "The update to endpoint configuration 'c2' failed." in world.endpoint("ep").failure_reason


def test_scaling_out_and_in_goes_through_updating_and_keeps_the_oldest(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    first = world.engine.ids()
    world.clock.advance(1)
    resized = world.control.update_weights_and_counts("ep", {"main": 2.5}, {"main": 3})
    assert resized.status is E.UPDATING
    assert (resized.variants[0].desired_count, resized.variants[0].current_count) == (3, 1)
    world.settle()
    variant = world.endpoint("ep").variants[0]
    assert (variant.current_count, variant.current_weight) == (3, 2.5)
    world.clock.advance(1)
    world.control.update_weights_and_counts("ep", {}, {"main": 1})
    world.settle()
    assert len(world.engine.ids(R.READY)) == 1
    assert world.history["ep"][-2:] == [E.UPDATING, E.IN_SERVICE]
    assert world.engine.ids() == first


def test_weights_alone_change_routes_and_no_replica(world: World) -> None:
    world.create("ep", world.config("c1", counts={"a": 1, "b": 1}))
    world.settle()
    before = world.engine.ids()
    world.control.update_weights_and_counts("ep", {"a": 3.0}, {})
    world.settle()
    route = world.book.route("ep")
    assert route is not None
    assert {variant.name: variant.weight for variant in route.variants} == {"a": 3.0, "b": 1.0}
    assert world.engine.ids() == before


def test_a_scale_out_that_finds_no_room_is_undone_and_says_so(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.engine.capacity = 2
    world.control.update_weights_and_counts("ep", {}, {"main": 5})
    world.settle()
    endpoint = world.endpoint("ep")
    assert endpoint.status is E.IN_SERVICE
    assert world.history["ep"][-2:] == [E.ROLLING_BACK, E.IN_SERVICE]
    assert endpoint.variants[0].desired_count == 1
    assert "The change of instance counts or weights failed and was undone." in endpoint.failure_reason
    assert "room for 2 replicas" in endpoint.failure_reason
    assert len(world.engine.ids()) == 1


def test_deleting_drains_everything_and_then_the_name_is_free(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    world.control.delete_endpoint("ep")
    assert world.endpoint("ep").status is E.DELETING
    world.settle()
    with pytest.raises(NotFound):
        world.control.get_endpoint("ep")
    assert world.engine.observe() == []
    assert world.book.table.endpoints == ()
    world.create("ep", "c1")
    world.settle()


def test_a_failed_endpoint_can_be_deleted(world: World) -> None:
    world.engine.standing_faults["c1"] = Fault(failure=RAISED)
    world.create("ep", world.config("c1"))
    world.settle()
    world.control.delete_endpoint("ep")
    world.settle()
    assert world.control.list_endpoints() == []


def test_what_is_under_way_refuses_update_resize_and_delete(world: World) -> None:
    world.create("ep", world.config("c1"))
    for _ in range(2):
        with pytest.raises(InUse):
            world.update("ep", "c1")
        with pytest.raises(InUse):
            world.control.update_weights_and_counts("ep", {}, {"main": 2})
        with pytest.raises(InUse):
            world.control.delete_endpoint("ep")
        if world.endpoint("ep").status is E.CREATING:
            world.settle()
            world.update("ep", "c1")


def test_a_deleting_endpoint_is_in_use_until_it_is_gone(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.control.delete_endpoint("ep")
    with pytest.raises(InUse):
        world.control.delete_endpoint("ep")
    with pytest.raises(AlreadyExists):
        world.create("EP", "c1")


def test_an_endpoint_goes_on_when_its_config_and_model_are_deleted(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    world.control.delete_endpoint_config("c1")
    world.control.delete_model("m")
    world.engine.kill(world.engine.ids()[0])
    world.settle()
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert len(world.engine.ids(R.READY)) == 2


def test_an_update_names_the_config_in_use_when_that_was_deleted(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.config("c2")
    world.control.delete_endpoint_config("c1")
    with pytest.raises(NotFound) as caught:
        world.update("ep", "c2")
    assert (caught.value.kind, caught.value.name) == ("endpoint-config", "c1")


def test_retained_counts_and_weights_survive_an_update(world: World) -> None:
    world.create("ep", world.config("c1", counts={"a": 1, "b": 1}))
    world.settle()
    world.control.update_weights_and_counts("ep", {"a": 9.0}, {"a": 3})
    world.settle()
    world.update("ep", world.config("c2", counts={"a": 1, "c": 2}), retain_counts=True)
    world.settle()
    variants = {v.name: (v.desired_count, v.desired_weight) for v in world.endpoint("ep").variants}
    assert variants == {"a": (3, 1.0), "c": (2, 1.0)}


def test_a_replica_is_ordered_with_everything_that_it_needs(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.clock.advance(0.25)
    world.settle()
    spec = world.engine.spec(world.engine.ids()[0])
    assert (spec.endpoint, spec.variant, spec.version, spec.model_name) == ("ep", "main", "c1", "m")
    assert spec.environment == {"K": "V"}
    assert spec.decided_monotonic_s == world.clock.monotonic_s()
    assert spec.decide_s == 0.0


def test_each_model_server_of_a_replica_is_a_lane(tmp_path: Path) -> None:
    world = World(tmp_path, address_of=lambda spec: tuple(f"unix:/w/{spec.id}-{n}.sock" for n in range(3)))
    world.create("ep", world.config("c1"))
    for _ in range(4):
        world.turn()
        world.engine.step()
        world.deliver()
    assert world.lanes("ep") == {"main": 3}
    world.close()


def test_replicas_of_an_endpoint_that_nobody_knows_are_drained_and_forgotten(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    record = world.store.get_endpoint("ep")
    world.statuses["ep"] = E.DELETING
    world.store.remove_endpoint("ep", revision=record.endpoint.revision)
    world.restart()
    world.settle()
    assert world.engine.observe() == []
    assert world.book.table.endpoints == ()


def test_a_new_control_goes_on_routing_to_a_replica_that_has_not_spoken_to_it_yet(world: World) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    route = world.book.route("ep")
    silent = next(status for status in world.engine.observe())
    world.engine.put(replace(silent, state=R.STARTING, addresses=()))
    world.gateways.clear()  # the world would complain of lanes to a replica that is Starting
    world.restart()
    world.actions.clear()
    observed = world.control.observer.see("ep")
    assert {r.state for r in observed.replicas} == {R.READY}
    decided = plan(observed, world.clock.now_s())
    assert decided.actions == ()
    assert world.book.route("ep") == route


def test_bad_sizes_and_unknown_variants_are_refused(world: World) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    with pytest.raises(NotFound, match=r'The variant name\(s\) "x" is/are not present') as caught:
        world.control.update_weights_and_counts("ep", {"x": 1.0}, {})
    assert caught.value.kind == "variant"
    for weights, counts in (({"main": -1.0}, {}), ({"main": float("nan")}, {}), ({}, {"main": 0})):
        with pytest.raises(Invalid, match="main"):
            world.control.update_weights_and_counts("ep", weights, counts)
    assert world.endpoint("ep").status is E.IN_SERVICE
