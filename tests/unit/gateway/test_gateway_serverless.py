"""Serverless variants in the gateway: one request in each environment, refused at MaxConcurrency, billed."""

import asyncio

import pytest

from trimtab.errors import ModelFailed, NotReady, QueueFull
from trimtab.gateway.serverless import ServerlessVariant
from trimtab.resources.routing import EndpointRoute, VariantRoute
from trimtab.resources.serverless import MAX_PAYLOAD_BYTES, Serverless


def route_of(*workers, most=2, provisioned=0, **more):
    lanes = tuple(worker.lane(alone=True) for worker in workers)
    rules = Serverless(memory_mib=2048, max_concurrency=most, provisioned=provisioned)
    fields = {"signals": True, "most_in_hand": most, "serverless": rules, **more}
    return EndpointRoute(name="e", variants=(VariantRoute(name="v", weight=1.0, lanes=lanes, **fields),))


class Watched:
    def __init__(self):
        self.starved_at = []

    def began(self, variant):
        pass

    def starved(self, variant):
        self.starved_at.append(variant.in_hand)

    def switched(self, active):
        pass


async def test_a_quick_model_has_one_request_in_an_environment_all_the_same(bench):
    worker = await bench.worker(lambda got: got.answer(got.body))
    await bench.gateway.apply(bench.table(route_of(worker)))
    for _ in range(20):
        await bench.ask().outcome()
    (lane,) = bench.gateway.endpoints["e"].variants[0].lanes
    assert lane.window == 1


async def test_a_call_that_finds_no_environment_free_asks_for_another_at_once(bench):
    watched = bench.gateway.watcher = Watched()
    worker = await bench.worker()
    await bench.gateway.apply(bench.table(route_of(worker, most=3)))
    bench.ask()
    assert watched.starved_at == []
    bench.ask()
    assert watched.starved_at == [2]
    await worker.until(lambda: len(worker.got) == 1)


async def test_beyond_the_most_that_may_be_in_hand_calls_are_refused_and_counted(bench):
    worker = await bench.worker()
    await bench.gateway.apply(bench.table(route_of(worker, most=2, provisioned=1)))
    first, second, third = bench.ask(), bench.ask(), bench.ask()
    error = await third.outcome()
    assert isinstance(error, QueueFull)
    assert "2 requests in hand, as many as its MaxConcurrency" in str(error)
    for call in (first, second):
        await worker.until(lambda: len(worker.got) > 0)
        got = worker.got.pop()
        got.answer(got.body)
        await call.outcome()
    (report,) = bench.gateway.reports()
    assert (report.received, report.throttled, report.spilled) == (3, 1, 1)
    assert report.versions[0].billed_ms.count == 2
    assert report.versions[0].billed_ms.sum >= 2


async def test_what_an_environment_worked_on_is_billed_although_it_failed(bench):
    worker = await bench.worker(lambda got: got.fail(500, b"no"))
    await bench.gateway.apply(bench.table(route_of(worker)))
    assert isinstance(await bench.ask().outcome(), ModelFailed)
    (report,) = bench.gateway.reports()
    assert report.versions[0].billed_ms.count == 1


async def test_an_answer_over_the_limit_is_an_error_of_the_model(bench):
    worker = await bench.worker(lambda got: got.answer(b"x" * (MAX_PAYLOAD_BYTES + 1)))
    await bench.gateway.apply(bench.table(route_of(worker)))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert f"over the {MAX_PAYLOAD_BYTES} bytes" in str(error)


async def test_no_environment_in_time_is_not_ready(bench):
    await bench.gateway.apply(bench.table(route_of(timeout_s=0.1)))
    assert isinstance(await bench.ask().outcome(), NotReady)


@pytest.mark.parametrize("back", [False, True])
async def test_what_waits_goes_over_when_instances_replace_environments(bench, back):
    worker = await bench.worker(lambda got: got.answer(got.body))
    plain = EndpointRoute(name="e", variants=(VariantRoute(name="v", weight=1.0, lanes=(worker.lane(),)),))
    waiting = EndpointRoute(name="e", variants=(VariantRoute(name="v", weight=1.0, lanes=()),))
    await bench.gateway.apply(bench.table(waiting if back else route_of()))
    call = bench.ask(b"kept")
    await asyncio.sleep(0)
    await bench.gateway.apply(bench.table(route_of(worker) if back else plain))
    assert await call.outcome() == b"kept"
    assert isinstance(bench.gateway.endpoints["e"].variants[0], ServerlessVariant) is back
