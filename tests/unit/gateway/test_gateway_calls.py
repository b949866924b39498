"""What becomes of a call, whatever happens to the replicas meanwhile."""

import asyncio
import itertools
import random
import socket
from collections import Counter

import msgspec
import pytest

from trimtab.errors import Invalid, ModelFailed, NoCapacity, NotFound, QueueFull, ReplicaLost, TooLarge
from trimtab.policies import admission
from trimtab.resources.routing import EndpointRoute, Lane, VariantRoute


def echo(got):
    got.answer(got.body)


async def test_a_call_gets_the_answer_and_the_worker_its_headers(bench):
    worker = await bench.worker(echo)
    await bench.route(worker)
    call = bench.ask(b"hello", content_type="text/csv", accept="a/b", custom_attributes="c", inference_id="i")
    assert await call.outcome() == b"hello"
    meta = worker.got[0].meta
    assert (meta.content_type, meta.accept, meta.custom_attributes, meta.inference_id) == ("text/csv", "a/b", "c", "i")
    assert 59 < meta.timeout_s <= 60
    (report,) = bench.gateway.reports()
    assert report.received == report.versions[0].latency.count == 1


async def test_an_unknown_endpoint_or_variant_is_not_found(bench):
    await bench.route(await bench.worker(echo))
    error = await bench.ask(endpoint="other").outcome()
    assert isinstance(error, NotFound)
    assert (error.kind, error.name) == ("endpoint", "other")
    assert isinstance(await bench.ask(target_variant="w").outcome(), NotFound)


async def test_weights_share_exactly_and_a_target_variant_of_weight_zero_is_reached(bench):
    workers = [await bench.worker(echo) for _ in range(3)]
    variants = tuple(
        VariantRoute(name=f"v{index}", weight=weight, lanes=(worker.lane(),))
        for index, (worker, weight) in enumerate(zip(workers, (3.0, 1.0, 0.0), strict=True))
    )
    await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=variants)))
    for _ in range(40):
        await bench.ask().outcome()
    assert [len(worker.got) for worker in workers] == [30, 10, 0]
    await bench.ask(target_variant="v2").outcome()
    assert len(workers[2].got) == 1
    zero = tuple(msgspec.structs.replace(v, weight=0) for v in variants)
    await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=zero)))
    assert isinstance(await bench.ask().outcome(), Invalid)


async def test_a_slow_model_gets_one_request_at_a_time_and_the_least_busy_replica_the_next(bench):
    first, second = await bench.worker(), await bench.worker()
    await bench.route(first, second)
    calls = [bench.ask(str(n).encode()) for n in range(3)]
    await first.until(lambda: len(first.got) == 1)
    await second.until(lambda: len(second.got) == 1)
    second.got[0].answer(second.got[0].body)
    await second.until(lambda: len(second.got) == 2)
    assert len(first.got) == 1
    for got in (first.got[0], second.got[1]):
        got.answer(got.body)
    assert [await call.outcome() for call in calls] == [b"0", b"1", b"2"]


async def test_a_quick_model_is_pipelined(bench):
    worker = await bench.worker(echo)
    await bench.route(worker)
    for _ in range(200):
        await asyncio.gather(*(bench.ask().outcome() for _ in range(8)))
    assert bench.variant.lanes[0].window > 4


async def test_a_full_queue_refuses_at_once(bench):
    worker = await bench.worker()
    await bench.route(worker, max_queue=2)
    calls = [bench.ask() for _ in range(4)]
    assert isinstance(await calls[3].outcome(), QueueFull)
    assert not calls[2].outcomes
    (report,) = bench.gateway.reports()
    assert report.versions[0].errors == {"QueueFull": 1}
    assert report.throttled == 1


async def test_a_body_over_the_variants_limit_is_refused(bench):
    await bench.route(await bench.worker(echo), max_payload_bytes=4)
    assert isinstance(await bench.ask(b"12345").outcome(), TooLarge)
    assert await bench.ask(b"1234").outcome() == b"1234"


async def test_calls_wait_for_the_first_replica(bench):
    worker = await bench.worker(echo)
    await bench.route()
    call = bench.ask(b"early")
    await bench.route(worker)
    assert await call.outcome() == b"early"


