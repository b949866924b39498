"""Calls of a multi-model variant: to where their model is, or waiting until it is somewhere."""

import pytest

from trimtab.errors import (
    Invalid,
    ModelFailed,
    ModelOutOfMemory,
    NoCapacity,
    NotFound,
    NotReady,
    QueueFull,
    TargetModelMissing,
    TargetModelRefused,
)
from trimtab.resources.routing import EndpointRoute, VariantRoute


async def test_a_loaded_models_call_goes_to_its_worker_without_asking(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    await host.until(lambda: hosts.held == [{"a"}])
    assert await hosts.ask("a").outcome() == b"x"
    assert not host.wants


async def test_many_calls_for_a_model_that_is_nowhere_ask_for_it_once_and_are_answered_in_order(hosts, echoing):
    host = await hosts.open()
    calls = [hosts.ask("a", bytes([n])) for n in range(20)]
    await host.until(lambda: host.wants)
    worker = await hosts.load(host, "a", echoing)
    assert [await call.outcome() for call in calls] == [bytes([n]) for n in range(20)]
    assert [got.body for got in worker.got] == [bytes([n]) for n in range(20)]
    assert [(want.model, want.why) for want in host.wants] == [("a", "asked")]


async def test_each_model_has_a_worker_of_its_own(hosts, echoing):
    host = await hosts.open()
    workers = {model: await hosts.load(host, model, echoing) for model in "abc"}
    calls = {model: hosts.ask(model, model.encode()) for model in "abc"}
    for model, call in calls.items():
        assert await call.outcome() == model.encode()
        assert [got.meta.target_model for got in workers[model].got] == [model]


async def test_a_model_that_does_not_come_holds_up_no_other(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "b", echoing)
    await hosts.route(host, max_queue=3)
    stuck = [hosts.ask("a") for _ in range(4)]
    assert isinstance(await stuck[3].outcome(), QueueFull)
    assert await hosts.ask("b").outcome() == b"x"
    assert not any(call.outcomes for call in stuck[:3])


async def test_all_that_waits_together_is_bounded(hosts):
    await hosts.open()
    await hosts.route(*hosts.hosts, max_queue=2)
    calls = [hosts.ask(f"m{n}") for n in range(17)]
    assert isinstance(await calls[16].outcome(), QueueFull)
    assert hosts.variant.waiting == 16


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a/./b", "..", "a/", "/", "a\x00b", "x" * 1025])
async def test_a_name_that_no_model_can_have_is_refused(hosts, name):
    host = await hosts.open()
    assert type(await hosts.ask(name).outcome()) is Invalid
    assert not hosts.variant.queues
    assert hosts.variant.in_hand == 0
    assert not host.wants


async def test_a_slash_at_the_beginning_names_the_same_model(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "p/a.tar.gz", echoing)
    assert await hosts.ask("/p/a.tar.gz").outcome() == b"x"
    assert list(hosts.variant.queues) == ["p/a.tar.gz"]


async def test_a_call_without_a_model_is_refused_and_one_with_a_model_by_an_ordinary_variant(hosts, bench):
    await hosts.open()
    assert isinstance(await bench.ask().outcome(), TargetModelMissing)
    await bench.route()
    assert isinstance(await hosts.ask("a").outcome(), TargetModelRefused)


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("ArtifactMissing", Invalid),
        ("ArtifactInvalid", Invalid),
        ("ModelLoadFailed", ModelFailed),
        ("StartTimeout", ModelFailed),
        ("OutOfMemory", ModelOutOfMemory),
        ("NoCapacity", NoCapacity),
    ],
)
async def test_who_waits_for_a_model_that_fails_to_load_is_told_why(hosts, reason, error):
    host = await hosts.open(on_want=lambda want: hosts.hosts[0].fail(want.model, reason, "Because."))
    calls = [hosts.ask("bad") for _ in range(3)]
    for call in calls:
        outcome = await call.outcome()
        assert type(outcome) is error
        assert str(outcome) == "Because."
    assert len(host.wants) == 1


async def test_a_model_that_failed_once_is_asked_for_again_by_the_next_call(hosts, echoing):
    host = await hosts.open(on_want=lambda want: hosts.hosts[0].fail(want.model, "ModelLoadFailed"))
    assert isinstance(await hosts.ask("a").outcome(), ModelFailed)
    host.on_want = lambda want: None
    call = hosts.ask("a")
    await host.until(lambda: len(host.wants) == 2)
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"


