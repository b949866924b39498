"""`trimtab record`: what metrics tell becomes a scenario that can be simulated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.cli.recorded import asked, trace
from trimtab.cli.recorded import models as of_models
from trimtab.cli.recorded.arriving import Came, came_of, counts_of, dispersion_of, spread
from trimtab.cli.recorded.asked import KEPT_S, LATER_S, Asked, tasks_of
from trimtab.cli.recorded.finding import Found
from trimtab.cli.recorded.metrics import in_work_s, service_s, without
from trimtab.cli.recorded.models import ModelFound, ModelsFound
from trimtab.cli.recorded.writing import Recorded, write
from trimtab.cli.render import CliError
from trimtab.cli.simulating.running import loaded
from trimtab.control.scaling.entries import Began
from trimtab.files import write_whole
from trimtab.policies.scaling.decisions import Rules
from trimtab.policies.scaling.inputs import Load
from trimtab.resources.cost import Part
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import SIGNAL_EVENT, ScalableTarget, ScalingPolicy, TargetTracking
from trimtab.sim.simulate import simulate
from trimtab.sim.world import Architecture, Mode, PastLoad

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


def test_a_backlog_that_nobody_told_of_for_a_second_does_not_come_again():
    told = {"InvocationsProcessed": [0, None, 2, None, 1], "ApproximateBacklogSize": [50, None, 48, 0, 47]}
    assert counts_of(FakeMetrics(told), is_async=True) == [50, 0, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
def test_as_many_asynchronous_requests_came_as_came_although_ends_are_told_a_second_late(seconds):
    backlog, late, ended, sizes = 0, 0, [], []
    for came, done, is_late in seconds:
        done = min(done, backlog + came)
        backlog += came - done
        ended.append(late + (0 if is_late else done))
        late = done if is_late else 0
        sizes.append(backlog)
    ended.append(late)
    sizes.append(backlog)
    found = counts_of(FakeMetrics({"InvocationsProcessed": ended, "ApproximateBacklogSize": sizes}), is_async=True)
    assert sum(found) == sum(came for came, _, _ in seconds)


def test_what_a_request_takes_is_from_sent_until_answered_and_what_the_gateway_needs_beside():
    whole = {
        "ModelLatency": lambda stat: 10_000 + percent(stat),
        "Latency": lambda stat: 10_501,
        "ComputeTime": lambda stat: 9000 + percent(stat),
    }
    took, first_s = service_s(FakeMetrics(whole=whole), 101)
    assert first_s == 0.0
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
    took, _ = service_s(FakeMetrics(whole=whole), 101)
    assert took[50] == pytest.approx((350 + 300 + (1050 - 301)) / 1e6)
    assert service_s(FakeMetrics(whole={}), 101) is None


def test_parts_of_requests_add_up_to_whole_ones():
    sizes = [0.4 * minute for minute in range(1, 51)]  # means of minutes
    metrics = FakeMetrics({"InvocationsProcessed": [None] * 50, "ApproximateBacklogSize": sizes})
    assert came_of(metrics, [], is_async=True).total == 20


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
    written = write(recorded(found, [0, 3, 0, 5, 0, 0]), tmp_path / "live.yaml", slo="p99=1s", force=False)
    assert [path.name for path in written.files] == ["live.yaml", "live.csv.gz"]
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


def test_a_record_over_an_old_one_is_never_an_old_scenario_with_a_new_trace(tmp_path, monkeypatch):
    found = Found(endpoint="live", variant="blue", mode=Mode.REAL_TIME, instance_type="ml.m5.large", count=1)
    path, seen = tmp_path / "live.yaml", []

    def noted(*given, **more):
        seen.append((given[0].name, path.exists()))
        write_whole(*given, **more)

    monkeypatch.setattr("trimtab.cli.recorded.writing.write_whole", noted)
    write(recorded(found, [1]), path, slo="", force=False)
    write(recorded(found, [2]), path, slo="", force=True)
    assert seen == [("live.csv.gz", False), ("live.yaml", False)] * 2
    assert loaded(path).scenario.workloads[0].arrivals.end_s == START_S + 1


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
        models=ModelsFound(models, 120_000_000),
        start_s=0.1,
    )
    write(recorded(found, [30] * 10), tmp_path / "many.yaml", slo="", force=False)
    scenario = loaded(tmp_path / "many.yaml").scenario
    assert [one.name for one in scenario.workloads] == ["m0.tar.gz", "m1.tar.gz", "m2.tar.gz"]
    endpoint = scenario.architectures[0].endpoints[0]
    assert (endpoint.models_bytes, endpoint.pinned) == (120_000_000, ("m0.tar.gz",))
    outcome = simulate(scenario, scenario.architectures[0])
    assert sum(one.requests for one in outcome.served) == 300


def first_and_later(stat):
    """Of 400 requests, 100 were the first after a load: 20 ms, and the others 10 to 11 ms."""
    if stat == "SampleCount":
        return 400
    return 20_000 if percent(stat) > 75 else 10_000 + percent(stat) / 75 * 1000


def test_first_requests_after_a_load_are_not_among_the_others():
    whole = {
        "ModelLatency": first_and_later,
        "FirstModelLatency": lambda stat: 100 if stat == "SampleCount" else 20_000,
        "Latency": lambda stat: 10_000,
    }
    took, first_s = service_s(FakeMetrics(whole=whole), 101)
    assert took[50] == pytest.approx(0.0105, rel=0.01)
    assert took[99] < 0.0115
    assert first_s == pytest.approx(0.0095, rel=0.02)


@given(st.lists(st.floats(0, 1e6), min_size=11, max_size=11), st.integers(0, 10), st.floats(0.0, 0.99))
def test_what_is_left_of_a_distribution_lies_within_it_in_order(values, taken, share):
    quantiles = sorted(values)
    left = without(quantiles, [quantiles[taken]] * 11, share)
    assert len(left) == 11
    assert quantiles[0] <= left[0]
    assert left[-1] <= quantiles[-1]
    assert left == sorted(left)


GIB = 2**30


class FakeClient:
    """Answers a multi-model endpoint's paths."""

    most = 3600

    def __init__(self, events=(), reports=(), residents=(), names="ab"):
        self.events = [{"replica_id": "r", "variant": "blue", **event} for event in events]
        self.reports = list(reports)
        host = {"replica_id": "r", "variant": "blue", "memory_bytes": 2 * GIB, "residents": list(residents)}
        models = [{"model": name, "requests": 5, "loads": 2, "load_s": 3.0} for name in names]
        self.page = {"hosts": [host], "models": models, "settings": [{"model": "b", "pinned": True}]}
        self.asked = []

    def get(self, path, **query):
        if path == "endpoints/many/models":
            return self.page
        if path == "endpoints/many/models/events":
            return {"events": self.events}
        assert path == "endpoints/many/requests"
        self.asked.append((int(query["start"]), int(query["end"])))
        start_s, end_s = self.asked[-1]
        return {"reports": [one for one in self.reports if start_s <= one["start_s"] < end_s][: self.most]}


