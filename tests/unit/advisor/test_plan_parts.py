"""Parts of a plan beside its search: commitments, the distance from the optimum, words, the report, observations."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from plan_world import Prices, a_scenario, a_workload, an_endpoint, simulate

from trimtab.advisor.observed import Observed
from trimtab.advisor.plan import words
from trimtab.advisor.plan.committing import hourly_usd, usual_discount, with_commitment
from trimtab.advisor.plan.guess import rolling_max, rolling_mean
from trimtab.advisor.plan.limits import Limits
from trimtab.advisor.plan.observing import quantiles, scenario_of
from trimtab.advisor.plan.optimum import with_bound
from trimtab.advisor.plan.planning import plan
from trimtab.advisor.plan.program import program
from trimtab.advisor.plan.report import report, steps_of
from trimtab.advisor.plan.signals import Signal, Where, signal_of, tracked
from trimtab.errors import Invalid
from trimtab.sim.world import Architecture, Mode, Slo

AWS = Limits(modes=(Mode.REAL_TIME,), where=Where.AWS)


@pytest.fixture
def found():
    return plan(a_scenario(a_workload(), before=(an_endpoint(),)), Prices(), simulate, AWS, workers=1)


def test_the_hours_of_a_plan_sum_to_its_bill(found) -> None:
    assert float(hourly_usd(found.after.outcome, Prices()).sum()) == pytest.approx(found.after.cost / 1e6)


def test_what_is_always_needed_is_committed_to_for_the_whole_discount(found) -> None:
    with_it = with_commitment(found, Prices(), 0.3)
    assert with_it.committed.usd_per_hour == pytest.approx(0.7 * 0.1, rel=0.3)
    assert 0 < with_it.committed.saves_month_usd <= 0.3 * found.after.month_usd * 1.001
    assert with_it.month_usd == pytest.approx(found.after.month_usd - with_it.committed.saves_month_usd)
    assert steps_of(with_it)[-1][0] == "Commit to the baseline"


def test_the_usual_discount_says_that_it_is_ec2s() -> None:
    discount, said = usual_discount()
    assert 0 < discount < 1
    assert "EC2's average" in said


def test_a_plan_costs_no_less_than_whoever_knew_every_request_would_pay(found) -> None:
    pytest.importorskip("numba")
    bound = with_bound(found, Prices(), 0, AWS).bound
    assert 0 < bound.cost <= bound.of == found.after.cost


def test_whoever_knew_every_request_need_not_keep_the_replicas_that_a_plan_keeps() -> None:
    pytest.importorskip("numba")
    scenario = a_scenario(a_workload(counts=(0, 3600) * 12), before=(an_endpoint(),))
    fixed = plan(scenario, Prices(), simulate, Limits(modes=(Mode.REAL_TIME,), to_zero=False), workers=1)
    assert fixed.after.architecture.endpoints[0].min_replicas == 1
    free, bound = (with_bound(fixed, Prices(), 0, Limits(to_zero=to_zero)).bound for to_zero in (True, False))
    assert bound.cost == pytest.approx(bound.of, rel=0.01)
    assert free.cost == pytest.approx(bound.of / 2, rel=0.05)


def test_a_migration_is_paid_for_by_what_is_saved(found) -> None:
    day_usd = found.before.day_usd - found.after.day_usd
    assert replace(found, migration_usd=10 * day_usd).break_even_days == pytest.approx(10)
    assert replace(found, migration_usd=5.0, after=found.before).break_even_days is None
    assert words.break_even(replace(found, migration_usd=5.0, after=found.before)).endswith("nothing is saved.")


def test_the_report_is_one_page_that_escapes_what_users_have_named() -> None:
    scenario = replace(a_scenario(a_workload(), before=(an_endpoint(),)), name="<script>alert(1)</script>")
    made = plan(scenario, Prices(), simulate, AWS, workers=1)
    page = report(made, 0.0, program="print('<b>')")
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_a_name_cannot_get_out_of_the_programs_docstring() -> None:
    source = program(Architecture(name="p", endpoints=(an_endpoint(),)), '"""\nimport os', Where.AWS)
    compile(source, "build.py", "exec")
    assert "\nimport os\n" not in source


@pytest.mark.parametrize("signal", [Signal.MINUTE, Signal.TEN, Signal.BACKLOG, Signal.EVENT])
def test_a_signal_is_recognised_in_the_policy_that_it_made(signal: Signal) -> None:
    policy = tracked("e", signal, 0.7)
    assert signal_of((policy,)) == signal
    assert policy.document["TargetValue"] == 0.7


def test_rolling_windows_look_back_only() -> None:
    values = np.array([0.0, 5.0, 0.0, 0.0, 1.0])
    assert rolling_max(values, 3).tolist() == [0.0, 5.0, 5.0, 5.0, 1.0]
    assert rolling_mean(values, 2).tolist() == [0.0, 2.5, 2.5, 0.0, 0.5]


