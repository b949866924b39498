"""What Prometheus reads: well formed whatever the names, shared between readers, and limited to what a key may see."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as families

from trimtab.aws.http import BytesBody, Headers, HttpRequest
from trimtab.aws.prometheus import is_scrape
from trimtab.control.exposition import Exposition, escaped, rendered
from trimtab.control.metering import Metering, Variant
from trimtab.metrics.families import BOUNDS_S, FAMILIES
from trimtab.metrics.names import METRICS
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute
from trimtab.wire.reports import Range, Tally, VariantReport, VersionReport

NOW_S = 1_700_000_040


class NoStore:
    """Keeps nothing."""

    def record(self, samples, *, durable=False, notes=None, committed=None):
        pass

    def notes(self, prefix=""):
        return {}


class Still:
    def now_s(self):
        return float(NOW_S)

    def monotonic_s(self):
        return 0.0


def a_table(*endpoints: str) -> RouteTable:
    variant = VariantRoute(name="v", weight=1, lanes=(Lane(replica_id="r", address="unix:/x"),), version="c-1")
    return RouteTable(version=1, endpoints=tuple(EndpointRoute(name=name, variants=(variant,)) for name in endpoints))


def a_metering(*endpoints: str) -> Metering:
    table = a_table(*endpoints)
    return Metering(NoStore(), lambda: table, Still())


def a_report(endpoint: str, version: str = "c-1", reason: str = "ModelFailed") -> VariantReport:
    values = [0.0002, 0.003, 0.003, 90.0]
    sketch = Sketch.of(value * 1e6 for value in values)
    tally = Tally(int(sketch.count), sketch.sum, sketch.min, sketch.max, {b: int(n) for b, n in sketch.buckets.items()})
    of = VersionReport(
        version=version,
        ended=5,
        errors={reason: 1},
        server_faults=1,
        model_faults=1,
        latency=tally,
        model_latency=tally,
        queue_time=tally,
        compute_time=tally,
        first_chunk=tally,
        batched={4: 4},
    )
    return VariantReport(endpoint=endpoint, variant="v", received=5, in_hand=Range(0, 3), versions=[of])


async def text_of(exposition: Exposition, **how) -> str:
    return b"".join([piece async for piece in exposition.text(**how)]).decode()


async def test_prometheus_own_parsers_read_what_was_counted() -> None:
    metering = a_metering("a", "b")
    metering.variants[("a", "v")].totals.add(a_report("a"))
    exposition = Exposition(metering)
    plain = {m.name: m for m in families(await text_of(exposition))}
    strict = {m.name: m for m in open_metrics(await text_of(exposition, open_metrics=True))}
    assert plain.keys() == strict.keys()
    (histogram,) = [plain["trimtab_invocation_duration_seconds"]]
    counts = {s.labels["le"]: s.value for s in histogram.samples if s.name.endswith("_bucket")}
    assert (counts["0.00025"], counts["0.0025"], counts["0.005"], counts["60.0"], counts["+Inf"]) == (1, 1, 3, 3, 4)
    assert len(counts) == len(BOUNDS_S) + 1
    assert {s.labels["endpoint"]: s.value for s in plain["trimtab_invocations"].samples} == {"a": 5, "b": 0}
    assert plain["trimtab_batch_size_requests"].type == "summary"
    assert all(metric.documentation for metric in plain.values())


@given(st.text(max_size=12), st.text(max_size=12))
def test_label_values_may_hold_anything(version: str, reason: str) -> None:
    route = VariantRoute(name="v", weight=1, lanes=())
    variant = Variant(route)
    variant.totals.add(a_report("a", version, reason))
    text = "".join(rendered(("a", "v"), variant))
    lines = text.split("\n")
    assert all(line.startswith("trimtab_") or not line for line in lines)
    found = {s.labels["version"] for m in families(text) for s in m.samples if "version" in s.labels}
    assert found == {version}


def test_quotes_backslashes_and_newlines_are_escaped() -> None:
    assert escaped('a"b\\c\nd') == 'a\\"b\\\\c\\nd'


async def test_what_changes_is_rendered_ahead_while_somebody_scrapes_and_not_otherwise() -> None:
    now_s = [1000.0]
    metering = a_metering("a", "b")
    exposition = Exposition(metering, monotonic_s=lambda: now_s[0])
    ahead = asyncio.create_task(exposition.run())
    await asyncio.sleep(0)
    try:
        await text_of(exposition)
        metering.variants[("a", "v")].totals.add(a_report("a"))
        metering.changed.add(("a", "v"))
        async with asyncio.timeout(10):
            while metering.changed:
                await asyncio.sleep(0.01)
        assert 'trimtab_invocations_total{endpoint="a",variant="v"} 5\n' in await text_of(exposition)
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)


async def test_a_reader_who_leaves_in_the_middle_takes_no_change_with_him() -> None:
    metering = a_metering(*(f"e{n}" for n in range(200)))
    exposition = Exposition(metering)
    leaving = asyncio.create_task(text_of(exposition))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    text = await text_of(exposition)
    assert text.count("\ntrimtab_replicas_ready{") == 200


async def test_deleted_endpoints_disappear_and_others_stay_as_they_were() -> None:
    metering = a_metering("a", "b")
    exposition = Exposition(metering)
    before = await text_of(exposition)
    del metering.variants[("a", "v")]
    metering.changed.add(("a", "v"))
    after = await text_of(exposition)
    assert 'endpoint="a"' in before
    assert 'endpoint="a"' not in after
    assert set(after.splitlines()) <= set(before.splitlines())


async def test_a_reader_sees_only_the_endpoints_that_it_may() -> None:
    exposition = Exposition(a_metering("a", "b"))
    assert 'endpoint="a"' not in await text_of(exposition, visible=lambda endpoint: endpoint == "b")


async def test_what_samplers_record_of_replicas_is_exposed() -> None:
    metering = a_metering("a")
    key = {name: MetricKey("/aws/sagemaker/Endpoints", name, (("EndpointName", "a"), ("VariantName", "v")))
           for name in ("CPUUtilization",)}["CPUUtilization"]  # fmt: skip
    own = (("EndpointName", "a"), ("VariantName", "v"))
    metering.watch([Sample(key, NOW_S, Sketch.of([50.0, 150.0]), "Percent")])
    metering.watch([Sample(MetricKey("trimtab/Endpoints", "ModelLoadTime", own), NOW_S, Sketch.of([1500.0]))])
    metering.watch([Sample(MetricKey("trimtab/Endpoints", "ReplicasLost", own), NOW_S, Sketch.of([1.0, 1.0]))])
    metering.watch([Sample(MetricKey("Mine", "ReplicasLost", own), NOW_S, Sketch.of([1.0]))])
    text = await text_of(Exposition(metering))
    assert 'trimtab_cpu_usage_ratio{endpoint="a",variant="v"} 1.0\n' in text
    assert 'trimtab_model_load_duration_seconds_sum{endpoint="a",variant="v"} 1.5\n' in text
    assert 'trimtab_replicas_lost_total{endpoint="a",variant="v"} 2.0\n' in text


async def test_the_first_starts_of_an_endpoint_count_though_it_has_been_routed_to_for_a_moment_only() -> None:
    table = a_table("a")
    metering = Metering(NoStore(), lambda: table, Still())
    table = a_table("a", "b")
    own = (("EndpointName", "b"), ("VariantName", "v"))
    metering.watch([Sample(MetricKey("trimtab/Endpoints", "ModelLoadTime", own), NOW_S, Sketch.of([1500.0]))])
    text = await text_of(Exposition(metering))
    assert 'trimtab_model_load_duration_seconds_count{endpoint="b",variant="v"} 1\n' in text


def test_names_follow_prometheus_conventions() -> None:
    for family in FAMILIES:
        assert family.name.startswith("trimtab_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert "\n" not in family.meaning
        assert '"' not in family.meaning
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert len({(metric.namespace, metric.name) for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize(
    ("ours", "request_"),
    [
        (True, HttpRequest(method="GET", raw_path="/metrics", body=BytesBody())),
        (False, HttpRequest(method="GET", raw_path="/metrics", query="list-type=2", body=BytesBody())),
        (False, HttpRequest(method="PUT", raw_path="/metrics", body=BytesBody())),
        (False, HttpRequest(method="GET", raw_path="/metrics/key", body=BytesBody())),
        (
            False,
            HttpRequest(
                method="GET",
                raw_path="/metrics",
                headers=Headers(
                    [("authorization", "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request")]
                ),
                body=BytesBody(),
            ),
        ),
    ],
)
def test_a_bucket_called_metrics_is_left_to_s3(ours: bool, request_: HttpRequest) -> None:
    assert is_scrape(request_) is ours


async def test_a_reader_that_leaves_half_way_takes_nothing_from_the_next() -> None:
    names = [f"e{number}" for number in range(250)]
    exposition = Exposition(a_metering(*names))
    reader = asyncio.create_task(text_of(exposition))
    await asyncio.sleep(0)  # it has begun, and waits for its next turn
    reader.cancel()
    await asyncio.wait([reader])
    text = await text_of(exposition)
    assert all(f'endpoint="{name}"' in text for name in names)
