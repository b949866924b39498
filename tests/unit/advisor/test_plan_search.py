"""The search of a plan, on a world that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from plan_world import USD, Prices, a_scenario, a_workload, an_endpoint, simulate

from trimtab.advisor.plan import trials
from trimtab.advisor.plan.bounds import floor_of
from trimtab.advisor.plan.demand import demands_of, least_work_s
from trimtab.advisor.plan.limits import Limits
from trimtab.advisor.plan.planning import plan
from trimtab.advisor.plan.reach import reach_of
from trimtab.advisor.plan.result import document
from trimtab.advisor.plan.signals import Where
from trimtab.advisor.plan.words import miss_words
from trimtab.errors import Invalid
from trimtab.sim.arrivals import Times
from trimtab.sim.world import Architecture, Fault, Mode, Serving, Slo, Work

GIB = 2**30
ONLY_REAL_TIME = Limits(modes=(Mode.REAL_TIME,), where=Where.AWS)
ROOM = {"ml.small": 4 * GIB, "ml.large": 8 * GIB}


def planned(scenario, limits=ONLY_REAL_TIME, **more):
    return plan(scenario, Prices(), simulate, limits, workers=1, **more)


def test_an_endpoint_that_is_too_large_gets_the_type_and_the_number_that_cost_least() -> None:
    found = planned(a_scenario(a_workload(), before=(an_endpoint(),)))
    (endpoint,) = found.after.architecture.endpoints
    assert endpoint.instance_type == "ml.small"
    assert found.after.cost == 24 * 100_000
    assert not found.misses


def test_each_step_of_the_way_costs_no_more_than_the_one_before() -> None:
    found = planned(a_scenario(a_workload(), before=(an_endpoint(),)), Limits(model_bytes=ROOM))
    costs = [step.cost for step in found.steps]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == found.before.cost == 24 * 4 * 350_000
    assert costs[-1] == found.after.cost


def test_requests_that_come_by_day_alone_are_served_by_replicas_that_come_and_go() -> None:
    counts = (0,) * 8 + (14_000,) * 8 + (0,) * 8
    found = planned(a_scenario(a_workload(counts=counts), before=(an_endpoint(),)))
    (endpoint,) = found.after.architecture.endpoints
    assert endpoint.policies
    assert found.after.cost < found.before.cost / 3


def test_a_workload_that_is_asked_seldom_goes_serverless() -> None:
    found = planned(a_scenario(a_workload(counts=(3,) * 24), before=(an_endpoint(),)), Limits(where=Where.AWS))
    assert [endpoint.mode for endpoint in found.after.architecture.endpoints] == [Mode.SERVERLESS]
    assert found.after.architecture.endpoints[0].name == "fraud-serverless"


def test_payloads_that_serverless_does_not_take_stay_on_instances() -> None:
    workload = a_workload(counts=(3,) * 24, request_bytes=5_000_000)
    found = planned(a_scenario(workload, before=(an_endpoint(),)), Limits(where=Where.AWS))
    assert [endpoint.mode for endpoint in found.after.architecture.endpoints] == [Mode.REAL_TIME]


def several(count: int, **more):
    names = [f"model-{number}" for number in range(count)]
    workloads = [a_workload(name, counts=(60,) * 24, **more) for name in names]
    before = tuple(an_endpoint(name, min_replicas=1, max_replicas=1) for name in names)
    return a_scenario(*workloads, before=before)


def shared_limits(**more):
    return Limits(where=Where.AWS, modes=(Mode.REAL_TIME, Mode.MULTI_MODEL), model_bytes=ROOM, **more)


def test_models_of_one_container_that_are_seldom_asked_share_an_endpoint() -> None:
    found = planned(several(8, slo=Slo(within_s=3.0)), shared_limits())
    (endpoint,) = found.after.architecture.endpoints
    assert endpoint.mode is Mode.MULTI_MODEL
    assert len(endpoint.workloads) == 8
    assert found.after.cost == 24 * 100_000


def test_models_of_different_containers_share_nothing() -> None:
    scenario = several(4)
    workloads = tuple(replace(one, container=one.name) for one in scenario.workloads)
    found = planned(replace(scenario, workloads=workloads), shared_limits())
    assert len(found.after.architecture.endpoints) == 4


def test_a_model_whose_slo_a_load_would_break_is_pinned() -> None:
    scenario = several(6, slo=Slo(within_s=3.0))
    strict = tuple(replace(one, slo=Slo(within_s=1.5)) if one.name == "model-2" else one for one in scenario.workloads)
    found = planned(replace(scenario, workloads=strict), shared_limits())
    endpoint = found.after.endpoint("model-2")
    assert endpoint.mode is Mode.MULTI_MODEL
    assert endpoint.pinned == ("model-2",)
    assert not found.misses


def test_a_model_that_is_larger_than_a_replica_keeps_an_endpoint_of_its_own() -> None:
    scenario = several(3, slo=Slo(within_s=3.0))
    large = tuple(replace(one, memory_bytes=100 * GIB) if one.name == "model-1" else one for one in scenario.workloads)
    found = planned(replace(scenario, workloads=large), shared_limits())
    assert found.after.endpoint("model-1").workloads == ("model-1",)
    assert len(found.after.architecture.endpoints) == 2


def test_an_slo_that_nothing_keeps_is_told_with_the_nearest_miss() -> None:
    found = planned(a_scenario(a_workload(slo=Slo(within_s=0.1)), before=(an_endpoint(),)))
    (miss,) = found.misses
    assert miss.workload == "fraud"
    assert miss.within == 0.0
    assert miss.at_kept_s == pytest.approx(0.25, rel=0.02)  # on the faster type
    assert found.after.architecture.endpoints[0].instance_type == "ml.large"


def test_without_an_slo_nothing_may_be_slower_than_it_is() -> None:
    found = planned(a_scenario(a_workload(slo=None), before=(an_endpoint(),)))
    assert found.workloads[0].slo.within_s == pytest.approx(0.25, rel=0.04)
    assert found.after.architecture.endpoints[0].instance_type == "ml.large"
    assert "as now" in found.notes[0]


def test_without_an_slo_and_without_an_endpoint_it_asks_for_one() -> None:
    with pytest.raises(Invalid, match="--slo p99=1s"):
        planned(a_scenario(a_workload(slo=None)))


def test_a_plan_from_nothing_serves_every_workload_once() -> None:
    found = planned(a_scenario(a_workload("a"), a_workload("b")), Limits(model_bytes=ROOM))
    assert found.before is None
    assert sorted(name for one in found.after.architecture.endpoints for name in one.workloads) == ["a", "b"]


def test_a_type_without_a_price_is_left_out_and_said() -> None:
    workload = a_workload(work={"ml.large": Work(quantiles_s=(0.25,)), "ml.exotic": Work(quantiles_s=(0.01,))})
    found = planned(a_scenario(workload, before=(an_endpoint(),)))
    assert found.after.architecture.endpoints[0].instance_type == "ml.large"
    assert any("ml.exotic" in note for note in found.notes)


def test_two_instances_are_kept_where_one_may_fail() -> None:
    found = planned(a_scenario(a_workload(), before=(an_endpoint(),)), replace(ONLY_REAL_TIME, min_replicas=2))
    assert found.after.architecture.endpoints[0].min_replicas >= 2


def test_bounds_rule_out_candidates_before_they_are_simulated() -> None:
    found = planned(a_scenario(a_workload(), before=(an_endpoint(),)))
    assert found.spared > 0


def test_a_fault_of_what_there_is_strikes_what_takes_its_place() -> None:
    asked = []

    def spied(scenario, architecture):
        asked.append(scenario.faults)
        return simulate(scenario, architecture)

    fault = Fault(at_s=60.0, endpoint="fraud", kind="kill")
    scenario = a_scenario(a_workload(), before=(an_endpoint(),), faults=(fault,))
    plan(scenario, Prices(), spied, Limits(where=Where.AWS, modes=(Mode.REAL_TIME, Mode.SERVERLESS)), workers=1)
    assert all(len(faults) == 1 for faults in asked)


def test_of_a_long_scenario_candidates_are_compared_on_the_busiest_day_and_the_chosen_ones_tried_on_all_of_it() -> None:
    quiet, busy = (0,) * 8 + (2_000,) * 8 + (0,) * 8, (0,) * 8 + (14_000,) * 8 + (0,) * 8
    spans = []

    def spied(scenario, architecture):
        outcome = simulate(scenario, architecture)
        spans.append(round(outcome.end_s - outcome.start_s))
        return outcome

    scenario = a_scenario(a_workload(counts=quiet * 2 + busy + quiet), before=(an_endpoint(),))
    found = plan(scenario, Prices(), spied, ONLY_REAL_TIME, workers=1)
    assert spans.count(86_400) > 2 * spans.count(4 * 86_400)
    assert not found.misses
    assert found.before.span_s == found.after.span_s == 4 * 86_400.0
    assert found.steps[-1].cost == found.after.cost


def test_the_document_of_a_plan_says_all_of_it() -> None:
    found = document(planned(several(3, slo=Slo(within_s=3.0)), shared_limits()))
    assert found["keeps_every_slo"] is True
    assert found["before"]["month_usd"] > found["after"]["month_usd"]
    assert [step["name"] for step in found["steps"]] == [
        "now",
        "scaling",
        "instance types",
        "modes",
        "shared endpoints",
    ]


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(0, 20_000), min_size=24, max_size=24).filter(any), seconds=st.floats(0.05, 3.0))
def test_no_candidate_costs_less_than_its_bound(counts: list[int], seconds: float) -> None:
    workload = a_workload(counts=tuple(counts), work={"ml.small": Work(quantiles_s=(seconds,))})
    scenario = a_scenario(workload)
    demands = demands_of(scenario.workloads, 0)
    assert least_work_s(workload, demands["fraud"], workload.work["ml.small"], 1.0) == pytest.approx(
        sum(counts) * seconds
    )
    endpoint = an_endpoint(instance_type="ml.small", min_replicas=64, max_replicas=64)
    outcome = simulate(scenario, alone(endpoint))
    floor = floor_of(endpoint, {"fraud": workload}, demands, Prices())
    assert floor is not None
    if outcome.served[0].within_slo == 1.0:
        assert floor <= Prices().micro_usd(outcome) + 1


def alone(endpoint):
    return Architecture(name="one", endpoints=(endpoint,))


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 12_000), min_size=6, max_size=6).filter(any))
def test_no_fixed_number_of_replicas_is_cheaper_than_the_plan(counts: list[int]) -> None:
    scenario = a_scenario(a_workload(counts=tuple(counts)), before=(an_endpoint(min_replicas=20, max_replicas=20),))
    found = planned(scenario)
    prices = Prices()
    for instance_type in USD:
        for count in range(1, 21):
            endpoint = an_endpoint(instance_type=instance_type, min_replicas=count, max_replicas=count)
            outcome = simulate(scenario, alone(endpoint))
            if outcome.served[0].within_slo >= 0.99:
                assert found.after.cost <= prices.micro_usd(outcome)


def test_processes_beside_this_one_find_the_same(monkeypatch) -> None:
    scenario = a_scenario(
        a_workload(), a_workload("search", counts=(900,) * 24), before=(an_endpoint(), an_endpoint("search"))
    )
    here = planned(scenario)
    monkeypatch.setattr(trials, "_ALONE_S", 0.0)
    assert document(plan(scenario, Prices(), simulate, ONLY_REAL_TIME, workers=2)) == document(here)


class Recorder:
    """The closed-form simulator, and every endpoint that it was asked of."""

    def __init__(self) -> None:
        self.seen: list[Serving] = []

    def __call__(self, scenario, architecture):
        self.seen += architecture.endpoints
        return simulate(scenario, architecture)


def test_types_that_are_too_slow_for_an_slo_are_not_simulated() -> None:
    recorder = Recorder()
    scenario = a_scenario(a_workload(slo=Slo(within_s=0.5)), before=(an_endpoint(),))  # 1 s and 0.25 s are needed
    found = plan(scenario, Prices(), recorder, ONLY_REAL_TIME, workers=1)
    assert {one.instance_type for one in recorder.seen} == {"ml.large"}
    assert not found.misses


def test_where_nobody_can_keep_an_slo_it_is_proved_and_no_more_is_tried_than_finds_the_nearest() -> None:
    recorder, can = Recorder(), Recorder()
    scenario = a_scenario(a_workload(slo=Slo(within_s=0.1)), before=(an_endpoint(),))
    found = plan(scenario, Prices(), recorder, ONLY_REAL_TIME, workers=1)
    assert {one.instance_type for one in recorder.seen} == {"ml.large"}  # the quicker one
    assert not any(one.policies for one in recorder.seen)
    (miss,) = found.misses
    assert miss.proof == "if none ever waited, 99% would take 250 ms, on ml.large as the quickest"
    assert miss_words(miss) == (
        f"fraud: nothing can keep 99% within 100 ms: {miss.proof}. Nearest: 0% within 100 ms; 99% are answered within"
        " 250 ms."
    )
    assert document(found)["misses"][0]["proof"] == miss.proof
    assert found.after.cost == 24 * 350_000  # one of these is as near as any number of them
    plan(
        a_scenario(a_workload(slo=Slo(within_s=0.3)), before=(an_endpoint(),)), Prices(), can, ONLY_REAL_TIME, workers=1
    )
    assert len(recorder.seen) < len(can.seen)


def test_an_slo_that_the_most_replicas_cannot_keep_is_proved_to_be_beyond_them() -> None:
    counts = (36_000,) * 24  # ten replicas' worth of work on small ones, 2.5 on large ones
    scenario = a_scenario(a_workload(counts=counts))
    limits = replace(ONLY_REAL_TIME, max_replicas=2)
    found = plan(scenario, Prices(), simulate, limits, workers=1)
    assert found.misses[0].proof == (
        "more comes than 2 replicas can work off in time, whoever knew it all beforehand (--max-replicas)"
    )
    assert found.after.architecture.endpoints[0].max_replicas == 2
    assert not plan(scenario, Prices(), simulate, replace(limits, max_replicas=3), workers=1).misses


def test_what_some_requests_are_too_long_for_is_within_reach_where_so_many_need_not_be_kept() -> None:
    """A distribution says that 1 % are too long, the requests that are drawn that fewer are: these are what counts."""
    work = {"ml.small": Work(quantiles_s=(*(0.1,) * 99, 5.0, 5.0))}
    workload = a_workload(work=work, counts=(50,), slo=Slo(within_s=1.0, kept=0.99))
    assert not reach_of(workload, "ml.small", ONLY_REAL_TIME, 0).is_beyond
    strict = replace(
        workload,
        arrivals=Times(at_s=np.arange(9.0), start_s=0.0, end_s=10.0, uniform=np.full(9, 0.995)),
        slo=Slo(within_s=1.0, kept=0.999),
    )
    found = reach_of(strict, "ml.small", ONLY_REAL_TIME, 0)
    assert (found.is_beyond, found.quickest_s) == (True, 5.0)
