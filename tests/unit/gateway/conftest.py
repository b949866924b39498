import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
import uvloop

from trimtab.gateway.calls import Call
from trimtab.gateway.gateway import Gateway
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute
from trimtab.testing.fake_worker import FakeWorker


def pytest_asyncio_loop_factories(config, item):
    """As in production. (The standard loop leaks a connection that is accepted while its server closes.)"""
    return {"uvloop": uvloop.new_event_loop}


class Asked(Call):
    """A call whose outcome is kept."""

    def __init__(self, endpoint="e", body=b"x", **fields):
        super().__init__(endpoint, [body], len(body))
        self.sent_body = body
        self.outcomes = []
        self.settled = asyncio.Event()
        for name, value in fields.items():
            setattr(self, name, value)

    def answered(self, meta, body):
        self.outcomes.append(body)
        self.settled.set()

    def failed(self, error):
        self.outcomes.append(error)
        self.settled.set()

    async def outcome(self, timeout_s=5.0):
        async with asyncio.timeout(timeout_s):
            await self.settled.wait()
        (outcome,) = self.outcomes
        return outcome


class Streaming(Asked):
    """A call that takes the answer piece by piece."""

    wants_stream = True

    def began(self, meta):
        self.outcomes.append("began")

    def received(self, data):
        self.outcomes.append(data)
        self.settled.set()

    def ended(self):
        self.outcomes.append("ended")
        self.settled.set()


class Bench:
    """A gateway, its fake workers, and tables for them."""

    def __init__(self, folder):
        self.folder = folder
        self.gateway = Gateway()
        self.workers = []
        self.version = 0

    async def worker(self, on_request=None, name=""):
        worker = await FakeWorker(self.folder / f"{name or len(self.workers)}.sock", on_request).start()
        self.workers.append(worker)
        return worker

    def table(self, *endpoints):
        self.version += 1
        return RouteTable(version=self.version, endpoints=endpoints, require_auth=False)

    async def route(self, *workers, name="e", **variant):
        """One endpoint of one variant on these workers."""
        lanes = tuple(w.lane() if isinstance(w, FakeWorker) else w for w in workers)
        variant = VariantRoute(**{"name": "v", "weight": 1.0, "lanes": lanes, **variant})
        await self.gateway.apply(self.table(EndpointRoute(name=name, variants=(variant,))))

    def ask(self, body=b"x", endpoint="e", kind=Asked, **fields):
        call = kind(endpoint, body, **fields)
        self.gateway.submit(call)
        return call

    @property
    def variant(self):
        return self.gateway.endpoints["e"].variants[0]


@pytest.fixture
async def bench():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))  # a socket's path must be short
    bench = Bench(folder)
    yield bench
    await bench.gateway.close()
    for worker in bench.workers:
        await worker.die()
    shutil.rmtree(folder)


@pytest.fixture
def asked_whole():
    return Asked


@pytest.fixture
def streaming():
    return Streaming