async def test_calls_wait_for_the_only_replica_to_come_back(bench):
    worker = await bench.worker(echo)
    await bench.route(worker)
    await worker.die()
    await worker.until(lambda: not bench.variant.lanes[0].ready)
    call = bench.ask(b"patient")
    await worker.start()
    assert await call.outcome() == b"patient"


async def test_a_worker_that_is_dying_gets_nothing_more_although_one_can_still_connect(bench):
    """The kernel closes its connections first, its listener after them."""
    path = bench.folder / "dying.sock"
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        await bench.route(Lane(replica_id="dying", address=f"unix:{path}"))
        connection, _ = await loop.sock_accept(listener)
        connection.close()
        again, _ = await loop.sock_accept(listener)
        again.setblocking(False)
        call = bench.ask(b"patient")
        assert await loop.sock_recv(again, 1 << 16)
        again.close()
    await bench.route(await bench.worker(echo))
    assert await call.outcome() == b"patient"


async def test_waiting_ends_with_the_time_limit(bench):
    await bench.route(timeout_s=0.05)
    assert isinstance(await bench.ask().outcome(), NoCapacity)


async def test_a_model_that_hangs_runs_into_the_time_limit_and_is_cancelled(bench):
    worker = await bench.worker()
    await bench.route(worker, timeout_s=0.05)
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert error.status == 0
    await worker.until(lambda: worker.cancelled == [worker.got[0].stream])


async def test_a_hung_replica_gets_no_more_work_while_another_is_free(bench):
    hung, well = await bench.worker(), await bench.worker()
    await bench.route(hung, timeout_s=0.05)
    await bench.ask().outcome()
    await bench.route(hung, well, timeout_s=5)
    well.on_request = echo
    for _ in range(20):
        assert await bench.ask().outcome() == b"x"
    assert len(hung.got) == 1


async def test_a_model_that_runs_out_of_memory_is_named(bench):
    await bench.route(await bench.worker(lambda got: got.fail(507, b"no room")))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert (error.reason, error.status, error.body) == ("OutOfMemory", 507, b"no room")


async def test_a_models_failure_keeps_its_status_and_text(bench):
    await bench.route(await bench.worker(lambda got: got.fail(415, b"no such type")))
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert (error.status, error.body) == (415, b"no such type")


async def test_a_draining_worker_hands_requests_back_and_they_go_elsewhere(bench):
    draining = await bench.worker(lambda got: got.refuse())
    await bench.route(draining)
    calls = [bench.ask(bytes([n])) for n in range(5)]
    await draining.until(lambda: draining.got)
    well = await bench.worker(echo)
    await bench.route(draining, well)
    assert [await call.outcome() for call in calls] == [bytes([n]) for n in range(5)]
    assert len(draining.got) == 1


async def test_a_dead_replica_fails_only_what_it_had_in_hand(bench):
    dying, well = await bench.worker(), await bench.worker()
    await bench.route(dying, well)
    calls = [bench.ask(str(n).encode()) for n in range(6)]
    await dying.until(lambda: dying.got)
    await well.until(lambda: well.got)
    in_hand = dying.got[0].body
    await dying.die()
    well.on_request = echo
    well.got[0].answer(well.got[0].body)
    for call in calls:
        outcome = await call.outcome()
        if call.sent_body == in_hand:
            assert isinstance(outcome, ReplicaLost)
        else:
            assert outcome == call.sent_body


async def test_a_cancelled_call_leaves_the_queue_or_is_cancelled_at_the_worker(bench):
    worker = await bench.worker()
    await bench.route(worker)
    in_hand, waiting, last = bench.ask(b"1"), bench.ask(b"2"), bench.ask(b"3")
    await worker.until(lambda: worker.got)
    waiting.cancel()
    in_hand.cancel()
    await worker.until(lambda: worker.cancelled == [worker.got[0].stream])
    worker.on_request = echo
    worker.got[0].answer(b"too late")  # tells that the worker is free
    assert await last.outcome() == b"3"
    assert not in_hand.outcomes
    assert not waiting.outcomes
    assert [got.body for got in worker.got] == [b"1", b"3"]


