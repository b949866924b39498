"""What a replica loads, keeps and gives up, one story at a time."""

from __future__ import annotations

import pytest

from trimtab.policies.models import limits
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


class Replica:
    """A cache, and a host that does what it is told at once, unless told otherwise."""

    def __init__(self, mib: int = 100, **options: bool) -> None:
        self.cache = ModelCache(mib * MIB, **options)
        self.now_s = 0.0

    def tell(self, *given: Input) -> list[Action]:
        return [action for one in given for action in self.cache.step(one, self.now_s)]

    def load(self, model: str, mib: int, *, took_s: float = 1.0, requests: int = 1, version: str = "1") -> None:
        """Asked for, loaded, used, idle again; what has to go for it goes."""
        self.tell(Asked(model))
        todo = self.tell(Fetched(model, version, mib * MIB, "onnx"))
        while todo:
            action = todo.pop(0)
            if isinstance(action, Unload):
                todo += self.tell(Ended(action.model, action.version))
        assert self.cache.state(model) is ModelState.LOADING
        self.tell(Loaded(model, version, mib * MIB, took_s), Used(model, requests, 0))

    @property
    def loaded(self) -> set[str]:
        return {one.model for one in self.cache.residents(self.now_s) if one.state is ModelState.READY}


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def test_however_many_ask_a_model_is_fetched_and_loaded_once() -> None:
    replica = Replica()
    assert replica.tell(Asked("a"), Asked("a"), Asked("a", "gone")) == [FetchModel("a")]
    assert kinds(replica.tell(Fetched("a", "1", MIB, "onnx"), Asked("a"))) == ["Load"]
    assert replica.tell(Loaded("a", "1", 2 * MIB, 0.1), Asked("a")) == []
    assert replica.cache.used_bytes == 2 * MIB


def test_one_large_cold_model_goes_before_many_small_hot_ones() -> None:
    replica = Replica(100)
    for number in range(10):
        replica.load(f"hot{number}", 5)
    replica.load("cold", 45)
    for second in range(60):
        replica.now_s = second
        replica.tell(*(Used(f"hot{number}", 3, 0) for number in range(10)))
    replica.load("other", 40)
    assert "cold" not in replica.loaded
    assert {f"hot{number}" for number in range(10)} <= replica.loaded


def test_of_two_models_asked_for_alike_the_one_that_loads_faster_goes() -> None:
    replica = Replica(100)
    replica.load("slow", 40, took_s=5.0)
    replica.load("quick", 40, took_s=0.1)
    replica.now_s = 60.0
    replica.load("new", 40)
    assert replica.loaded == {"slow", "new"}


def test_a_model_that_falls_silent_goes_though_it_was_the_hottest_for_long() -> None:
    replica = Replica(100)
    replica.load("was hot", 40)
    replica.load("steady", 40)
    for second in range(3600):
        replica.now_s = second
        replica.tell(Used("was hot", 20, 0), *([Used("steady", 1, 0)] if second % 10 == 0 else []))
    for second in range(3600, 3900, 10):
        replica.now_s = second
        replica.tell(Used("steady", 1, 0))
    replica.load("new", 40)
    assert replica.loaded == {"steady", "new"}


def test_a_pinned_model_is_loaded_unasked_and_never_goes_for_another() -> None:
    replica = Replica(100)
    assert replica.tell(Set((ModelSetting(model="p", pinned=True),), {"p": "pinned"})) == [FetchModel("p")]
    assert kinds(replica.tell(Fetched("p", "1", 40 * MIB))) == ["Load"]
    replica.tell(Loaded("p", "1", 80 * MIB, 1.0))
    replica.now_s = 1e6
    replica.tell(Asked("big"))
    refused, _ = replica.tell(Fetched("big", "1", 50 * MIB, "onnx"))
    assert isinstance(refused, Refuse)
    assert refused.reason == "NoCapacity"
    assert "pinned ones take 80.0 MiB" in refused.message
    assert replica.loaded == {"p"}


def test_a_model_that_can_never_fit_is_refused_with_both_sizes() -> None:
    replica = Replica(100)
    replica.load("a", 40)
    replica.tell(Asked("huge"))
    refused = replica.tell(Fetched("huge", "1", 500 * MIB, "pickle"))[0]
    assert isinstance(refused, Refuse)
    assert refused.reason == "OutOfMemory"
    assert "756.0 MiB" in refused.message
    assert "100.0 MiB" in refused.message
    assert replica.loaded == {"a"}, "and nothing was given up for it"


