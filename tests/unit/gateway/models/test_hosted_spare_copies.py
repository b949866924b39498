"""Copies that a model does not use for now: they are there when the others have no room."""

import pytest

from trimtab.policies.models.copies import Verdict


class Scripted:
    """Copies that decide as the test says, and hear of refusals."""

    def __init__(self):
        self.verdict = Verdict(1)
        self.refusals = []

    def look(self, now_s, seen):
        return self.verdict

    def refused(self, now_s):
        self.refusals.append(now_s)


@pytest.fixture
def scripted(monkeypatch):
    scripted = Scripted()
    monkeypatch.setattr("trimtab.gateway.models.model_queue.Copies", lambda now_s: scripted)
    return scripted


async def two_copies(hosts, on_request=None):
    """A model on two hosts: the worker that is used, and the other."""
    await hosts.open(2)
    first, second = hosts.preferred("a")
    near, far = await first.load("a", on_request), await second.load("a", on_request)
    await first.until(lambda: hosts.held == [{"a"}, {"a"}])
    hosts.ask("a").cancel()  # connects
    await far.until(lambda: near.connections and far.connections)
    return near, far


async def test_a_request_for_which_the_copy_in_use_has_no_room_goes_to_another_at_once(hosts, scripted):
    near, far = await two_copies(hosts)
    calls = [hosts.ask("a", bytes([n])) for n in range(3)]
    await far.until(lambda: near.got and far.got)
    assert len(far.got) == 1
    assert hosts.variant.waiting == 1
    near.on_request = far.on_request = lambda got: got.answer(b"y")
    for got in (*near.got, *far.got):
        got.answer(b"y")
    for call in calls:
        assert await call.outcome() == b"y"


async def test_while_the_copy_in_use_has_room_another_gets_nothing(hosts, scripted, echoing):
    near, far = await two_copies(hosts, echoing)
    for _ in range(10):
        assert await hosts.ask("a").outcome() == b"x"
    assert not far.got


async def test_no_more_copies_get_requests_than_the_model_may_have(hosts, scripted):
    hosts.pin("a", max_copies=1)
    await hosts.open(2)
    first, second = hosts.preferred("a")
    near, far = await first.load("a"), await second.load("a")
    await first.until(lambda: hosts.held == [{"a"}, {"a"}])
    for _ in range(3):
        hosts.ask("a")
    await near.until(lambda: near.got)
    assert hosts.variant.waiting == 2
    assert not far.connections


async def test_a_further_copy_that_is_refused_costs_no_request_and_is_remembered(hosts, scripted):
    await hosts.open(2)
    first, second = hosts.preferred("a")
    worker = await first.load("a")
    await first.until(lambda: {"a"} in hosts.held)
    second.on_want = lambda want: second.fail(want.model, "NoCapacity")
    held = hosts.ask("a")
    scripted.verdict = Verdict(1, True, "it is hot")
    await second.until(lambda: scripted.refusals)
    scripted.verdict = Verdict(1)
    worker.got[0].answer(b"y")
    assert await held.outcome() == b"y"


async def test_after_a_refusal_the_next_copy_is_asked_of_another_host(hosts, scripted):
    await hosts.open(3)
    first, *others = hosts.preferred("a")
    await first.load("a")
    await first.until(lambda: {"a"} in hosts.held)
    for host in others:
        host.on_want = lambda want, host=host: host.fail(want.model, "NoCapacity")
    hosts.ask("a")
    scripted.verdict = Verdict(1, True, "it is hot")
    await first.until(lambda: len(scripted.refusals) >= 2)
    scripted.verdict = Verdict(1)
    assert [len(host.wants) > 0 for host in others] == [True, True]


async def test_models_that_a_host_is_loading_count_when_the_next_is_placed(hosts):
    await hosts.open(2)
    for number in range(40):
        hosts.ask(f"m{number}")
    await hosts.hosts[0].until(lambda: sum(len(host.wants) for host in hosts.hosts) == 40)
    assert max(len(host.wants) for host in hosts.hosts) <= 25  # 1.25 times the mean, though no host has said a word
    links = hosts.variant.lanes
    assert sum(link.loading for link in links) == 40
    for host in hosts.hosts:
        for want in host.wants:
            host.loading(want.model)
    await hosts.hosts[0].until(lambda: sum(len(link.coming) for link in links) == 40)
    assert sum(link.loading for link in links) == 40
