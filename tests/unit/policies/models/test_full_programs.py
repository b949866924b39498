"""A program that holds all models and is full by its own account: what waits for what, and who is told no."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.policies.models import limits
from trimtab.policies.models.actions import Action, FetchModel, Forget, Load, Refuse, Unload
from trimtab.policies.models.cache import ModelCache
from trimtab.policies.models.inputs import (
    Asked,
    Changed,
    Ended,
    Fetched,
    Input,
    Loaded,
    LoadFailed,
    Set,
    Tick,
    Used,
)
from trimtab.wire.hosting import ModelState

MIB = 2**20


class Told:
    """A cache of much memory by its own account, one step at a time."""

    def __init__(self) -> None:
        self.cache = ModelCache(1000 * MIB)
        self.now_s = 0.0

    def tell(self, *given: Input) -> list[Action]:
        return [action for one in given for action in self.cache.step(one, self.now_s)]

    def begin(self, *models: str) -> None:
        """Have them loading."""
        for model in models:
            *_, load = self.tell(Asked(model), Fetched(model, "1", MIB))
            assert isinstance(load, Load)

    def ready(self, model: str) -> list[Action]:
        """It is loaded, and the requests that it was loaded for have come."""
        return self.tell(Loaded(model, "1", 10 * MIB, 1.0), Used(model, 1, 0))

    def full(self, model: str) -> list[Action]:
        return self.tell(LoadFailed(model, "1", "OutOfMemory", "507", full=True))

    def tick(self) -> list[Action]:
        due_s = self.cache.next_s(self.now_s)
        assert due_s is not None
        self.now_s = due_s
        return self.tell(Tick())


def loads(actions: list[Action]) -> list[str]:
    return [action.model for action in actions if isinstance(action, Load)]


def unloads(actions: list[Action]) -> list[str]:
    return [action.model for action in actions if isinstance(action, Unload)]


def refusals(actions: list[Action]) -> list[tuple[str, str]]:
    return [(action.model, action.reason) for action in actions if isinstance(action, Refuse)]


def test_a_model_alone_that_does_not_fit_is_refused_at_once() -> None:
    told = Told()
    told.begin("a")
    assert told.full("a") == [Refuse("a", "OutOfMemory", "507"), Forget("a", "1")]


def test_a_model_waits_for_those_that_load_and_is_tried_again_once_one_of_them_has_gone() -> None:
    told = Told()
    told.begin("a", "b", "c")
    assert told.full("c") == [], "its artifact is kept, and nothing is tried while nothing has changed"
    assert told.cache.state("c") is ModelState.LOADING
    assert unloads(told.ready("a")) == ["a"], "it has had its requests"
    assert told.ready("b") == [], "room is on its way: nothing more goes"
    assert told.tell(Ended("a", "1")) == [Forget("a", "1"), Load("c", "1", "asked", 10 * MIB)]
    told.ready("c")
    assert told.cache.state("c") is ModelState.READY


def test_a_model_that_has_just_come_is_left_to_its_requests() -> None:
    told = Told()
    told.begin("a", "b")
    told.full("b")
    assert told.tell(Loaded("a", "1", 10 * MIB, 1.0)) == []
    assert told.cache.next_s(0.0) == limits.BUSY_PATIENCE_S
    assert told.tick() == []
    assert unloads(told.tick()) == ["a"]
    assert told.now_s == limits.EXPECTED_S


def test_a_failed_load_of_another_is_no_reason_to_try_again() -> None:
    told = Told()
    told.begin("a", "b", "c", "d")
    assert told.full("b") == told.full("c") == told.full("d") == []
    assert loads(told.tell(LoadFailed("a", "1", "ModelLoadFailed", "broken"))) == ["b"], "it may have had memory"


def test_of_several_that_wait_one_is_told_of_what_becomes_free() -> None:
    told = Told()
    told.begin("a", "b", "c", "d")
    told.full("c")
    told.full("d")
    assert unloads(told.ready("a")) == ["a"]
    assert unloads(told.ready("b")) == ["b"], "for the other one"
    assert loads(told.tell(Ended("b", "1"))) == ["d"]
    assert loads(told.tell(Ended("a", "1"))) == ["c"]


def test_when_all_were_told_that_it_is_full_each_is_tried_alone_before_it_is_refused() -> None:
    told = Told()
    told.begin("a", "b")
    assert told.full("a") == []
    assert loads(told.full("b")) == ["a"]
    actions = told.full("a")
    assert refusals(actions) == [("a", "OutOfMemory")]
    assert loads(actions) == ["b"]
    told.ready("b")
    assert told.cache.state("b") is ModelState.READY


def test_what_ends_while_a_model_is_on_its_way_is_a_reason_to_try_again_at_once() -> None:
    told = Told()
    told.begin("a")
    told.ready("a")
    told.begin("b")
    told.tell(Ended("a", "1", crashed=True))
    assert loads(told.full("b")) == ["b"]


def test_those_who_wait_for_loads_that_take_too_long_are_told_to_ask_again() -> None:
    told = Told()
    told.begin("a", "b")
    told.now_s = 5.0
    told.full("b")
    while not (refused := refusals(told.tick())):
        pass
    assert refused == [("b", "NotReady")]
    assert told.now_s == 5.0 + limits.ROOM_WAIT_S
    told.now_s += 0.25
    assert told.tell(Asked("b")) == [], "nothing has changed"
    told.now_s += 2 * limits.ROOM_WAIT_S
    assert refusals(told.tell(Tick())) == [("b", "NotReady")]
    told.now_s += 2 * limits.PATIENT_S
    assert told.tell(Asked("b")) == [FetchModel("b")], "after a while it is tried whatever there was"


def test_what_has_ended_before_they_ask_again_is_a_reason_to_try() -> None:
    told = Told()
    told.begin("a", "b")
    told.full("b")
    told.now_s = limits.ROOM_WAIT_S
    assert refusals(told.tell(Tick())) == [("b", "NotReady")]
    told.tell(Ended("a", "1", crashed=True))
    assert told.tell(Asked("b")) == [FetchModel("b")]


def test_more_goes_each_time_until_there_is_room_or_nothing_left() -> None:
    told = Told()
    small = [f"small{number}" for number in range(40)]
    for model in small:
        told.begin(model)
        told.ready(model)
    told.now_s = 60.0
    told.begin("large")
    actions = told.full("large")
    went = []
    while not refusals(actions):
        going = unloads(actions)
        went.append(len(going))
        actions = [action for model in going for action in told.tell(Ended(model, "1"))]
        assert loads(actions) == ["large"]
        actions = told.full("large")
    assert went == [1, 2, 4, 8, 16, 9]
    assert refusals(actions) == [("large", "OutOfMemory")]


def test_pinned_models_do_not_go_for_it() -> None:
    told = Told()
    told.tell(Set((), {"p": "pinned"}), Fetched("p", "1", MIB))
    told.ready("p")
    told.begin("a")
    assert refusals(told.full("a")) == [("a", "OutOfMemory")]
    assert told.cache.state("p") is ModelState.READY


def test_another_artifact_is_fetched_and_tried_at_once() -> None:
    told = Told()
    told.begin("a", "b")
    told.full("b")
    assert told.tell(Changed("b")) == [Forget("b", "1"), FetchModel("b")]
    assert loads(told.tell(Fetched("b", "2", MIB))) == ["b"]


@dataclass
class Program:
    """A host, its gateways, and a program that takes a model's memory when its load ends. Time passes from one event to
    the next. Requests wait until they are answered or told no; NotReady is asked again, as gateways do."""

    capacity: int
    sizes: dict[str, int]
    load_s: dict[str, float]
    work_s: float
    cache: ModelCache = field(default_factory=lambda: ModelCache(1000 * MIB))
    now_s: float = 0.0
    inside: dict[str, int] = field(default_factory=dict)
    ready: set[str] = field(default_factory=set)
    in_hand: Counter[str] = field(default_factory=Counter)
    leaving: set[str] = field(default_factory=set)
    waiting: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    tries: Counter[str] = field(default_factory=Counter)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    made: int = 0

    def later(self, after_s: float, what: Callable[[], None]) -> None:
        self.made += 1
        heapq.heappush(self.events, (self.now_s + after_s, self.made, what))

    def tell(self, given: Input) -> None:
        for action in self.cache.step(given, self.now_s):
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case FetchModel(model):
                self.later(0.001, lambda: self.tell(Fetched(model, "1", 1000)))
            case Load(model):
                self.tries[model] += 1
                self.later(self.load_s[model], lambda: self.loaded(model))
            case Unload(model):
                self.ready.discard(model)
                self.leaving.add(model)
                self.drained(model)
            case Refuse(model, reason) if reason == "NotReady":
                self.refused[model, reason] += 1
                self.later(0.25, lambda: self.ask(model))
            case Refuse(model, reason):
                self.refused[model, reason] += self.waiting.pop(model)

    def request(self, model: str) -> None:
        self.waiting[model] += 1
        self.ask(model)

    def ask(self, model: str) -> None:
        if model in self.ready:
            self.send(model)
        elif self.waiting[model]:
            self.tell(Asked(model))

    def send(self, model: str) -> None:
        count = self.waiting.pop(model, 0)
        if count:
            self.in_hand[model] += count
            self.tell(Used(model, count, self.in_hand[model]))
            self.later(self.work_s, lambda: self.answer(model, count))

    def answer(self, model: str, count: int) -> None:
        self.in_hand[model] -= count
        self.answers[model] += count
        self.tell(Used(model, 0, self.in_hand[model]))
        self.drained(model)

    def drained(self, model: str) -> None:
        if model in self.leaving and not self.in_hand[model]:
            self.leaving.discard(model)
            self.later(0.01, lambda: self.ended(model))

    def ended(self, model: str) -> None:
        del self.inside[model]
        self.tell(Ended(model, "1"))
        self.ask(model)

    def loaded(self, model: str) -> None:
        if sum(self.inside.values()) + self.sizes[model] > self.capacity:
            self.tell(LoadFailed(model, "1", "OutOfMemory", "507", full=True))
            return
        self.inside[model] = self.sizes[model]
        self.ready.add(model)
        self.send(model)
        self.tell(Loaded(model, "1", self.sizes[model] * MIB, self.load_s[model]))

    def run(self) -> None:
        """Until nothing more will happen: no event, and no Tick that would do anything for those who wait."""
        for _ in range(20_000):
            due_s = self.cache.next_s(self.now_s) if self.waiting.total() else None
            if self.events and (due_s is None or self.events[0][0] <= due_s):
                at_s, _, what = heapq.heappop(self.events)
                self.now_s = max(self.now_s, at_s)
                what()
            elif due_s is not None:
                self.now_s = due_s
                self.tell(Tick())
            else:
                return
        raise AssertionError("it goes on for ever")


LOADS_S = st.sampled_from([0.01, 0.1, 0.1, 1.0, 8.0, 50.0, 90.0])


@settings(max_examples=300, deadline=None)
@given(
    capacity=st.integers(10, 40),
    models=st.lists(st.tuples(st.integers(1, 50), LOADS_S), min_size=1, max_size=8),
    asks=st.lists(st.tuples(st.integers(0, 7), st.sampled_from([0.0, 0.0, 0.05, 0.3, 2.0])), min_size=1, max_size=30),
    work_s=st.sampled_from([0.0, 0.05, 3.0]),
)
def test_each_request_is_answered_but_for_models_that_fit_into_no_program_of_that_size(
    capacity: int, models: list[tuple[int, float]], asks: list[tuple[int, float]], work_s: float
) -> None:
    names = [f"m{number}" for number in range(len(models))]
    sizes = {name: size for name, (size, _) in zip(names, models, strict=True)}
    program = Program(capacity, sizes, {name: took for name, (_, took) in zip(names, models, strict=True)}, work_s)
    asked: Counter[str] = Counter()
    at_s = 0.0
    for number, after_s in asks:
        model = names[number % len(names)]
        asked[model] += 1
        at_s += after_s
        program.later(at_s, lambda model=model: program.request(model))  # type: ignore[misc]
    program.run()
    assert not program.waiting.total(), "all who asked have an answer"
    for model, count in asked.items():
        refused = program.refused[model, "OutOfMemory"]
        assert (program.answers[model], refused) == ((count, 0) if sizes[model] <= capacity else (0, count))
    tries = program.tries.total()
    assert tries <= 5 * asked.total(), "no load is tried again and again"
