"""`trimtab record`: what metrics tell becomes a scenario that can be simulated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.cli.recorded.arriving import Came, came_of, counts_of, dispersion_of, spread
from trimtab.cli.recorded.finding import Found, ModelFound
from trimtab.cli.recorded.metrics import in_work_s, service_s
from trimtab.cli.recorded.writing import Recorded, write
from trimtab.cli.render import CliError
from trimtab.cli.simulating.running import loaded
from trimtab.control.scaling.entries import Began
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import Load
from trimtab.resources.cost import Part
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, ScalingPolicy, TargetTracking
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode

START_S = 1_767_571_200


class FakeMetrics:
    """Answers from dictionaries, as `Metrics` does from CloudWatch."""

    start_s, period_s = START_S, 1

    def __init__(self, series=None, whole=None):
        self._series, self._whole = series or {}, whole or {}
        self.end_s = START_S + len(next(iter(self._series.values()), ()))

    def series(self, namespace, name, stat):
        return self._series[name]

    def whole(self, asked):
        return [self._whole.get(name, lambda stat: None)(stat) for _, name, stat in asked]


def percent(stat):
    return {"Minimum": 0.0, "Maximum": 100.0}.get(stat) if stat[0] != "p" else float(stat[1:])


def test_asynchronous_requests_came_when_they_ended_or_the_backlog_grew():
    metrics = FakeMetrics({"InvocationsProcessed": [0, None, 2, 3], "ApproximateBacklogSize": [3, 4, 3, 0]})
    assert counts_of(metrics, is_async=True) == [3, 1, 1, 0]


def test_what_a_request_takes_is_from_sent_until_answered_and_what_the_gateway_needs_beside():
    whole = {
        "ModelLatency": lambda stat: 10_000 + percent(stat),
        "Latency": lambda stat: 10_501,
        "ComputeTime": lambda stat: 9000 + percent(stat),
    }
    took = service_s(FakeMetrics(whole=whole), 101)
    assert took[0] == pytest.approx((10_000 + 500) / 1e6)
    assert took[100] == pytest.approx((10_100 + 500) / 1e6)


def test_an_asynchronous_request_takes_its_place_for_as_long_as_it_is_in_work():
    whole = {
        "TimeInWork": lambda stat: 120_500 if stat == "Average" else 120_000 + 10 * percent(stat),
        "ModelLatency": lambda stat: 100_500,
    }
    took, beside = in_work_s(FakeMetrics(whole=whole), 101)
    assert (took[0], took[100]) == (pytest.approx(0.12), pytest.approx(0.121))
    assert beside == pytest.approx(0.02)
    assert in_work_s(FakeMetrics(whole={"ModelLatency": lambda stat: 1.0}), 101) is None


def test_a_quick_models_own_time_counts_since_requests_wait_beside_it():
    whole = {
        "ModelLatency": lambda stat: 1000 + 50 * percent(stat),
        "Latency": lambda stat: 1350,
        "ComputeTime": lambda stat: 300 + percent(stat),
    }
    took = service_s(FakeMetrics(whole=whole), 101)
    assert took[50] == pytest.approx((350 + 300 + (1050 - 301)) / 1e6)
    assert service_s(FakeMetrics(whole={}), 101) is None


EVENT = TargetTracking(target_value=0.7, stat=MetricStat("trimtab/Endpoints", SIGNAL_EVENT, (), 0, "Average"))
TARGET = ScalableTarget(endpoint="e", variant="v", min_capacity=1, max_capacity=4, created_s=0.0)
POLICY = ScalingPolicy(name="p", arn="a", endpoint="e", variant="v", created_s=0.0, tracking=EVENT)


def told(*loads):
    """A journal: moments after the start, and what had come by then."""
    inputs = [
        Load(
            at_s=START_S + at_s, capacity=1, ready=1, in_hand=0.0, now=0, waiting=0, arrived=arrived, ended=arrived,
            work_s=0.0, start_s=0.02,
        )
        for at_s, arrived in loads
    ]  # fmt: skip
    return [Began(at_s=START_S, rules=Rules(target=TARGET, policies=(POLICY,)), state=b"\x80"), *inputs]


def test_requests_came_when_gateways_told_of_them_and_where_they_did_not_in_their_second():
    metrics = FakeMetrics({"Invocations": [2, 0, 1, 3, 0, 0, 1]})
    found = came_of(metrics, told((1.5, 50), (2.3, 51), (3.1, 53), (3.2, 54), (4.5, 54)), is_async=False)
    assert found.total == 7
    came = np.sort(found.moments(np.random.default_rng(1))) - START_S
    bounds = [(0, 1), (0, 1), (2.28, 2.3), (3.08, 3.1), (3.08, 3.1), (3.1, 3.2), (6, 7)]
    for moment, (least, most) in zip(came, bounds, strict=True):
        assert least - 1e-6 <= moment <= most + 1e-6
    assert found.told_s == 3.0


def test_signals_that_missed_requests_are_not_taken():
    metrics = FakeMetrics({"Invocations": [20, 20, 20, 20]})
    found = came_of(metrics, told((0.0, 0), (1.0, 20), (2.0, 25), (4.0, 45)), is_async=False)
    assert (found.told_s, found.counts) == (0.0, (20, 20, 20, 20))
    short = came_of(metrics, told((1.2, 0), (1.8, 12)), is_async=False)
    assert (short.told_s, short.counts) == (0.0, (20, 20, 20, 20))


@given(st.integers(1, 200), st.floats(0.0, 1.0), st.integers(0, 100))
def test_requests_are_spread_in_order_within_their_time(count, dispersion, seed):
    places = spread(np.random.default_rng(seed), count, dispersion)
    assert len(places) == count
    assert (np.diff(places) >= 0).all()
    assert 0 <= places[0] <= places[-1] <= 1


def gap_cv(counts, dispersion):
    edges_s = tuple(float(second) for second in range(len(counts) + 1))
    came = Came(edges_s=edges_s, counts=tuple(counts), dispersion=dispersion).moments(np.random.default_rng(2))
    gaps = np.diff(came)
    return gaps.std() / gaps.mean()


def test_even_traffic_is_even_and_traffic_by_chance_is_by_chance():
    sent_s = np.arange(0, 300, 1 / 24.3)
    even = np.bincount(sent_s.astype(int))
    chance = np.random.default_rng(3).poisson(24.3, 300)
    assert dispersion_of(even) < 0.05
    assert dispersion_of(chance) == pytest.approx(1.0, abs=0.2)
    assert gap_cv(even, dispersion_of(even)) < 0.3
    assert gap_cv(chance, dispersion_of(chance)) == pytest.approx(1.0, abs=0.15)


def test_a_rate_that_changes_is_not_taken_for_chance():
    counts = np.rint(100 + 80 * np.sin(np.arange(600) / 600 * 2 * np.pi))
    assert dispersion_of(counts) < 0.1
    assert dispersion_of([0, 0]) == 1.0


def recorded(found, came):
    edges_s = tuple(float(START_S + second) for second in range(len(came) + 1))
    came = Came(edges_s=edges_s, counts=tuple(came))
    end_s = int(edges_s[-1])
    return Recorded(found=found, start_s=START_S, end_s=end_s, came=came, took_s=np.linspace(0.01, 0.03, 101).tolist())


def test_a_recorded_endpoint_is_a_scenario_with_as_many_requests_in_each_second(tmp_path):
    policy = {
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 300.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        }
    }
    found = Found(
        endpoint="live",
        variant="blue",
        mode=Mode.REAL_TIME,
        instance_type="ml.m5.large",
        count=2,
        least=1,
        most=4,
        start_s=0.05,
        policies=(policy,),
    )
    files = write(recorded(found, [0, 3, 0, 5, 0, 0]), tmp_path / "live.yaml", slo="p99=1s", force=False)
    assert [path.name for path in files] == ["live.yaml", "live.csv.gz"]
    scenario = loaded(tmp_path / "live.yaml").scenario
    (workload,) = scenario.workloads
    (chunk,) = workload.arrivals.chunks(0)
    assert np.bincount((chunk.at_s - START_S).astype(int), minlength=6).tolist() == [0, 3, 0, 5, 0, 0]
    assert (workload.arrivals.start_s, workload.arrivals.end_s) == (START_S, START_S + 6)
    endpoint = scenario.architectures[0].endpoints[0]
    assert (endpoint.initial_replicas, endpoint.max_replicas, endpoint.start_s) == (2, 4, 0.05)
    assert endpoint.policies[0].tracking.target_value == 300
    assert simulate(scenario, scenario.architectures[0]).served[0].answered == 8
    with pytest.raises(CliError, match="is there already"):
        write(recorded(found, [1]), tmp_path / "live.yaml", slo="", force=False)


def test_what_is_done_beside_the_replica_is_part_of_the_scenario(tmp_path):
    found = Found(
        endpoint="queued",
        variant="blue",
        mode=Mode.ASYNC,
        instance_type="ml.m5.large",
        count=0,
        least=0,
        most=2,
        start_s=0.1,
    )
    given = replace(recorded(found, [10, 0, 0]), beside_s=0.005)
    write(given, tmp_path / "queued.yaml", slo="", force=False)
    scenario = loaded(tmp_path / "queued.yaml").scenario
    (work,) = scenario.workloads[0].work.values()
    assert (work.beside_s, work.mean_s) == (0.005, pytest.approx(0.02))
    endpoint = scenario.architectures[0].endpoints[0]
    outcome = simulate(scenario, Architecture(name="always on", endpoints=(replace(endpoint, initial_replicas=1),)))
    assert outcome.served[0].answered == 10
    assert outcome.used[0].parts[Part.SERVING] == pytest.approx(10 * 0.015, rel=0.15)


def test_models_of_a_multi_model_endpoint_are_workloads_of_their_own(tmp_path):
    models = tuple(ModelFound(f"m{n}.tar.gz", 10 * (n + 1), 50_000_000, 0.3, n == 0) for n in range(3))
    found = Found(
        endpoint="many",
        variant="blue",
        mode=Mode.MULTI_MODEL,
        instance_type="ml.m5.large",
        count=1,
        models=models,
        models_bytes=120_000_000,
        start_s=0.1,
    )
    write(recorded(found, [30] * 10), tmp_path / "many.yaml", slo="", force=False)
    scenario = loaded(tmp_path / "many.yaml").scenario
    assert [one.name for one in scenario.workloads] == ["m0.tar.gz", "m1.tar.gz", "m2.tar.gz"]
    endpoint = scenario.architectures[0].endpoints[0]
    assert (endpoint.models_bytes, endpoint.pinned) == (120_000_000, ("m0.tar.gz",))
    outcome = simulate(scenario, scenario.architectures[0])
    assert sum(one.requests for one in outcome.served) == 300


def test_a_serverless_endpoint_keeps_its_rules(tmp_path):
    rules = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    found = Found(
        endpoint="echo", variant="blue", mode=Mode.SERVERLESS, instance_type="", count=0, serverless=rules, start_s=0.2
    )
    write(recorded(found, [1, 1]), tmp_path / "echo.yaml", slo="", force=False)
    endpoint = loaded(tmp_path / "echo.yaml").scenario.architectures[0].endpoints[0]
    assert (endpoint.memory_mb, endpoint.max_concurrency, endpoint.start_s) == (2048, 5, 0.2)