async def test_a_host_that_cannot_yet_is_asked_again(hosts, echoing):
    host = await hosts.open(on_want=lambda want: hosts.hosts[0].fail(want.model, "NotReady"))
    call = hosts.ask("a")
    await host.until(lambda: len(host.wants) >= 2)
    assert not call.outcomes
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"


async def test_a_failure_is_nothing_to_those_who_use_another_copy(hosts, echoing):
    await hosts.open(2)
    first, second = hosts.hosts
    await hosts.load(first, "a", echoing)
    await first.until(lambda: hosts.held == [{"a"}, set()])
    second.fail("a", "ModelLoadFailed")
    assert await hosts.ask("a").outcome() == b"x"


async def test_a_model_that_is_late_is_not_ready_while_its_load_goes_on(hosts, echoing):
    host = await hosts.open()
    await hosts.route(host, timeout_s=0.15)
    call = hosts.ask("a")
    await host.until(lambda: host.wants)
    host.loading("a")
    outcome = await call.outcome()
    assert isinstance(outcome, NotReady)
    assert "a was not ready within 0.15 s" in str(outcome)
    await hosts.load(host, "a", echoing)
    await hosts.route(host)
    assert await hosts.ask("a").outcome() == b"x"
    assert len(host.wants) == 1


async def test_a_caller_who_leaves_while_the_model_loads_is_forgotten(hosts, echoing):
    host = await hosts.open()
    gone, stays = hosts.ask("a", b"1"), hosts.ask("a", b"2")
    gone.cancel()
    assert hosts.variant.waiting == 1
    worker = await hosts.load(host, "a", echoing)
    assert await stays.outcome() == b"2"
    assert [got.body for got in worker.got] == [b"2"]
    assert not gone.outcomes


async def test_a_streamed_answer_comes_from_the_models_worker(hosts, streaming):
    def stream(got):
        got.head()
        got.chunk(b"1")
        got.chunk(b"2")
        got.end()

    host = await hosts.open()
    await hosts.load(host, "a", stream)
    call = hosts.ask("a", kind=streaming)
    await host.until(lambda: "ended" in call.outcomes)
    assert call.outcomes == ["began", b"1", b"2", "ended"]
    assert hosts.variant.in_hand == 0


async def test_an_endpoint_that_is_deleted_ends_those_who_wait_and_lets_workers_finish(hosts, bench):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    at_work, waits = hosts.ask("a"), hosts.ask("b")
    await worker.until(lambda: worker.got)
    await bench.gateway.apply(bench.table())
    assert isinstance(await waits.outcome(), NotFound)
    worker.got[0].answer(b"done")
    assert await at_work.outcome() == b"done"
    await host.until(lambda: not host.connections and not worker.connections)


async def test_a_variant_becomes_a_multi_model_one_and_back(hosts, bench, echoing):
    worker = await bench.worker()
    await bench.route(worker)
    old = bench.ask()
    await worker.until(lambda: worker.got)
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    assert await hosts.ask("a").outcome() == b"x"
    worker.got[0].answer(b"old")
    assert await old.outcome() == b"old"
    worker.on_request = echoing
    await bench.route(worker)
    assert await bench.ask().outcome() == b"x"
    await host.until(lambda: not host.connections)


async def test_lanes_of_the_other_kind_are_left_out(hosts, bench, echoing):
    host = await hosts.host()
    worker = await bench.worker(echoing)
    await bench.route(worker, host.lane())
    assert len(bench.variant.lanes) == 1
    assert await bench.ask().outcome() == b"x"
    await hosts.route(host, worker)
    assert [lane.route.replica_id for lane in hosts.variant.lanes] == ["h0"]


async def test_variants_of_one_model_and_of_many_share_an_endpoint(hosts, bench, echoing):
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    many = hosts.variant.route
    worker = await bench.worker(lambda got: got.answer(b"one"))
    one = VariantRoute(name="one", weight=0.0, lanes=(worker.lane(),))
    await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=(many, one))))
    assert await hosts.ask("a").outcome() == b"x"
    assert await bench.ask(target_variant="one").outcome() == b"one"
