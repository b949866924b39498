"""What every endpoint does and takes at the moment."""

from __future__ import annotations

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.top import EndpointTop, Overview, Sort, Top, TopQuery
from trimtab.errors import Invalid, NotFound
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus
from trimtab.resources.usage import ReplicaUsage
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.metrics import MemoryMetricStore

NOW_S = 1_700_000_100.5
END_S = 1_700_000_099  # the second before the last whole one


class World:
    def __init__(self) -> None:
        clock = ManualClock(NOW_S)
        self.born = ManualClock(NOW_S - 1000)  # endpoints are older than any window
        self.control = FakeControl(self.born)
        self.metrics = MemoryMetricStore()
        self.usages: dict[str, ReplicaUsage] = {}
        self.models: dict[str, int] = {}
        self.overview = Overview(self.control, self.metrics, lambda: self.usages, clock, lambda: self.models)
        self.control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})

    def endpoint(self, name: str, *variants: str, count: int = 1) -> None:
        specs = tuple(VariantSpec(name=v, model_name="m", initial_count=count) for v in variants or ("blue",))
        self.control.create_endpoint_config(EndpointConfig(name=name, created_s=1.0, variants=specs), {})
        self.control.create_endpoint(name, name, {}, {})
        self.control.settle(name)

    def replica(self, id: str, endpoint: str, variant: str = "blue", **more: object) -> None:
        usage = more.pop("usage", None)
        status = ReplicaStatus(
            id=id,
            endpoint=endpoint,
            variant=variant,
            version="v1",
            **{"state": ReplicaState.READY, **more},  # type: ignore[arg-type]
        )
        self.control.replicas[endpoint] = (*self.control.replicas.get(endpoint, ()), status)
        if usage is not None:
            self.usages[id] = ReplicaUsage(replica_id=id, endpoint=endpoint, variant=variant, **usage)  # type: ignore[arg-type]

    def saw(self, endpoint: str, name: str, *values: float, variant: str = "blue", ago_s: int = 1) -> None:
        namespace = "AWS/SageMaker" if name in ("Invocations", "ModelCacheHit") else "trimtab/Endpoints"
        key = MetricKey(namespace, name, (("EndpointName", endpoint), ("VariantName", variant)))
        self.metrics.record([Sample(key, END_S - ago_s, Sketch.of(values))])

    async def top(self, **query: object) -> Top:
        return await self.overview.top(TopQuery(**query))  # type: ignore[arg-type]

    async def only(self, **query: object) -> EndpointTop:
        [endpoint] = (await self.top(**query)).endpoints
        return endpoint


@pytest.fixture
def world() -> World:
    return World()


async def test_models_of_replicas_are_counted_and_hits_are_a_part_of_requests(world: World) -> None:
    world.endpoint("e", count=2)
    world.replica("r1", "e")
    world.replica("r2", "e")
    world.models = {"r1": 3, "r2": 4, "other": 9}
    world.saw("e", "ModelCacheHit", 1.0, 1.0, 1.0, 0.0)
    endpoint = await world.only()
    assert (endpoint.figures.models_loaded, endpoint.figures.model_hit_percent) == (7, 75.0)
    assert [replica.figures.models_loaded for replica in endpoint.variants[0].replicas] == [3, 4]


async def test_what_is_not_known_is_left_out_and_not_zero(world: World) -> None:
    world.endpoint("e")
    world.replica("r", "e")
    document = msgspec.json.decode(msgspec.json.encode(await world.top()))
    [endpoint] = document["endpoints"]
    assert endpoint["figures"] == {}
    assert endpoint["variants"][0]["figures"] == {}
    assert endpoint["variants"][0]["replicas"][0]["figures"] == {}


async def test_an_idle_endpoint_has_a_rate_of_zero_and_no_latency(world: World) -> None:
    world.endpoint("e")
    world.saw("e", "Invocations", 0.0, ago_s=70)  # zeros come once a minute
    figures = (await world.only()).figures
    assert (figures.rate_per_s, figures.concurrency, figures.queue) == (0.0, 0.0, 0.0)
    assert (figures.p99_ms, figures.errors_per_s, figures.batch_size) == (None, None, None)


async def test_an_endpoint_whose_requests_nobody_counts_any_more_has_no_rate(world: World) -> None:
    world.endpoint("e")
    world.saw("e", "Invocations", 0.0, ago_s=200)
    assert (await world.only()).figures.rate_per_s is None


