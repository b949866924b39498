"""The loop in real time: woken at once, one endpoint's trouble is its own."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.clock import SystemClock
from trimtab.control.observer import Observer
from trimtab.control.reconciler import Outcome
from trimtab.control.routes import RoutePublisher
from trimtab.control.runner import Runner
from trimtab.control.service import Control
from trimtab.resources.deployment import Crash
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.replica import ReplicaState as R
from trimtab.resources.runtime import Runtime
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.engine import FakeEngine, Fault

BOUND_S = 10.0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not true():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def running(control: Control) -> AsyncIterator[None]:
    await control.open()
    task = asyncio.create_task(control.run())
    try:
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Place:
    """A control in a folder, with an engine that moves by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.store = open_sqlite(folder / "t.db", synchronous="OFF")
        self.engine = FakeEngine(self.clock, automatic=True)
        self.control = self.another()

    def another(self) -> Control:
        return Control(
            store=self.store,
            engine=self.engine,
            publisher=RoutePublisher(self.folder / "routes", self.folder / "routes.sock", self.clock),
            clock=self.clock,
            resolve_runtime=lambda image, environment: Runtime(image=image),
            artifact_exists=lambda url, compressed: True,
            bucket_exists=lambda url: True,
        )

    def configs(self, *names: str, count: int = 1) -> None:
        if not self.control.list_models():
            self.control.create_model(Model(name="m", created_s=0.0, containers=(Container(),)), {})
        for name in names:
            variant = VariantSpec(name="main", model_name="m", initial_count=count)
            self.control.create_endpoint_config(EndpointConfig(name=name, created_s=0.0, variants=(variant,)), {})

    def status(self, name: str) -> E | None:
        return {e.name: e.status for e in self.control.list_endpoints()}.get(name)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="tt") as folder:
        place = Place(Path(folder))
        yield place
        await place.control.close()


async def test_an_endpoint_is_made_changed_and_deleted_without_waiting_for_a_timer(place: Place) -> None:
    async with running(place.control):
        place.configs("c1", "c2")
        began_s = place.clock.monotonic_s()
        place.control.create_endpoint("ep", "c1", {}, {})
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        place.control.update_endpoint("ep", "c2", retain_counts=False, retain_weights=False, document={})
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        place.control.delete_endpoint("ep")
        await until(lambda: place.status("ep") is None)
        assert place.clock.monotonic_s() - began_s < 1.0
    assert place.engine.observe() == []


async def test_a_decided_count_is_ordered_at_once_with_a_budget_from_the_decision(place: Place) -> None:
    async with running(place.control):
        place.configs("c1")
        place.control.create_endpoint("ep", "c1", {}, {})
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        decided_s = place.clock.monotonic_s()
        place.control.scale("ep", "main", 3, why="load", detect_s=0.01, decided_monotonic_s=decided_s)
        await until(lambda: len(place.engine.ids(R.READY)) == 3 and place.status("ep") is E.IN_SERVICE)
        assert place.clock.monotonic_s() - decided_s < 1.0
        for id_ in place.engine.ids()[1:]:
            spec = place.engine.spec(id_)
            assert (spec.detect_s, spec.decided_monotonic_s) == (0.01, decided_s)


async def test_a_start_that_found_no_room_begins_when_another_endpoint_makes_some(place: Place) -> None:
    async with running(place.control):
        place.configs("c1")
        for name in ("one", "two"):
            place.control.create_endpoint(name, "c1", {}, {})
            await until(lambda name=name: place.status(name) is E.IN_SERVICE)
        place.control.scale("one", "main", 0, why="idle")
        await until(lambda: place.status("one") is E.IN_SERVICE)
        record, now_s = place.store.get_endpoint("one"), place.clock.now_s()
        crash = Crash(replica_id="x", generation=1, variant="main", at_s=now_s, reason="NoCapacity")
        place.store.save_endpoint(replace(record, crashes=(crash,) * 20))  # the next start is tried in a minute
        place.control.scale("one", "main", 1, why="a request waits")
        await until(lambda: place.status("one") is E.UPDATING)
        place.control.scale("two", "main", 0, why="idle")
        began_s = place.clock.monotonic_s()
        await until(lambda: [replica.endpoint for replica in place.engine.observe()] == ["one"])
        assert place.clock.monotonic_s() - began_s < 5.0


async def test_an_endpoint_waits_for_the_room_that_a_deleted_one_has_not_left_yet(place: Place) -> None:
    place.engine.capacity = 1
    async with running(place.control):
        place.configs("c1")
        place.control.create_endpoint("old", "c1", {}, {})
        await until(lambda: place.status("old") is E.IN_SERVICE)
        place.control.delete_endpoint("old")  # in the same turn of the event loop: its replica still runs
        place.control.create_endpoint("new", "c1", {}, {})
        await until(lambda: place.status("new") not in (None, E.CREATING))
        assert place.status("new") is E.IN_SERVICE
        place.control.create_endpoint("more", "c1", {}, {})  # nobody leaves for this one
        await until(lambda: place.status("more") not in (None, E.CREATING))
        assert place.status("more") is E.FAILED


