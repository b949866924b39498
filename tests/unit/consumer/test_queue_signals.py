"""What control hears of tasks that wait in queues, and when; with control's real end of the socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trimtab.consumer.signals import QueueSignaller
from trimtab.control.signal_server import SignalServer, Total
from trimtab.gateway.gateway import Gateway
from trimtab.queues.model import Depth, QueueSettings
from trimtab.resources.asynchronous import AsyncSettings, QueueMark
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute

BOUND_S = 5.0


class World:
    """A consumer's gateway and signaller, and control."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "s.sock"
        self.gateway = Gateway()
        self.heard: list[tuple[str, str, Total]] = []
        self.control = SignalServer(self.path, lambda *told: self.heard.append(told))
        self.signaller = QueueSignaller(self.gateway, self.path)
        self._version = 0

    async def route(self, **weights: float) -> None:
        self._version += 1
        variants = tuple(
            VariantRoute(name=name, weight=weight, lanes=(), version="c", signals=True)
            for name, weight in (weights or {"v": 1.0}).items()
        )
        route = EndpointRoute(name="e", variants=variants, uid="u", asynchronous=AsyncSettings())
        await self.gateway.apply(RouteTable(version=self._version, endpoints=(route,)))

    def told(self, waiting: int, leased: int = 0, put: int = 0, mark: QueueMark | None = None) -> None:
        settings = QueueSettings(attributes=msgspec.json.encode(mark or QueueMark(uid="u")))
        self.signaller.told(Depth(queue="async/e", settings=settings, waiting=waiting, leased=leased, put=put))

    def total(self, variant: str = "v") -> Any:
        return self.control.totals.get(("e", variant))

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(BOUND_S):
            while not true():
                await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        world = World(Path(folder))
        await world.control.open()
        running = asyncio.ensure_future(world.signaller.run())
        await world.until(lambda: world.signaller.is_connected)
        yield world
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await world.control.close()
        await world.gateway.close()


async def test_the_first_task_of_an_endpoint_at_zero_is_told_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.signaller, "look", lambda: None)
    await world.route()
    world.told(1, put=1)
    await world.until(lambda: world.heard)
    assert (world.total().now, world.total().waiting) == (1, 1)
    assert world.total().oldest_s > 0


async def test_all_that_has_not_ended_is_in_hand_and_counters_grow_as_it_does(world: World) -> None:
    await world.route()
    world.told(0)
    world.told(0, 1, put=1)
    await world.until(lambda: world.total() is not None and world.total().now == 1)
    world.told(70, 10, put=81)
    await world.until(lambda: world.total().now == 80)
    before = world.total()
    world.told(20, 10, put=91)
    await world.until(lambda: world.total().now == 30)
    after = world.total()
    assert (after.waiting, after.arrived - before.arrived, after.ended - before.ended) == (20, 10, 60)
    world.told(0, 0, put=91)
    await world.until(lambda: world.total().now == 0 and world.total().in_hand == 0)
    assert world.total().arrived == world.total().ended
    await world.until(lambda: not world.signaller.is_looking)


async def test_variants_share_a_queue_by_their_weights(world: World) -> None:
    await world.route(v=3.0, w=1.0, none=0.0)
    world.told(100, put=100)
    await world.until(lambda: world.total("v") is not None and world.total("w") is not None)
    assert (world.total("v").now, world.total("w").now) == (75, 25)
    assert world.total("none") is None or world.total("none").now == 0


async def test_a_queue_that_waits_when_its_endpoint_is_routed_or_control_comes_back_is_told(world: World) -> None:
    world.told(5, put=5)
    await world.route()
    await world.until(lambda: world.total() is not None and world.total().waiting == 5)
    await world.control.close()
    await world.until(lambda: not world.signaller.is_connected)
    world.heard.clear()
    world.control = SignalServer(world.path, lambda *told: world.heard.append(told))
    await world.control.open()
    await world.until(lambda: world.heard)
    assert world.total().waiting == 5


@pytest.mark.parametrize("mark", [QueueMark(uid="u", deleted=True), QueueMark(uid="an earlier life")])
async def test_tasks_of_an_endpoint_that_is_no_more_wake_nobody(world: World, mark: QueueMark) -> None:
    await world.route()
    world.told(5, put=5, mark=mark)
    world.signaller.look()
    await asyncio.sleep(0)
    assert not [total for _, _, total in world.heard if total.now]
