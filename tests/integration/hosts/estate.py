"""What tests of model hosts are made in: a nursery, an engine, both ends of hosts, and a folder of models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from msgspec.structs import replace

from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.engines.local import processes, records
from trimtab.engines.local.engine import LocalEngine
from trimtab.engines.local.orders import BirthRecord
from trimtab.resources.hosting import Hosting
from trimtab.resources.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from trimtab.resources.runtime import Runtime
from trimtab.testing.engines import settled
from trimtab.testing.host_ends import HostControl, HostGateway
from trimtab.testing.waiting import until

MIB = 2**20
PREFIX = "s3://b/models/"
HERE = Path(__file__).parent


class Estate:
    """A nursery, an engine, a control's end for hosts, and a folder of models."""

    def __init__(self, data_dir: Path) -> None:
        self.paths = Paths(data_dir)
        self.paths.run_dir.mkdir(parents=True, exist_ok=True)
        self.folder = data_dir / "models"
        self.lifeline = os.pipe()
        self.nursery: subprocess.Popen[str] | None = None
        self.control = HostControl(self.paths.hosts_socket)
        self.engines: list[LocalEngine] = []
        self.gateways: list[HostGateway] = []
        self.seen: dict[int, BirthRecord] = {}

    def start_nursery(self) -> None:
        argv = [sys.executable, str(HERE / "nursery_process.py"), str(self.paths.nursery_socket), str(self.lifeline[0])]
        with (self.paths.run_dir / "nursery.log").open("ab") as log:
            self.nursery = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=[self.lifeline[0]]
            )
        assert self.nursery.stdout is not None
        assert self.nursery.stdout.readline() == "listening\n", (self.paths.run_dir / "nursery.log").read_text()

    def end_nursery(self) -> None:
        assert self.nursery is not None
        self.nursery.kill()
        self.nursery.wait(timeout=10)
        assert self.nursery.stdout is not None
        self.nursery.stdout.close()
        self.nursery = None

    async def engine(self, **settings: object) -> LocalEngine:
        async def no_artifact(url: str, compressed: bool, timeout_s: float) -> None:
            raise AssertionError("a model host has no artifact of its own")

        given = {"look_every_s": 0.05, "orphan_grace_s": 5.0, **settings}
        engine = LocalEngine(self.paths, no_artifact, SystemClock(), **given)  # type: ignore[arg-type]
        self.engines.append(engine)
        await engine.open()
        return engine

    def model(self, name: str, script: str, version: str = "v1", weights_mib: int = 0) -> None:
        """Put a model into control's folder, or another version of it; `weights_mib` are nothing but holes."""
        folder = self.folder / f"{name}@{version}"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "inference.py").write_text(script)
        with (folder / "weights.bin").open("wb") as weights:
            weights.truncate(weights_mib * MIB)
        self.control.models[name] = folder, version

    async def host(self, engine: LocalEngine, spec: ReplicaSpec) -> ReplicaStatus:
        """Start a host and wait until it is ready."""
        await engine.start(spec)
        status = await settled(engine, spec.id, ReplicaState.READY, ReplicaState.FAILED)
        assert status.state is ReplicaState.READY, status.failure
        return status

    async def gateway(self, status: ReplicaStatus) -> HostGateway:
        """A gateway that is connected to a host."""
        gateway = HostGateway()
        self.gateways.append(gateway)
        await gateway.connect(status.addresses[0])
        return gateway

    def workers(self, replica_id: str = "") -> list[BirthRecord]:
        """Those of models that live."""
        found = [record for _, record in records.all_records(self.paths.models_dir) if record is not None]
        self.seen.update({record.pid: record for record in found})
        return [record for record in found if records.is_alive(record) and replica_id in ("", record.replica_id)]

    def log(self, model: str) -> str:
        """What a model has logged, in all its processes."""
        return "\n".join(path.read_text() for path in self.paths.logs.glob(f"*/*/*{model}*.log"))

    async def close(self) -> None:
        self.workers()
        for gateway in self.gateways:
            await gateway.close()
        for engine in self.engines:
            for status in engine.observe():
                await engine.stop(status.id)
        await until(lambda: not self.workers())
        for engine in self.engines:
            await engine.close()
        if self.nursery is not None:
            self.end_nursery()
        await self.control.close()
        for record in self.seen.values():
            if records.is_alive(record):
                processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
        for fd in self.lifeline:
            os.close(fd)


def a_host(replica_id: str = "h1", *, memory_mib: int = 512, cache: bool = True, **changes: object) -> ReplicaSpec:
    spec = ReplicaSpec(
        id=replica_id,
        endpoint="shop",
        variant="main",
        version="v1",
        model_name="m",
        runtime=Runtime(),
        hosting=Hosting(prefix=PREFIX, cache=cache, memory_bytes=memory_mib * MIB),
    )
    return replace(spec, **changes)
