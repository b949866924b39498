"""Reports become samples and totals: each counts once, whatever is killed; idle variants publish zeros."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.control.metering import Metering
from trimtab.control.report_server import ReportServer
from trimtab.gateway.reporter import Reporter
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute
from trimtab.wire.reports import NUMBER, Range, Report, Tally, VariantReport, VersionReport
from trimtab.wire.sized import SIZE

NOW_S = 1_700_000_040


def a_table(*endpoints: str, replicas: int = 2) -> RouteTable:
    lanes = tuple(Lane(replica_id=f"r{n}", address=f"unix:/{n}") for n in range(replicas))
    variant = VariantRoute(name="v", weight=1.0, lanes=lanes, version="c-1")
    return RouteTable(version=1, endpoints=tuple(EndpointRoute(name=name, variants=(variant,)) for name in endpoints))


def a_report(received: int = 1, endpoint: str = "e", **more: object) -> VariantReport:
    tally = Tally(received, 100.0 * received, 100.0, 100.0, {70_400: received})
    version = VersionReport(version="c-1", ended=received, latency=tally, model_latency=tally, queue_time=tally)
    fields = {"received": received, "in_hand": Range(0, 1), "versions": [version], **more}
    return VariantReport(endpoint=endpoint, variant="v", **fields)


def a_key(name: str, namespace: str = "AWS/SageMaker", **more: str) -> MetricKey:
    return MetricKey(namespace, name, tuple(sorted({"EndpointName": "e", "VariantName": "v", **more}.items())))


class Place:
    """A store, metering on it, and the route table."""

    def __init__(self, path: Path, table: RouteTable) -> None:
        self.clock = ManualClock(NOW_S)
        self.table = table
        self.path = path
        self.store = SqliteMetricStore(path, self.clock, commit_every_s=0)
        self.metering = Metering(self.store, lambda: self.table, self.clock)
        self.numbers: list[int] = []

    async def take(self, *reports: VariantReport, gateway: str = "g", number: int = 1, start_s: int = NOW_S) -> None:
        self.metering.take(gateway, Report(number=number, start_s=start_s, variants=list(reports)), self.numbers.append)
        await self.turns()

    async def turns(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    def value(
        self, name: str, statistic: str = "sum", *, namespace: str = "AWS/SageMaker", **more: str
    ) -> float | None:
        points = self.store.query(a_key(name, namespace, **more), NOW_S - 60, NOW_S + 7200, 86_400)
        return getattr(points[0].sketch, statistic) if points else None


@pytest.fixture
def place(tmp_path: Path):
    place = Place(tmp_path / "metrics.db", a_table("e"))
    yield place
    place.store.close()


async def test_a_report_becomes_samples_under_awss_names(place: Place) -> None:
    version = VersionReport(
        version="c-1",
        ended=8,
        errors={"ModelFailed": 2, "QueueFull": 1},
        client_faults=1,
        server_faults=1,
        model_faults=2,
        latency=Tally(5, 5000.0, 900.0, 1100.0, {70_700: 5}),
        model_latency=Tally(5, 4500.0, 800.0, 1000.0, {70_690: 5}),
        queue_time=Tally(5, 500.0, 100.0, 100.0, {70_500: 5}),
        compute_time=Tally(5, 400.0, 80.0, 80.0, {70_490: 5}),
        batched={2: 4, 1: 1},
        request_bytes=1000,
        response_bytes=0,
    )
    report = VariantReport(
        endpoint="e",
        variant="v",
        received=10,
        throttled=1,
        retried=3,
        clients_gone=2,
        in_hand=Range(1, 7),
        waiting=Range(0, 4),
        busy_s={"r0": 0.5},
        versions=[version],
    )
    await place.take(report)
    assert place.value("Invocations") == 10
    assert place.value("InvocationsPerInstance") == 5
    assert (place.value("Invocation4XXErrors"), place.value("Invocation4XXErrors", "count")) == (1, 8)
    assert place.value("Invocation5XXErrors") == 1
    assert place.value("InvocationModelErrors") == 2
    assert (place.value("ModelLatency", "count"), place.value("ModelLatency", "max")) == (5, 1000)
    assert place.value("OverheadLatency") == 500
    own = {"namespace": "trimtab/Endpoints"}
    assert (place.value("Concurrency", "min", **own), place.value("Concurrency", "max", **own)) == (1, 7)
    per_replica = [place.value("ConcurrentRequestsPerModel", which) for which in ("min", "max")]
    assert per_replica == [0.5, 3.5]  # two are ready
    assert place.value("Latency", **own) == place.value("Latency", **own, ModelVersion="c-1") == 5000
    assert (place.value("Errors", **own), place.value("Errors", "count", **own)) == (3, 8)
    assert place.value("Errors", **own, ModelVersion="c-1") == 3
    assert place.value("Errors", **own, Reason="ModelFailed") == 2
    assert (place.value("QueueDepth", "max", **own), place.value("QueueTime", **own)) == (4, 500)
    assert place.value("ComputeTime", **own) == 400
    assert (place.value("BatchSize", "count", **own), place.value("BatchSize", **own)) == (3, 5)
    assert [place.value("RequestBytes", which, **own) for which in ("sum", "max", "count")] == [1000, 200, 5]
    assert [place.value("ResponseBytes", which, **own) for which in ("sum", "count")] == [0, 5]
    assert place.value("Throttles", **own) == 1
    assert place.value("Retries", **own) == 3
    assert place.value("ClientsGone", **own) == 2
    assert (place.value("Utilization", **own), place.value("Utilization", "count", **own)) == (50, 2)
    assert place.value("FirstChunkLatency") is None


async def test_streams_have_first_chunk_times(place: Place) -> None:
    first, model = Tally(1, 900.0, 900.0, 900.0, {70_700: 1}), Tally(1, 700.0, 700.0, 700.0, {70_690: 1})
    version = VersionReport(version="c-1", first_chunk=first, first_chunk_model=model, broken_streams=1)
    await place.take(VariantReport(endpoint="e", variant="v", versions=[version]))
    assert place.value("FirstChunkLatency") == 900
    assert place.value("FirstChunkModelLatency") == 700
    assert place.value("FirstChunkOverheadLatency") == 200
    assert place.value("MidStreamErrors") == 1


async def test_a_report_is_acknowledged_once_it_is_committed_and_counts_once(place: Place) -> None:
    await place.take(a_report(3), number=1)
    await place.take(a_report(3), number=1)  # sent again
    assert place.numbers == []
    place.store.step()
    await place.turns()
    assert place.numbers == [1, 1]
    assert place.value("Invocations") == 3
    assert place.metering.variants[("e", "v")].totals.received == 3


async def test_gauges_of_several_gateways_add_up(place: Place) -> None:
    for gateway in ("a", "b"):
        place.metering.welcome(gateway, place.numbers.append)
    await place.take(a_report(1, in_hand=Range(2, 5), busy_s={"r0": 0.25}), gateway="a")
    await place.take(a_report(1, in_hand=Range(1, 4), busy_s={"r0": 0.5}), gateway="b")
    assert place.value("Concurrency", "max", namespace="trimtab/Endpoints") == 9
    assert place.value("Invocations") == 2
    assert place.metering.variants[("e", "v")].in_hand == 9
    assert place.metering.variants[("e", "v")].busy == pytest.approx(0.375)


async def test_idle_variants_publish_zeros_once_a_minute(place: Place) -> None:
    for _ in range(180):
        place.metering.tick()
        place.clock.advance(1)
    points = place.store.query(a_key("Invocations"), NOW_S - 60, NOW_S + 7200, 60)
    assert [(p.sketch.count, p.sketch.sum) for p in points] == [(1, 0)] * 3
    assert place.value("ConcurrentRequestsPerModel", "max") == 0


async def test_a_deleted_endpoint_stops_publishing_and_its_totals_go(place: Place) -> None:
    await place.take(a_report(3))
    place.table = RouteTable(version=2)
    place.metering.tick()
    place.clock.advance(120)
    place.metering.tick()
    await place.take(a_report(2), number=2)  # what it did last
    place.store.step()
    assert place.metering.variants == {}
    assert place.store.notes("totals/") == {}
    assert place.value("Invocations") == 5
    assert place.value("Invocations", "min") == 1  # no zeros


async def test_totals_go_on_over_a_restart_and_reports_are_known_again(place: Place) -> None:
    await place.take(a_report(3), number=7)
    place.store.close()
    again = Place(place.path, place.table)
    await again.take(a_report(3), number=7)
    await again.take(a_report(2), number=8)
    assert again.metering.variants[("e", "v")].totals.received == 5
    assert again.value("Invocations") == 5
    again.store.close()
    place.store = SqliteMetricStore(place.path, place.clock, commit_every_s=0)


async def test_gauges_fall_to_zero_when_nobody_reports(place: Place) -> None:
    await place.take(a_report(1, in_hand=Range(1, 5)))
    assert place.metering.variants[("e", "v")].in_hand == 5
    place.clock.advance(10)
    place.metering.changed.clear()
    place.metering.tick()
    assert place.metering.variants[("e", "v")].in_hand == 0
    assert place.metering.changed == {("e", "v")}


# --- gateway and control, over their socket ----------------------------------------------------------------------


class Counting:
    """A gateway of which one request after the other is reported."""

    def __init__(self) -> None:
        self.pending = 0
        self.total = 0

    def request(self, count: int) -> None:
        self.pending += count
        self.total += count

    def reports(self) -> list[VariantReport]:
        count, self.pending = self.pending, 0
        return [a_report(count)] if count else []


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


@pytest.fixture
def folder():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))  # a socket's path must be short
    yield folder
    shutil.rmtree(folder)


class Life:
    """Control, as far as it meters, killed and started again on one file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = 0
        self.server: ReportServer | None = None

    async def start(self) -> None:
        self.started += 1
        self.place = Place(self.folder / "metrics.db", a_table("e"))
        self.server = ReportServer(self.folder / "r.sock", self.place.metering)
        await self.server.open()

    async def kill(self) -> None:
        """What is not committed is lost, as by SIGKILL."""
        assert self.server is not None
        await self.server.close()
        self.place.store._batch = type(self.place.store._batch)()
        self.place.store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_killed_every_request_is_counted_once(folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    life, gateway = Life(folder), Counting()
    await life.start()
    wall_s = [float(NOW_S)]
    reporter = Reporter(gateway, folder / "r.sock", wall_s=lambda: wall_s[0])  # type: ignore[arg-type]
    link = asyncio.create_task(reporter._keep_connected())
    for _ in range(60):
        action = draw.choice(["request", "request", "request", "commit", "commit", "kill", "cut", "turns"])
        if action == "request":
            gateway.request(draw.randint(1, 5))
            wall_s[0] += 1
            reporter.tick()
        elif action == "commit":
            life.place.store.step()
        elif action == "kill":
            await life.kill()
            await life.start()
        elif action == "cut" and reporter._writer is not None:
            reporter._writer.transport.abort()
        for _ in range(draw.randint(0, 5)):
            await asyncio.sleep(0)

    def all_told() -> bool:
        life.place.store.step()
        return reporter._writer is not None and not reporter._sent and not len(reporter._backlog)

    await until(all_told)
    assert life.place.value("Invocations") == gateway.total
    assert life.place.metering.variants[("e", "v")].totals.received == gateway.total
    link.cancel()
    await asyncio.gather(link, return_exceptions=True)
    await life.kill()


async def test_a_report_that_cannot_be_read_ends_its_connection(folder: Path) -> None:
    life = Life(folder)
    await life.start()
    for junk in (SIZE.pack(3) + b"abc", SIZE.pack(2**31) + b"x"):
        reader, writer = await asyncio.open_unix_connection(str(folder / "r.sock"))
        writer.write(junk)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(NUMBER.size)
        writer.close()
    await life.kill()