async def test_a_worker_that_says_nothing_of_a_cancelled_call_is_used_again_soon(bench):
    worker = await bench.worker()
    await bench.route(worker)
    gone = bench.ask(b"1")
    await worker.until(lambda: worker.got)
    worker.on_request = echo
    gone.cancel()
    assert await bench.ask(b"2").outcome() == b"2"


async def test_an_endpoint_removed_fails_what_waits_and_finishes_what_is_in_hand(bench):
    worker = await bench.worker()
    await bench.route(worker)
    in_hand, waiting = bench.ask(b"1"), bench.ask(b"2")
    await worker.until(lambda: worker.got)
    await bench.gateway.apply(bench.table())
    assert isinstance(await waiting.outcome(), NotFound)
    worker.got[0].answer(b"done")
    assert await in_hand.outcome() == b"done"
    await worker.until(lambda: not worker.connections)


async def test_when_variants_are_renamed_what_waits_goes_to_the_new_ones(bench):
    old, new = await bench.worker(), await bench.worker(echo)
    await bench.route(old, name="e")
    in_hand, waiting = bench.ask(b"1"), bench.ask(b"2")
    await old.until(lambda: old.got)
    variant = VariantRoute(name="w", weight=1, lanes=(new.lane(),))
    await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=(variant,))))
    assert await waiting.outcome() == b"2"
    old.got[0].answer(b"1")
    assert await in_hand.outcome() == b"1"


async def test_after_a_table_is_applied_old_replicas_get_nothing_and_new_ones_are_connected(bench):
    old, new = await bench.worker(echo), await bench.worker(echo)
    await bench.route(old)
    await bench.ask().outcome()
    await bench.route(new)
    assert new.connections
    calls = [bench.ask() for _ in range(10)]
    await asyncio.gather(*(call.outcome() for call in calls))
    assert (len(old.got), len(new.got)) == (1, 10)
    await old.until(lambda: not old.connections)


async def test_an_unreachable_replica_does_not_hold_up_the_table(bench):
    worker = await bench.worker(echo)
    missing = msgspec.structs.replace(worker.lane(), replica_id="no", address=f"unix:{bench.folder}/no.sock")
    await bench.route(missing, worker)
    assert await bench.ask(b"ok").outcome() == b"ok"


async def test_an_older_table_is_ignored(bench):
    await bench.route(await bench.worker(echo))
    await bench.gateway.apply(msgspec.structs.replace(bench.gateway.table, version=0, endpoints=()))
    assert await bench.ask(b"ok").outcome() == b"ok"


async def test_a_streamed_answer_is_collected_for_a_caller_that_wants_it_whole(bench):
    def stream(got):
        got.head("text/x")
        for _ in range(40):
            got.chunk(b"y" * 50_000)
        got.end()

    worker = await bench.worker(stream)
    await bench.route(worker)
    assert await bench.ask().outcome() == b"y" * 2_000_000
    await worker.until(lambda: sum(worker.credit.values()) > 1_500_000)


async def test_a_stream_gives_credit_only_for_what_was_consumed(bench, streaming):
    worker = await bench.worker(lambda got: (got.head(), got.chunk(b"z" * 600_000)))
    await bench.route(worker)
    call = bench.ask(kind=streaming)
    await asyncio.wait_for(call.settled.wait(), 5)
    assert call.outcomes == ["began", b"z" * 600_000]
    assert not worker.credit
    call.consumed(600_000)
    await worker.until(lambda: worker.credit == {worker.got[0].stream: 600_000})


async def test_a_replica_that_dies_in_mid_stream_is_reported_after_what_came(bench, streaming):
    worker = await bench.worker(lambda got: (got.head(), got.chunk(b"part")))
    await bench.route(worker)
    call = bench.ask(kind=streaming)
    await asyncio.wait_for(call.settled.wait(), 5)
    call.settled.clear()
    await worker.die()
    await asyncio.wait_for(call.settled.wait(), 5)
    assert call.outcomes[:2] == ["began", b"part"]
    assert isinstance(call.outcomes[2], ReplicaLost)


