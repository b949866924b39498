"""Multi-model endpoints in the simulator: the live cache policy loads and evicts, and scaling moves replicas."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from trimtab.errors import Invalid
from trimtab.resources.cost import Part
from trimtab.sim.arrivals import Rates, Times
from trimtab.sim.models import hosted_models
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Fault, Mode, PastLoad, Scenario, Serving, Slo, Work, Workload

START_S = 1_767_571_200.0
MB = 10**6


def times(*at_s, lasting_s=None):
    moments = START_S + np.array(at_s, dtype=np.float64)
    return Times(at_s=moments, start_s=START_S, end_s=START_S + (lasting_s or at_s[-1] + 60))


def rate(per_s, lasting_s=600.0, cv=1.0):
    return Rates(rate=np.array([per_s]), step_s=lasting_s, start_s=START_S, cv=cv)


def model(name, arrivals, *, work_s=0.01, memory_mb=100, load_s=2.0, slots=1, slo=None):
    work = {"*": Work(quantiles_s=(work_s,), slots=slots)}
    return Workload(name=name, arrivals=arrivals, work=work, memory_bytes=memory_mb * MB, load_s=load_s, slo=slo)


def ran(workloads, *, seed=1, faults=(), **more):
    given = {"instance_type": "ml.m5.large", "models_bytes": 1000 * MB, **more}
    serving = Serving(name="many", mode=Mode.MULTI_MODEL, workloads=tuple(one.name for one in workloads), **given)
    architecture = Architecture(name="a", endpoints=(serving,))
    scenario = Scenario(name="s", workloads=tuple(workloads), architectures=(architecture,), faults=faults)
    outcome = simulate(scenario, architecture, seed=seed)
    return {one.workload: one for one in outcome.served}, outcome.used[0]


def test_the_first_request_waits_for_its_models_load_and_later_ones_do_not():
    served, used = ran([model("a", times(10, 11, 20, 30))])
    assert served["a"].cold == 2  # the second comes while it is loaded
    assert served["a"].max_s == pytest.approx(2.015, abs=1e-6)
    assert served["a"].p50_s < 1.1
    assert (used.loads, used.evictions) == (1, 0)
    assert used.parts[Part.COLD_STARTS] == pytest.approx(2.0)
    assert sum(used.parts.values()) == pytest.approx(used.replica_s) == pytest.approx(90)


def test_models_that_do_not_fit_together_sweep_each_other_out():
    turns = [model(name, times(*range(start, 3000, 200)), memory_mb=600) for name, start in (("a", 50), ("b", 150))]
    served, used = ran(turns)
    assert used.loads == 30
    assert used.evictions == 29
    assert used.parts[Part.RELOADS] == pytest.approx(28 * 2.0)
    assert served["a"].cold == served["b"].cold == 15


def test_a_pinned_model_stays_whatever_else_is_asked_for():
    turns = [model(name, times(*range(start, 3000, 200)), memory_mb=600) for name, start in (("a", 50), ("b", 150))]
    served, used = ran(
        [*turns, model("c", times(100, 1100, 2100, lasting_s=3000), memory_mb=300)],
        pinned=("c",),
        models_bytes=1100 * MB,
    )
    assert served["c"].cold == 0
    assert served["a"].cold > 0


def test_slots_of_a_replica_are_shared_by_its_models():
    busy = [model(name, rate(12.0), work_s=0.05, load_s=0.1) for name in "abc"]  # 1.8 replicas' worth
    served, used = ran(busy, queue=100)
    assert sum(one.refused for one in served.values()) > 1000
    assert used.parts[Part.SERVING] == pytest.approx(600, rel=0.02)
    served, _ = ran([model(name, rate(12.0), work_s=0.05, load_s=0.1, slots=4) for name in "abc"])
    assert sum(one.refused for one in served.values()) == 0


def test_models_are_spread_over_replicas_and_one_that_is_hot_gets_another_copy():
    hot = model("hot", rate(30.0), work_s=0.05, load_s=0.5)  # 1.5 replicas' worth
    others = [model(f"m{number}", rate(0.2), load_s=0.5) for number in range(6)]
    served, used = ran([hot, *others], min_replicas=3, max_replicas=3)
    assert used.loads >= 8
    assert served["hot"].p99_s < 5.0
    assert sum(one.failed + one.refused for one in served.values()) == 0


def test_what_a_dead_replica_held_is_loaded_elsewhere():
    models = [model(f"m{number}", rate(2.0), load_s=0.5) for number in range(6)]
    kill = Fault(at_s=START_S + 300, endpoint="many", kind="kill")
    served, used = ran(models, min_replicas=2, max_replicas=2, start_s=30.0, faults=(kill,))
    assert used.loads > 6
    lost = sum(one.failed for one in served.values())
    assert lost <= 2
    assert sum(one.answered for one in served.values()) + lost == sum(one.requests for one in served.values())


def test_a_model_that_fits_nowhere_is_refused():
    with pytest.raises(Invalid, match="The model of big has no room on many, not even alone"):
        ran([model("big", times(10, 20), memory_mb=2000)])


def test_equal_seeds_are_equal_bit_for_bit():
    models = [model(f"m{number}", rate(1.0, cv=4.0), memory_mb=300, slo=Slo(within_s=0.5)) for number in range(8)]
    (first, used), (second, again) = (ran(models, seed=5) for _ in range(2))
    for name, one in first.items():
        assert one.mean_s == second[name].mean_s
        np.testing.assert_array_equal(one.histogram, second[name].histogram)
    assert used.parts == again.parts
    assert used.evictions == again.evictions > 10


def test_requests_are_conserved():
    models = [model(f"m{number}", rate(3.0, cv=3.0), memory_mb=250) for number in range(9)]
    served, used = ran(models, min_replicas=2, max_replicas=2)
    for one in served.values():
        assert one.requests == one.answered + one.refused + one.failed
        assert one.waiting == 0
        assert one.histogram.sum() == one.answered
    assert used.requests == sum(one.requests for one in served.values())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("replicas", [1, 3])
def test_where_all_models_fit_it_changes_nothing_that_caches_are_not_told_of_use(monkeypatch, seed, replicas):
    busy = [model(name, rate(per_s, 200.0), work_s=0.05) for name, per_s in (("a", 20.0), ("b", 5.0), ("c", 0.05))]
    more = {
        "seed": seed, "min_replicas": 1, "max_replicas": replicas, "initial_replicas": replicas, "pinned": ("b",) * (seed % 2),
        "faults": (Fault(at_s=START_S + 90, endpoint="many", kind="kill"),), "start_s": 5.0, "models_bytes": 310 * MB,
    }  # fmt: skip
    quick, used = ran(busy, **more)
    assert used.evictions == 0
    monkeypatch.setattr(hosted_models, "_is_roomy", lambda workloads, models_bytes: False)
    slow, as_told = ran(busy, **more)
    assert msgspec.structs.replace(used, series=None) == msgspec.structs.replace(as_told, series=None)
    for name, one in quick.items():
        assert np.array_equal(one.histogram, slow[name].histogram)
        nothing = np.empty(0)
        without = [
            msgspec.structs.astuple(msgspec.structs.replace(each, histogram=nothing))[:-1] for each in (one, slow[name])
        ]
        assert without[0] == without[1]


def test_a_model_may_have_slots_of_its_own_beside_those_of_others():
    together = [model(name, times(10, 20, 20), work_s=1.0, load_s=0.1) for name in "abc"]
    shared, _ = ran(together)
    assert max(one.max_s for one in shared.values()) == pytest.approx(6.0)  # the last of six that come at once
    apart, used = ran(together, slots=3)
    assert max(one.max_s for one in apart.values()) == pytest.approx(2.0)  # the second of the same model
    assert used.parts[Part.SERVING] == pytest.approx(1.0 + 2.0)


def test_one_that_waits_for_its_model_does_not_hold_up_those_behind_it():
    waits = model("a", times(10, 20, 20, 20), work_s=2.0, load_s=0.1)
    served, _ = ran([waits, model("b", times(10, 20.5), work_s=0.1, load_s=0.1)], slots=2)
    assert served["a"].max_s == pytest.approx(6.0)
    assert served["b"].max_s == pytest.approx(0.2, abs=0.02)  # its load, and its work


def test_what_waits_for_its_models_slot_too_long_fails():
    waits = model("a", times(10, 20, 20, 20), work_s=8.0, load_s=0.1)
    served, _ = ran([waits, model("b", times(10, 30), load_s=0.1)], slots=2, timeout_s=10.0)
    assert (served["a"].answered, served["a"].failed) == (2, 2)
    assert served["b"].answered == 2


def test_the_first_request_after_a_load_takes_longer():
    slow = model("a", times(10, 20, 30), work_s=0.01, load_s=1.0)
    slow = msgspec.structs.replace(slow, work={"*": Work(quantiles_s=(0.01,), first_s=0.5)})
    served, used = ran([slow])
    assert served["a"].max_s == pytest.approx(1.0 + 0.51 + hosted_models.FETCH_S)
    assert served["a"].mean_s == pytest.approx((served["a"].max_s + 2 * 0.01) / 3)
    assert used.parts[Part.SERVING] == pytest.approx(0.53)


def test_loads_are_as_they_were_and_later_ones_as_usual():
    turns = [model(name, times(*range(start, 1000, 200)), memory_mb=600) for name, start in (("a", 50), ("b", 150))]
    told = (PastLoad(7.0, 600 * MB), PastLoad(5.0, 600 * MB))
    served, used = ran([msgspec.structs.replace(turns[0], loads=told), turns[1]])
    assert used.loads == 10
    assert (served["a"].mean_s - served["b"].mean_s) * 5 == pytest.approx(5.0 + 3.0, abs=0.1)


def test_a_copy_that_was_small_leaves_room_for_others():
    turns = [model(name, times(*range(start, 1000, 200)), memory_mb=600) for name, start in (("a", 50), ("b", 150))]
    small = msgspec.structs.replace(turns[0], loads=(PastLoad(2.0, 300 * MB),))
    assert ran([small, turns[1]])[1].loads == 2


def test_a_model_of_which_too_little_was_foretold_makes_others_leave_when_it_is_loaded():
    both = [model(name, times(at_s), memory_mb=600, load_s=1.0) for name, at_s in (("a", 10), ("b", 20))]
    small = [msgspec.structs.replace(one, artifact_bytes=1000) for one in both]
    _, used = ran(small)
    assert (used.loads, used.evictions) == (2, 1)
    assert used.parts[Part.COLD_STARTS] == pytest.approx(2.0)


def test_the_memory_of_a_model_that_leaves_comes_back_after_its_unloading():
    turns = [model(name, times(at_s, lasting_s=60), memory_mb=600) for name, at_s in (("a", 10), ("b", 20))]
    quick, _ = ran(turns, unload_s=0.0)
    late, _ = ran(turns, unload_s=1.5)
    assert late["b"].max_s - quick["b"].max_s == pytest.approx(1.5)
