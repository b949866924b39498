"""Models come, go, crash and are overwritten; hosts die. No call notices more than it must."""

import asyncio

import pytest

from trimtab.errors import ReplicaLost
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.models import hosted_variant


async def test_a_model_that_leaves_gets_nothing_new_and_finishes_what_it_has(hosts, echoing):
    host = await hosts.open()
    old = await hosts.load(host, "a")
    first = hosts.ask("a", b"1")
    await old.until(lambda: old.got)
    host.leaving("a")
    await host.until(lambda: hosts.held == [set()])
    second = hosts.ask("a", b"2")
    await host.until(lambda: host.wants)
    old.got[0].answer(b"from the old one")
    assert await first.outcome() == b"from the old one"
    await hosts.load(host, "a", echoing, version="1")
    assert await second.outcome() == b"2"
    assert len(old.got) == 1
    assert [want.why for want in host.wants] == ["gone"]
    await old.until(lambda: not old.connections)


async def test_what_a_draining_worker_refuses_is_asked_for_again_and_answered(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "a", lambda got: got.refuse())
    host.models.clear()  # the host knows that it is leaving, and has not said so yet
    call = hosts.ask("a")
    await host.until(lambda: host.wants)
    assert hosts.held == [set()]
    host.leaving("a")
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"
    assert hosts.variant.meter.retried == 1


async def test_a_late_refusal_of_an_old_worker_does_not_give_up_the_new_one(hosts, echoing):
    host = await hosts.open()
    old = await hosts.load(host, "a")
    late = hosts.ask("a", b"late")
    await old.until(lambda: old.got)
    host.leaving("a")
    await hosts.load(host, "a", echoing)
    assert await hosts.ask("a").outcome() == b"x"
    old.got[0].refuse()
    assert await late.outcome() == b"late"
    assert hosts.held == [{"a"}]
    assert not host.wants


async def test_a_new_version_takes_over_and_the_old_one_finishes(hosts, echoing):
    host = await hosts.open()
    old = await hosts.load(host, "a", version="1")
    first = hosts.ask("a")
    await old.until(lambda: old.got)
    await hosts.load(host, "a", lambda got: got.answer(b"new"), version="2")
    await host.until(lambda: hosts.variant.lanes[0].held["a"].version == "2")
    assert await hosts.ask("a").outcome() == b"new"
    host.leaving("a", version="1")
    old.got[0].answer(b"old")
    assert await first.outcome() == b"old"
    assert hosts.held == [{"a"}]


async def test_a_crash_ends_what_the_worker_had_and_nothing_of_other_models(hosts, echoing):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    await hosts.load(host, "b", echoing)
    lost, other = hosts.ask("a", b"1"), hosts.ask("b")
    await worker.until(lambda: worker.got)
    waits = hosts.ask("a", b"2")  # one at a time: it is still here
    host.models.pop("a")
    await worker.die()
    outcome = await lost.outcome()
    assert isinstance(outcome, ReplicaLost)
    assert "model a" in str(outcome)
    assert await other.outcome() == b"x"
    await host.until(lambda: [(want.model, want.why) for want in host.wants] == [("a", "gone")])
    await hosts.load(host, "a", echoing)
    assert await waits.outcome() == b"2"


async def test_a_worker_that_cannot_be_reached_is_asked_for_until_its_host_knows(hosts, echoing):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    await worker.die()  # and the host still says that it is ready
    call = hosts.ask("a")
    await host.until(lambda: len(host.wants) >= 2)
    host.leaving("a")
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"
    assert len(host.wants) < 20  # not as fast as it can


async def test_when_a_host_dies_its_workers_finish_and_another_host_is_asked(hosts, echoing):
    await hosts.open(2)
    first, second = hosts.preferred("a")
    worker = await hosts.load(first, "a")
    await first.until(lambda: {"a"} in hosts.held)
    at_work = hosts.ask("a", b"1")
    await worker.until(lambda: worker.got)
    waits = hosts.ask("a", b"2")
    await first.die()
    await second.until(lambda: second.wants)
    assert [(want.model, want.why) for want in second.wants] == [("a", "gone")]
    worker.got[0].answer(b"finished")
    assert await at_work.outcome() == b"finished"
    await hosts.load(second, "a", echoing)
    assert await waits.outcome() == b"2"
    assert len(worker.got) == 1


