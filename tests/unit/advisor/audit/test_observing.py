"""What was seen of endpoints becomes workloads that a plan can begin with."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.observing import observed_workloads
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Audit
from trimtab.advisor.plan.observing import fewer_than_two, scenario_of
from trimtab.advisor.prices.book import aws_list
from trimtab.cli.audit import as_text
from trimtab.sim.world import Mode
from trimtab.testing.account import CASES
from trimtab.testing.account_view import account_of

_BY_NAME = {case.name: case for case in CASES}


def test_requests_times_and_scaling_are_those_that_were_seen() -> None:
    case = _BY_NAME["pricing-twin"]
    account = account_of(case)
    (found,) = observed_workloads(account)
    requests = account.endpoints[0].variants[0].requests
    assert requests is not None
    assert sum(found.counts) == requests.total
    assert (found.step_s, found.start_s, found.gaps) == (300, requests.start_s, 0)
    assert found.service_s["50"] == pytest.approx(case.latency_s, rel=0.01)
    assert found.service_s["99"] == pytest.approx(case.latency_s * case.spread, rel=0.05)
    assert list(found.service_s.values()) == sorted(found.service_s.values())
    assert (found.mode, found.replicas, found.min_replicas, found.max_replicas) == (Mode.REAL_TIME, 4, 2, 10)
    assert [policy.name for policy in found.policies] == ["pricing-twin-load"]


def test_a_gpu_does_as_much_on_a_smaller_instance_that_holds_what_memory_was_seen() -> None:
    (found,) = observed_workloads(account_of(_BY_NAME["vision"]))
    assert found.instance_type == "ml.g4dn.4xlarge"
    assert "ml.g4dn.xlarge" in found.as_fast_on
    assert {"ml.g4dn.4xlarge", "ml.g4dn.12xlarge", "ml.g5.xlarge"}.isdisjoint(found.as_fast_on)
    full = with_memory(account_of(_BY_NAME["vision"]), 80.0)
    (found,) = observed_workloads(full)
    assert found.as_fast_on == ("ml.g4dn.16xlarge", "ml.g4dn.8xlarge")
    (found,) = observed_workloads(with_memory(account_of(_BY_NAME["vision"]), None))
    assert found.as_fast_on == ()
    (found,) = observed_workloads(account_of(_BY_NAME["pricing"]))
    assert found.as_fast_on == ()


def with_memory(account: Account, percent: float | None) -> Account:
    """The account, with so much of its instances' memory in use at the peak; None: nobody published it."""
    (endpoint,) = account.endpoints
    metrics = dict(endpoint.variants[0].metrics or {})
    requests = metrics[Measure.REQUESTS]
    if percent is None:
        metrics.pop(Measure.MEMORY, None)
    else:
        metrics[Measure.MEMORY] = Series(requests.start_s, 3600, np.full(24, percent))
    variant = replace(endpoint.variants[0], metrics=metrics)
    return replace(account, endpoints=(replace(endpoint, variants=(variant,)),))


def test_models_that_could_share_have_equal_containers() -> None:
    account = account_of(_BY_NAME["risk-eu"], _BY_NAME["risk-us"], _BY_NAME["vision"])
    first, second, other = observed_workloads(account)
    assert first.container == second.container != other.container


def test_an_idle_endpoint_is_no_workload_and_one_without_latency_none_either() -> None:
    assert observed_workloads(account_of(_BY_NAME["forgotten"])) == ()
    account = account_of(_BY_NAME["pricing"])
    (endpoint,) = account.endpoints
    metrics = endpoint.variants[0].metrics
    assert metrics is not None
    silent = {measure: series for measure, series in metrics.items() if "latency" not in measure}
    variant = replace(endpoint.variants[0], metrics=silent)
    assert observed_workloads(replace(account, endpoints=(replace(endpoint, variants=(variant,)),))) == ()


def test_without_percentiles_the_mean_and_the_most_are_told() -> None:
    account = account_of(_BY_NAME["pricing"])
    (endpoint,) = account.endpoints
    metrics = endpoint.variants[0].metrics
    assert metrics is not None
    percentiles = (Measure.LATENCY_P50, Measure.LATENCY_P90, Measure.LATENCY_P99)
    coarse = {measure: series for measure, series in metrics.items() if measure not in percentiles}
    variant = replace(endpoint.variants[0], metrics=coarse)
    (found,) = observed_workloads(replace(account, endpoints=(replace(endpoint, variants=(variant,)),)))
    assert set(found.service_s) == {"50", "100"}


def test_gaps_are_counted() -> None:
    account = account_of(_BY_NAME["forgotten-twin"])
    (endpoint,) = account.endpoints
    metrics = endpoint.variants[0].metrics
    assert metrics is not None
    requests = metrics[Measure.REQUESTS]
    values = requests.values.copy()
    values[100:110] = np.nan
    gappy = {**metrics, Measure.REQUESTS: Series(requests.start_s, requests.period_s, values)}
    variant = replace(endpoint.variants[0], metrics=gappy)
    (found,) = observed_workloads(replace(account, endpoints=(replace(endpoint, variants=(variant,)),)))
    assert found.gaps == 10


def test_the_json_of_an_audit_is_read_back_whole_and_planned_from() -> None:
    audit = audited(account_of(days=3), aws_list())
    text = as_text(audit)
    assert msgspec.json.decode(text, type=Audit) == audit
    assert max(len(line) for line in text.splitlines()) > 1000  # requests over time are on one line
    scenario, _ = scenario_of(audit.observed, audit.region)
    assert {workload.name for workload in scenario.workloads} == {each.name for each in audit.observed}


def test_a_plan_that_takes_the_second_instance_away_says_who_asked_for_it() -> None:
    account = replace(account_of(_BY_NAME["pricing-twin"]), resilient=("pricing*",))
    (found,) = observed_workloads(account)
    assert found.two_asked_by == "--resilient pricing*"
    scenario, _ = scenario_of([found], "us-east-1")
    (now,) = scenario.architectures
    assert fewer_than_two(now, [found]) == []  # its policy keeps two
    one = replace(now, endpoints=(replace(now.endpoints[0], min_replicas=1),))
    assert fewer_than_two(one, [found]) == [
        "pricing-twin: two instances are asked for by --resilient pricing*, and this plan may go down to 1:"
        " --min-replicas 2 keeps two of each real-time endpoint"
    ]
    assert fewer_than_two(one, [replace(found, two_asked_by="")]) == []
    serverless = replace(now, endpoints=(replace(now.endpoints[0], mode=Mode.SERVERLESS, min_replicas=0),))
    assert fewer_than_two(serverless, [found]) == []
