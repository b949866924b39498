"""Random worlds around a model cache: uploads, requests, pins, crashes, loads that fail, in any order.

The world knows what a host knows: which workers live, what they take, which artifacts are leased, who waits. It checks
every action when it is ordered; and in the end, once everything that was ordered has been carried out, nobody waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trimtab.policies.models.actions import Action, FetchModel, Forget, Load, Refuse, Unload
from trimtab.policies.models.cache import ModelCache
from trimtab.policies.models.inputs import (
    Asked,
    Changed,
    Ended,
    Fetched,
    FetchFailed,
    Input,
    Loaded,
    LoadFailed,
    Measured,
    Pressure,
    Set,
    Tick,
    Used,
)
from trimtab.resources.hosting import ModelSetting
from trimtab.wire.hosting import ModelState

MIB = 2**20
MEMORY = 100 * MIB
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
MODES = st.sampled_from(["cache", "no cache"])


@dataclass
class Worker:
    """One that was ordered and is not dead."""

    bytes: int  # forecast, then the most that was measured
    state: str = "loading"  # ready, leaving
    in_hand: int = 0
    hurried: bool = False


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.objects: dict[str, tuple[str, int]] = {}  # key -> version, bytes of its artifact
        self.made = 0
        self.fetching: set[str] = set()
        self.leases: dict[tuple[str, str], int] = {}
        self.workers: dict[tuple[str, str], Worker] = {}
        self.waiting: set[str] = set()
        self.held: dict[str, str] = {}
        self.ttls: dict[str, float] = {}
        self.ratio = 1.0
        self.available = -1  # of the machine's memory, as was told last; -1: enough

    @initialize(mode=MODES, ratio=st.sampled_from([0.3, 1.0, 2.0, 5.0]))
    def make(self, mode: str, ratio: float) -> None:
        self.ratio = ratio
        self.keeps = mode == "cache"
        self.cache = ModelCache(MEMORY, cache=self.keeps)

    # --- carrying out -------------------------------------------------------------------------------------------------

    def tell(self, given: Input) -> None:
        for action in self.cache.step(given, self.now_s):
            self.check(action)

    def check(self, action: Action) -> None:
        match action:
            case FetchModel(model):
                assert model not in self.fetching, "one fetch at a time"
                self.fetching.add(model)
            case Load(model, version, why, forecast):
                assert self.leases.get((model, version), 0) > 0, "what is loaded is leased"
                assert (model, version) not in self.workers
                assert not [key for key, one in self.workers.items() if key[0] == model and one.state == "loading"]
                assert why
                assert self.counted() + forecast <= MEMORY, "it is loaded only where it fits"
                self.workers[model, version] = Worker(forecast)
            case Unload(model, version, why, text, at_once):
                worker = self.workers[model, version]
                assert text
                if at_once:
                    assert worker.state in ("loading", "leaving")
                    assert not worker.hurried, "once is enough"
                    worker.hurried = True
                else:
                    assert worker.state == "ready"
                    self.may_leave(model, version, why)
                worker.state = "leaving"
            case Forget(model, version):
                self.leases[model, version] -= 1
                needed = 1 if (model, version) in self.workers else 0
                assert self.leases[model, version] >= needed, "what a worker reads is leased"
            case Refuse(model, reason, message):
                assert model in self.waiting, "only those who wait are told"
                assert reason
                assert message
                self.waiting.discard(model)

    def may_leave(self, model: str, version: str, why: str) -> None:
        if model in self.held:
            assert why == "new version", f"{model} is held, and was {why}"
        if why == "expired":
            assert self.ttls.get(model)
            assert not self.workers[model, version].in_hand
        if why == "not cached":
            assert not self.keeps

    def counted(self) -> int:
        return sum(worker.bytes for worker in self.workers.values())

    def ready(self, model: str) -> list[tuple[str, str]]:
        return [key for key, one in self.workers.items() if key[0] == model and one.state == "ready"]

    def dead(self, key: tuple[str, str]) -> None:
        del self.workers[key]

    # --- what may happen ----------------------------------------------------------------------------------------------

    @rule(model=NAMES, mib=st.sampled_from([1, 5, 20, 40, 90, 300]))
    def upload(self, model: str, mib: int) -> None:
        self.made += 1
        self.objects[model] = f"v{self.made}", mib * MIB
        self.tell(Changed(model))

    @rule(model=NAMES)
    def delete(self, model: str) -> None:
        if self.objects.pop(model, None) is not None:
            self.tell(Changed(model, deleted=True))

    @rule(model=NAMES)
    def touch(self, model: str) -> None:
        """Uploaded once more, with the same content."""
        if model in self.objects:
            self.tell(Changed(model))

    @rule(model=NAMES, mib=st.sampled_from([10, 30, 40]), hasty=st.booleans())
    def serve(self, model: str, mib: int, hasty: bool) -> None:
        """The usual way, without an accident; `hasty`: it is answered before what left for it has ended."""
        if model not in self.objects:
            self.upload(model, mib)
        self.ask(model, "asked")
        if model in self.fetching:
            self.fetched(model)
        if not hasty:
            self.carry_out(leaving=True)
        for key, worker in sorted(self.workers.items()):
            if key[0] == model and worker.state == "loading":
                self.loaded(key)
        self.use(model, 3, 0)

    @rule(model=NAMES, why=st.sampled_from(["asked", "hot", "gone"]))
    def ask(self, model: str, why: str) -> None:
        if not self.ready(model):
            self.waiting.add(model)
        self.tell(Asked(model, why))

    @rule(model=NAMES, requests=st.integers(0, 20), in_hand=st.integers(0, 2))
    def use(self, model: str, requests: int, in_hand: int) -> None:
        for key in self.ready(model):
            self.workers[key].in_hand = in_hand
            self.tell(Used(model, requests, in_hand))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), how=st.sampled_from(["well", "well", "well", "away"]))
    def fetch(self, data: st.DataObject, how: str) -> None:
        model = data.draw(st.sampled_from(sorted(self.fetching)))
        self.fetched(model, away=how == "away")

    def fetched(self, model: str, *, away: bool = False) -> None:
        self.fetching.discard(model)
        if away:
            self.tell(FetchFailed(model, "Unavailable", "the store is away", transient=True))
        elif model not in self.objects:
            self.tell(FetchFailed(model, "ArtifactMissing", "there is no such object"))
        else:
            version, size = self.objects[model]
            self.leases[model, version] = self.leases.get((model, version), 0) + 1
            self.tell(Fetched(model, version, size, "onnx"))

    @precondition(lambda self: any(one.state == "loading" for one in self.workers.values()))
    @rule(
        data=st.data(),
        how=st.sampled_from(["well", "well", "well", "bad", "killed", "memory", "full", "dies"]),
        took=st.floats(0, 30),
    )
    def load(self, data: st.DataObject, how: str, took: float) -> None:
        loading = sorted(key for key, one in self.workers.items() if one.state == "loading")
        self.loaded(data.draw(st.sampled_from(loading)), how, took)

    def loaded(self, key: tuple[str, str], how: str = "well", took: float = 1.0) -> None:
        worker = self.workers[key]
        if how == "well":
            worker.state = "ready"
            worker.bytes = int(worker.bytes * self.ratio)
            self.waiting.discard(key[0])
            self.tell(Loaded(*key, worker.bytes, took))
        elif how == "dies":
            self.dead(key)
            self.tell(Ended(*key, crashed=True))
        else:
            self.dead(key)
            more = {"out_of_memory": how == "memory", "full": how == "full", "died": how == "killed"}
            self.tell(LoadFailed(*key, "ModelLoadFailed", "it does not load", **more))

    @precondition(lambda self: any(one.state == "leaving" for one in self.workers.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        leaving = sorted(key for key, one in self.workers.items() if one.state == "leaving")
        key = data.draw(st.sampled_from(leaving))
        self.dead(key)
        self.tell(Ended(*key))

    @precondition(lambda self: any(one.state == "ready" for one in self.workers.values()))
    @rule(data=st.data(), how=st.sampled_from(["crash", "grow", "shrink"]))
    def change(self, data: st.DataObject, how: str) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, one in self.workers.items() if one.state == "ready")))
        if how == "crash":
            self.dead(key)
            self.tell(Ended(*key, crashed=True, message="signal 11"))
            return
        worker = self.workers[key]
        took = worker.bytes + 7 * MIB if how == "grow" else worker.bytes // 2
        worker.bytes = max(worker.bytes, took)
        self.tell(Measured(*key, took))

    @rule(held=st.sets(NAMES, max_size=3), ttls=st.dictionaries(NAMES, st.sampled_from([5.0, 60.0]), max_size=2))
    def set(self, held: set[str], ttls: dict[str, float]) -> None:
        self.held = dict.fromkeys(held, "pinned")
        self.ttls = ttls
        models = sorted(held | set(ttls))
        self.tell(
            Set(tuple(ModelSetting(model=m, pinned=m in held, ttl_s=ttls.get(m, 0.0)) for m in models), dict(self.held))
        )

    @rule(available=st.sampled_from([-1, -1, 0, 10 * MIB, 1000 * MIB]))
    def press(self, available: int) -> None:
        self.available = available
        self.tell(Pressure(available))

    @rule(passed_s=st.sampled_from([0.1, 3.0, 30.0, 400.0]))
    def wait(self, passed_s: float) -> None:
        until_s = self.now_s + passed_s
        self.run_until(until_s)
        self.now_s = until_s

    def run_until(self, until_s: float) -> None:
        """Ticks, when they are due: not for ever at the same moment."""
        for _ in range(500):
            due_s = self.cache.next_s(self.now_s)
            if due_s is None or due_s > until_s:
                return
            assert due_s >= self.now_s
            self.now_s = due_s
            self.tell(Tick())
        raise AssertionError("ticks are due again and again")

    # --- what holds at all times --------------------------------------------------------------------------------------

    @invariant()
    def it_counts_what_there_is(self) -> None:
        if not hasattr(self, "cache"):
            return
        assert self.cache.used_bytes == self.counted()
        shown = {(one.model, one.version): one.state for one in self.cache.residents(self.now_s)}
        states = {"loading": ModelState.LOADING, "ready": ModelState.READY, "leaving": ModelState.LEAVING}
        assert shown == {key: states[worker.state] for key, worker in self.workers.items()}

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if not hasattr(self, "cache"):
            return
        under_way = self.fetching or any(one.state != "ready" for one in self.workers.values())
        busy = any(one.in_hand for one in self.workers.values())
        missing = [model for model in self.held if not self.ready(model)]
        short = self.available >= 0  # others have the memory: the host tells when they give it back
        if (self.waiting or missing) and not under_way and not busy and not short:
            assert self.cache.next_s(self.now_s) is not None, "something must happen for those who wait"

    def teardown(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.tell(Pressure(-1))
        for key, worker in self.workers.items():
            worker.in_hand = 0
            if worker.state == "ready":
                self.tell(Used(key[0], 0, 0))
        for _ in range(200):
            self.carry_out()
            self.carry_out(leaving=True)
            at_rest = not self.fetching and all(one.state == "ready" for one in self.workers.values())
            if at_rest and not self.waiting and not self.unread():
                break
            due_s = self.cache.next_s(self.now_s)
            if due_s is not None and not self.fetching:
                self.now_s = max(self.now_s, due_s)
                self.tell(Tick())
        assert not self.waiting, "all who asked have an answer"
        assert self.counted() <= MEMORY or all(key[0] in self.held for key in self.workers)
        assert not self.unread(), "what nobody reads is released"

    def unread(self) -> list[tuple[str, str]]:
        """Artifacts that are leased, and no worker reads them. (What is held may wait for the next try.)"""
        return [
            key
            for key, count in self.leases.items()
            if key[0] not in self.held and count != (1 if key in self.workers else 0)
        ]

    def carry_out(self, *, leaving: bool = False) -> None:
        """Everything that was ordered, well; or only what leaves."""
        for model in [] if leaving else sorted(self.fetching):
            self.fetched(model)
        for key, worker in sorted(self.workers.items()):
            if self.workers.get(key) is not worker:
                continue
            if worker.state == "leaving" and leaving:
                self.dead(key)
                self.tell(Ended(*key))
            elif worker.state == "loading" and not leaving:
                self.loaded(key)


CacheMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestCacheAgainstAPerfectModel = CacheMachine.TestCase
