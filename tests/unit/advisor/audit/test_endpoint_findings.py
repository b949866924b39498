"""Each fault on an endpoint is found, with its evidence and its price; what is in order is not."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Scaling, Variant
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.findings.schedule import schedule_of
from trimtab.advisor.audit.findings.slow_metric import spikes_of
from trimtab.advisor.audit.findings.usage import mean_count
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.series import DAY_S, Series
from trimtab.advisor.finding import Finding
from trimtab.advisor.prices.book import aws_list
from trimtab.resources.cost import MICRO
from trimtab.resources.scaling import Suspended
from trimtab.testing.account import (
    CASES,
    SKLEARN,
    Case,
    at_hour,
    by_concurrency,
    daily,
    expected,
    none,
    sporadic,
    steady,
)
from trimtab.testing.account_view import account_of

_BY_NAME = {case.name: case for case in CASES}


def kinds(account: Account) -> dict[str, set[str]]:
    """Kinds of findings by the endpoint that they are about."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for finding in audited(account, aws_list()).findings:
        for resource in finding.covers or (finding.resource,):
            found[resource.rpartition("/")[2]].add(finding.kind)
    return dict(found)


def only(account: Account, kind: str) -> Finding:
    (finding,) = [each for each in audited(account, aws_list()).findings if each.kind == kind]
    return finding


def changed(account: Account, **changes: object) -> Account:
    """The account with its one variant changed."""
    (endpoint,) = account.endpoints
    return replace(account, endpoints=(replace(endpoint, variants=(replace(endpoint.variants[0], **changes),)),))


@pytest.fixture(scope="module")
def everything() -> dict[str, set[str]]:
    return kinds(account_of())


@pytest.mark.parametrize(("name", "kind"), expected().items())
def test_every_fault_is_found(everything: dict[str, set[str]], name: str, kind: str) -> None:
    assert everything[name] == {kind}


@pytest.mark.parametrize("name", [case.name for case in CASES if not case.fault])
def test_no_clean_twin_is_flagged(everything: dict[str, set[str]], name: str) -> None:
    assert name not in everything


@pytest.mark.parametrize("days", [7, 15])
def test_the_same_is_found_in_fewer_or_more_days(days: int) -> None:
    found = kinds(account_of(days=days))
    assert {name: kinds - {"idle-endpoint"} for name, kinds in found.items()} == {
        name: {kind} - {"idle-endpoint"} for name, kind in expected().items()
    }


def test_what_was_not_seen_is_no_ground_for_a_finding() -> None:
    blind = account_of()
    unseen = tuple(
        replace(
            endpoint,
            variants=tuple(replace(each, metrics=None, minutes=None, scaling=None) for each in endpoint.variants),
            payload=None,
        )
        for endpoint in blind.endpoints
    )
    assert kinds(replace(blind, endpoints=unseen)) == {}


def test_metrics_alone_unseen_leave_what_the_configuration_shows() -> None:
    account = changed(account_of(_BY_NAME["search"]), metrics=None)
    assert kinds(account) == {"search": {"scale-in-cooldown-too-short"}}


def test_an_endpoint_that_is_deleted_or_failed_is_not_looked_at() -> None:
    account = account_of(_BY_NAME["pricing"], _BY_NAME["forgotten"])
    gone = tuple(replace(endpoint, status="Deleting") for endpoint in account.endpoints)
    assert kinds(replace(account, endpoints=gone)) == {}


# --- scaling ----------------------------------------------------------------------------------------------------------


