"""Host with the real cache policy, and a runner and a control that do as they are told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.clock import SystemClock
from trimtab.host.host import Host
from trimtab.host.runner import Footprint, Key, LoadFault
from trimtab.policies.models.cache import ModelCache
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.replica import Failure
from trimtab.testing.host_parts import MIB, FakeLink, FakeRunner
from trimtab.testing.waiting import until
from trimtab.wire.hosting import Changed, ModelAt, ModelState, Settings, Use, Used, Want

A, B = Key("a", "v1"), Key("b", "v1")


class Scene:
    def __init__(self, memory_mib: int = 100) -> None:
        self.link = FakeLink()
        self.told: list[ModelAt] = []
        self.gateways: list[int] = []
        cache = ModelCache(memory_mib * MIB)
        self.dying: set[int] = set()
        self.unreadable: set[str] = set()  # for once
        self.host = Host(
            cache,
            self.link,
            SystemClock(),
            tell=self.tell,
            kind_of=self.kind_of,
            is_ending=self.dying.__contains__,
            look_every_s=0.01,
        )
        self.runner = self.host.runner = FakeRunner(self.host.ended)
        self.answers: list[ModelAt] = []
        self.host.open()

    def kind_of(self, path: Path) -> str:
        """In a thread of its own, as the host calls it."""
        if str(path) in self.unreadable:
            self.unreadable.remove(str(path))
            raise FileNotFoundError(path)
        return ""

    def tell(self, at: ModelAt) -> list[int]:
        self.told.append(at)
        return list(self.gateways)

    def want(self, model: str, why: str = "asked") -> None:
        self.host.wanted(Want(model, why), self.answers.append)

    def states(self, model: str) -> list[ModelState]:
        return [at.state for at in self.told if at.model == model]

    async def ready(self, *models: str) -> None:
        for model in models:
            self.want(model)
            await until(lambda: ModelState.READY in self.states(model))  # noqa: B023 - awaited here

    def happened(self, what: str) -> list[str]:
        return [event.model for event in self.link.events if event.what == what]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.host.leave(0.0)


async def test_a_gateway_that_sees_a_worker_die_first_is_not_sent_there_again(scene: Scene) -> None:
    await scene.ready("a")
    scene.answers.clear()
    scene.dying.add(7)
    scene.host.wanted(Want("a", "gone"), scene.answers.append)
    assert [at.state for at in scene.answers] == [ModelState.LOADING]
    scene.dying.clear()
    scene.runner.crash(A)
    await until(lambda: scene.states("a").count(ModelState.READY) == 2)
    assert scene.runner.orders == [("load", *A), ("load", *A)]


async def test_who_saw_a_worker_die_that_is_unloaded_that_moment_gets_another_one(scene: Scene) -> None:
    await scene.ready("a")
    scene.dying.add(7)
    scene.host.wanted(Want("a", "gone"), scene.answers.append)
    scene.host.settings(Settings(settings=(ModelSetting(model="a", ttl_s=0.001),)))
    await until(lambda: ("unload", *A) in scene.runner.orders)
    await until(lambda: scene.states("a").count(ModelState.READY) == 2)


async def test_files_that_cannot_be_read_are_asked_for_again_and_no_lease_is_left(scene: Scene) -> None:
    scene.unreadable.add("/files/a@v1")
    await scene.ready("a")
    assert scene.link.leases == ["/files/a@v1"]
    assert not scene.unreadable


async def test_a_worker_that_is_killed_while_it_loads_is_replaced_before_anybody_is_told(scene: Scene) -> None:
    scene.runner.slow_loads["a"] = asyncio.Event()
    scene.want("a")
    await until(lambda: scene.runner.orders)
    scene.runner.faults["a"] = LoadFault(Failure(reason="Exited", message="A worker was killed by SIGKILL."), died=True)
    scene.runner.slow_loads["a"].set()
    scene.runner.slow_loads["a"] = asyncio.Event()
    await until(lambda: scene.runner.orders.count(("load", *A)) == 2)
    del scene.runner.faults["a"]
    scene.runner.slow_loads["a"].set()
    await until(lambda: ModelState.READY in scene.states("a"))
    assert {at.reason for at in scene.told if at.state is ModelState.FAILED} <= {"NotReady"}


async def test_word_of_models_that_have_gone_leaves_nothing_behind(scene: Scene) -> None:
    for model in ("a", "b"):
        scene.host.used(1, Used((Use(model, 0, 0),)))
    assert scene.host._happenings._requests == {} == scene.host._happenings._misses


async def test_a_crash_before_it_is_measured_is_no_answer_to_who_asks_again(scene: Scene) -> None:
    scene.runner.slow_weighs["a"] = weighed = asyncio.Event()
    scene.want("a")
    await until(lambda: ModelState.READY in scene.states("a"))
    scene.dying.add(7)
    scene.host.wanted(Want("a", "gone"), scene.answers.append)
    scene.dying.clear()
    scene.runner.crash(A)
    weighed.set()
    await until(lambda: scene.states("a").count(ModelState.READY) == 2)
    assert ModelState.FAILED not in scene.states("a")


async def test_who_asks_for_a_ready_model_is_answered_at_once(scene: Scene) -> None:
    await scene.ready("a")
    scene.answers.clear()
    scene.want("a")
    assert [at.lanes for at in scene.answers if at.state is ModelState.READY] == [
        at.lanes for at in scene.told if at.state is ModelState.READY
    ]
    assert scene.runner.orders == [("load", *A)]


async def test_a_gateway_that_connects_later_is_told_all_that_is_here(scene: Scene) -> None:
    scene.runner.slow_loads["b"] = asyncio.Event()
    await scene.ready("a")
    scene.want("b")
    await until(lambda: scene.states("b"))
    assert {(at.model, at.state) for at in scene.host.known()} == {("a", ModelState.READY), ("b", ModelState.LOADING)}


async def test_artifacts_are_held_for_as_long_as_a_copy_reads_them(scene: Scene) -> None:
    scene.runner.faults["b"] = LoadFault(Failure(reason="ModelLoadFailed", message="no"))
    await scene.ready("a")
    scene.want("b")
    await until(lambda: ModelState.FAILED in scene.states("b"))
    assert scene.link.leases == ["/files/a@v1"]
    scene.runner.crash(A)
    await until(lambda: not scene.link.leases)


async def test_a_failed_load_that_nobody_waits_for_is_no_end_of_it_for_who_comes_meanwhile(scene: Scene) -> None:
    scene.runner.faults["a"] = LoadFault(Failure(reason="ModelLoadFailed", message="no"))
    scene.host.settings(Settings(hold={"a": "pinned"}))
    await until(lambda: ModelState.FAILED in scene.states("a"))
    failed = next(at for at in scene.told if at.state is ModelState.FAILED)
    assert failed.reason == "NotReady"


async def test_one_failure_is_one_event(scene: Scene) -> None:
    scene.link.missing.add("a")
    scene.want("a")
    await until(lambda: ModelState.FAILED in scene.states("a"))
    assert scene.happened("load failed") == ["a"]
    assert scene.happened("refused") == []


async def test_a_model_that_can_never_fit_is_refused_without_a_try(scene: Scene) -> None:
    scene.link.sizes["a"] = 500 * MIB
    scene.want("a")
    await until(lambda: ModelState.FAILED in scene.states("a"))
    assert scene.runner.orders == []
    assert scene.happened("refused") == ["a"]
    await until(lambda: not scene.link.leases)


async def test_what_a_lost_gateway_had_in_hand_is_nobodys(scene: Scene) -> None:
    await scene.ready("a")
    scene.host.used(1, Used((Use("a", 3, 3),)))
    scene.host.used(2, Used((Use("a", 1, 1),)))
    assert scene.host.in_hand(A) == 4
    scene.host.lost(1)
    assert (scene.host.in_hand(A), scene.host.in_hand_of_all) == (1, 1)
    scene.host.used(2, Used((Use("a", 0, 0),)))
    assert scene.host.in_hand(A) == 0


async def test_a_model_that_dies_as_it_is_unloaded_ends_once(scene: Scene) -> None:
    await scene.ready("a")
    scene.runner.slow_ends["a"] = asyncio.Event()
    scene.link.versions["a"] = "v2"
    scene.host.changed(Changed(model="a"))
    await until(lambda: Key("a", "v2") in scene.runner.loaded and ("unload", *A) in scene.runner.orders)
    scene.runner.crash(A)
    scene.runner.slow_ends["a"].set()
    await until(lambda: scene.link.leases == ["/files/a@v2"])
    assert (scene.happened("crashed"), scene.happened("unloaded")) == (["a"], [])


async def test_what_a_model_takes_at_its_most_counts_for_room() -> None:
    scene = Scene(memory_mib=100)
    await scene.ready("a")
    scene.runner.footprints["a"] = Footprint(20 * MIB, peak_bytes=70 * MIB)
    await until(lambda: scene.link.holding and scene.link.holding.used_bytes == 70 * MIB)
    assert scene.link.holding is not None
    [resident] = scene.link.holding.residents
    assert (resident.bytes, resident.peak_bytes, resident.pid) == (20 * MIB, 70 * MIB, 7)
    await scene.host.leave(0.0)


async def test_hits_are_requests_that_did_not_have_to_wait_for_a_load(scene: Scene) -> None:
    await scene.ready("a")
    scene.host.used(1, Used((Use("a", 5, 0, 2),)))
    await until(lambda: scene.link.holding and scene.link.holding.misses)
    assert scene.link.holding is not None
    assert (scene.link.holding.hits, scene.link.holding.misses) == (3, 2)


async def test_a_host_that_leaves_gives_up_loads_and_ends_what_is_loaded() -> None:
    scene = Scene()
    await scene.ready("a")
    scene.runner.slow_loads["b"] = asyncio.Event()
    scene.want("b")
    await until(lambda: ("load", *B) in scene.runner.orders)
    await scene.host.leave(5.0)
    assert scene.runner.orders[-2:] in (
        [("unload", *A), ("given up", *B)],
        [("given up", *B), ("unload", *A)],
    )
    assert scene.states("a")[-1] is ModelState.LEAVING
    assert scene.states("b")[-2:] == [ModelState.LEAVING, ModelState.FAILED]
    scene.want("a")
    assert (scene.answers[-1].state, scene.answers[-1].reason) == (ModelState.FAILED, "NotReady")


async def test_requests_that_come_before_a_model_is_measured_count(scene: Scene) -> None:
    weigh = scene.runner.weigh
    measured = asyncio.Event()

    async def slowly(key: Key) -> Footprint | None:
        await measured.wait()
        return await weigh(key)

    scene.runner.weigh = slowly  # type: ignore[method-assign]
    scene.want("a")
    await until(lambda: ModelState.READY in scene.states("a"))
    scene.host.used(1, Used((Use("a", 4, 1),)))
    measured.set()
    await until(lambda: scene.link.holding and scene.link.holding.residents[0].requests)
    assert scene.link.holding is not None
    [resident] = scene.link.holding.residents
    assert (resident.requests, resident.in_hand) == (4, 1)


async def test_a_model_that_its_program_does_not_know_is_looked_for_and_loaded_again(scene: Scene) -> None:
    await scene.ready("a")
    scene.want("a", "absent")  # it is there: whoever doubted it is told so again
    await until(lambda: scene.states("a").count(ModelState.READY) == 2)
    scene.runner.absent.add("a")
    scene.want("a", "absent")
    await until(lambda: scene.runner.orders == [("load", *A), ("load", *A)])
    await until(lambda: scene.states("a")[-1] is ModelState.READY)
    assert scene.states("a").count(ModelState.LEAVING) == 1


async def test_a_model_that_ran_out_of_memory_at_work_is_unloaded_and_loaded_when_it_is_asked_for(scene: Scene) -> None:
    await scene.ready("a")
    scene.runner.slow_ends["a"] = asyncio.Event()
    scene.want("a", "short")
    await until(lambda: scene.states("a")[-1] is ModelState.LEAVING)
    answered = len(scene.answers)
    scene.want("a", "gone")
    assert [at.state for at in scene.answers[answered:]] == [ModelState.LOADING]
    scene.runner.slow_ends["a"].set()
    await until(lambda: scene.runner.orders == [("load", *A), ("unload", *A), ("load", *A)])
    assert [event.why for event in scene.link.events if event.what == "unloaded"] == ["no memory"]


async def test_a_program_that_is_full_has_others_unloaded_although_they_fit_by_account(scene: Scene) -> None:
    await scene.ready("b")
    full = LoadFault(Failure(reason="OutOfMemory", message="full"), full=True)
    scene.runner.faults["a"] = full
    scene.want("a")
    await until(lambda: ("unload", *B) in scene.runner.orders)
    del scene.runner.faults["a"]
    scene.want("a")
    await until(lambda: scene.states("a")[-1] is ModelState.READY)


async def test_a_program_that_is_full_of_what_still_loads_is_asked_again_once_that_has_been_used(scene: Scene) -> None:
    loading = scene.runner.slow_loads["b"] = asyncio.Event()
    scene.want("b")
    scene.runner.faults["a"] = LoadFault(Failure(reason="OutOfMemory", message="full"), full=True)
    scene.want("a")
    await until(lambda: scene.runner.orders == [("load", *B), ("load", *A)])
    await until(lambda: [at.reason for at in scene.told if at.state is ModelState.FAILED] == ["NotReady"])
    scene.want("a")  # as a gateway does that is told so
    await until(lambda: scene.answers[-1].state is ModelState.LOADING)
    assert scene.runner.orders == [("load", *B), ("load", *A)], "not again while nothing has changed"
    del scene.runner.faults["a"]
    loading.set()
    await until(lambda: ModelState.READY in scene.states("b"))
    scene.host.used(1, Used((Use("b", 1, 0),)))
    await until(lambda: ModelState.READY in scene.states("a"))
    assert scene.runner.orders[2:] == [("unload", *B), ("load", *A)]


async def test_a_version_that_leaves_is_quiet_when_every_gateway_that_was_told_has_said_so(scene: Scene) -> None:
    scene.gateways = [1, 2, 3]
    await scene.ready("a")
    scene.runner.slow_ends["a"] = asyncio.Event()
    scene.want("a", "short")
    await until(lambda: scene.states("a")[-1] is ModelState.LEAVING)
    quiet = asyncio.create_task(scene.host.quiet(A))
    scene.host.used(1, Used((Use("a", 0, 0, done=("v0", "v1")),)))
    scene.host.used(3, Used((Use("a", 0, 1),)))
    scene.host.lost(2)
    await asyncio.sleep(0)
    assert not quiet.done()
    scene.host.used(3, Used((Use("a", 0, 0, done=("v1",)),)))
    await quiet
    await scene.host.quiet(B)  # what does not leave


async def test_a_model_that_runs_out_of_memory_before_it_was_weighed_is_loaded_again_all_the_same(scene: Scene) -> None:
    scene.runner.slow_weighs["a"] = asyncio.Event()
    await scene.ready("a")
    scene.want("a", "short")
    scene.want("a", "gone")
    await asyncio.sleep(0)
    scene.runner.slow_weighs.pop("a").set()
    await until(lambda: scene.states("a").count(ModelState.READY) == 2)
    assert ModelState.FAILED not in scene.states("a")
