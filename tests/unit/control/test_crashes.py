"""Control may be killed after any action: the next one finishes or undoes what was under way."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from trimtab.errors import InUse, Invalid, NotFound
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import Failure
from trimtab.resources.replica import ReplicaState as R
from trimtab.testing.engine import Fault
from trimtab.testing.world import Crash, World

RAISED = Failure(reason="ModelLoadFailed", message="model_fn raised.", tail="ValueError: no")
EXITED = Failure(reason="Exited", message="exit status 3")


def prepare(world: World) -> None:
    world.engine.standing_faults["bad"] = Fault(failure=RAISED)
    for name, count in (("c1", 2), ("c2", 3), ("bad", 2)):
        world.config(name, counts={"main": count})


def serving(world: World) -> None:
    prepare(world)
    world.create("ep", "c1")
    world.settle()
    world.floors["ep"] = 2


def update(world: World) -> None:
    world.update("ep", "c2")


def bad_update(world: World) -> None:
    world.update("ep", "bad")


def scale_out(world: World) -> None:
    world.control.update_weights_and_counts("ep", {}, {"main": 4})


def scale_in(world: World) -> None:
    world.floors["ep"] = 1
    world.control.update_weights_and_counts("ep", {}, {"main": 1})


def autoscale(world: World, *wanted: int) -> None:
    """Scale to each count in turn, the next one when the one before is half-way."""
    world.floors["ep"] = min(2, *wanted)
    for number, count in enumerate(wanted):
        if number:
            world.turn()
            world.engine.step()
            world.turn()
            world.deliver()
            world.turn()
        world.scale("ep", count)


def autoscale_out(world: World) -> None:
    autoscale(world, 4)


def autoscale_in(world: World) -> None:
    autoscale(world, 1)


def autoscale_to_none(world: World) -> None:
    autoscale(world, 0)


def autoscale_in_then_out(world: World) -> None:
    autoscale(world, 1, 4)


def autoscale_out_then_in(world: World) -> None:
    autoscale(world, 4, 1, 3)


def autoscale_on_a_full_machine(world: World) -> None:
    world.engine.capacity = 3
    autoscale(world, 5)


def at_none(world: World) -> None:
    serving(world)
    world.floors.clear()
    world.scale("ep", 0)
    world.settle()


def wake(world: World) -> None:
    world.scale("ep", 1)


def delete(world: World) -> None:
    world.floors.clear()
    world.control.delete_endpoint("ep")


def create(world: World) -> None:
    world.create("ep", "c2")


def bad_create(world: World) -> None:
    world.create("ep", "bad")


def outcome(world: World) -> list[tuple[object, ...]]:
    return [
        (e.status, e.config_name, e.pending_config_name, e.variants, bool(e.failure_reason))
        for e in world.control.list_endpoints()
    ]


@pytest.mark.parametrize(
    ("before", "act"),
    [
        (prepare, create),
        (prepare, bad_create),
        (serving, update),
        (serving, bad_update),
        (serving, scale_out),
        (serving, scale_in),
        (serving, autoscale_out),
        (serving, autoscale_in),
        (serving, autoscale_to_none),
        (serving, autoscale_in_then_out),
        (serving, autoscale_out_then_in),
        (serving, autoscale_on_a_full_machine),
        (at_none, wake),
        (serving, delete),
    ],
)
def test_a_crash_after_any_action_changes_nothing_about_the_outcome(
    tmp_path: Path, before: Callable[[World], None], act: Callable[[World], None]
) -> None:
    def run(crashes_at: int | None) -> tuple[list[tuple[object, ...]], int]:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            world = World(Path(folder))
            before(world)
            world.actions.clear()
            act(world)
            world.settle(crashes_at=crashes_at)
            world.restart()
            world.settle()
            result = outcome(world), len(world.actions)
            world.close()
            return result

    expected, total = run(None)
    assert total > 0
    for action in range(total):
        assert run(action)[0] == expected, f"after action {action}"


class Lives(RuleBasedStateMachine):
    """Calls, deaths, faults and crashes in any order, one move at a time; then everything comes to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name))
        self.calm: set[str] = set()  # endpoints that serve, and of which nothing has died

    @initialize()
    def configs(self) -> None:
        prepare(self.world)

    def teardown(self) -> None:
        self.rest()
        self.world.close()
        self.folder.cleanup()

    # calls

    @rule(name=st.sampled_from(["a", "b"]), config=st.sampled_from(["c1", "c2", "bad"]))
    def create(self, name: str, config: str) -> None:
        if name not in self.statuses():
            self.world.create(name, config)

    @rule(name=st.sampled_from(["a", "b"]), config=st.sampled_from(["c1", "c2", "bad"]))
    def update(self, name: str, config: str) -> None:
        if self.statuses().get(name) in (E.IN_SERVICE, E.FAILED):
            self.world.update(name, config)
            self.lower(name, {"c1": 2, "c2": 3, "bad": 2}[config])

    @rule(name=st.sampled_from(["a", "b"]), count=st.integers(1, 4))
    def resize(self, name: str, count: int) -> None:
        if self.statuses().get(name) is E.IN_SERVICE:
            self.world.control.update_weights_and_counts(name, {}, {"main": count})
            self.lower(name, count)

    @rule(name=st.sampled_from(["a", "b"]), count=st.integers(0, 5))
    def scale(self, name: str, count: int) -> None:
        try:
            self.world.scale(name, count)
        except (NotFound, InUse, Invalid):
            assert name not in self.statuses() or self.statuses()[name] is not E.IN_SERVICE
        else:
            self.lower(name, count)

    @rule(capacity=st.sampled_from([None, 3, 6]))
    def machine(self, capacity: int | None) -> None:
        self.world.engine.capacity = capacity

    @rule(name=st.sampled_from(["a", "b"]))
    def delete(self, name: str) -> None:
        if self.statuses().get(name) in (E.IN_SERVICE, E.FAILED):
            self.world.control.delete_endpoint(name)
            self.world.floors.pop(name, None)

    # moves

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule(after=st.integers(0, 4))
    def crash_in_a_turn(self, after: int) -> None:
        self.world.fuse = after
        try:
            self.world.turn()
        except Crash:
            self.world.restart()
        self.world.fuse = None

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule()
    def deliver(self) -> None:
        self.world.deliver()

    @rule()
    def step(self) -> None:
        self.world.engine.step()
        self.world.check()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 300.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    # misfortunes

    @rule(pick=st.integers(0, 10), how=st.sampled_from(["kill", "vanish", "fail"]))
    def die(self, pick: int, how: str) -> None:
        ids = self.world.engine.ids(R.READY, R.STARTING)
        if ids:
            victim = ids[pick % len(ids)]
            self.world.floors.pop(self.world.engine.spec(victim).endpoint, None)
            if how == "fail":
                self.world.engine.fail(victim, EXITED)
            else:
                getattr(self.world.engine, how)(victim)
            self.world.check()

    @rule(
        fault=st.sampled_from([Fault(failure=EXITED), Fault(failure=RAISED), Fault(never_ready=True), Fault(steps=3)])
    )
    def next_start_goes_wrong(self, fault: Fault) -> None:
        self.world.engine.faults.append(fault)

    @precondition(lambda self: len(self.world.gateways) > 0)
    @rule()
    def gateway_dies_and_comes_back(self) -> None:
        self.world.book.disconnected(0)
        self.world.book.connected(0)
        self.world.gateways[0].table = self.world.book.table  # a new one starts from the file
        self.world.check()

    # rest

    @rule()
    def rest(self) -> None:
        self.world.engine.capacity = None  # on a full machine, what has died could be tried for without end
        self.world.settle()
        for endpoint in self.world.control.list_endpoints():
            if endpoint.status is E.IN_SERVICE:
                self.world.floors[endpoint.name] = endpoint.variants[0].desired_count
                assert endpoint.pending_config_name == ""
                record = self.world.store.get_endpoint(endpoint.name)
                assert (record.scaled_from, record.scalings) == ((), ())
            else:
                assert endpoint.failure_reason

    def statuses(self) -> dict[str, E]:
        return {endpoint.name: endpoint.status for endpoint in self.world.control.list_endpoints()}

    def lower(self, name: str, count: int) -> None:
        if name in self.world.floors:
            self.world.floors[name] = min(count, self.world.floors[name])


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