def test_scaling_that_follows_the_load_never_goes_below_two_and_saves_the_rest() -> None:
    finding = only(account_of(_BY_NAME["pricing"]), "no-scaling-policy")
    assert finding.fix is not None
    register, put = finding.fix.calls
    assert (register.operation, register.parameters["MinCapacity"], register.parameters["MaxCapacity"]) == (
        "register_scalable_target",
        2,
        8,
    )
    kind = put.parameters["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]
    assert kind["PredefinedMetricType"].endswith("HighResolution")
    needed, now = finding.evidence["instances_needed_on_average"], finding.evidence["now_usd_per_month"]
    assert isinstance(needed, float)
    assert isinstance(now, float)
    assert 2 <= needed < 4
    assert finding.saves_micro_usd_per_month == pytest.approx(now * (1 - needed / 4) * MICRO, rel=0.01)


def test_one_instance_without_a_policy_is_said_though_it_saves_nothing() -> None:
    finding = only(account_of(replace(_BY_NAME["pricing"], count=1)), "no-scaling-policy")
    assert finding.saves_micro_usd_per_month == 0


def test_a_suspended_policy_is_none() -> None:
    account = account_of(_BY_NAME["pricing-twin"])
    scaling = account.endpoints[0].variants[0].scaling
    assert scaling is not None
    assert scaling.target is not None
    target = replace(scaling.target, suspended=Suspended(scale_in=True, scale_out=True, scheduled=True))
    assert kinds(changed(account, scaling=replace(scaling, target=target))) == {"pricing-twin": {"no-scaling-policy"}}


def test_a_policy_without_room_is_none() -> None:
    account = account_of(_BY_NAME["pricing-twin"])
    scaling = account.endpoints[0].variants[0].scaling
    assert scaling is not None
    assert scaling.target is not None
    target = replace(scaling.target, min_capacity=4, max_capacity=4)
    finding = only(changed(account, scaling=replace(scaling, target=target)), "no-scaling-policy")
    assert "at least and at most" in finding.title


def test_managed_scaling_counts_as_scaling() -> None:
    assert kinds(changed(account_of(_BY_NAME["pricing"]), managed=(2, 8))) == {}


def test_an_asynchronous_endpoint_may_go_to_zero() -> None:
    case = Case(name="batchy", traffic=at_hour(9, 4000), policy=None, is_async=True, latency_s=1.0)
    finding = only(account_of(case), "no-scaling-policy")
    assert finding.fix is not None
    assert finding.fix.calls[0].parameters["MinCapacity"] == 0
    assert "HasBacklogWithoutCapacity" in finding.fix.document
    assert finding.evidence["instances_needed_on_average"] < 0.5  # type: ignore[operator]


def test_a_longer_cooldown_is_the_same_policy_otherwise() -> None:
    finding = only(account_of(_BY_NAME["search"]), "scale-in-cooldown-too-short")
    assert finding.fix is not None
    assert finding.fix.is_safe
    (call,) = finding.fix.calls
    configuration = call.parameters["TargetTrackingScalingPolicyConfiguration"]
    assert configuration == by_concurrency(300)
    assert call.parameters["PolicyName"] == "search-load"


def test_a_policy_that_never_scales_in_needs_no_cooldown() -> None:
    never = by_concurrency(30) | {"DisableScaleIn": True}
    assert kinds(account_of(replace(_BY_NAME["search"], policy=never))) == {}


# --- spikes -----------------------------------------------------------------------------------------------------------


def _minutes(*counts: float) -> Series:
    return Series(0.0, 60, np.array(counts, dtype=float))


def test_a_spike_is_a_minute_with_several_times_the_requests_of_the_ten_before() -> None:
    spikes = spikes_of(_minutes(*[100.0] * 20, 700.0, 700.0, *[100.0] * 20))
    assert spikes is not None
    assert spikes.a_day * 42 * 60 / DAY_S == pytest.approx(1)  # both minutes are of one rise
    assert spikes.largest == pytest.approx(7)


def test_ups_and_downs_of_few_requests_are_no_spikes() -> None:
    spikes = spikes_of(_minutes(*[0.0, 1.0, 0.0, 9.0] * 20))
    assert spikes is not None
    assert spikes.a_day == 0


def test_of_metrics_that_are_published_every_five_minutes_nothing_is_said() -> None:
    values = np.full(600, np.nan)
    values[::5] = 1000.0
    assert spikes_of(Series(0.0, 60, values)) is None
    assert spikes_of(_minutes(1, 2, 3)) is None


# --- GPUs -------------------------------------------------------------------------------------------------------------


def test_a_smaller_shape_with_the_same_gpu_is_named_with_its_price() -> None:
    finding = only(account_of(_BY_NAME["vision"]), "gpu-underused")
    assert finding.evidence["smaller_shape"] == "ml.g4dn.xlarge"
    now, then = finding.evidence["now_usd_per_month"], finding.evidence["then_usd_per_month"]
    assert isinstance(now, float)
    assert isinstance(then, float)
    assert finding.saves_micro_usd_per_month == pytest.approx((now - then) * MICRO, abs=10_000)


def test_a_shape_that_does_not_hold_the_memory_is_not_named() -> None:
    full = replace(_BY_NAME["vision"], memory_percent=60.0)  # of 64 GiB: 38, more than the smaller sizes have
    assert "smaller_shape" not in only(account_of(full), "gpu-underused").evidence


def test_the_smallest_gpu_is_to_be_shared() -> None:
    smallest = replace(_BY_NAME["vision"], instance_type="ml.g4dn.xlarge", memory_percent=50.0, gpu_memory_percent=90.0)
    finding = only(account_of(smallest), "gpu-underused")
    assert finding.saves_micro_usd_per_month is None
    assert finding.price_note
    assert finding.fix is not None
    assert "multi-model" in finding.fix.title


def test_gpus_are_counted_before_their_use_is_judged() -> None:
    four = replace(_BY_NAME["vision-twin"], instance_type="ml.g4dn.12xlarge", gpu_percent=(55.0 * 4, 70.0 * 4))
    assert kinds(account_of(four)) == {}


def test_more_room_for_a_crowded_gpu_costs() -> None:
    finding = only(account_of(_BY_NAME["speech"]), "gpu-queueing")
    assert finding.saves_micro_usd_per_month is not None
    assert finding.saves_micro_usd_per_month < 0
    assert finding.fix is not None
    assert finding.fix.calls[0].parameters["MinCapacity"] == 3


def test_an_unknown_instance_type_is_said_and_never_priced() -> None:
    audit = audited(account_of(replace(_BY_NAME["forgotten"], instance_type="ml.zz9.plural")), aws_list())
    (finding,) = audit.findings
    assert finding.kind == "idle-endpoint"
    assert finding.saves_micro_usd_per_month is None
    assert "no price" in finding.price_note
    assert not audit.month_is_whole
    assert audited(account_of(_BY_NAME["forgotten"]), aws_list()).month_is_whole
    assert any("ml.zz9.plural" in note for note in audit.price_notes)


# --- idle, shared, other modes ----------------------------------------------------------------------------------------


def test_an_endpoint_of_yesterday_is_not_idle_yet() -> None:
    account = account_of(Case(name="new", traffic=none))
    (endpoint,) = account.endpoints
    nothing = {measure: Series(0.0, 300, np.full(4032, np.nan)) for measure in Measure}
    fresh = replace(
        endpoint, created_s=account.at_s - DAY_S, variants=(replace(endpoint.variants[0], metrics=nothing),)
    )
    assert kinds(replace(account, endpoints=(fresh,))) == {}
    old = replace(fresh, created_s=account.at_s - 30 * DAY_S)
    assert kinds(replace(account, endpoints=(old,))) == {"new": {"idle-endpoint"}}


def test_who_is_asked_often_is_to_be_pinned() -> None:
    finding = only(account_of(*(case for case in CASES if case.image == SKLEARN)), "could-share-an-endpoint")
    assert finding.evidence["to_pin"] == "risk-main"
    assert finding.evidence["instances_then"] == 2
    assert len(finding.covers) == 3


def test_models_with_other_environments_do_not_share() -> None:
    account = account_of(_BY_NAME["risk-eu"], _BY_NAME["risk-us"])
    assert "risk-eu" in kinds(account)
    first, second = account.endpoints
    model = second.variants[0].model
    assert model is not None
    other = replace(model, containers=(replace(model.containers[0], settings="other"),))
    changed = replace(second, variants=(replace(second.variants[0], model=other),))
    assert kinds(replace(account, endpoints=(first, changed))) == {}


def test_a_gpu_model_is_never_offered_serverless() -> None:
    case = Case(
        name="rare", traffic=sporadic(30), instance_type="ml.g4dn.xlarge", gpu_percent=(60.0, 60.0), memory_percent=8.0
    )
    assert kinds(account_of(case)) == {}


def test_a_model_in_a_vpc_is_never_offered_serverless() -> None:
    account = account_of(_BY_NAME["internal"])
    model = account.endpoints[0].variants[0].model
    assert model is not None
    assert kinds(changed(account, model=replace(model, is_isolated=True))) == {}


def test_serverless_is_sized_by_the_memory_that_was_used() -> None:
    finding = only(account_of(_BY_NAME["internal"]), "sporadic-traffic")
    assert finding.evidence["memory_mb"] == 2048  # 8 % of 16 GiB, and room
    assert finding.fix is not None
    config = finding.fix.calls[0].parameters["ProductionVariants"][0]
    assert config["ServerlessConfig"]["MemorySizeInMB"] == 2048


def _counts(days: int, hours: tuple[int, ...], each: float, on: tuple[int, ...] = ()) -> Series:
    """From a Monday on: requests in these hours, of all days or of those in `on`."""
    values = np.zeros((days, 24, 12))
    for day in range(days):
        if not on or day % 7 in on:
            values[day, list(hours)] = each / 12
    monday = 4 * DAY_S  # 1970-01-05
    return Series(float(monday), 300, values.reshape(-1))


def test_schedules_are_read_from_the_hours_that_requests_keep_to() -> None:
    nightly = schedule_of(_counts(14, (2, 3), 600))
    assert nightly is not None
    assert (nightly.hours, nightly.cron) == ((2, 3), "cron(0 2 * * ? *)")
    midnight = schedule_of(_counts(14, (23, 0), 600))
    assert midnight is not None
    assert midnight.hours == (23, 0)
    weekly = schedule_of(_counts(14, (5,), 600, on=(0,)))
    assert weekly is not None
    assert weekly.cron == "cron(0 5 ? * 2 *)"
    assert schedule_of(_counts(14, (1, 5, 9, 13, 17), 600)) is None  # too many hours
    assert schedule_of(_counts(14, (2,), 20)) is None  # too few requests to be a job's


def test_the_month_of_an_account_is_what_its_instances_cost() -> None:
    account = account_of(_BY_NAME["forgotten"], _BY_NAME["internal"])
    price = aws_list().instance("ml.m5.xlarge", "hosting", "us-east-1")
    assert price is not None
    assert audited(account, aws_list()).month_micro_usd == 2 * price.micro_usd(2 * 730)


def test_findings_keep_their_ids() -> None:
    account = account_of()
    first, second = (audited(account, aws_list()) for _ in range(2))
    ids = [finding.id for finding in first.findings]
    assert len(set(ids)) == len(ids)
    assert ids == [finding.id for finding in second.findings]


def test_a_steady_load_with_gaps_in_its_metrics_is_found_to_be_steady() -> None:
    account = account_of(Case(name="gappy", traffic=steady(2)))
    variant: Variant = account.endpoints[0].variants[0]
    assert variant.metrics is not None
    holes = np.random.default_rng(1).random(4032) < 0.3
    requests = variant.metrics[Measure.REQUESTS]
    gappy = Series(requests.start_s, requests.period_s, np.where(holes, np.nan, requests.values))
    assert kinds(changed(account, metrics={**(variant.metrics or {}), Measure.REQUESTS: gappy})) == {}
    assert kinds(changed(account, scaling=Scaling())) == {"gappy": {"no-scaling-policy"}}
    assert daily(1.0)(1, np.random.default_rng(0)).shape == (288,)


def test_an_endpoint_that_is_young_costs_what_its_instances_cost() -> None:
    """Its first hour began before it did, and the present one is not over: both have fewer samples than whole ones."""
    account = account_of()
    variant = next(variant for _, variant in account.variants() if variant.instance_type and variant.metrics)
    for samples in ([np.nan, 20.0], [np.nan, 40.0, 10.0], [np.nan, 30.0, 120.0, 120.0, 15.0]):
        told = Series(account.at_s - 3600.0 * len(samples), 3600, np.array(samples))
        young = replace(variant, count=2, scaling=None, metrics={**(variant.metrics or {}), Measure.CPU_SAMPLES: told})
        assert mean_count(young) == 2.0
