"""What is published of replicas: what they take, how many there are, and what happens to them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.control.replica_metrics import event_samples, usage_samples
from trimtab.control.sampler import COUNTS_EVERY_S, Sampler
from trimtab.metrics.names import METRICS
from trimtab.metrics.store import Dimensions, MetricKey, Sample
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import Failure, ReplicaState
from trimtab.resources.usage import ReplicaUsage
from trimtab.testing.engine import FakeEngine, Fault
from trimtab.testing.metrics import MemoryMetricStore
from trimtab.testing.world import World, drive

RAISED = Failure(reason="ModelLoadFailed", message="model_fn raised.")
KILLED = Failure(reason="OutOfMemory", message="A worker ran out of memory and was ended.")


class Watched(World):
    """A World whose control is sampled."""

    metrics: MemoryMetricStore
    sampler: Sampler

    def restart(self) -> None:
        super().restart()
        self.metrics = getattr(self, "metrics", None) or MemoryMetricStore()
        self.sampler = Sampler(self.engine, self.store, self.metrics, self.clock)
        self.control.reconciler.told = self.sampler.told

    def sample(self) -> list[Sample]:
        before = len(self.metrics.samples)
        drive(self.sampler.sample(int(self.clock.now_s())))
        return self.metrics.samples[before:]


@pytest.fixture
def world(tmp_path: Path) -> Watched:
    made = Watched(tmp_path)
    yield made
    made.close()


def sums(samples: list[Sample], name: str) -> dict[Dimensions, tuple[float, float]]:
    """Of the samples of a metric, by dimensions: how many values, and their sum."""
    found: dict[Dimensions, tuple[float, float]] = {}
    for sample in samples:
        if sample.key.name == name:
            count, total = found.get(sample.key.dimensions, (0, 0))
            found[sample.key.dimensions] = (count + sample.sketch.count, total + sample.sketch.sum)
    return found


def of(variant: str = "main", **more: str) -> Dimensions:
    return tuple(sorted({"EndpointName": "ep", "VariantName": variant, **more}.items()))


def causes(world: Watched) -> dict[str, float]:
    loads = sums(world.metrics.samples, "ModelLoadTime")
    return {dict(key)["Cause"]: count for key, (count, _) in loads.items() if "Cause" in dict(key)}


def test_a_start_is_a_deployments_a_restart_or_a_scale_out(world: Watched) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    assert causes(world) == {"Deployment": 2}
    world.engine.kill(world.engine.ids()[0])
    world.settle()
    assert causes(world) == {"Deployment": 2, "Restart": 1}
    world.control.update_weights_and_counts("ep", {}, {"main": 5})
    world.settle()
    assert causes(world) == {"Deployment": 2, "Restart": 1, "ScaleOut": 3}
    world.update("ep", world.config("c2"))
    world.settle()
    assert causes(world) == {"Deployment": 3, "Restart": 1, "ScaleOut": 3}
    assert sums(world.metrics.samples, "ModelLoadTime")[of()][0] == 7


def test_a_start_after_a_back_off_is_a_restart(world: Watched) -> None:
    world.engine.faults.extend([Fault(failure=KILLED)] * 2)
    world.create("ep", world.config("c1"))
    world.settle()
    assert causes(world) == {"Restart": 1}


def test_a_new_control_knows_why_a_replica_was_started_that_becomes_ready_under_it(world: Watched) -> None:
    world.create("ep", world.config("c1"))
    world.settle()
    world.control.update_weights_and_counts("ep", {}, {"main": 2})
    world.turn()
    assert len(world.engine.ids(ReplicaState.STARTING)) == 1
    world.restart()
    world.settle()
    assert causes(world) == {"Deployment": 1, "ScaleOut": 1}


def test_losses_are_counted_once_and_named(world: Watched) -> None:
    world.create("ep", world.config("c1", counts={"main": 3}))
    world.settle()
    first, second, third = world.engine.ids()
    world.engine.fail(first, KILLED)
    world.engine.kill(second)
    world.settle()
    world.settle()
    samples = world.metrics.samples
    assert sums(samples, "ReplicasLost") == {
        of(): (2, 2),
        of(Reason="OutOfMemory"): (1, 1),
        of(Reason="Exited"): (1, 1),
    }
    assert sums(samples, "ReplicasOutOfMemory") == {of(): (1, 1)}
    events = world.control.get_endpoint("ep").events
    lost = [(event.replica_id, event.failure) for event in events if event.what == "replica lost"]
    assert sorted(lost) == sorted([(first, "OutOfMemory"), (second, "Exited")])


def test_drained_and_stopped_replicas_are_no_losses(world: Watched) -> None:
    world.create("ep", world.config("c1", counts={"main": 3}))
    world.settle()
    world.control.update_weights_and_counts("ep", {}, {"main": 1})
    world.settle()
    world.control.delete_endpoint("ep")
    world.settle()
    assert sums(world.metrics.samples, "ReplicasLost") == {}


def test_a_failed_start_is_a_loss_with_its_reason(world: Watched) -> None:
    world.engine.standing_faults["c1"] = Fault(failure=RAISED)
    world.create("ep", world.config("c1"))
    world.settle()
    assert of(Reason="ModelLoadFailed") in sums(world.metrics.samples, "ReplicasLost")
    assert causes(world) == {}


def test_replicas_are_counted_when_that_changes_and_now_and_then(world: Watched) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    samples = world.sample()
    assert sums(samples, "ReplicasDesired") == {of(): (1, 2)}
    assert sums(samples, "ReplicasReady") == {of(): (1, 0)}
    world.settle()
    assert sums(world.sample(), "ReplicasReady") == {of(): (1, 2)}
    world.clock.advance(1)
    assert sums(world.sample(), "ReplicasReady") == {}
    world.clock.advance(COUNTS_EVERY_S)
    assert sums(world.sample(), "ReplicasReady") == {of(): (1, 2)}
    world.control.delete_endpoint("ep")
    world.settle()
    assert sums(world.sample(), "ReplicasReady") == {}


def test_what_replicas_take_is_a_value_for_each_under_their_variant(world: Watched) -> None:
    world.create("ep", world.config("c1", counts={"main": 2}))
    world.settle()
    for replica_id, percent in zip(world.engine.ids(), (150.0, 50.0), strict=True):
        world.engine.usages[replica_id] = ReplicaUsage(
            replica_id=replica_id,
            endpoint="ep",
            variant="main",
            cpu_percent=percent,
            memory_bytes=100,
            memory_percent=1.0,
        )
    first = world.sample()
    assert sums(first, "CPUUtilization") == {}  # what was used since when?
    assert sums(first, "MemoryUtilization") == {of(): (2, 2.0)}
    samples = world.sample()
    [cpu] = [sample for sample in samples if sample.key.name == "CPUUtilization"]
    assert cpu.key == MetricKey("/aws/sagemaker/Endpoints", "CPUUtilization", of())
    assert (cpu.sketch.count, cpu.sketch.sum, cpu.sketch.min, cpu.sketch.max) == (2, 200, 50, 150)
    assert cpu.unit == "Percent"
    assert sums(samples, "MemoryBytes") == {of(): (2, 200)}
    assert sums(samples, "GPUUtilization") == {}  # there are none: that is not 0 %
    assert set(world.sampler.usages) == set(world.engine.ids())


def test_everything_that_is_published_is_declared() -> None:
    declared = {(m.namespace, m.name, m.unit, frozenset(d)) for m in METRICS for d in m.dimension_sets}
    usage = ReplicaUsage(
        replica_id="r", endpoint="e", variant="v", cpu_percent=1.0, memory_bytes=1, memory_percent=1.0, disk_percent=1.0,
        gpu_percent=1.0, gpu_memory_percent=1.0, gpu_memory_bytes=1,
    )  # fmt: skip
    events = [
        Event(at_s=1.5, what="replica lost", failure="OutOfMemory", variant="v"),
        Event(at_s=2.5, what="replica in routing", cause="Restart", load_time_s=0.25, variant="v"),
    ]
    samples = [*usage_samples([usage], 1), *event_samples("e", events)]
    assert len({sample.key for sample in samples}) == 11
    for sample in samples:
        key = sample.key
        assert (key.namespace, key.name, sample.unit, frozenset(name for name, _ in key.dimensions)) in declared


def test_a_load_time_is_told_in_milliseconds_at_the_time_of_the_event() -> None:
    event = Event(at_s=2.5, what="replica in routing", cause="Restart", load_time_s=0.25, variant="v")
    assert {(sample.start_s, sample.sketch.sum) for sample in event_samples("e", [event])} == {(2, 250.0)}


async def test_a_second_that_fails_is_told_once_and_the_next_ones_are_sampled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeEngine):
        measured = 0

        async def measure(self) -> list[ReplicaUsage]:
            self.measured += 1
            if self.measured < 3:
                raise OSError("no /proc")
            raise asyncio.CancelledError

    clock = ManualClock(1000.999)
    engine = Broken(clock)
    sampler = Sampler(engine, World(tmp_path).store, MemoryMetricStore(), clock)
    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await sampler.run()
    assert engine.measured == 3
    assert [record.message for record in caplog.records] == ["replicas could not be measured"]