def test_what_was_learned_of_a_kind_is_what_the_next_of_it_is_given() -> None:
    replica = Replica(10_000)
    for number in range(6):
        replica.tell(Asked(f"m{number}"), Fetched(f"m{number}", "1", 100 * MIB, "pickle"))
        replica.tell(Loaded(f"m{number}", "1", 306 * MIB, 1.0))
    replica.tell(Asked("next"))
    load = replica.tell(Fetched("next", "1", 200 * MIB, "pickle"))[0]
    assert isinstance(load, Load)
    assert 600 * MIB <= load.forecast_bytes <= 700 * MIB


def test_a_reload_is_given_what_the_model_took_at_its_most() -> None:
    replica = Replica(100)
    replica.load("a", 20)
    replica.tell(Measured("a", "1", 50 * MIB), Measured("a", "1", 30 * MIB))
    assert replica.cache.used_bytes == 50 * MIB
    replica.tell(Ended("a", "1", crashed=True), Asked("a"))
    load = replica.tell(Fetched("a", "1", 20 * MIB, "onnx"))[0]
    assert load == Load("a", "1", "asked", 50 * MIB)


def test_models_that_grow_beyond_the_memory_make_the_least_valuable_go() -> None:
    replica = Replica(100)
    replica.load("hot", 30, requests=50)
    replica.load("cold", 30)
    (unload,) = replica.tell(Measured("hot", "1", 75 * MIB))
    assert isinstance(unload, Unload)
    assert (unload.model, unload.why) == ("cold", "evicted")
    assert "memory is short by 5.0 MiB" in unload.text


def test_when_the_machine_runs_short_models_go_though_their_own_bound_is_not_reached() -> None:
    replica = Replica(100)
    replica.load("hot", 20, requests=50)
    replica.load("cold", 20)
    assert replica.tell(Pressure(50 * MIB)) == []
    assert [action.model for action in replica.tell(Pressure(0)) if isinstance(action, Unload)] == ["cold"]


def test_a_model_in_use_is_drained_only_after_a_moment_and_one_that_has_just_come_stays_for_its_requests() -> None:
    replica = Replica(100)
    replica.load("busy", 80)
    replica.tell(Used("busy", 1, 1), Asked("new"))
    assert replica.tell(Fetched("new", "1", 40 * MIB, "onnx")) == []
    assert replica.cache.next_s(0.0) == limits.BUSY_PATIENCE_S
    replica.now_s = limits.BUSY_PATIENCE_S
    assert kinds(replica.tell(Tick())) == ["Unload"]
    replica.tell(Ended("busy", "1"), Loaded("new", "1", 70 * MIB, 0.5), Asked("busy"))
    assert replica.tell(Fetched("busy", "1", 40 * MIB, "onnx")) == [], "its requests are on their way"
    assert kinds(replica.tell(Used("new", 1, 0))) == ["Unload"]


def test_two_models_that_do_not_fit_together_each_stay_as_long_as_a_load_takes() -> None:
    replica = Replica(100)
    replica.load("a", 80, took_s=4.0)
    replica.now_s = 10.0
    replica.load("b", 80, took_s=4.0)
    replica.now_s = 14.0
    replica.load("a", 80, took_s=4.0)
    replica.now_s = 15.0
    replica.tell(Asked("b"))
    assert replica.tell(Fetched("b", "1", 80 * MIB, "onnx")) == []
    assert replica.cache.next_s(15.0) == pytest.approx(16.0)
    replica.now_s = 18.0
    assert kinds(replica.tell(Tick())) == ["Unload"]


def test_an_overwritten_model_is_replaced_by_its_new_version_and_served_all_the_while() -> None:
    replica = Replica(100)
    replica.load("a", 30)
    assert replica.tell(Changed("a")) == [FetchModel("a")]
    assert replica.tell(Fetched("a", "2", 30 * MIB, "onnx")) == [Load("a", "2", "new version", 30 * MIB)]
    assert replica.cache.state("a") is ModelState.READY
    (unload,) = replica.tell(Loaded("a", "2", 30 * MIB, 1.0))
    assert unload == Unload("a", "1", "new version", "version 2 serves now")
    assert replica.tell(Ended("a", "1")) == [Forget("a", "1")]