async def test_requests_are_counted_over_the_window_and_not_beyond(world: World) -> None:
    world.endpoint("e")
    for ago_s in range(-1, 21):
        world.saw("e", "Invocations", *[1.0] * 5, ago_s=ago_s)
    assert (await world.only(window_s=10)).figures.rate_per_s == 5.0
    assert (await world.only(window_s=1)).figures.rate_per_s == 5.0


async def test_an_endpoint_that_is_younger_than_the_window_is_not_made_to_look_slow(world: World) -> None:
    world.born.set_wall(END_S - 3)
    world.endpoint("e")
    world.saw("e", "Invocations", *[1.0] * 30, ago_s=3)
    world.saw("e", "Errors", 1.0, 1.0, 1.0, ago_s=1)
    figures = (await world.only()).figures
    assert (figures.rate_per_s, figures.errors_per_s) == (10.0, 1.0)


async def test_errors_are_told_by_reason_the_most_frequent_first(world: World) -> None:
    world.endpoint("e", "blue", "green")
    world.endpoint("well")
    for variant, reason, count in (("blue", "QueueFull", 20), ("blue", "OutOfMemory", 30), ("green", "QueueFull", 20)):
        dimensions = (("EndpointName", "e"), ("Reason", reason), ("VariantName", variant))
        key = MetricKey("trimtab/Endpoints", "Errors", dimensions)
        world.metrics.record([Sample(key, END_S - 2, Sketch.of([1.0] * count + [0.0] * 50))])
    found = {endpoint.name: endpoint.errors_by_reason for endpoint in (await world.top()).endpoints}
    assert list(found["e"].items()) == [("QueueFull", 4.0), ("OutOfMemory", 3.0)]
    assert found["well"] == {}


async def test_seldom_requests_are_spread_over_the_window(world: World) -> None:
    world.endpoint("e")
    world.saw("e", "Invocations", 1.0, ago_s=1)
    assert (await world.only(window_s=10)).figures.rate_per_s == 0.1


async def test_latencies_are_quantiles_of_all_requests_of_all_variants(world: World) -> None:
    world.endpoint("e", "blue", "green")
    world.saw("e", "Latency", *[1000.0] * 98)
    world.saw("e", "Latency", *[50_000.0] * 2, variant="green", ago_s=5)
    endpoint = await world.only()
    assert endpoint.figures.p50_ms == pytest.approx(1, rel=0.01)
    assert endpoint.figures.p99_ms == pytest.approx(50, rel=0.01)
    blue, green = endpoint.variants
    assert blue.figures.p99_ms == pytest.approx(1, rel=0.01)
    assert green.figures.p50_ms == pytest.approx(50, rel=0.01)


async def test_gauges_tell_their_peak_batches_and_work_their_average(world: World) -> None:
    world.endpoint("e")
    world.saw("e", "QueueDepth", 0.0, 7.0)
    world.saw("e", "Concurrency", 1.0, 9.0)
    world.saw("e", "BatchSize", 2.0, 4.0)
    world.saw("e", "Utilization", 40.0, 60.0)
    figures = (await world.only()).figures
    assert (figures.queue, figures.concurrency, figures.batch_size, figures.utilization_percent) == (7, 9, 3, 50)


async def test_what_replicas_take_is_added_up(world: World) -> None:
    world.endpoint("e", "blue", "green", count=2)
    world.replica("r1", "e", usage={"cpu_percent": 100.0, "memory_bytes": 10})
    world.replica(
        "r2", "e", usage={"cpu_percent": None, "memory_bytes": 20, "gpu_percent": 30.0, "gpu_memory_bytes": 5}
    )
    world.replica("r3", "e", "green", usage={"cpu_percent": 7.0}, state=ReplicaState.STARTING)
    endpoint = await world.only()
    assert endpoint.figures.cpu_percent == 107
    assert (endpoint.replicas_ready, endpoint.replicas_desired) == (2, 4)
    blue, green = endpoint.variants
    assert (blue.figures.memory_bytes, blue.figures.gpu_percent, blue.figures.gpu_memory_bytes) == (30, 30, 5)
    assert (green.figures.memory_bytes, green.replicas_ready, green.replicas_desired) == (None, 0, 2)
    assert [replica.figures.cpu_percent for replica in blue.replicas] == [100, None]


