"""What every engine must do, as a suite: subclass it and give it engines and specs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.engines.engine import Engine
from trimtab.resources.replica import ReplicaSpec, ReplicaState, ReplicaStatus, StartCause

LIMIT_S = 20.0
MakeEngine = Callable[[], Awaitable[Engine]]


def find(engine: Engine, replica_id: str) -> ReplicaStatus | None:
    """What the engine observes of one replica; None when it does not list it."""
    return next((status for status in engine.observe() if status.id == replica_id), None)


async def until(engine: Engine, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
    """Wait until `condition` holds, looking after each change that the engine tells of."""
    changed = asyncio.Event()
    engine.on_change(changed.set)
    try:
        async with asyncio.timeout(limit_s):
            while not condition():
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise AssertionError(f"not within {limit_s} s; observed: {list(engine.observe())}") from None


async def settled(engine: Engine, replica_id: str, *states: ReplicaState) -> ReplicaStatus:
    """Wait until a replica is in one of `states`, and return what is observed of it."""

    def reached() -> bool:
        status = find(engine, replica_id)
        return status is not None and status.state in states

    await until(engine, reached)
    status = find(engine, replica_id)
    assert status is not None
    return status


async def absent(engine: Engine, replica_id: str) -> None:
    """Wait until a replica is no longer listed, or gone."""

    def gone() -> bool:
        status = find(engine, replica_id)
        return status is None or status.state is ReplicaState.GONE

    await until(engine, gone)


class EngineSuite:
    """The promises of `engines.engine.Engine`."""

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        """Opens an engine on the same machine each time it is called: a second call is a new control."""
        raise NotImplementedError("a subclass gives the engines")

    @pytest.fixture
    async def engine(self, make_engine: MakeEngine) -> Engine:
        """An open engine that owns nothing."""
        return await make_engine()

    @pytest.fixture
    def spec(self) -> ReplicaSpec:
        """A replica that becomes ready."""
        raise NotImplementedError("a subclass gives the specs")

    @pytest.fixture
    def broken_spec(self) -> ReplicaSpec:
        """A replica that fails while it loads its model."""
        raise NotImplementedError("a subclass gives the specs")

    async def test_a_started_replica_becomes_ready_with_an_address(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        status = await settled(engine, spec.id, ReplicaState.READY)
        assert status.addresses
        assert status.failure is None
        assert (status.endpoint, status.variant, status.version) == (spec.endpoint, spec.variant, spec.version)

    async def test_a_replica_is_listed_as_soon_as_it_is_ordered(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        assert find(engine, spec.id) is not None

    async def test_starting_the_same_id_again_has_no_effect(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        await engine.start(spec)
        before = await settled(engine, spec.id, ReplicaState.READY)
        await engine.start(replace(spec, version="other"))
        assert [status.id for status in engine.observe()] == [spec.id]
        assert find(engine, spec.id) == before

    async def test_unknown_ids_have_no_effect(self, engine: Engine) -> None:
        await engine.drain("nobody", grace_s=1.0)
        await engine.stop("nobody")
        assert list(engine.observe()) == []

    async def test_a_stopped_replica_is_forgotten(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        await settled(engine, spec.id, ReplicaState.READY)
        await engine.stop(spec.id)
        await absent(engine, spec.id)
        await engine.stop(spec.id)

    async def test_a_replica_stopped_while_it_starts_is_forgotten(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        await engine.stop(spec.id)
        await absent(engine, spec.id)

    async def test_a_drained_replica_ends(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(spec)
        await settled(engine, spec.id, ReplicaState.READY)
        await engine.drain(spec.id, grace_s=10.0)
        status = find(engine, spec.id)
        assert status is None or status.state is not ReplicaState.READY
        await engine.drain(spec.id, grace_s=10.0)
        await absent(engine, spec.id)

    async def test_a_failed_replica_says_why_and_stays_until_it_is_stopped(
        self, engine: Engine, broken_spec: ReplicaSpec
    ) -> None:
        await engine.start(broken_spec)
        status = await settled(engine, broken_spec.id, ReplicaState.FAILED)
        assert status.failure is not None
        assert status.failure.reason
        assert status.failure.message
        await engine.start(broken_spec)
        again = find(engine, broken_spec.id)
        assert again is not None
        assert again.state is ReplicaState.FAILED
        await engine.stop(broken_spec.id)
        await absent(engine, broken_spec.id)

    async def test_what_a_ready_replica_takes_is_measured(self, engine: Engine, spec: ReplicaSpec) -> None:
        assert list(await engine.measure()) == []
        await engine.start(spec)
        await settled(engine, spec.id, ReplicaState.READY)
        [first] = await engine.measure()
        assert (first.replica_id, first.endpoint, first.variant) == (spec.id, spec.endpoint, spec.variant)
        assert first.cpu_percent is None  # there is no reading before
        assert first.memory_bytes
        [second] = await engine.measure()
        assert second.cpu_percent is not None
        assert second.cpu_percent >= 0
        await engine.stop(spec.id)
        await absent(engine, spec.id)
        assert list(await engine.measure()) == []

    async def test_a_replica_is_listed_with_the_cause_of_its_start(self, engine: Engine, spec: ReplicaSpec) -> None:
        await engine.start(replace(spec, cause=StartCause.SCALE_OUT))
        assert (await settled(engine, spec.id, ReplicaState.READY)).cause is StartCause.SCALE_OUT

    async def test_replicas_outlive_their_engine_and_are_adopted(
        self, make_engine: MakeEngine, spec: ReplicaSpec
    ) -> None:
        first = await make_engine()
        await first.start(spec)
        before = await settled(first, spec.id, ReplicaState.READY)
        await first.close()
        second = await make_engine()
        after = find(second, spec.id)
        assert after is not None
        assert (after.state, after.addresses, after.pids) == (ReplicaState.READY, before.addresses, before.pids)
        assert (after.endpoint, after.variant, after.version) == (spec.endpoint, spec.variant, spec.version)
        await second.start(spec)
        assert [status.id for status in second.observe()] == [spec.id]
        await second.stop(spec.id)
        await absent(second, spec.id)