async def test_a_worker_that_breaks_the_wire_loses_its_connection_not_the_gateway(bench):
    bad = await bench.worker(lambda got: got.connection.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" * 3))
    await bench.route(bad)
    assert isinstance(await bench.ask().outcome(), ReplicaLost)
    bad.on_request = echo
    assert await bench.ask(b"again").outcome() == b"again"


@pytest.mark.parametrize("seed", range(12))
async def test_every_answer_belongs_to_its_request_whatever_happens(bench, seed):
    """Replicas answer out of order, fail, refuse, die and return; callers leave; tables change."""
    rng = random.Random(seed)
    numbers = itertools.count()

    def behave(got):
        fate = rng.random()
        if fate < 0.7:
            got.answer(got.body)
        elif fate < 0.8:
            asyncio.get_running_loop().call_later(rng.random() * 0.02, got.answer, got.body)
        elif fate < 0.9:
            got.fail(500, got.body)
        elif fate < 0.95:
            asyncio.get_running_loop().call_soon(lambda: (got.head(), got.chunk(got.body), got.end()))
        else:
            got.refuse() if rng.random() < 0.3 else got.answer(got.body)

    workers = [await bench.worker(behave) for _ in range(3)]
    await bench.route(*workers, timeout_s=5)
    calls, left = [], []
    for _ in range(60):
        calls += [bench.ask(str(next(numbers)).encode() * rng.randint(1, 50)) for _ in range(rng.randint(1, 8))]
        await asyncio.sleep(0)  # lets the other side act; nothing is awaited by it
        event = rng.random()
        if event < 0.1:
            victim = rng.choice(workers)
            await victim.die()
            await victim.start()
        elif event < 0.25:
            await bench.route(*rng.sample(workers, rng.randint(1, 3)), timeout_s=5)
        elif event < 0.35 and not (call := rng.choice(calls)).done:
            call.cancel()
            left.append(call)
    for worker in workers:
        worker.on_request = echo
    await bench.route(*[await bench.worker(echo)], timeout_s=5)
    kinds = Counter()
    for call in calls:
        if call in left:
            assert call.outcomes == []
            continue
        outcome = await call.outcome()
        kinds[type(outcome).__name__] += 1
        if isinstance(outcome, ModelFailed):
            assert outcome.body == call.sent_body
        elif not isinstance(outcome, ReplicaLost):
            assert outcome == call.sent_body
    assert kinds["bytes"] > kinds["ReplicaLost"]


async def test_a_stream_that_nobody_reads_keeps_no_other_request_waiting(bench, streaming):
    """The worker sends streams beside its other work; each goes at the pace of its reader."""
    begun = []

    def behave(got):
        if got.body == b"stream":
            begun.append(got)
            got.head()
        else:
            got.answer(got.body)

    worker = await bench.worker(behave)
    await bench.route(worker)
    streams = [bench.ask(b"stream", kind=streaming) for _ in range(5)]
    assert await bench.ask(b"quick").outcome() == b"quick"
    (lane,) = bench.gateway.variants()[0].lanes
    assert (len(begun), lane.outstanding) == (5, 5)
    begun[0].end()
    await worker.until(lambda: "ended" in streams[0].outcomes)
    for call in streams[1:3]:
        call.cancel()
    await worker.until(lambda: len(worker.cancelled) == 2)
    assert (lane.outstanding, lane.window) == (2, lane.pace.window + 2)
    await worker.die()
    await asyncio.wait_for(streams[4].settled.wait(), 5)
    assert (lane.outstanding, lane.window) == (0, lane.pace.window)


async def test_more_pieces_than_may_be_collected_are_the_models_error(bench, monkeypatch):
    monkeypatch.setattr(admission, "COLLECTED_BYTES", 100_000)
    worker = await bench.worker(lambda got: (got.head(), got.chunk(b"z" * 60_000), got.chunk(b"z" * 60_000)))
    await bench.route(worker)
    error = await bench.ask().outcome()
    assert isinstance(error, ModelFailed)
    assert "InvokeEndpointWithResponseStream" in str(error)
    await worker.until(lambda: worker.cancelled == [worker.got[0].stream])
