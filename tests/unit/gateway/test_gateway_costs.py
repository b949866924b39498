"""What gateways count for the ledger: work that nobody had an answer of, and tokens as models tell them."""

import time

import pytest

from trimtab.wire.merging import merge_models, merge_versions
from trimtab.wire.reports import ModelsReport, VersionReport


def counted(bench):
    report = bench.variant.report(time.monotonic())
    assert report is not None
    (version,) = report.versions
    return version


async def test_tokens_are_what_the_model_tells_in_its_custom_attributes(bench):
    worker = await bench.worker(lambda got: got.answer(b"x", custom_attributes="input_tokens=12, output_tokens=30"))
    await bench.route(worker)
    for _ in range(3):
        await bench.ask().outcome()
    version = counted(bench)
    assert (version.input_tokens, version.output_tokens, version.wasted_us) == (36, 90, 0.0)


async def test_the_time_of_an_answer_that_nobody_wants_any_more_is_wasted(bench):
    worker = await bench.worker()
    await bench.route(worker)
    gone, waiting = bench.ask(b"1"), bench.ask(b"2")
    await worker.until(lambda: worker.got)
    waiting.cancel()  # no replica has worked on it
    assert bench.variant.meter.versions[""].take() is None
    gone.cancel()
    wasted_us = counted(bench).wasted_us
    assert wasted_us > 0


async def test_the_time_of_a_request_that_was_lost_with_its_replica_is_wasted(bench):
    worker = await bench.worker()
    await bench.route(worker)
    call = bench.ask()
    await worker.until(lambda: worker.got)
    await worker.die()
    await call.outcome()
    version = counted(bench)
    assert version.errors == {"ReplicaLost": 1}
    assert version.wasted_us > 0


async def test_what_a_model_answers_is_not_wasted_even_if_it_is_an_error(bench):
    worker = await bench.worker(lambda got: got.fail(500, b"no"))
    await bench.route(worker)
    await bench.ask().outcome()
    assert counted(bench).wasted_us == 0.0


@pytest.mark.parametrize("count", [1, 3])
def test_reports_that_wait_add_up(count):
    version, models = VersionReport(version="v"), ModelsReport()
    for _ in range(count):
        merge_versions(version, VersionReport(version="v", wasted_us=1.5, input_tokens=2, output_tokens=3))
        merge_models(models, ModelsReport(models={"a": (1, 2)}, busy_s={"a": 0.5}, tokens={"a": (7, 8)}))
    assert (version.wasted_us, version.input_tokens, version.output_tokens) == (1.5 * count, 2 * count, 3 * count)
    assert models.models == {"a": (count, 2 * count)}
    assert models.busy_s == {"a": 0.5 * count}
    assert models.tokens == {"a": (7 * count, 8 * count)}
