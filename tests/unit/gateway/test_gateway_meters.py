"""Meters count each request once, whatever becomes of it, and their distributions are those of the values."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ModelFailed, NoCapacity, QueueFull, ReplicaLost
from trimtab.gateway.meters import Values, VersionMeter
from trimtab.metrics.sketch import PER_DOUBLING, Sketch, bucket_of, value_of
from trimtab.resources.routing import EndpointRoute, VariantRoute

values = st.floats(1e-3, 1e10)


@given(st.lists(st.lists(values, max_size=20), max_size=5))
def test_values_fed_in_bulk_make_the_sketch_of_all_of_them(chunks: list[list[float]]) -> None:
    meter, every = Values(), [value for chunk in chunks for value in chunk]
    for chunk in chunks:
        meter.add(chunk)
    tally, sketch = meter.take(), Sketch.of(every)
    assert (tally.count, tally.min, tally.max) == (sketch.count, sketch.min, sketch.max)
    assert tally.sum == pytest.approx(sketch.sum)
    assert sum(tally.buckets.values()) == len(every)
    for bucket in tally.buckets:  # a float of 32 bits may be rounded over the edge to the next bucket
        assert any(abs(bucket - bucket_of(value)) <= 1 for value in every)
    assert meter.take().count == 0


@given(values)
def test_a_value_falls_into_its_own_bucket_but_for_the_rounding_of_a_short_float(value: float) -> None:
    meter = Values()
    meter.add([value])
    (bucket,) = meter.take().buckets
    if bucket != bucket_of(value):
        edge = value_of(bucket) * (1 - 1 / (2 * PER_DOUBLING))
        assert value == pytest.approx(edge, rel=1 / PER_DOUBLING)
    assert value_of(bucket) == pytest.approx(value, rel=0.01)


def test_nothing_and_less_than_nothing_count_as_the_least() -> None:
    meter = Values()
    meter.add([0.0, -1e-9, 5.0])
    tally = meter.take()
    assert (tally.count, tally.min, tally.max) == (3, 0.0, 5.0)


def test_errors_are_told_apart_by_the_models_status() -> None:
    meter = VersionMeter("v")
    for status in (400, 424, 500, 0):
        meter.failed(ModelFailed("", status=status), streaming=False)
    meter.failed(ReplicaLost(""), streaming=True)
    meter.failed(QueueFull(""), streaming=False)
    meter.failed(NoCapacity(""), streaming=False)
    taken = meter.take()
    assert taken is not None
    assert (taken.ended, taken.client_faults, taken.server_faults, taken.model_faults) == (7, 2, 3, 5)
    assert taken.errors == {"ModelFailed": 4, "ReplicaLost": 1, "QueueFull": 1, "NoCapacity": 1}
    assert taken.broken_streams == 1
    assert meter.take() is None


async def test_every_answer_is_in_the_distributions(bench):
    await bench.route(await bench.worker(lambda got: got.answer(got.body)))
    calls = [bench.ask() for _ in range(40)]
    for call in calls:
        await call.outcome()
    (report,) = bench.gateway.reports()
    assert (report.endpoint, report.variant, report.received) == ("e", "v", 40)
    assert (report.in_hand.least, report.in_hand.most) == (0, 40)
    (version,) = report.versions
    assert version.ended == version.latency.count == version.model_latency.count == version.queue_time.count == 40
    assert version.latency.sum == pytest.approx(version.model_latency.sum + version.queue_time.sum)
    assert sum(report.busy_s.values()) > 0
    assert list(bench.gateway.reports()) == []


async def test_a_request_in_hand_is_reported_while_it_lasts_and_counted_once(bench):
    worker = await bench.worker()
    await bench.route(worker)
    call = bench.ask()
    await worker.until(lambda: worker.got)
    (first,) = bench.gateway.reports()
    assert (first.received, first.in_hand.least, first.in_hand.most, first.versions) == (1, 0, 1, [])
    (second,) = bench.gateway.reports()
    assert (second.received, second.in_hand.least, second.in_hand.most) == (0, 1, 1)
    worker.got[0].answer(b"")
    await call.outcome()
    (third,) = bench.gateway.reports()
    assert (third.received, third.in_hand.least, third.versions[0].ended) == (0, 0, 1)


async def test_batches_and_compute_time_are_as_the_worker_says(bench):
    await bench.route(await bench.worker(lambda got: got.answer(b"", compute_us=250, batch=2)))
    for call in [bench.ask(), bench.ask()]:
        await call.outcome()
    (report,) = bench.gateway.reports()
    assert report.versions[0].batched == {2: 2}
    assert (report.versions[0].compute_time.count, report.versions[0].compute_time.max) == (2, 250)


async def test_streams_have_a_first_chunk_and_may_break(bench, streaming):
    worker = await bench.worker(lambda got: (got.head(), got.chunk(b"a"), got.chunk(b"b"), got.fail(500, b"x")))
    await bench.route(worker)
    call = bench.ask(kind=streaming)
    await worker.until(lambda: call.done)
    (report,) = bench.gateway.reports()
    (version,) = report.versions
    assert (version.first_chunk.count, version.first_chunk_model.count, version.broken_streams) == (1, 1, 1)
    assert version.errors == {"ModelFailed": 1}


async def test_sizes_of_requests_and_of_answers_are_summed_whole_or_streamed(bench, streaming):
    await bench.route(await bench.worker(lambda got: got.answer(b"abc")))
    for body in (b"", b"12345"):
        await bench.ask(body=body).outcome()
    worker = await bench.worker(lambda got: (got.head(), got.chunk(b"a"), got.chunk(b"bc"), got.end()))
    await bench.route(worker)
    call = bench.ask(kind=streaming, body=b"1234567")
    await worker.until(lambda: call.done)
    (report,) = bench.gateway.reports()
    (version,) = report.versions
    assert (version.latency.count, version.request_bytes, version.response_bytes) == (3, 12, 9)


async def test_versions_are_told_apart_and_forgotten(bench):
    old, new = await bench.worker(lambda got: got.answer(b"")), await bench.worker(lambda got: got.answer(b""))

    def route(worker, version):
        return EndpointRoute(
            name="e", variants=(VariantRoute(name="v", weight=1, lanes=(worker.lane(),), version=version),)
        )

    await bench.gateway.apply(bench.table(route(old, "config-1")))
    await bench.ask().outcome()
    await bench.gateway.apply(bench.table(route(new, "config-2")))
    await bench.ask().outcome()
    (report,) = bench.gateway.reports()
    assert Counter({v.version: v.ended for v in report.versions}) == {"config-1": 1, "config-2": 1}
    list(bench.gateway.reports())
    assert list(bench.variant.meter.versions) == ["config-2"]


async def test_what_a_removed_variant_did_last_is_reported(bench):
    await bench.route(await bench.worker(lambda got: got.answer(b"")))
    await bench.ask().outcome()
    await bench.gateway.apply(bench.table())
    (report,) = bench.gateway.reports()
    assert (report.received, report.versions[0].ended) == (1, 1)
    assert list(bench.gateway.reports()) == []
    assert bench.gateway.variants() == []


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.just(0.0) | st.floats(0, 1), st.floats(0, 10), st.integers(0, 10**6)),
        max_size=40,
    ),
    st.integers(1, 7),
)
def test_however_answers_are_logged_and_folded_each_counts_once(
    answers: list[tuple[float, float, float, int]], fold_every: int
) -> None:
    meter = VersionMeter("v")
    for number, (received_s, queued_s, model_s, compute_us) in enumerate(answers):
        sent_s = received_s + queued_s
        if sent_s == received_s:
            meter.log_latency(model_s * 1e6)
            meter.log_compute(compute_us)
        else:
            meter.waited(received_s, sent_s, sent_s + model_s, compute_us)
        if number % fold_every == 0:
            meter.fold()
    taken = meter.take()
    assert (taken.ended if taken else 0) == len(answers)
    if taken is None:
        return
    for tally in (taken.latency, taken.model_latency, taken.queue_time):
        assert tally.count == sum(tally.buckets.values()) == len(answers)
        assert tally.min <= tally.max
    assert taken.compute_time.count == sum(compute_us > 0 for *_, compute_us in answers)
    together_us = taken.model_latency.sum + taken.queue_time.sum
    assert taken.latency.sum == pytest.approx(together_us, abs=2e-3 * len(answers))  # a clock tells no less
    assert meter.take() is None


async def test_a_variant_that_is_idle_costs_neither_sweeps_nor_reports(bench):
    await bench.route(await bench.worker(lambda got: got.answer(b"")))
    await bench.ask().outcome()
    assert len(list(bench.gateway.reports())) == 1
    assert list(bench.gateway.reports()) == []
    assert not bench.variant.active
    await bench.ask().outcome()  # and counts again once it is called
    (report,) = bench.gateway.reports()
    assert report.received == 1
