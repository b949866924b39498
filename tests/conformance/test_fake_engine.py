"""The fake engine keeps the promises that all engines keep; otherwise what is tested with it would prove nothing."""

import pytest

from trimtab.clock import SystemClock
from trimtab.engines.engine import Engine
from trimtab.resources.replica import Failure, ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.testing.engine import FakeEngine, Fault
from trimtab.testing.engines import EngineSuite, MakeEngine


class TestFakeEngine(EngineSuite):
    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        engine = FakeEngine(SystemClock(), automatic=True)
        engine.standing_faults["broken"] = Fault(failure=Failure(reason="ModelLoadFailed", message="model_fn raised"))

        async def make() -> Engine:
            await engine.open()
            return engine

        return make

    @pytest.fixture
    def spec(self) -> ReplicaSpec:
        return ReplicaSpec(id="r", endpoint="ep", variant="v", version="good", model_name="m", runtime=Runtime())

    @pytest.fixture
    def broken_spec(self) -> ReplicaSpec:
        return ReplicaSpec(id="b", endpoint="ep", variant="v", version="broken", model_name="m", runtime=Runtime())