async def test_a_death_is_noticed_and_mended_at_once(place: Place) -> None:
    async with running(place.control):
        place.configs("c1", count=2)
        place.control.create_endpoint("ep", "c1", {}, {})
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        victim = place.engine.ids()[0]
        place.engine.kill(victim)
        await until(lambda: victim not in place.engine.ids() and len(place.engine.ids(R.READY)) == 2)
        spec = place.engine.spec(place.engine.ids()[-1])
        assert spec.detect_s is not None
        assert spec.decide_s is not None
        assert 0 <= spec.detect_s < 1
        assert 0 < spec.decide_s < 1


async def test_a_new_control_finishes_what_the_last_one_began(place: Place) -> None:
    place.engine.standing_faults["c2"] = Fault(steps=3)
    async with running(place.control):
        place.configs("c1", "c2")
        place.control.create_endpoint("ep", "c1", {}, {})
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        place.control.update_endpoint("ep", "c2", retain_counts=False, retain_weights=False, document={})
    old = place.control
    place.control = place.another()
    async with running(place.control):
        await until(lambda: place.status("ep") is E.IN_SERVICE)
        assert place.control.get_endpoint("ep").endpoint.config_name == "c2"
        assert len(place.engine.ids()) == 1
    await old.close()


async def test_one_endpoints_trouble_is_logged_recorded_and_retried_and_halts_no_other(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.engine.faults.append(Fault(version="bad", raises=RuntimeError("the nursery is on fire")))
    async with running(place.control):
        place.configs("bad", "good")
        place.control.create_endpoint("unlucky", "bad", {}, {})
        place.control.create_endpoint("lucky", "good", {}, {})
        await until(lambda: place.status("lucky") is E.IN_SERVICE)
        await until(lambda: place.status("unlucky") is E.IN_SERVICE)
    events = place.control.get_endpoint("unlucky").events
    assert "control turn failed" in [event.what for event in events]
    assert any("the nursery is on fire" in event.reason for event in events)
    assert "Traceback" in caplog.text


async def test_an_engine_that_hangs_over_one_endpoint_does_not_hold_up_another(place: Place) -> None:
    release = asyncio.Event()
    start = place.engine.start

    async def hanging(spec: ReplicaSpec) -> None:
        if spec.version == "slow":
            await release.wait()
        await start(spec)

    place.engine.start = hanging  # type: ignore[method-assign]
    async with running(place.control):
        place.configs("slow", "quick")
        place.control.create_endpoint("a", "slow", {}, {})
        place.control.create_endpoint("b", "quick", {}, {})
        await until(lambda: place.status("b") is E.IN_SERVICE)
        assert place.status("a") is E.CREATING
        release.set()
        await until(lambda: place.status("a") is E.IN_SERVICE)


async def test_the_tasks_of_endpoints_that_are_gone_end(place: Place) -> None:
    async with running(place.control):
        place.configs("c1")
        for _ in range(3):
            place.control.create_endpoint("ep", "c1", {}, {})
            await until(lambda: place.status("ep") is E.IN_SERVICE)
            place.control.delete_endpoint("ep")
            await until(lambda: place.status("ep") is None)
        await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name().startswith("endpoint ")])


async def test_many_endpoints_at_once(place: Place) -> None:
    async with running(place.control):
        place.configs("c1")
        for n in range(40):
            place.control.create_endpoint(f"ep{n}", "c1", {}, {})
        await until(lambda: all(place.status(f"ep{n}") is E.IN_SERVICE for n in range(40)))


async def test_a_wake_during_a_turn_is_not_lost() -> None:
    turns = 0
    entered, release = asyncio.Event(), asyncio.Event()

    async def settle(key: str, woken_s: float | None) -> Outcome:
        nonlocal turns
        turns += 1
        entered.set()
        await release.wait()
        return Outcome(acted=False, idle=turns == 2, wake_in_s=None)

    runner = Runner("ep", settle, lambda *_: None, SystemClock())
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(BOUND_S):
        await entered.wait()
        runner.wake()
        release.set()
        await task
    assert turns == 2


async def test_failing_turns_are_retried_ever_more_slowly() -> None:
    waits: list[float] = []

    async def settle(key: str, woken_s: float | None) -> Outcome:
        if len(waits) < 12:
            raise OSError("no")
        return Outcome(acted=False, idle=True, wake_in_s=None)

    runner = Runner("ep", settle, lambda key, error, wait_s: (waits.append(wait_s), runner.wake())[0], SystemClock())
    async with asyncio.timeout(BOUND_S):
        await runner.run()
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == 10.0


def observed(observer: Observer) -> Sequence[tuple[str, R]]:
    return [(replica.id, replica.state) for replica in observer.see("ep").replicas]


async def test_an_ordered_replica_counts_before_the_engine_lists_it(place: Place) -> None:
    observer = place.control.observer
    spec = ReplicaSpec(id="r1", endpoint="ep", variant="main", version="c1", model_name="m", runtime=Runtime())
    observer.started(spec)
    assert observed(observer) == [("r1", R.STARTING)]
    await place.engine.start(spec)
    assert observed(observer) == [("r1", R.STARTING)]
    place.engine.step()
    assert observed(observer) == [("r1", R.READY)]
    place.engine.vanish("r1")
    assert observed(observer) == [("r1", R.GONE)]
    observer.stopped("r1")
    assert observed(observer) == []
