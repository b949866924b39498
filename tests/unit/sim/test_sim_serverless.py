"""Serverless endpoints in the simulator: the live policy decides, and AWS's bill is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.policies.serverless.environments import Environments
from trimtab.resources.cost import Part
from trimtab.resources.serverless import Serverless
from trimtab.sim.arrivals import Rates, Times
from trimtab.sim.serverless.endpoint import keep_warm_of
from trimtab.sim.serverless.keep_warm import replay
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Fault, Mode, Scenario, Serving, Slo, Work, Workload

START_S = 1_767_571_200.0


def serving(**more):
    given = {"memory_mb": 2048, "max_concurrency": 20, "start_s": 2.0, **more}
    return Serving(name="echo", mode=Mode.SERVERLESS, workloads=("echo",), **given)


def ran(arrivals, serving, work_s=0.1, faults=(), seed=1, slo=None):
    workload = Workload(
        name="echo",
        arrivals=arrivals,
        work={"*": Work(quantiles_s=(work_s,))},
        slo=slo,
        request_bytes=10,
        answer_bytes=5,
    )
    architecture = Architecture(name="a", endpoints=(serving,))
    scenario = Scenario(name="s", workloads=(workload,), architectures=(architecture,), faults=faults)
    outcome = simulate(scenario, architecture, seed=seed)
    return outcome.served[0], outcome.used[0]


def times(*at_s, lasting_s=None):
    moments = START_S + np.array(at_s, dtype=np.float64)
    return Times(at_s=moments, start_s=START_S, end_s=START_S + (lasting_s or at_s[-1] + 60))


def test_each_request_is_billed_for_its_begun_milliseconds_and_nothing_else():
    served, used = ran(times(10, 20, 30), serving(), work_s=0.1004)
    assert used.billed_gb_s == pytest.approx(3 * 0.101 * 2)
    assert used.parts == {Part.SERVING: pytest.approx(used.billed_gb_s)}
    assert used.request_bytes == 45
    assert (served.requests, served.answered, served.waiting) == (3, 3, 0)


def test_a_request_that_finds_no_environment_waits_for_its_start():
    served, _ = ran(times(100, 100.05, lasting_s=200), serving(keep_warm="off"))
    assert served.cold == 2
    assert served.max_s == pytest.approx(2.1, abs=1e-6)
    assert served.p50_s == pytest.approx(2.1, rel=0.03)


def test_one_that_waits_takes_an_environment_that_is_free_before_its_own_is_ready():
    served, used = ran(times(10, 10.01, lasting_s=60), serving(keep_warm="60", start_s=5.0))
    assert served.cold == 1
    assert served.max_s == pytest.approx(0.19, abs=1e-6)


def test_more_at_once_than_the_concurrency_are_throttled():
    served, _ = ran(times(*[5.0] * 7, lasting_s=60), serving(max_concurrency=3))
    assert (served.requests, served.refused, served.answered) == (7, 4, 3)


def test_provisioned_environments_are_there_and_paid_for():
    served, used = ran(times(3600, 3600, lasting_s=7200), serving(provisioned=2, keep_warm="off"))
    assert served.cold == 0
    assert used.provisioned_gb_s == 2 * 2 * 7200


def test_a_timer_is_learned():
    every = times(*range(300, 86_400, 300))
    learned, warm = ran(every, serving())
    off, _ = ran(every, serving(keep_warm="off"))
    assert off.cold == off.requests
    assert learned.cold < 20
    assert warm.replica_s < 86_400 / 3  # not there all the time between


def test_one_that_takes_too_long_fails_and_is_billed():
    served, used = ran(
        times(10, lasting_s=100), serving(timeout_s=1.0, keep_warm="600"), work_s=3.0, slo=Slo(within_s=9.0)
    )
    assert (served.failed, served.answered, served.within_slo) == (1, 0, 0.0)
    assert used.parts == {Part.RETRIES: 2.0}


def test_slow_work_and_starts_that_do_not_begin():
    slow = Fault(at_s=START_S + 50, endpoint="echo", kind="slow", factor=10.0, lasting_s=100.0)
    served, _ = ran(times(10, 100, 200), serving(keep_warm="600"), faults=(slow,))
    assert served.max_s == pytest.approx(1.0)
    outage = Fault(at_s=START_S + 50, endpoint="echo", kind="outage", lasting_s=60.0)
    served, _ = ran(times(100, lasting_s=200), serving(keep_warm="off"), faults=(outage,))
    assert served.max_s == pytest.approx(12.1)
    with pytest.raises(Invalid, match="no replica for a kill"):
        ran(times(1), serving(), faults=(Fault(at_s=START_S, endpoint="echo", kind="kill"),))


def test_equal_seeds_are_equal_bit_for_bit_and_others_are_not():
    arrivals = Rates(rate=np.array([5.0, 0.1, 8.0]), step_s=600.0, start_s=START_S, cv=3.0)
    first, second, other = (ran(arrivals, serving(), seed=seed) for seed in (7, 7, 8))
    for one, again in zip(first, second, strict=True):
        for name in one.__struct_fields__:
            if name == "series":
                np.testing.assert_array_equal(one.series.p99_s, again.series.p99_s)
            else:
                np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert first[0].mean_s != other[0].mean_s


@settings(max_examples=60, deadline=None)
@given(
    gaps_s=st.lists(st.sampled_from([0.0, 0.03, 0.4, 1.5, 7.0, 60.0, 299.0, 300.0, 2000.0]), min_size=1, max_size=60),
    keep_warm=st.sampled_from(["learned", "off", "30", "400"]),
)
def test_the_machine_code_decides_as_the_policy_does(gaps_s, keep_warm):
    at_s = np.cumsum(gaps_s) + 1
    arrivals = times(*at_s.tolist(), lasting_s=float(at_s[-1]) + 1000)
    endpoint = serving(keep_warm=keep_warm, start_s=0.0, max_concurrency=200)
    served, used = ran(arrivals, endpoint, work_s=0.25)
    environments = Environments(
        rules=Serverless(memory_mib=2048, max_concurrency=200), keep_warm=keep_warm_of(endpoint)
    )
    environments.made(1, 0.0)
    tally = replay([(float(one), 0.25) for one in at_s], environments, float(at_s[-1]) + 1000)
    assert served.cold == tally.cold
    assert used.replica_s == pytest.approx(tally.idle_s + 0.25 * len(at_s), abs=0.01)