async def test_calls_wait_while_the_only_host_is_replaced(hosts, echoing):
    host = await hosts.open()
    calls = [hosts.ask(model) for model in "ab"]
    await host.until(lambda: len(host.wants) == 2)
    await host.die()
    new = await hosts.host(name="new")
    await hosts.route(new)
    await new.until(lambda: {want.model for want in new.wants} == {"a", "b"})
    for model in "ab":
        await hosts.load(new, model, echoing)
    assert [await call.outcome() for call in calls] == [b"x", b"x"]


async def test_a_host_that_comes_back_is_asked_anew(hosts, echoing):
    host = await hosts.open()
    call = hosts.ask("a")
    await host.until(lambda: host.wants)
    await host.die()
    host.wants.clear()
    await host.start()
    await host.until(lambda: host.wants)
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"


async def test_calls_wait_for_the_first_host(hosts, echoing):
    await hosts.route()
    call = hosts.ask("a")
    assert hosts.variant.starving_s() >= 0
    host = await hosts.host()
    await hosts.route(host)
    await host.until(lambda: host.wants)
    assert hosts.variant.starving_s() == 0
    await hosts.load(host, "a", echoing)
    assert await call.outcome() == b"x"


async def test_a_replica_that_leaves_the_routes_finishes_and_gets_nothing_new(hosts, echoing):
    await hosts.open(2)
    leaving, stays = hosts.preferred("a")
    worker = await hosts.load(leaving, "a")
    await leaving.until(lambda: {"a"} in hosts.held)
    at_work = hosts.ask("a", b"1")
    await worker.until(lambda: worker.got)
    await hosts.route(stays)
    new = hosts.ask("a", b"2")
    await stays.until(lambda: stays.wants)
    await hosts.load(stays, "a", echoing)
    assert await new.outcome() == b"2"
    worker.got[0].answer(b"done")
    assert await at_work.outcome() == b"done"
    await leaving.until(lambda: not leaving.connections and not worker.connections)


async def test_a_gateway_that_starts_knows_what_hosts_have_before_it_asks(hosts, echoing):
    await hosts.open(2)
    for host in hosts.hosts:
        await hosts.load(host, f"only-{host.path.stem}", echoing)
    other = Gateway()
    await other.apply(hosts.bench.gateway.table)
    hosts.bench.gateway, first = other, hosts.bench.gateway
    calls = [hosts.ask(f"only-{host.path.stem}") for host in hosts.hosts]
    assert [await call.outcome() for call in calls] == [b"x", b"x"]
    assert not any(host.wants for host in hosts.hosts)
    await first.close()


