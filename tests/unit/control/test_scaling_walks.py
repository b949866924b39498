"""Counts that change at any moment: promises hold at every move, and each change that is not overtaken ends once."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scaling_moves import EXITED, RAISED

from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.engine import Fault
from trimtab.testing.world import World

faults = st.sampled_from([Fault(failure=RAISED), Fault(failure=EXITED), Fault(never_ready=True), Fault(steps=2)])
moves = st.lists(
    st.integers(0, 6) | st.sampled_from(["turn", "deliver", "step", "wait", "restart"]) | faults, max_size=40
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=st.integers(1, 4), capacity=st.none() | st.integers(4, 8), moves=moves)
def test_whatever_counts_come_capacity_is_kept_and_each_change_ends_once(
    first: int, capacity: int | None, moves: list[int | str | Fault]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            walk(world, first, capacity, moves)
        finally:
            world.close()


def walk(world: World, first: int, capacity: int | None, moves: list[int | str | Fault]) -> None:
    world.create("ep", world.config("c1", counts={"main": first}))
    world.settle()
    world.engine.capacity = capacity
    world.floors["ep"] = most = first
    changes, ended = 0, 0
    for move in (*moves, "rest"):
        before = len(world.outcomes("ep"))
        match move:
            case int():
                world.floors["ep"], most = min(world.floors["ep"], move), max(most, move)
                changes += world.scale("ep", move)
            case Fault():
                world.engine.faults.append(move)
            case "turn":
                world.turn()
            case "deliver":
                world.deliver()
            case "step":
                world.engine.step()
            case "wait":
                world.clock.advance(1.0)
            case "restart":
                world.restart()
            case "rest":
                world.engine.capacity = None
                world.settle()
        wanted = world.endpoint("ep").variants[0].desired_count
        assert len(world.engine.ids(R.STARTING, R.READY)) <= most
        ended = len(world.outcomes("ep"))
        assert ended - before <= 1
        assert ended <= changes
        if ended > before:
            assert world.store.get_endpoint("ep").scaling_of("main") is None
            assert world.endpoint("ep").status is E.IN_SERVICE
        assert 0 <= wanted <= most
    assert world.endpoint("ep").variants[0].current_count == wanted
    assert bool(ended) is bool(changes)
    assert E.ROLLING_BACK not in world.history["ep"]