LOADED = [{"model": name, "bytes": 5} for name in "ab"]


def event(at_s, model, what="loaded", **more):
    return {"at_s": START_S + at_s, "model": model, "what": what, **more}


def a_report(second, **models):
    told = {model: {"count": count, "at_ms": at_ms} for model, (count, at_ms) in models.items()}
    return {"start_s": START_S + second, "span_s": 1, "models": told}


def test_each_load_of_a_model_is_recorded_with_the_most_that_it_took():
    client = FakeClient(
        events=[
            event(-50, "a", load_s=9.0, bytes=90),  # gone before the time
            event(-40, "a", "unloaded", bytes=91, unload_s=9.0),
            event(-20, "a", load_s=2.0, download_s=1.0, bytes=100, artifact_bytes=7),  # there when it begins
            event(10, "a", "unloaded", bytes=120, unload_s=0.5),
            event(20, "a", load_s=1.5, bytes=110, artifact_bytes=8),
            event(400, "a", load_s=4.0, bytes=1),  # after the time
        ],
        residents=[{"model": "b", "bytes": 50, "peak_bytes": 60, "load_s": 0.25, "loaded_s": START_S - 9}],
    )
    found = of_models.models_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 300}), 10)
    a, b = found.models
    assert a.loads == (PastLoad(3.0, 120), PastLoad(1.5, 110))
    assert (a.memory_bytes, a.artifact_bytes, a.load_s, a.pinned) == (120, 8, 1.5, False)
    assert (b.loads, b.memory_bytes, b.pinned) == ((PastLoad(0.25, 60),), 60, True)
    assert (found.memory_bytes, found.unload_s) == (2 * GIB, 4.75)


