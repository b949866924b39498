"""From zero and back over the real sockets of control: no timer of ours is needed for it."""

import asyncio

import pytest

from trimtab.clock import SystemClock
from trimtab.control.routes import RoutePublisher
from trimtab.control.signal_server import SignalServer
from trimtab.errors import NoCapacity
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.routes import RouteClient
from trimtab.gateway.signaller import Signaller
from trimtab.resources.routing import EndpointRoute, VariantRoute

BOUND_S = 5.0


def echo(got):
    got.answer(got.body)


class Plane:
    """Control's two sockets, and gateways at them. A call that waits at zero brings the lanes that the test gives."""

    def __init__(self, bench):
        self.bench = bench
        self.folder = bench.folder
        self.lanes = ()
        self.gateways = []
        self.tasks = []

    async def open_control(self):
        self.publisher = RoutePublisher(
            self.folder / "routes", self.folder / "r.sock", SystemClock(), require_auth=False
        )
        self.signals = SignalServer(self.folder / "s.sock", self.hear)
        await self.publisher.open()
        await self.signals.open()

    async def close_control(self):
        await self.signals.close()
        await self.publisher.close()

    def hear(self, endpoint, variant, total):
        if total.waiting and self.lanes:
            self.publish(*self.lanes)

    def publish(self, *lanes):
        variant = VariantRoute(name="v", weight=1.0, lanes=lanes, signals=True)
        self.publisher.book.publish("e", EndpointRoute(name="e", variants=(variant,)))

    async def open_gateway(self, gateway):
        routes = RouteClient(gateway, socket_path=self.folder / "r.sock", file_path=self.folder / "routes")
        signaller = Signaller(gateway, self.folder / "s.sock")
        self.gateways.append(gateway)
        self.tasks += [asyncio.ensure_future(work) for work in (routes.run(), signaller.run())]
        return signaller

    async def until(self, true):
        async with asyncio.timeout(BOUND_S):
            while not true():
                await asyncio.sleep(0)

    def at(self, gateway, lanes):
        entry = gateway.endpoints.get("e")
        return entry is not None and len(entry.variants[0].lanes) == lanes

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for gateway in self.gateways:
            await gateway.close()
        await self.close_control()


@pytest.fixture
async def plane(bench):
    plane = Plane(bench)
    await plane.open_control()
    yield plane
    await plane.close()


async def test_no_timer_is_needed_to_wake_from_zero(bench, plane, monkeypatch):
    monkeypatch.setattr(Signaller, "look", lambda self: None)
    monkeypatch.setattr(bench.gateway, "_sweep", lambda: None)
    signaller = await plane.open_gateway(bench.gateway)
    worker = await bench.worker(echo)
    await plane.until(lambda: signaller.is_connected)
    plane.lanes = (worker.lane(),)
    for number in range(20):
        plane.publish()
        await plane.until(lambda: plane.at(bench.gateway, 0))
        calls = [bench.ask(bytes([number, n])) for n in range(3)]
        assert [await call.outcome() for call in calls] == [bytes([number, n]) for n in range(3)]
        signaller.caught_up()  # what it would tell when it looks: that nothing waits
    assert [got.body for got in worker.got] == [bytes([number, n]) for number in range(20) for n in range(3)]


async def test_one_gateways_call_brings_lanes_to_all(bench, plane):
    other = Gateway()
    signallers = [await plane.open_gateway(bench.gateway), await plane.open_gateway(other)]
    worker = await bench.worker(echo)
    plane.publish()
    await plane.until(lambda: all(s.is_connected for s in signallers))
    await plane.until(lambda: plane.at(bench.gateway, 0) and plane.at(other, 0))
    plane.lanes = (worker.lane(),)
    assert await bench.ask().outcome() == b"x"
    await plane.until(lambda: plane.at(other, 1))


async def test_a_call_that_waits_while_control_dies_is_answered_by_the_next_control(bench, plane):
    signaller = await plane.open_gateway(bench.gateway)
    plane.publish()
    await plane.until(lambda: signaller.is_connected and plane.at(bench.gateway, 0))
    call = bench.ask(b"patient")
    await plane.until(lambda: plane.signals.totals)
    await plane.close_control()
    await plane.until(lambda: not signaller.is_connected)
    worker = await bench.worker(echo)
    plane.lanes = (worker.lane(),)
    await plane.open_control()
    assert await call.outcome() == b"patient"


async def test_a_gateway_that_starts_at_zero_without_control_holds_calls_until_control_is_there(bench, plane):
    plane.publish()
    await plane.close_control()
    gateway = Gateway()
    client = RouteClient(gateway, socket_path=bench.folder / "r.sock", file_path=bench.folder / "routes")
    await client.load()
    bench.gateway = gateway
    await plane.open_gateway(gateway)
    call = bench.ask(b"first")
    worker = await bench.worker(echo)
    plane.lanes = (worker.lane(),)
    await plane.open_control()
    assert await call.outcome() == b"first"


async def test_calls_held_at_zero_end_in_time_when_no_replica_comes_and_later_ones_are_served(bench, plane):
    signaller = await plane.open_gateway(bench.gateway)
    variant = VariantRoute(name="v", weight=1.0, lanes=(), signals=True, timeout_s=0.1)
    plane.publisher.book.publish("e", EndpointRoute(name="e", variants=(variant,)))
    await plane.until(lambda: signaller.is_connected and plane.at(bench.gateway, 0))
    assert isinstance(await bench.ask().outcome(), NoCapacity)
    await plane.until(lambda: plane.signals.totals["e", "v"].now == 0)
    assert plane.signals.totals["e", "v"].ended == 1
    plane.lanes = ((await bench.worker(echo)).lane(),)
    assert await bench.ask().outcome() == b"x"
