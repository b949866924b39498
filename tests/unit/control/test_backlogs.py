"""What waits in queues becomes AWS's metrics of an endpoint: each minute's mean is right, and idle ones cost little."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.backlogs import Backlogs
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import Sample
from trimtab.queues.model import Depth, QueueSettings
from trimtab.resources.asynchronous import AsyncSettings, QueueMark
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute

MINUTE_S = 1_700_000_040


class World:
    def __init__(self, replicas: int = 0) -> None:
        self.samples: list[Sample] = []
        self.route(replicas)
        self.backlogs = Backlogs(self, lambda: self.table, ManualClock(MINUTE_S))

    def record(self, samples: Any) -> None:
        self.samples += samples

    def route(self, replicas: int) -> None:
        lanes = tuple(Lane(replica_id=f"r{n}", address=f"unix:/{n}{part}") for n in range(replicas) for part in "ab")
        variant = VariantRoute(name="v", weight=1.0, lanes=lanes, version="c")
        plain = EndpointRoute(name="plain", variants=(variant,))
        self.table = RouteTable(
            version=1,
            endpoints=(plain, EndpointRoute(name="e", variants=(variant,), uid="u", asynchronous=AsyncSettings())),
        )

    def told(self, waiting: int, leased: int, oldest_s: float = 0.0) -> None:
        settings = QueueSettings(attributes=msgspec.json.encode(QueueMark(uid="u")))
        depth = Depth(queue="async/e", settings=settings, waiting=waiting, leased=leased, oldest_put_s=oldest_s)
        self.backlogs.told(depth)

    def whole(self, name: str) -> Sketch:
        made = Sketch()
        for sample in self.samples:
            if sample.key.name == name:
                assert sample.key.dimensions == (("EndpointName", "e"),)
                made.merge(sample.sketch)
        return made


def test_an_idle_minute_is_one_zero() -> None:
    world = World(replicas=1)
    world.told(0, 0)
    for second_s in range(60):
        world.backlogs.sample(MINUTE_S + second_s)
    assert len(world.samples) == 4
    assert world.whole("ApproximateBacklogSize").max == 0


def test_a_minute_in_which_something_comes_has_the_mean_of_its_seconds() -> None:
    world = World(replicas=2)
    world.told(0, 0)
    for second_s in range(60):
        if second_s == 30:
            world.told(9, 3, MINUTE_S + 30)
        world.backlogs.sample(MINUTE_S + second_s)
    size = world.whole("ApproximateBacklogSize")
    assert (size.count, size.sum, size.max) == (60, 30 * 12.0, 12.0)
    assert world.whole("ApproximateBacklogSizePerInstance").max == 6.0
    assert world.whole("ApproximateAgeOfOldestRequest").max == 30.0
    assert world.whole("HasBacklogWithoutCapacity").sum == 0


def test_without_a_ready_replica_the_backlog_is_told_to_have_no_capacity() -> None:
    world = World(replicas=0)
    world.told(7, 0, MINUTE_S)
    world.backlogs.sample(MINUTE_S)
    assert world.whole("HasBacklogWithoutCapacity").sum == 1
    assert world.whole("ApproximateBacklogSizePerInstance").sum == 7  # AWS does not say; a policy can go by it
    world.route(1)
    world.backlogs.sample(MINUTE_S + 1)
    assert world.whole("HasBacklogWithoutCapacity").sum == 1


@pytest.mark.parametrize("gone", ["queue", "endpoint"])
def test_what_is_gone_has_no_backlog(gone: str) -> None:
    world = World(replicas=1)
    world.told(5, 0, MINUTE_S)
    world.backlogs.sample(MINUTE_S)
    if gone == "queue":
        world.backlogs.told(Depth(queue="async/e", settings=QueueSettings()))
        assert world.backlogs.size("e") is None
    else:
        world.table = RouteTable(version=2, endpoints=())
    before = world.whole("ApproximateBacklogSize").sum
    world.backlogs.sample(MINUTE_S + 1)
    assert world.whole("ApproximateBacklogSize").sum == before