def test_which_model_was_asked_when_is_known_where_gateways_told_of_all_requests():
    reports = [a_report(1, a=(2, [250, 900]), b=(1, [100])), a_report(310, a=(5, [7]), ghost=(1, [3]))]
    metrics = FakeMetrics({"Invocations": [0] * 400})
    client = FakeClient(reports=reports, residents=LOADED)
    came = of_models.models_of(client, "many", "blue", metrics, 8).came
    assert client.asked == [(START_S - 60, START_S + 240), (START_S + 240, START_S + 400)]
    moments = [(one.model, one.start_s - START_S, one.end_s - START_S, one.count) for one in came]
    assert moments == [
        ("a", pytest.approx(1.25), pytest.approx(1.25), 1),
        ("a", pytest.approx(1.9), pytest.approx(1.9), 1),
        ("b", pytest.approx(1.1), pytest.approx(1.1), 1),
        ("a", pytest.approx(310.007), pytest.approx(310.007), 1),
        ("a", 310, 311, 4),
    ]
    assert of_models.models_of(client, "many", "blue", metrics, 80).came == ()


def test_what_was_asked_when_and_what_loads_took_are_part_of_the_scenario(tmp_path):
    came = (
        Asked(model="m1", start_s=START_S + 1.25, end_s=START_S + 1.25),
        Asked(model="m0", start_s=START_S + 0.5, end_s=START_S + 0.5),
        Asked(model="m0", start_s=START_S + 3, end_s=START_S + 4, count=2),
    )
    models = (
        ModelFound("m0", 3, 60_000_000, 0.5, False, (PastLoad(0.75, 40_000_000),), 1000),
        ModelFound("m1", 1, 50_000_000, 0.25, False),
    )
    found = Found(
        endpoint="many", variant="blue", mode=Mode.MULTI_MODEL, instance_type="ml.m5.large", count=1, start_s=0.1,
        models=ModelsFound(models, 120_000_000, 0.012, came),
    )  # fmt: skip
    write(replace(recorded(found, [1, 1, 0, 2, 0]), first_s=0.002), tmp_path / "many.yaml", slo="", force=False)
    scenario = loaded(tmp_path / "many.yaml").scenario
    m0, m1 = scenario.workloads
    (chunk,) = m0.arrivals.chunks(0)
    assert chunk.at_s[0] == START_S + 0.5
    assert ((chunk.at_s[1:] >= START_S + 3) & (chunk.at_s[1:] <= START_S + 4)).all()
    assert m1.arrivals.at_s.tolist() == [START_S + 1.25]
    assert (m0.loads, m0.artifact_bytes, m1.loads) == ((PastLoad(0.75, 40_000_000),), 1000, ())
    assert m0.work["*"].first_s == pytest.approx(0.002)
    endpoint = scenario.architectures[0].endpoints[0]
    assert (endpoint.slots, endpoint.unload_s) == (2, pytest.approx(0.012))


def a_task(second, *told, count=None):
    """A report of tasks that have ended: when each came, after the start, and what it took."""
    at_ms = [round((came_s - second) * 1e3) for came_s, _ in told]
    took_us = [round(took_s * 1e6) for _, took_s in told]
    models = {"": {"count": count or len(told), "at_ms": at_ms, "took_us": took_us}}
    return {"start_s": START_S + second, "span_s": 1, "models": models}


def test_asynchronous_requests_are_told_of_when_they_have_ended():
    reports = [
        a_task(2, (1.5, 0.25), (-3, 0.5)),  # the second came before the time
        a_task(4, (0.5, 3.25)),
        a_task(700, (5.75, 9.0), (8.5, 1.0)),  # the second came after it
    ]
    client = FakeClient(reports=reports)
    tasks = tasks_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 8}))
    came = [(one.start_s - START_S, one.took_s) for one in tasks]
    assert came == [(0.5, 3.25), (1.5, 0.25), (5.75, 9.0)]
    assert client.asked[-1][1] == START_S + 8 + LATER_S


def test_of_more_than_a_day_single_requests_are_not_asked_for():
    client, metrics = FakeClient(reports=[a_task(2, (1.5, 0.25))]), FakeMetrics({"Invocations": [0] * 8})
    metrics.end_s = START_S + KEPT_S + 60
    assert tasks_of(client, "many", "blue", metrics) == ()
    assert client.asked == []


