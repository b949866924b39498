"""Models, workers, hosts and routes that come, go and fail as chance has it, while calls come and leave: each call ends
exactly once, what can be answered is, and nothing is left over."""

import asyncio
import random

import pytest

from trimtab.errors import TrimtabError

MODELS = "abcdef"
STEPS = 250


class World:
    """Three hosts, of which some may be dead or not routed to."""

    def __init__(self, hosts, seed):
        self.hosts = hosts
        self.chance = random.Random(seed)
        self.calls = []
        self.left = set()  # callers that have gone
        self.held = []  # requests that workers have not answered yet
        self.loads = set()
        self.calm = False
        self.routed = []
        self.versions = 0

    async def open(self):
        for _ in range(3):
            host = await self.hosts.host()
            host.on_want = lambda want, host=host: self.wanted(host, want)
        await self.route(self.hosts.hosts)

    async def route(self, hosts):
        self.routed = hosts
        await self.hosts.route(*hosts)

    # --- hosts and workers -----------------------------------------------------------------------------------------

    def wanted(self, host, want):
        what = "load" if self.calm else self.chance.choice(["load", "load", "load", "NotReady", "NoCapacity", "bad"])
        if what == "load":
            host.loading(want.model)
            load = asyncio.ensure_future(self.load(host, want.model))
            self.loads.add(load)
            load.add_done_callback(self.loads.discard)
        else:
            host.fail(want.model, "ModelLoadFailed" if what == "bad" else what)

    async def load(self, host, model):
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        if host.dead:
            return
        self.versions += 1
        old = host.models.get(model)
        await host.load(model, self.requested, version=str(self.versions))
        if old is not None:
            host.leaving(model, version=old.version)

    def requested(self, got):
        choice = "answer" if self.calm else self.chance.choice(["answer", "answer", "hold", "stream", "fail", "refuse"])
        if choice == "answer":
            got.answer(got.body)
        elif choice == "hold":
            self.held.append(got)
        elif choice == "fail":
            got.fail(500, b"model says no")
        elif choice == "refuse":
            self.leave_worker(got)
            got.refuse()
        else:
            got.head()
            got.chunk(got.body)
            got.end()

    def leave_worker(self, got):
        """Its host knows that it is leaving, even if the gateway does not yet."""
        path = str(got.connection.worker.path)
        for host in self.hosts.hosts:
            for model, at in list(host.models.items()):
                if at.lanes[0].address.endswith(path):
                    host.leaving(model, version=at.version)

    # --- what happens ----------------------------------------------------------------------------------------------

    async def step(self):
        chance = self.chance
        what = chance.choices(
            [self.ask, self.cancel, self.leave, self.overwrite, self.crash, self.release, self.kill, self.reroute],
            [40, 5, 8, 5, 4, 20, 1, 2],
        )[0]
        await what()
        for _ in range(chance.choice([0, 0, 2, 20, 60])):
            await asyncio.sleep(0)

    async def ask(self):
        for _ in range(self.chance.choice([1, 1, 1, 8])):
            body = str(len(self.calls)).encode()
            self.calls.append(self.hosts.ask(self.chance.choice(MODELS), body))

    async def cancel(self):
        open_calls = [call for call in self.calls if not call.outcomes and call not in self.left]
        if open_calls:
            call = self.chance.choice(open_calls)
            self.left.add(call)
            call.cancel()

    async def leave(self):
        if (place := self.any_model()) is not None:
            host, model = place
            host.leaving(model, version=host.models[model].version)

    async def overwrite(self):
        if (place := self.any_model()) is not None:
            await self.load(*place)

    async def crash(self):
        if (place := self.any_model()) is not None:
            host, model = place
            (worker,) = [w for w in host.workers if host.models[model].lanes[0].address.endswith(str(w.path))]
            version = host.models.pop(model).version
            await worker.die()
            host.leaving(model, version=version)

    async def release(self):
        while self.held and self.chance.random() < 0.7:
            got = self.held.pop(self.chance.randrange(len(self.held)))
            got.answer(got.body)

    async def kill(self):
        host = self.chance.choice(self.hosts.hosts)
        if host.dead:
            await host.start()
        else:
            await host.die()

    async def reroute(self):
        count = self.chance.choice([1, 2, 3, 3])
        await self.route(self.chance.sample(self.hosts.hosts, count))

    def any_model(self):
        places = [(host, model) for host in self.hosts.hosts for model in host.models]
        return self.chance.choice(places) if places else None

    async def become_calm(self):
        """Everything works from now on."""
        self.calm = True
        for host in self.hosts.hosts:
            if host.dead:
                await host.start()
        await self.route(self.hosts.hosts)
        while self.held:
            got = self.held.pop()
            got.answer(got.body)


@pytest.mark.parametrize("seed", range(25))
async def test_each_call_ends_once_whatever_happens(hosts, seed, monkeypatch):
    for name in ("_SETTLE_S", "_APART_S", "_LATER_S"):
        monkeypatch.setattr(f"trimtab.gateway.models.finder.{name}", 0.0)
    monkeypatch.setattr("trimtab.gateway.gateway._SWEEP_INTERVAL_S", 0.001)
    world = World(hosts, seed)
    await world.open()
    for _ in range(STEPS):
        await world.step()
    await world.become_calm()
    staying = [call for call in world.calls if call not in world.left]
    answered = 0
    for call in staying:
        outcome = await call.outcome()
        if isinstance(outcome, TrimtabError):
            continue
        answered += 1
        assert outcome == call.sent_body
    assert answered  # how many depends on when what dies
    variant = hosts.variant
    assert (variant.waiting, variant.in_hand) == (0, 0)
    await asyncio.gather(*world.loads)
    last = [hosts.ask(model) for model in MODELS]
    assert [await call.outcome() for call in last] == [b"x"] * len(MODELS)
    await hosts.hosts[0].until(lambda: not variant.sweep(variant._now_s()))
    assert all(not link._busy and not link._untold and not link._told for link in variant.lanes)
    used = {lane for queue in variant.queues.values() for lane in (*queue.lanes, *queue.retiring)}
    assert all(set(link._lanes) <= used for link in variant.lanes)
    assert all(lane.outstanding == 0 for lane in used)
    for call in world.left:
        assert not call.outcomes
