"""Short moves of a World whose endpoint `ep` is scaled, for the tests beside this."""

from trimtab.resources.replica import Failure
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.world import World

RAISED = Failure(reason="ModelLoadFailed", message="model_fn raised.", tail="ValueError: no")
EXITED = Failure(reason="Exited", message="exit status 3")
SCALED = ("scaled", "main", "")


def serve(world: World, **counts: int) -> None:
    """The endpoint `ep` is InService with these variants (one `main` unless told)."""
    world.create("ep", world.config("c1", counts=counts or {"main": 1}))
    world.settle()
    world.told.clear()


def counts(world: World) -> dict[str, tuple[int, int]]:
    """Desired and current count of each variant."""
    return {v.name: (v.desired_count, v.current_count) for v in world.endpoint("ep").variants}


def move(world: World, moves: int = 1) -> None:
    """So many times: all turns that act, then gateways and engine once."""
    for _ in range(moves):
        while world.turn() == 0.0:
            pass
        world.deliver()
        world.engine.step()


def until_one_drains(world: World) -> None:
    """Turns, and gateways that follow, until a replica drains; none becomes ready."""
    while not world.engine.ids(R.DRAINING):
        world.turn()
        world.deliver()
