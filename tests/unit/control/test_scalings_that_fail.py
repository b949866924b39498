"""What becomes of a scaling that fails: what came of it stays, the reason is told, and room that comes free is used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scaling_moves import EXITED, RAISED, SCALED, counts, move, serve

from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.engine import Fault
from trimtab.testing.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


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
    scaling = world.store.get_endpoint("ep").scaling_of("main")
    assert scaling is not None
    assert (scaling.wanted, scaling.least, scaling.why) == (3, 1, "load")
    world.settle()
    assert world.store.get_endpoint("ep").scaling_of("main") is None


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
