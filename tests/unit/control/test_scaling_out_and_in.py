"""Counts that autoscaling changes: each variant by itself, and overtaken by newer counts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from scaling_moves import RAISED, SCALED, counts, move, serve, until_one_drains

from trimtab.control.actions import Publish, Record, Save, StartReplica
from trimtab.errors import InUse, Invalid, LimitExceeded, NotFound
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.replica import ReplicaState as R
from trimtab.resources.replica import StartCause
from trimtab.testing.engine import Fault
from trimtab.testing.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


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
    until_one_drains(world)
    leaving = set(world.engine.ids(R.DRAINING))
    world.scale("ep", 4)
    world.settle()
    assert not leaving & set(world.engine.ids())
    assert counts(world) == {"main": (4, 4)}


def test_a_scale_out_is_over_although_what_an_overtaken_one_let_go_still_works(world: World) -> None:
    serve(world, main=3)
    world.scale("ep", 1)
    until_one_drains(world)
    leaving = world.engine.ids(R.DRAINING)
    world.scale("ep", 2)
    world.turn()
    (new,) = world.engine.ids(R.STARTING)
    world.engine.put(
        replace(
            next(status for status in world.engine.observe() if status.id == new), state=R.READY, addresses=("unix:/x",)
        )
    )
    while world.turn() == 0.0 or world.deliver():
        pass
    assert world.outcomes("ep") == [SCALED]
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.engine.ids(R.DRAINING) == leaving


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
    with pytest.raises(
        Invalid, match="another instance type in.*Deregister the scalable target endpoint/ep/variant/main first"
    ):
        world.update("ep", "c3")
    assert world.statuses["ep"] == "InService"
    world.update("ep", world.config("c4", counts={"Main": 1}))  # names have no case; `other` is no target
    world.settle()
    assert list(counts(world)) == ["Main"]


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
