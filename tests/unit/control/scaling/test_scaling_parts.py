"""The parts around scalers: signals' metrics, starts, writes that wait, forecasts, what an alarm reads."""

import asyncio

import pytest

from trimtab.control.scaling import writer as writing
from trimtab.control.scaling.alarm_action import read
from trimtab.control.scaling.forecasts import STEP_S, history
from trimtab.control.scaling.signal_metrics import SignalMeter
from trimtab.control.scaling.starts import Starts
from trimtab.control.scaling.writer import Writer
from trimtab.control.signal_server import Total
from trimtab.control.turn import REPLICA_IN_ROUTING
from trimtab.errors import Unavailable
from trimtab.metrics.names import ENDPOINT, SAGEMAKER, TRIMTAB, VARIANT
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.policies.scaling.inputs import Forecast
from trimtab.resources.alarm import Watched
from trimtab.resources.endpoint import Event
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.replica import ReplicaState, ReplicaStatus, StartBudget
from trimtab.resources.scaling import SIGNAL_1S, SIGNAL_10S, Predictive, ScalableTarget, ScalingPolicy, StepScaling
from trimtab.testing.live_scaling import LiveScalingWorld
from trimtab.testing.metrics import MemoryMetricStore

NOW_S = 1_700_000_000
PLACE = ("ep", "main")
DIMENSIONS = ((ENDPOINT, "ep"), (VARIANT, "main"))
TARGET = ScalableTarget(endpoint="ep", variant="main", min_capacity=1, max_capacity=4, created_s=0.0)


def total(in_hand: float, now: int) -> Total:
    return Total(
        in_hand=in_hand, now=now, waiting=0, arrived=0, ended=0, busy_s=0.0, oldest_s=0.0, sent_monotonic_s=0.0
    )


def metric(meter: SignalMeter, second_s: int, capacity: int = 1) -> float | None:
    samples = meter.samples(second_s, [(TARGET, (SIGNAL_1S,), capacity)])
    return samples[0].sketch.sum if samples else None


def test_a_signal_is_the_mean_of_its_second_per_replica_that_is_wanted() -> None:
    meter = SignalMeter(lambda: True)
    meter.level(PLACE, total(0.0, 4), NOW_S + 0.5)
    for tenth in range(6, 11):
        meter.level(PLACE, total(4.0, 4), NOW_S + tenth / 10)
    assert metric(meter, NOW_S, capacity=2) == pytest.approx(4.0 * 0.5 / 2)
    meter.level(PLACE, total(2.0, 0), NOW_S + 1.1)
    assert metric(meter, NOW_S + 1) == pytest.approx(0.2)
    assert metric(meter, NOW_S + 2) == 0.0


def test_what_was_quiet_had_nothing_in_hand() -> None:
    meter = SignalMeter(lambda: True)
    meter.level(PLACE, total(1.0, 0), NOW_S + 0.1)
    meter.level(PLACE, total(10.0, 10), NOW_S + 0.9)  # after 0.8 s in which nothing was told
    assert metric(meter, NOW_S) == pytest.approx(10 * 0.02 + 10 * 0.1)


def test_a_variant_that_nobody_told_of_is_idle_but_without_gateways_nothing_is_known() -> None:
    connected = [True]
    meter = SignalMeter(lambda: connected[0])
    assert metric(meter, NOW_S) == 0.0
    connected[0] = False
    assert metric(meter, NOW_S + 1) is None


def test_a_jump_of_the_wall_clock_is_not_counted() -> None:
    meter = SignalMeter(lambda: True)
    meter.level(PLACE, total(5.0, 5), NOW_S)
    meter.level(PLACE, total(5.0, 5), NOW_S + 86_400)
    assert metric(meter, NOW_S + 86_400) == pytest.approx(5.0)