def seen(name: str = "fraud", **more: object) -> Observed:
    given = {
        "endpoint": name, "mode": Mode.REAL_TIME, "counts": (30.0, 60.0), "start_s": 0.0, "step_s": 300.0,
        "service_s": {"0": 0.01, "50": 0.05, "100": 0.2}, "instance_type": "ml.g5.xlarge",
    } | more  # fmt: skip
    return Observed(name=name, **given)  # type: ignore[arg-type]


def test_percentiles_of_cloudwatch_become_a_distribution() -> None:
    points = quantiles("fraud", {"0": 0.01, "50": 0.05, "100": 0.2})
    assert points[0] == 0.01
    assert points[50] == pytest.approx(0.05)
    assert points[-1] == 0.2
    assert quantiles("fraud", {"50": 0.05}) == (0.05,)


@pytest.mark.parametrize("given", [{}, {"p50": 0.1}, {"50": 0.0}, {"120": 1.0}, {"50": float("nan")}])
def test_service_times_that_make_no_sense_are_refused_by_name(given: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="fraud"):
        quantiles("fraud", given)


def test_what_was_measured_on_an_accelerator_is_not_assumed_elsewhere() -> None:
    scenario, _ = scenario_of([seen(), seen("scores", instance_type="ml.m5.xlarge")], "us-east-1")
    fraud, scores = scenario.workloads
    assert set(fraud.work) == {"ml.g5.xlarge"}
    assert set(scores.work) == {"ml.m5.xlarge", "*"}


def test_what_has_the_same_gpus_and_memory_enough_is_taken_to_be_as_fast_and_that_is_said() -> None:
    scenario, notes = scenario_of([seen(as_fast_on=("ml.g5.2xlarge",))], "us-east-1", load_s=1, start_s=60)
    (fraud,) = scenario.workloads
    assert fraud.work["ml.g5.2xlarge"] == fraud.work["ml.g5.xlarge"]
    assert notes == ["fraud: taken to be as fast on types with the same GPUs (ml.g5.2xlarge)"]


def test_models_whose_container_was_not_seen_share_nothing() -> None:
    scenario, _ = scenario_of([seen("a"), seen("b"), seen("c", container="image"), seen("d", container="image")], "r")
    containers = [workload.container for workload in scenario.workloads]
    assert len(set(containers[:2])) == 2
    assert containers[2] == containers[3]


def test_what_is_assumed_of_several_is_said_once() -> None:
    each = [replace(seen(), name=name, endpoint=name, notes=("its size is not known",)) for name in "abcdef"]
    _, notes = scenario_of(each, "r", load_s=1, start_s=60)
    assert notes == ["a, b, c, d and 2 more: its size is not known"]


def test_loads_and_starts_that_cloudwatch_does_not_tell_take_time_and_are_said() -> None:
    scenario, notes = scenario_of([seen()], "r")
    assert scenario.workloads[0].load_s == 6
    assert scenario.architectures[0].endpoints[0].start_s == 306
    assert notes == [
        "fraud: assumed, as CloudWatch does not tell: its model loads in 6 s (--load), an instance starts in 306 s (--start)"
    ]


def test_loads_and_starts_that_somebody_tells_are_taken_and_what_was_seen_goes_before() -> None:
    scenario, notes = scenario_of([seen(), seen("known", load_s=2.0)], "r", load_s=0.5, start_s=60)
    assert [workload.load_s for workload in scenario.workloads] == [0.5, 2.0]
    assert [endpoint.start_s for endpoint in scenario.architectures[0].endpoints] == [60, 60]
    assert notes == []
    assert "its model loads" not in str(scenario_of([seen()], "r", load_s=0.5)[1])
    assert "an instance starts" not in str(scenario_of([seen()], "r", start_s=60)[1])


def test_a_multi_model_endpoint_whose_models_are_not_told_apart_stays_by_itself() -> None:
    scenario, notes = scenario_of([seen(mode=Mode.MULTI_MODEL, memory_bytes=5)], "r")
    assert scenario.workloads[0].memory_bytes == 0
    assert scenario.architectures[0].endpoints[0].mode is Mode.REAL_TIME
    assert "taken as one model" in " ".join(notes)


def test_models_of_one_endpoint_are_one_endpoint_of_the_scenario() -> None:
    each = [seen(f"m{n}", endpoint="many", mode=Mode.MULTI_MODEL, models_bytes=10) for n in range(3)]
    scenario, _ = scenario_of(each, "us-east-1")
    (endpoint,) = scenario.architectures[0].endpoints
    assert endpoint.workloads == ("m0", "m1", "m2")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.012, "12 ms"), (1.25, "1.25 s"), (180.0, "3.0 min"), (7200.0, "2.0 h"), (float("inf"), "never")]
)  # fmt: skip
def test_times_are_told_in_one_unit(seconds: float, said: str) -> None:
    assert words.seconds(seconds) == said


def test_an_slo_is_told_as_people_say_it() -> None:
    assert words.slo_words(Slo(within_s=0.25, kept=0.999)) == "99.9% within 250 ms"
