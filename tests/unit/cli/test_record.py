"""`trimtab record`: what metrics tell becomes a scenario that can be simulated."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.cli.recorded.finding import Found, ModelFound
from trimtab.cli.recorded.metrics import arrivals_of, service_s
from trimtab.cli.recorded.writing import Recorded, write
from trimtab.cli.render import CliError
from trimtab.cli.simulating.running import loaded
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Mode

START_S = 1_767_571_200


class FakeMetrics:
    """Answers from dictionaries, as `Metrics` does from CloudWatch."""

    def __init__(self, series=None, whole=None):
        self._series, self._whole = series or {}, whole or {}

    def series(self, namespace, name, stat):
        return self._series[name]

    def whole(self, asked):
        return [self._whole.get(name, lambda stat: None)(stat) for _, name, stat in asked]


def percent(stat):
    return {"Minimum": 0.0, "Maximum": 100.0}.get(stat) if stat[0] != "p" else float(stat[1:])


def test_asynchronous_requests_came_when_they_ended_or_the_backlog_grew():
    metrics = FakeMetrics({"InvocationsProcessed": [0, None, 2, 3], "ApproximateBacklogSize": [3, 4, 3, 0]})
    assert arrivals_of(metrics, is_async=True) == [3, 1, 1, 0]


def test_what_a_request_takes_is_from_sent_until_answered_and_what_the_gateway_needs_beside():
    whole = {
        "ModelLatency": lambda stat: 10_000 + percent(stat),
        "Latency": lambda stat: 10_501,
        "ComputeTime": lambda stat: 9000 + percent(stat),
    }
    took = service_s(FakeMetrics(whole=whole), 101)
    assert took[0] == pytest.approx((10_000 + 500) / 1e6)
    assert took[100] == pytest.approx((10_100 + 500) / 1e6)


def test_a_quick_models_own_time_counts_since_requests_wait_beside_it():
    whole = {
        "ModelLatency": lambda stat: 1000 + 50 * percent(stat),
        "Latency": lambda stat: 1350,
        "ComputeTime": lambda stat: 300 + percent(stat),
    }
    took = service_s(FakeMetrics(whole=whole), 101)
    assert took[50] == pytest.approx((350 + 300 + (1050 - 301)) / 1e6)
    assert service_s(FakeMetrics(whole={}), 101) is None


def recorded(found, came):
    return Recorded(found=found, start_s=START_S, period_s=1, came=came, took_s=np.linspace(0.01, 0.03, 101).tolist())


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
    files = write(recorded(found, [0.0, 3.0, 0.0, 5.0, 0.0, 0.0]), tmp_path / "live.yaml", slo="p99=1s", force=False)
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
        write(recorded(found, [1.0]), tmp_path / "live.yaml", slo="", force=False)


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
    write(recorded(found, [30.0] * 10), tmp_path / "many.yaml", slo="", force=False)
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
    write(recorded(found, [1.0, 1.0]), tmp_path / "echo.yaml", slo="", force=False)
    endpoint = loaded(tmp_path / "echo.yaml").scenario.architectures[0].endpoints[0]
    assert (endpoint.memory_mb, endpoint.max_concurrency, endpoint.start_s) == (2048, 5, 0.2)