def test_of_too_many_tasks_at_once_it_is_not_known_what_each_took():
    client = FakeClient(reports=[a_task(2, (1.5, 0.25), count=2)])
    assert tasks_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 8})) == ()


@pytest.mark.parametrize(("came", "is_taken"), [([4, 0], True), ([4, 1], True), ([4, 30], False)])
def test_what_each_took_counts_where_it_is_known_of_all_requests(came, is_taken):
    whole = {
        "TimeInWork": lambda stat: 100_000.0,
        "ModelLatency": lambda stat: 80_000.0,
        "Latency": lambda stat: 80_000.0,
        "ComputeTime": lambda stat: None,
    }
    zeros = [0.0] * len(came)
    metrics = FakeMetrics({"InvocationsProcessed": came, "ApproximateBacklogSize": zeros}, whole)
    tasks = tuple(Asked(start_s=START_S + at_s, end_s=START_S + at_s, took_s=0.1) for at_s in (0.1, 0.2, 0.3, 0.4))
    found = Found(endpoint="q", variant="v", mode=Mode.ASYNC, instance_type="x", count=1, tasks=tasks)
    done = Recorded.of(metrics, found)
    assert done.tasks == (tasks if is_taken else ())
    assert done.requests == (4 if is_taken else sum(came))


def test_what_each_took_is_part_of_the_scenario(tmp_path):
    found = Found(
        endpoint="queued", variant="blue", mode=Mode.ASYNC, instance_type="ml.m5.large", count=1, least=0, most=2,
        start_s=0.1,
    )  # fmt: skip
    each_s = [0.25, 2.0, 0.5, 0.125]
    tasks = tuple(
        Asked(start_s=START_S + at_s, end_s=START_S + at_s, took_s=took_s)
        for at_s, took_s in zip((0.5, 0.75, 1.0, 2.5), each_s, strict=True)
    )
    given = replace(recorded(found, [4, 0, 0]), tasks=tasks, beside_s=0.01)
    write(given, tmp_path / "queued.yaml", slo="", force=False)
    (workload,) = loaded(tmp_path / "queued.yaml").scenario.workloads
    (chunk,) = workload.arrivals.chunks(3)
    assert (chunk.at_s - START_S).tolist() == [0.5, 0.75, 1.0, 2.5]
    assert workload.work["*"].service_s(chunk.uniform) == pytest.approx(each_s)
    assert workload.work["*"].beside_s == 0.01


def test_a_serverless_endpoint_keeps_its_rules(tmp_path):
    rules = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
    found = Found(
        endpoint="echo", variant="blue", mode=Mode.SERVERLESS, instance_type="", count=0, serverless=rules, start_s=0.2
    )
    write(recorded(found, [1, 1]), tmp_path / "echo.yaml", slo="", force=False)
    endpoint = loaded(tmp_path / "echo.yaml").scenario.architectures[0].endpoints[0]
    assert (endpoint.memory_mb, endpoint.max_concurrency, endpoint.start_s) == (2048, 5, 0.2)


def many(models, memory_bytes, came=()):
    return Found(
        endpoint="many", variant="blue", mode=Mode.MULTI_MODEL, instance_type="ml.m5.large", count=1, start_s=0.1,
        models=ModelsFound(models, memory_bytes, 0.012, came),
    )  # fmt: skip


def test_a_model_that_nobody_asked_for_in_that_time_is_not_in_the_scenario_but_takes_its_room_if_it_is_pinned(tmp_path):
    came = (Asked(model="m0", start_s=START_S + 0.5, end_s=START_S + 0.5),)
    models = (
        ModelFound("m0", 3, 60_000_000, 0.5, False),
        ModelFound("m1", 1, 50_000_000, 0.25, True, (PastLoad(0.25, 50_000_000),)),
        ModelFound("m2", 1, 40_000_000, 0.25, False),
    )
    written = write(recorded(many(models, 120_000_000, came), [1, 0, 0]), tmp_path / "many.yaml", slo="", force=False)
    assert written.notes == ("nobody asked for m1, m2 in that time: not in the scenario",)
    scenario = loaded(tmp_path / "many.yaml").scenario
    assert scenario.architectures[0].endpoints[0].models_bytes == 70_000_000
    outcome = simulate(scenario, scenario.architectures[0])
    assert {one.workload: one.requests for one in outcome.served} == {"m0": 1}