async def test_a_host_that_does_not_answer_holds_up_nobody_when_there_is_another(hosts, echoing, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.models.finder._SILENT_S", 0.05)
    await hosts.open(2)
    silent, other = hosts.preferred("a")
    call = hosts.ask("a")
    await other.until(lambda: other.wants)
    assert len(silent.wants) == 1
    await hosts.load(other, "a", echoing)
    assert await call.outcome() == b"x"


async def test_a_host_that_says_that_it_loads_is_waited_for(hosts, echoing, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.models.finder._SILENT_S", 0.02)
    await hosts.open(2)
    loader, other = hosts.preferred("a")
    loader.on_want = lambda want: loader.loading(want.model)
    call = hosts.ask("a")
    sweeps = []
    enforce = hosts.variant._enforce
    monkeypatch.setattr(hosts.variant, "_enforce", lambda now_s: sweeps.append(now_s) or enforce(now_s))
    await loader.until(lambda: len(sweeps) > 4)
    assert not other.wants
    await hosts.load(loader, "a", echoing)
    assert await call.outcome() == b"x"


async def test_a_host_without_room_sends_the_model_to_another(hosts, echoing):
    await hosts.open(2)
    full, other = hosts.preferred("a")
    full.on_want = lambda want: full.fail(want.model, "NoCapacity", "Full.")
    other.on_want = lambda want: loads.append(asyncio.ensure_future(other.load(want.model, echoing)))
    loads = []
    assert await hosts.ask("a").outcome() == b"x"
    await asyncio.gather(*loads)
    assert (len(full.wants), len(other.wants)) == (1, 1)


async def test_a_host_that_speaks_no_frames_is_left_and_tried_again(hosts, echoing):
    host = await hosts.open()
    (connection,) = host.connections
    connection.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"\xff" * 100)
    await host.until(lambda: host.connections and host.connections != [connection])
    await hosts.load(host, "a", echoing)
    assert await hosts.ask("a").outcome() == b"x"


async def test_what_is_kept_of_a_model_that_is_idle_is_dropped(hosts, echoing, monkeypatch):
    monkeypatch.setattr(hosted_variant, "_IDLE_S", 0.1)
    host = await hosts.open()
    workers = [await hosts.load(host, model, echoing) for model in "ab"]
    for model in "ab":
        assert await hosts.ask(model).outcome() == b"x"
    await host.until(lambda: not hosts.variant.queues)
    for worker in workers:
        await worker.until(lambda worker=worker: not worker.connections)
    assert not hosts.variant.lanes[0]._lanes
    assert await hosts.ask("a").outcome() == b"x"
    assert not host.wants
    hosts.variant.retire()
    assert hosts.variant._timer is None or hosts.variant._timer.cancelled()


async def test_a_flood_of_names_leaves_little_behind(hosts, echoing, monkeypatch):
    monkeypatch.setattr(hosted_variant, "_IDLE_MOST", 10)
    host = await hosts.open(on_want=lambda want: hosts.hosts[0].fail(want.model, "ArtifactMissing"))
    calls = [hosts.ask(f"none-{number}") for number in range(100)]
    for call in calls:
        await call.outcome()
    await host.until(lambda: not hosts.variant._working)
    assert len(hosts.variant.queues) == 10
    assert not hosts.variant.finder._lacking


@pytest.mark.parametrize("cache", [True, False])
async def test_a_host_hears_how_its_models_are_used_and_when_they_are_idle(hosts, cache):
    hosts.cache = cache
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    await host.until(lambda: hosts.held == [{"a"}])
    calls = [hosts.ask("a") for _ in range(3)]
    for number in range(3):
        await worker.until(lambda number=number: len(worker.got) > number)
        worker.got[number].answer(b"y")
        assert await calls[number].outcome() == b"y"
    await host.until(lambda: sum(use.requests for use in host.uses) == 3 and host.uses[-1].in_hand == 0)
    assert sum(use.misses for use in host.uses) == 0
    later = hosts.ask("b")
    await host.until(lambda: host.wants)
    await hosts.load(host, "b", lambda got: got.answer(b"z"))
    assert await later.outcome() == b"z"
    await host.until(lambda: [use.misses for use in host.uses if use.model == "b"][-1:] == [1])


async def test_a_host_that_connects_again_hears_what_is_still_in_hand(hosts):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    call = hosts.ask("a")
    await worker.until(lambda: worker.got)
    await host.die()
    await host.start()
    host.ready("a", worker.lane())
    await host.until(lambda: any(use.in_hand == 1 for use in host.uses))
    worker.got[0].answer(b"y")
    assert await call.outcome() == b"y"
    await host.until(lambda: host.uses[-1].in_hand == 0)


async def test_nothing_is_left_to_do_when_a_host_that_left_the_routes_dies_before_its_workers(hosts):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    call = hosts.ask("a")
    await worker.until(lambda: worker.got)
    await hosts.route()
    await host.die()
    worker.got[0].answer(b"y")
    assert await call.outcome() == b"y"
    assert not hosts.variant.sweep(hosts.variant._now_s())
    await worker.until(lambda: not worker.connections)