def test_signals_are_published_while_a_policy_tracks_them(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track("ten", SIGNAL_10S)
    world.load(3)
    world.clock.advance(1.2)
    world.live.seconds.step()
    names = {key.name for key in world.metrics.keys(TRIMTAB)}
    assert SIGNAL_10S in names
    assert SIGNAL_1S not in names


def test_signals_of_seconds_in_which_control_was_busy_are_published_too(world: LiveScalingWorld) -> None:
    world.register(1, 4)
    world.track()
    world.live.seconds.step()
    world.clock.advance(4.0)
    world.live.seconds.step()
    world.live.seconds.step()
    now_s = int(world.clock.now_s())
    key = MetricKey(TRIMTAB, SIGNAL_1S, DIMENSIONS)
    points = world.metrics.query(key, now_s - 4, now_s, 1)
    assert [(point.start_s - now_s, point.sketch.count) for point in points] == [(-4, 1), (-3, 1), (-2, 1), (-1, 1)]


def test_decisions_are_counted(world: LiveScalingWorld) -> None:
    world.register(2, 4)
    assert len({key.dimensions for key in world.metrics.keys(TRIMTAB, "ScalingDecisions")}) == 2


def test_the_longest_of_the_last_starts_counts() -> None:
    starts = Starts()
    assert starts.of(PLACE) == 0.0
    replica = ReplicaStatus(
        id="r", endpoint="Ep", variant="main", version="c", state=ReplicaState.READY, budget=StartBudget(fork_s=9.0)
    )
    starts.found([replica])
    assert starts.of(PLACE) == 9.0
    for took_s in (0.5, 1.0, 0.25):
        starts.told("ep", [Event(at_s=0.0, what=REPLICA_IN_ROUTING, variant="main", load_time_s=took_s)])
    assert starts.of(PLACE) == 1.0
    starts.keep([])
    assert starts.of(PLACE) == 0.0


async def test_what_waits_is_written_in_order_and_again_when_it_could_not_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "AFTER_S", 0.0)
    monkeypatch.setattr(writing, "AGAIN_S", 0.0)
    written: list[int] = []
    refused = [2]
    done = asyncio.Event()

    def second() -> None:
        if refused[0]:
            refused[0] -= 1
            raise Unavailable("the disk is full")
        written.append(2)

    def broken() -> None:
        raise RuntimeError("a bug")

    writer = Writer()
    writer.later(lambda: written.append(1))
    writer.later(second)
    writer.later(broken)
    writer.later(done.set)
    assert written == []
    await done.wait()
    assert written == [1, 2]
    assert caplog.text.count("the disk is full") == 1
    writer.later(lambda: written.append(3))
    writer.close()
    assert written == [1, 2, 3]


def a_watch(stat: str = "Sum", periods: int = 3) -> Watched:
    metric = MetricStat(SAGEMAKER, "InvocationsPerInstance", DIMENSIONS, 60, stat)
    return Watched(stat=metric, comparison="GreaterThanThreshold", threshold=10.0, evaluation_periods=periods)


def test_an_alarms_metric_is_read_as_the_alarm_reads_it_with_how_long_it_was_beyond() -> None:
    metrics = MemoryMetricStore()
    start_s = NOW_S // 60 * 60
    key = MetricKey(SAGEMAKER, "InvocationsPerInstance", DIMENSIONS)
    for minute, value in enumerate((5.0, 20.0, 40.0, 99.0)):
        metrics.record([Sample(key, start_s + 60 * minute, Sketch.of([value]), "None", 60)])
    now_s = start_s + 180 + 10.0  # the fourth minute is not over
    found = read(a_watch(), metrics, now_s, None)
    assert found is not None
    assert (found.value, found.beyond_s) == (40.0, 130.0)
    for aggregation, value in (("Average", 65 / 3), ("Minimum", 5.0), ("Maximum", 40.0)):
        step = StepScaling(adjustment_type="ChangeInCapacity", steps=(), aggregation=aggregation)
        found = read(a_watch(), metrics, now_s, step)
        assert found is not None
        assert found.value == pytest.approx(value)
    assert read(a_watch(), MemoryMetricStore(), now_s, None) is None


