"""What model hosts tell becomes AWS's metrics of multi-model endpoints: each event once, gauges when they change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.control.exposition import Exposition
from trimtab.control.hosts.metering import HostMeter, event_samples, joined
from trimtab.control.metering import Metering
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute
from trimtab.wire.hosting import Holding, ModelEvent, ModelState, Resident
from trimtab.wire.reports import ModelsReport, Report, Tally, VariantReport

NOW_S = 1_700_000_040  # the beginning of a minute
PLACE = ("e", "v")
TABLE = RouteTable(
    version=1,
    endpoints=(
        EndpointRoute(
            name="e",
            variants=(
                VariantRoute(name="v", weight=1.0, lanes=(Lane(replica_id="r1", address="unix:/1"),), version="c-1"),
            ),
        ),
    ),
)


def an_event(seq: int, what: str = "loaded", **more: object) -> ModelEvent:
    return ModelEvent(at_s=NOW_S + 0.25, model="a.tar.gz", what=what, seq=seq, **more)


def a_holding(*states: ModelState, used_bytes: int = 1000) -> Holding:
    residents = tuple(Resident(model=f"{n}.tar.gz", version="1", state=state) for n, state in enumerate(states))
    return Holding(residents=residents, memory_bytes=10_000, used_bytes=used_bytes)


class World:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock(NOW_S)
        self.committed = 0
        self.start()

    def start(self) -> None:
        self.store = SqliteMetricStore(self.path, self.clock, commit_every_s=0)
        self.metering = Metering(self.store, lambda: TABLE, self.clock)
        self.store.watch(self.metering.watch)
        self.meter = HostMeter(self.store, self.clock)

    def note(self, *events: ModelEvent, replica: str = "r1") -> None:
        def count() -> None:
            self.committed += 1

        self.meter.noted(replica, PLACE, events, count)

    async def take(self, report: VariantReport) -> None:
        self.metering.take("g", Report(number=1, start_s=NOW_S, variants=[report]), lambda number: None)
        for _ in range(4):
            await asyncio.sleep(0)

    def value(
        self, name: str, statistic: str = "sum", namespace: str = "AWS/SageMaker", period_s: int = 60, **more: str
    ) -> float | None:
        dimensions = {"EndpointName": "e", "VariantName": "v", **more}
        key = MetricKey(namespace, name, tuple(sorted(dimensions.items())))
        points = self.store.query(key, NOW_S, NOW_S + period_s, period_s)
        return getattr(points[0].sketch, statistic) if points else None

    async def scraped(self) -> list[str]:
        text = b"".join([piece async for piece in Exposition(self.metering).text()]).decode()
        return [line for line in text.splitlines() if "model" in line and not line.startswith("#")]


@pytest.fixture
def world(tmp_path: Path):
    world = World(tmp_path / "metrics.db")
    yield world
    world.store.close()


def test_a_load_and_an_unload_are_published_under_awss_names(world: World) -> None:
    world.note(
        an_event(1, why="asked", download_s=0.02, load_s=0.005), an_event(2, "unloaded", why="evicted", unload_s=0.1)
    )
    assert world.value("ModelDownloadingTime") == pytest.approx(20_000)
    assert world.value("ModelLoadingTime") == pytest.approx(5_000)
    assert world.value("ModelUnloadingTime") == pytest.approx(100_000)
    assert world.value("ModelLoads", namespace="trimtab/Endpoints", Cause="Asked") == 1
    assert world.value("ModelUnloads", namespace="trimtab/Endpoints", Cause="Evicted") == 1
    assert world.value("ModelUnloads", namespace="trimtab/Endpoints") == 1


def test_a_time_that_was_not_measured_is_not_published(world: World) -> None:
    world.note(an_event(1, load_s=0.005))  # its files were on the disk already
    assert world.value("ModelDownloadingTime") is None
    assert world.value("ModelLoadingTime", "count") == 1


def test_a_load_that_fails_and_a_crash_are_counted_with_their_reason(world: World) -> None:
    world.note(an_event(1, "load failed", failure="OutOfMemory"), an_event(2, "crashed"))
    assert world.value("ModelLoadFailures", namespace="trimtab/Endpoints", Reason="OutOfMemory") == 1
    assert world.value("ModelCrashes", namespace="trimtab/Endpoints") == 1
    assert world.value("ModelLoadingTime") is None


def test_an_event_counts_once_however_often_it_is_told(world: World) -> None:
    world.note(an_event(1, load_s=1.0), an_event(2, load_s=1.0))
    world.note(an_event(1, load_s=1.0), an_event(2, load_s=1.0), an_event(3, load_s=1.0))
    world.note(an_event(3, load_s=1.0))
    assert world.value("ModelLoadingTime", "count") == 3
    world.note(an_event(1, load_s=1.0), replica="r2")  # another host counts for itself
    assert world.value("ModelLoadingTime", "count") == 4
    world.store.step()
    assert world.committed == 4


def test_an_event_that_was_counted_stays_counted_over_a_restart_of_control(world: World) -> None:
    world.note(an_event(1, load_s=1.0))
    world.store.close()
    world.start()
    world.note(an_event(1, load_s=1.0), an_event(2, load_s=1.0))
    assert world.value("ModelLoadingTime", "count") == 2


def test_numbers_of_hosts_that_are_no_more_are_forgotten(world: World) -> None:
    world.note(an_event(1))
    world.note(an_event(1), replica="r2")
    world.meter.gone("r1")
    assert set(world.store.notes("models/")) == {"models/r2"}
    world.clock.advance(90_000)
    world.store.close()
    world.start()
    assert world.store.notes("models/") == {}


def test_loaded_models_are_counted_once_a_minute_for_each_replica_as_on_aws(world: World) -> None:
    ready, loading = ModelState.READY, ModelState.LOADING
    world.meter.holds("r1", PLACE, a_holding(ready, ready, loading))
    world.meter.holds("r2", PLACE, a_holding(ready))
    for _ in range(59):
        world.meter.tick()
        world.clock.advance(1)
    count = [world.value("LoadedModelCount", s, "/aws/sagemaker/Endpoints") for s in ("sum", "count", "min", "max")]
    assert count == [3, 2, 1, 2]


def test_the_count_of_a_minute_is_the_same_when_control_was_restarted_in_it(world: World) -> None:
    for _ in range(3):
        world.meter.holds("r1", PLACE, a_holding(ModelState.READY))
        world.meter.tick()
        world.meter.left("r1")
        world.store.close()
        world.start()
    assert world.value("LoadedModelCount", "count", "/aws/sagemaker/Endpoints") == 1


def test_gauges_are_published_when_they_change_and_every_ten_seconds(world: World) -> None:
    world.meter.holds("r1", PLACE, a_holding(ModelState.READY))
    for _ in range(5):
        world.meter.tick()
        world.clock.advance(1)
    assert world.value("ModelsLoaded", "count", "trimtab/Endpoints") == 1
    world.meter.holds("r1", PLACE, a_holding(ModelState.READY, ModelState.READY, used_bytes=7000))
    world.meter.tick()
    assert world.value("ModelsLoaded", "max", "trimtab/Endpoints") == 2
    assert world.value("ModelMemoryBytes", "max", "trimtab/Endpoints") == 7000
    for _ in range(10):
        world.clock.advance(1)
        world.meter.tick()
    assert world.value("ModelsLoaded", "count", "trimtab/Endpoints") == 3


async def test_a_variant_whose_last_host_has_left_holds_nothing(world: World) -> None:
    world.meter.holds("r1", PLACE, a_holding(ModelState.READY))
    world.meter.tick()
    assert 'trimtab_models_loaded{endpoint="e",variant="v"} 1.0' in await world.scraped()
    world.meter.left("r1")
    for _ in range(15):
        world.clock.advance(1)
        world.meter.tick()
    assert 'trimtab_models_loaded{endpoint="e",variant="v"} 0.0' in await world.scraped()
    assert world.value("ModelsLoaded", "count", "trimtab/Endpoints") == 2  # 1, then 0, then nothing more


async def test_hits_and_waits_of_gateways_are_published_and_exposed(world: World) -> None:
    wait = Tally(1, 5000.0, 5000.0, 5000.0, {74_000: 1})
    models = ModelsReport(hits=3, misses=1, waits=wait, models={"a.tar.gz": (3, 1)})
    report = VariantReport(endpoint="e", variant="v", received=4, models=models)
    await world.take(report)
    lines = await world.scraped()
    assert world.value("ModelCacheHit", "sum") == 3
    assert world.value("ModelCacheHit", "count") == 4
    assert world.value("ModelLoadingWaitTime", "max") == 5000
    assert 'trimtab_model_cache_hits_total{endpoint="e",variant="v"} 3' in lines
    assert 'trimtab_model_cache_misses_total{endpoint="e",variant="v"} 1' in lines
    assert 'trimtab_model_wait_duration_seconds_sum{endpoint="e",variant="v"} 0.005' in lines


async def test_what_hosts_did_is_exposed_in_seconds(world: World) -> None:
    world.note(an_event(1, load_s=0.5, download_s=0.25), an_event(2, "unloaded", why="evicted"), an_event(3, "crashed"))
    lines = await world.scraped()
    assert 'trimtab_model_loading_duration_seconds_sum{endpoint="e",variant="v"} 0.5' in lines
    assert 'trimtab_model_fetch_duration_seconds_count{endpoint="e",variant="v"} 1' in lines
    assert 'trimtab_model_unloads_total{endpoint="e",variant="v"} 1.0' in lines
    assert 'trimtab_model_crashes_total{endpoint="e",variant="v"} 1.0' in lines


async def test_single_model_variants_have_no_series_of_models(world: World) -> None:
    report = VariantReport(endpoint="e", variant="v", received=4)
    await world.take(report)
    assert [line for line in await world.scraped() if "cache" in line or "models" in line] == []
    assert world.value("ModelCacheHit", "count") is None


@pytest.mark.parametrize(
    ("words", "value"), [("asked", "Asked"), ("new version", "NewVersion"), ("no longer pinned", "NoLongerPinned")]
)
def test_a_cause_is_written_as_aws_writes_such_values(words: str, value: str) -> None:
    assert joined(words) == value


def test_events_of_other_kinds_count_nothing() -> None:
    assert list(event_samples(PLACE, an_event(1, "changed"))) == []