def test_models_that_no_request_is_drawn_for_are_not_in_the_scenario(tmp_path):
    models = tuple(ModelFound(f"m{n}", 10**6 if n else 1, 60_000_000, 0.5, False) for n in range(2))
    write(recorded(many(models, 120_000_000), [3, 0]), tmp_path / "many.yaml", slo="", force=False)
    assert [one.name for one in loaded(tmp_path / "many.yaml").scenario.workloads] == ["m1"]


def test_very_many_requests_of_models_are_counted_by_period(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "MOST_REQUESTS", 100)
    models = tuple(ModelFound(f"m{n}", 3 * n + 1, 50_000_000, 0.001, False) for n in range(3))
    came = [40, 0, 70, 0, 90]
    write(recorded(many(models, 200_000_000), came), tmp_path / "many.yaml", slo="", force=False)
    scenario = loaded(tmp_path / "many.yaml").scenario
    arrivals = [one.arrivals for one in scenario.workloads]
    assert len(arrivals) == 3
    assert {(one.start_s, one.end_s) for one in arrivals} == {(START_S, START_S + 5)}
    served = simulate(scenario, scenario.architectures[0]).served
    assert sum(one.requests for one in served) == pytest.approx(200, rel=0.2)
    assert len((tmp_path / "many.csv.gz").read_bytes()) < 1000


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ({"hosts": []}, "nobody tells how much memory"),
        ({"models": []}, "nothing to record"),
        ({"models": [{"model": "c", "requests": 3}]}, "nothing to record"),  # it could not be loaded
    ],
)
def test_models_of_which_too_little_is_known_are_refused_in_words(page, says):
    client = FakeClient(events=[event(1, "a", load_s=1.0, bytes=5)])
    client.page |= page
    with pytest.raises(CliError, match=says):
        of_models.models_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 8}), 1)


def test_models_that_could_never_be_loaded_are_told_of():
    client = FakeClient(events=[event(1, "a", load_s=1.0, bytes=5)])
    found = of_models.models_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 8}), 1)
    assert ([one.name for one in found.models], found.unloaded) == (["a"], ("b",))


def test_all_reports_of_many_gateways_are_read_although_an_answer_has_no_more_than_so_many(monkeypatch):
    monkeypatch.setattr(asked, "_MOST_REPORTS", 100)
    reports = [a_report(second, a=(1, [10 * gateway])) for second in range(20) for gateway in range(40)]
    client = FakeClient(reports=reports, residents=LOADED)
    client.most = 100
    found = of_models.models_of(client, "many", "blue", FakeMetrics({"Invocations": [0] * 20}), 800)
    assert len(found.came) == 800
    assert [one.start_s for one in found.came] == sorted(one.start_s for one in found.came)


def test_too_many_requests_are_not_asked_for_one_by_one(monkeypatch):
    monkeypatch.setattr(asked, "MOST_REQUESTS", 3)
    metrics = FakeMetrics({"Invocations": [0] * 20})
    for reports, known in (([(1, [0])] * 20, 0), ([(1, [0])] * 3, 3), ([(40, [0])], 0)):
        client = FakeClient(reports=[a_report(second, a=one) for second, one in enumerate(reports)])
        assert len(asked.asked_of(client, "many", "blue", metrics)) == known


def test_a_day_is_recorded_one_by_one_although_its_ends_are_moved_to_whole_minutes():
    client, metrics = FakeClient(reports=[a_report(61, a=(1, [0]))]), FakeMetrics({"Invocations": [0] * 8})
    metrics.period_s, metrics.end_s = 60, START_S + KEPT_S + 60
    assert len(asked.asked_of(client, "many", "blue", metrics)) == 1


def test_what_a_report_from_before_the_time_tells_of_it_counts():
    reports = [a_report(-1, a=(3, [990, 1004, 1500])), a_report(7, a=(2, [900, 1000]))]
    found = asked.asked_of(FakeClient(reports=reports), "many", "blue", FakeMetrics({"Invocations": [0] * 8}))
    assert [one.start_s - START_S for one in found] == pytest.approx([0.004, 0.5, 7.9], abs=1e-5)