async def test_a_failed_replica_says_why_and_one_of_a_variant_that_is_no_more_is_shown(world: World) -> None:
    world.endpoint("e")
    failure = Failure(reason="OutOfMemory", message="A worker ran out of memory.")
    world.replica("r1", "e", "old", state=ReplicaState.FAILED, failure=failure)
    endpoint = await world.only()
    assert [variant.name for variant in endpoint.variants] == ["blue", "old"]
    [replica] = endpoint.variants[1].replicas
    assert (replica.state, replica.failure) == ("Failed", "OutOfMemory: A worker ran out of memory.")


async def test_the_newest_events_are_told(world: World) -> None:
    world.endpoint("e")
    world.control.events["e"] = tuple(Event(at_s=float(n), what=str(n)) for n in range(5))
    assert [event.what for event in (await world.only(events=2)).events] == ["3", "4"]
    assert (await world.only(events=0)).events == ()


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.NAME, "abcd"),
        (Sort.RATE, "bacd"),
        (Sort.ERRORS, "cabd"),
        (Sort.P99, "cbad"),
        (Sort.QUEUE, "bcad"),
        (Sort.CPU, "acbd"),
        (Sort.MEMORY, "cabd"),
    ],
)
async def test_endpoints_are_sorted_by_what_is_wanted_those_without_it_last(
    world: World, sort: Sort, order: str
) -> None:
    for name in "dcba":
        world.endpoint(name)
    for name, rate, errors, p99, queue, cpu, memory in (
        ("a", 5, 1, 10, 1, 90, 2),
        ("b", 9, 0, 20, 5, None, 1),
        ("c", 1, 3, 30, 2, 50, 3),
    ):
        world.saw(name, "Invocations", *[1.0] * rate, ago_s=10)
        world.saw(name, "Errors", *[1.0] * errors, *[0.0] * (rate - errors))
        world.saw(name, "Latency", p99 * 1000.0)
        world.saw(name, "QueueDepth", float(queue))
        world.replica(f"{name}1", name, usage={"cpu_percent": cpu, "memory_bytes": memory})
    world.saw("d", "Invocations")
    assert "".join(endpoint.name for endpoint in (await world.top(sort=sort.value)).endpoints) == order


async def test_pages_count_what_is_before_and_behind_them(world: World) -> None:
    for number in range(25):
        world.endpoint(f"e{number:02}", count=2)
    world.replica("r", "e24")
    page = await world.top(limit=10, offset=20)
    assert [endpoint.name for endpoint in page.endpoints] == [f"e{n}" for n in range(20, 25)]
    assert (page.endpoints_total, page.offset, page.replicas_ready, page.replicas_desired) == (25, 20, 1, 50)
    assert (await world.top(offset=99)).endpoints == ()


async def test_only_what_the_caller_may_see_is_shown_or_counted(world: World) -> None:
    for name in ("mine", "yours"):
        world.endpoint(name)
        world.replica(f"r-{name}", name)
    top = await world.overview.top(TopQuery(), lambda name: name == "mine")
    assert [endpoint.name for endpoint in top.endpoints] == ["mine"]
    assert (top.endpoints_total, top.replicas_ready, top.replicas_desired) == (1, 1, 1)
    with pytest.raises(NotFound):
        await world.overview.top(TopQuery(endpoint="yours"), lambda name: name == "mine")


async def test_one_endpoint_is_found_whatever_its_case(world: World) -> None:
    world.endpoint("Fraud")
    world.endpoint("other")
    assert (await world.only(endpoint="fraud")).name == "Fraud"


async def test_an_endpoint_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="There is no endpoint named 'gone'"):
        await world.top(endpoint="gone")


async def test_without_endpoints_the_page_is_empty(world: World) -> None:
    top = await world.top()
    assert (top.endpoints, top.endpoints_total) == ((), 0)


@pytest.mark.parametrize(
    "query",
    [
        {"window_s": 0},
        {"window_s": 61},
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"events": 101},
        {"sort": "age"},
    ],
)
async def test_what_is_out_of_range_is_refused_with_the_range(world: World, query: dict[str, object]) -> None:
    with pytest.raises(Invalid, match=next(iter(query))):
        await world.top(**query)
