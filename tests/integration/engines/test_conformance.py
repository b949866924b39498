"""The local engine, with a real nursery and real processes, against the suite for all engines."""

from pathlib import Path

import pytest
from house import House, a_command, tiny

from trimtab.resources.replica import ReplicaSpec
from trimtab.testing.engines import EngineSuite, MakeEngine

HERE = Path(__file__).parent


class TestWorkers(EngineSuite):
    @pytest.fixture
    def make_engine(self, house: House) -> MakeEngine:
        return house.engine

    @pytest.fixture
    def spec(self) -> ReplicaSpec:
        return tiny("ready")

    @pytest.fixture
    def broken_spec(self) -> ReplicaSpec:
        return tiny("fail")


class TestSeveralWorkersAReplica(TestWorkers):
    @pytest.fixture
    def spec(self) -> ReplicaSpec:
        return tiny("ready", environment={"MODEL_SERVER_WORKERS": "3"})


class TestPrograms(TestWorkers):
    @pytest.fixture
    def spec(self) -> ReplicaSpec:
        return a_command(HERE / "server.py")

    @pytest.fixture
    def broken_spec(self) -> ReplicaSpec:
        return a_command(HERE / "server.py", environment={"SERVER": "exit"})