def test_where_there_is_no_room_for_both_the_old_version_goes_first() -> None:
    replica = Replica(100)
    replica.load("a", 60)
    replica.tell(Changed("a"))
    assert kinds(replica.tell(Fetched("a", "2", 60 * MIB, "onnx"))) == ["Unload"]
    assert replica.tell(Ended("a", "1")) == [Forget("a", "1"), Load("a", "2", "new version", 60 * MIB)]


def test_a_model_uploaded_again_with_the_same_content_is_left_alone() -> None:
    replica = Replica(100)
    replica.load("a", 30)
    assert replica.tell(Changed("a"), Fetched("a", "1", 30 * MIB)) == [FetchModel("a"), Forget("a", "1")]
    assert replica.loaded == {"a"}


def test_a_new_version_that_does_not_load_leaves_the_old_one_serving() -> None:
    replica = Replica(100)
    replica.load("a", 30)
    replica.tell(Changed("a"), Fetched("a", "2", 30 * MIB))
    assert replica.tell(LoadFailed("a", "2", "ModelLoadFailed", "bad")) == [Forget("a", "2")]
    assert replica.loaded == {"a"}
    assert replica.cache.next_s(0.0) is None


def test_a_deleted_model_serves_on_and_is_not_found_once_it_has_gone() -> None:
    replica = Replica(100)
    replica.load("a", 30)
    assert replica.tell(Changed("a", deleted=True)) == []
    replica.tell(Ended("a", "1", crashed=True))
    assert replica.tell(Asked("a")) == [FetchModel("a")]
    assert replica.tell(FetchFailed("a", "ArtifactMissing", "gone")) == [Refuse("a", "ArtifactMissing", "gone")]


def test_a_store_that_is_away_is_asked_again_and_those_who_wait_are_told_in_the_end() -> None:
    replica = Replica()
    actions = replica.tell(Asked("a"))
    fetches = 0
    while actions == [FetchModel("a")]:
        fetches += 1
        actions = replica.tell(FetchFailed("a", "StoreAway", "no answer", transient=True))
        if not actions:
            replica.now_s = replica.cache.next_s(replica.now_s) or 0.0
            actions = replica.tell(Tick())
    assert actions == [Refuse("a", "StoreAway", "no answer")]
    assert fetches > 4
    assert limits.FETCH_FOR_S <= replica.now_s <= limits.FETCH_FOR_S + limits.PATIENT_S
    assert replica.tell(Asked("a")) == [FetchModel("a")], "the next who asks begins anew"


def test_a_model_that_kills_its_process_again_and_again_is_tried_less_and_less_often() -> None:
    replica = Replica()
    tries = 0
    for second in range(600):
        replica.now_s = second
        replica.tell(Asked("a"))
        if "Load" in kinds(replica.tell(Fetched("a", "1", MIB))):
            tries += 1
            replica.tell(LoadFailed("a", "1", "Exited", "signal 11."))
    assert 8 <= tries <= 20
    (refused,) = replica.tell(Asked("a"))
    assert isinstance(refused, Refuse)
    assert refused.message.startswith("signal 11. It is tried again in")
    assert replica.tell(Changed("a"), Asked("a")) == [FetchModel("a")], "another artifact is another try"


def test_a_crashed_model_is_loaded_at_once_when_it_is_asked_for() -> None:
    replica = Replica()
    replica.load("a", 10)
    assert replica.tell(Ended("a", "1", crashed=True)) == [Forget("a", "1")]
    assert replica.tell(Asked("a", "gone")) == [FetchModel("a")]