def predictive(predefined: str = "SageMakerVariantInvocationsPerInstance") -> ScalingPolicy:
    foresees = Predictive(target_value=60.0, predefined=predefined, mode="ForecastAndScale")
    return ScalingPolicy(
        name="foresee", arn="arn:foresee", endpoint="ep", variant="main", created_s=0.0, predictive=foresees
    )


def test_the_load_of_the_past_is_the_metric_times_the_replicas_that_there_were() -> None:
    metrics, policy = MemoryMetricStore(), predictive()
    start_s = NOW_S // STEP_S * STEP_S - 2 * STEP_S
    per_instance = MetricKey(SAGEMAKER, "InvocationsPerInstance", DIMENSIONS)
    ready = MetricKey(TRIMTAB, "ReplicasReady", DIMENSIONS)
    for minute in range(5):
        metrics.record([Sample(per_instance, start_s + 60 * minute, Sketch.of([30.0]), "None", 60)])
    metrics.record([Sample(ready, start_s, Sketch.of([2.0]), "Count", 60)])
    metrics.record([Sample(per_instance, start_s + STEP_S, Sketch.of([30.0]), "None", 60)])  # nobody knows how many
    assert policy.predictive is not None
    assert history(policy, policy.predictive, metrics, float(NOW_S)) == [(start_s, pytest.approx(60.0))]
    assert history(predictive("Unknown"), predictive("Unknown").predictive, metrics, float(NOW_S)) == []  # type: ignore[arg-type]


async def test_a_forecast_is_told_when_it_changes_and_once_an_hour(
    world: LiveScalingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [2.5]
    monkeypatch.setattr("trimtab.control.scaling.forecasts.forecast", lambda points, now_s, horizon_s: [(now_s, 1.0)])
    monkeypatch.setattr("trimtab.control.scaling.forecasts.wanted", lambda *given, max_capacity: asked[0])
    world.register(1, 4)
    policy = world.api.put_policy(predictive())
    for wanted, seconds in ((2.5, 60.0), (2.5, 60.0), (3.5, 60.0), (3.5, 3600.0)):
        asked[0] = wanted
        world.clock.advance(seconds)
        await world.live.forecasts.look(policy, policy.predictive)
    told = [noted.given.wanted for noted in world.noted if isinstance(noted.given, Forecast)]
    assert told == [2.5, 3.5, 3.5]
    world.settle()
    assert world.count == 4


async def test_a_forecast_that_cannot_be_made_is_told_once_an_hour(
    world: LiveScalingWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a gap")

    monkeypatch.setattr("trimtab.control.scaling.forecasts.forecast", broken)
    world.register(1, 4)
    policy = world.api.put_policy(predictive())
    for _ in range(3):
        world.clock.advance(60.0)
        await world.live.forecasts.look(policy, policy.predictive)
    assert caplog.text.count("a forecast failed") == 1


async def test_scheduled_actions_are_looked_at_again_when_the_store_did_not_answer(
    world: LiveScalingWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.register(1, 4)
    world.schedule("rate(1 hour)", 2, None)
    monkeypatch.setattr("trimtab.control.scaling.schedules._AGAIN_S", 0.0)
    world.clock.advance(3600.0)
    get, answers = world.store.get_endpoint, [False]

    def get_endpoint(name: str) -> object:
        if not answers[0]:
            answers[0] = True
            raise Unavailable("the store does not answer")
        return get(name)

    monkeypatch.setattr(world.store, "get_endpoint", get_endpoint)
    task = asyncio.create_task(world.live.schedules.run())
    while not answers[0] or world.count < 2:
        await asyncio.sleep(0)
    task.cancel()
    assert "could not be looked at" in caplog.text
