import pytest

from trimtab.policies.models.placement import order
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.routing import HostedRoute
from trimtab.testing.fake_host import FakeHost


def echo(got):
    got.answer(got.body)


class Hosts:
    """A gateway before one multi-model variant, whose hosts are fakes."""

    def __init__(self, bench):
        self.bench = bench
        self.hosts = []
        self.settings = ()
        self.cache = True

    async def host(self, on_want=None, name=""):
        host = await FakeHost(self.bench.folder / f"{name or f'h{len(self.hosts)}'}.host", on_want).start()
        self.hosts.append(host)
        return host

    async def open(self, count=1, on_want=None):
        """So many hosts, routed to and connected."""
        for _ in range(count):
            await self.host(on_want)
        await self.route(*self.hosts)
        for host in self.hosts:
            await host.until(lambda host=host: host.connections)
        await self.settled()
        return self.hosts[0] if count == 1 else self.hosts

    async def route(self, *hosts, **variant):
        hosting = HostedRoute(prefix="s3://b/p/", cache=self.cache, settings=self.settings)
        await self.bench.route(*(host.lane() for host in hosts), **{"hosting": hosting, **variant})

    async def load(self, host, model, on_request=None, *, version="1"):
        """A worker for a model, and the gateway knows it."""
        worker = await host.load(model, on_request, version=version)
        (link,) = [link for link in self.variant.lanes if link.route.replica_id == host.path.stem]
        await host.until(lambda: model in link.held and link.held[model] == host.models[model])
        return worker

    async def settled(self):
        """Hosts that were just connected are not asked while others may have the model."""
        if len(self.hosts) > 1:
            links = self.bench.variant.lanes
            now_s = self.bench.variant._now_s
            await self.hosts[0].until(lambda: all(now_s() - link.since_s > 0.06 for link in links))

    def ask(self, model="a", body=b"x", **fields):
        return self.bench.ask(body, target_model=model, **fields)

    @property
    def variant(self):
        return self.bench.variant

    @property
    def held(self):
        """Models that the gateway knows of, by host."""
        return [set(link.held) for link in self.variant.lanes]

    def preferred(self, model):
        """Hosts in the model's order."""
        by_name = {host.path.stem: host for host in self.hosts}
        return [by_name[name] for name in order(model, by_name)]

    def pin(self, model, **fields):
        self.settings = (*self.settings, ModelSetting(model=model, **fields))


@pytest.fixture
async def hosts(bench):
    hosts = Hosts(bench)
    yield hosts
    for host in hosts.hosts:
        await host.close()
    await bench.gateway.close()


@pytest.fixture
def echoing():
    return echo
