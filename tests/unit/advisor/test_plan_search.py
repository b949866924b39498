"""The search of a plan, on a world that can be worked out by hand."""

from __future__ import annotations

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
from trimtab.advisor.plan.result import document
from trimtab.advisor.plan.signals import Where
from trimtab.errors import Invalid
from trimtab.sim.world import Architecture, Fault, Mode, Slo, Work

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


def test_types_that_are_too_slow_for_an_slo_are_not_simulated_unless_all_are() -> None:
    seen = []

    def recorded(scenario, architecture):
        seen.extend(architecture.endpoints)
        return simulate(scenario, architecture)

    for within_s, types in ((0.5, {"ml.large"}), (0.1, {"ml.small", "ml.large"})):  # 1 s and 0.25 s are needed
        seen.clear()
        scenario = a_scenario(a_workload(slo=Slo(within_s=within_s)), before=(an_endpoint(),))
        found = plan(scenario, Prices(), recorded, ONLY_REAL_TIME, workers=1)
        assert {one.instance_type for one in seen} == types
        assert bool(found.misses) == (within_s < 0.25)