def test_a_load_that_runs_out_of_memory_is_tried_with_more_room_and_then_refused() -> None:
    replica = Replica(100)
    replica.tell(Asked("a"))
    forecasts = []
    while True:
        actions = replica.tell(Fetched("a", "1", 20 * MIB, "onnx"))
        forecasts += [action.forecast_bytes // MIB for action in actions if isinstance(action, Load)]
        actions = replica.tell(LoadFailed("a", "1", "OutOfMemory", "killed", out_of_memory=True))
        if FetchModel("a") not in actions:
            break
    assert forecasts == [36, 54, 81]
    assert Refuse("a", "OutOfMemory", "killed") in actions


def test_a_load_that_hangs_is_ended_at_the_bound_and_its_memory_counts_until_then() -> None:
    replica = Replica(100)
    replica.tell(Asked("a"), Fetched("a", "1", 20 * MIB))
    assert replica.cache.next_s(0.0) == limits.LOAD_BOUND_S
    replica.now_s = limits.LOAD_BOUND_S
    unload, refuse = replica.tell(Tick())
    assert isinstance(unload, Unload)
    assert unload.at_once
    assert isinstance(refuse, Refuse)
    assert refuse.reason == "StartTimeout"
    assert replica.cache.used_bytes == 36 * MIB
    replica.tell(Ended("a", "1"))
    assert replica.cache.used_bytes == 0


def test_a_worker_that_does_not_drain_is_ended() -> None:
    replica = Replica(100)
    replica.load("a", 80)
    replica.tell(Asked("b"))
    replica.tell(Fetched("b", "1", 40 * MIB, "onnx"))
    replica.now_s = limits.DRAIN_BOUND_S
    unloads = [action for action in replica.tell(Tick()) if isinstance(action, Unload)]
    assert [(one.model, one.why, one.at_once) for one in unloads] == [("a", "evicted", True)]
    assert replica.tell(Tick()) == []


def test_those_who_wait_for_room_that_does_not_come_are_told_to_ask_again() -> None:
    replica = Replica(100)
    replica.load("a", 80)
    replica.tell(Asked("b"), Fetched("b", "1", 40 * MIB, "onnx"))
    replica.now_s = limits.ROOM_WAIT_S
    assert [one.reason for one in replica.tell(Tick()) if isinstance(one, Refuse)] == ["NotReady"]


def test_a_model_with_a_time_to_live_goes_when_nobody_has_asked_for_so_long() -> None:
    replica = Replica()
    replica.tell(Set((ModelSetting(model="a", ttl_s=30.0), ModelSetting(model="*", ttl_s=100.0)), {}))
    replica.load("a", 10)
    replica.load("b", 10)
    replica.now_s = 20.0
    replica.tell(Used("a", 1, 1))
    assert replica.cache.next_s(20.0) == 100.0, "not while it has a request in hand"
    replica.tell(Used("a", 0, 0))
    assert replica.cache.next_s(20.0) == 50.0
    replica.now_s = 50.0
    assert replica.tell(Tick()) == [Unload("a", "1", "expired", "nobody has asked for it in 30 s")]
    replica.now_s = 100.0
    assert [one.model for one in replica.tell(Tick()) if isinstance(one, Unload)] == ["b"]


def test_without_a_cache_a_model_goes_after_its_requests() -> None:
    replica = Replica(cache=False)
    replica.tell(Asked("a"), Fetched("a", "1", MIB), Loaded("a", "1", MIB, 0.1))
    assert replica.tell(Used("a", 2, 1)) == []
    assert [one.why for one in replica.tell(Used("a", 0, 0)) if isinstance(one, Unload)] == ["not cached"]


def test_a_late_answer_to_a_question_that_nobody_asks_any_more_releases_the_artifact() -> None:
    replica = Replica()
    assert replica.tell(Fetched("a", "1", MIB)) == [Forget("a", "1")]


def test_the_list_shows_what_keeping_a_model_saves() -> None:
    replica = Replica()
    replica.load("a", 10, requests=100)
    replica.load("b", 10)
    values = {one.model: one.value for one in replica.cache.residents(0.0)}
    assert values["a"] > values["b"] > 0


def test_a_pinned_model_that_crashes_is_loaded_again_unasked() -> None:
    replica = Replica()
    replica.load("a", 10)
    replica.tell(Set((), {"a": "pinned"}))
    assert replica.tell(Ended("a", "1", crashed=True)) == [Forget("a", "1"), FetchModel("a")]


def test_a_new_version_is_not_loaded_when_the_old_one_has_gone_meanwhile_and_nobody_waits() -> None:
    replica = Replica()
    replica.load("a", 10)
    replica.tell(Changed("a"), Ended("a", "1", crashed=True))
    assert replica.tell(Fetched("a", "2", 10 * MIB)) == [Forget("a", "2")]
    assert replica.cache.state("a") is None


def test_room_that_is_spoken_for_is_not_given_to_another() -> None:
    replica = Replica(100)
    replica.load("old", 60, requests=9)
    replica.load("older", 40)
    replica.tell(Asked("first"), Asked("second"))
    replica.tell(Fetched("first", "1", 40 * MIB, "onnx"))
    unloads = replica.tell(Fetched("second", "1", 40 * MIB, "onnx"))
    assert kinds(unloads) == ["Unload"], "the room of the first is not counted for the second"
