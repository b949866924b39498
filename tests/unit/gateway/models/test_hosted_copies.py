"""A hot model is spread over more hosts; which, and what the host is told."""

import pytest

from trimtab.policies.models.copies import Verdict


class Scripted:
    """Copies that decide as the test says."""

    verdict = Verdict(1)
    seen = None

    def look(self, now_s, seen):
        Scripted.seen = seen
        return Scripted.verdict


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr("trimtab.gateway.models.model_queue.Copies", lambda now_s: Scripted())
    Scripted.verdict = Verdict(1)
    return Scripted


async def test_a_hot_model_is_asked_for_at_a_further_host_with_the_numbers(hosts, scripted):
    await hosts.open(3)
    first, second, _ = hosts.preferred("a")
    worker = await hosts.load(first, "a")
    await first.until(lambda: {"a"} in hosts.held)
    hosts.pin("a", min_copies=1, max_copies=2)
    await hosts.route(*hosts.hosts)
    calls = [hosts.ask("a") for _ in range(4)]
    scripted.verdict = Verdict(1, True, "3.0 requests for 1 slot")
    await first.until(lambda: any(host.wants for host in hosts.hosts))
    scripted.verdict = Verdict(1)
    asked = [host for host in hosts.hosts if host.wants]
    assert first not in asked
    assert (asked[0].wants[0].why, asked[0].wants[0].words) == ("hot", "3.0 requests for 1 slot")
    seen = scripted.seen
    assert (seen.in_hand, seen.waiting, seen.ready, seen.replicas, seen.slots) == (1, 3, 1, 3, 1)
    assert (seen.least, seen.most) == (1, 2)
    further = await hosts.load(asked[0], "a")
    scripted.verdict = Verdict(2)
    await further.until(lambda: further.got)
    for got in (*worker.got, *further.got):
        got.answer(b"y")
    worker.on_request = further.on_request = lambda got: got.answer(b"y")
    assert [await call.outcome() for call in calls] == [b"y"] * 4


async def test_a_copy_that_is_not_needed_gets_requests_only_when_the_others_have_no_room(hosts, scripted, echoing):
    await hosts.open(2)
    first, second = hosts.preferred("a")
    near, far = await hosts.load(first, "a", echoing), await hosts.load(second, "a", echoing)
    for _ in range(4):
        assert await hosts.ask("a").outcome() == b"x"
    await far.until(lambda: far.connections)
    assert (len(near.got), len(far.got)) == (4, 0)
    near.on_request = lambda got: None
    window = hosts.variant.queues["a"].lanes[0].window
    held = [hosts.ask("a", b"held") for _ in range(window)]
    await near.until(lambda: len(near.got) == 4 + window)
    assert await hosts.ask("a", b"far").outcome() == b"far"
    for got in near.got[4:]:
        got.answer(got.body)
    assert [await call.outcome() for call in held] == [b"held"] * window


async def test_the_next_copy_takes_over_when_one_leaves(hosts, scripted, echoing):
    await hosts.open(2)
    first, second = hosts.preferred("a")
    await hosts.load(first, "a", echoing)
    far = await hosts.load(second, "a", echoing)
    await first.until(lambda: hosts.held == [{"a"}, {"a"}])
    assert await hosts.ask("a").outcome() == b"x"
    first.leaving("a")
    await first.until(lambda: sorted(map(len, hosts.held)) == [0, 1])
    assert await hosts.ask("a").outcome() == b"x"
    assert len(far.got) == 1
    assert not any(host.wants for host in hosts.hosts)


async def test_models_spread_over_hosts(hosts, echoing):
    await hosts.open(3)
    for number in range(60):
        hosts.ask(f"m{number}")
    await hosts.hosts[0].until(lambda: sum(len(host.wants) for host in hosts.hosts) == 60)
    assert max(len(host.wants) for host in hosts.hosts) < 40


async def test_a_model_that_one_host_is_loading_is_asked_for_there(hosts):
    await hosts.open(2)
    second = hosts.preferred("a")[1]
    second.loading("a")
    await second.until(lambda: any(link.coming for link in hosts.variant.lanes))
    hosts.ask("a")
    await second.until(lambda: second.wants)
