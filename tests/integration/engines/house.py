"""A data directory with a nursery, engines on it, and a way to see what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.engines.local import processes, records
from trimtab.engines.local.engine import LocalEngine
from trimtab.engines.local.orders import BirthRecord
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime, RuntimeKind

HERE = Path(__file__).parent


class Lease:
    """What a fetch answers; counts itself among its folder's leases."""

    def __init__(self, path: Path, leases: Counter[Path]) -> None:
        self.path = path
        self.leases = leases
        leases[path] += 1

    def release(self) -> None:
        self.leases[self.path] -= 1


class House:
    def __init__(self, data_dir: Path, kind: str = "tiny", warm: Sequence[str] = ()) -> None:
        self.paths = Paths(data_dir)
        self.kind = kind
        self.warm = warm
        self.artifacts: dict[str, Path | Exception] = {}
        self.leases: Counter[Path] = Counter()
        self.engines: list[LocalEngine] = []
        self.nursery: subprocess.Popen[str] | None = None
        self.lifeline = os.pipe()
        self.seen: list[BirthRecord] = []
        self.paths.run_dir.mkdir(parents=True, exist_ok=True)

    def start_nursery(self) -> None:
        argv = [sys.executable, str(HERE / "nursery_process.py"), str(self.paths.nursery_socket)]
        argv += [str(self.lifeline[0]), self.kind, *self.warm]
        with (self.paths.run_dir / "nursery.log").open("ab") as log:
            self.nursery = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=log, text=True, pass_fds=[self.lifeline[0]]
            )
        assert self.nursery.stdout is not None
        assert self.nursery.stdout.readline() == "listening\n", self.nursery_log()

    def nursery_log(self) -> str:
        return (self.paths.run_dir / "nursery.log").read_text()

    def end_nursery(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.nursery is not None
        self.nursery.send_signal(number)
        status = self.nursery.wait(timeout=10)
        assert self.nursery.stdout is not None
        self.nursery.stdout.close()
        self.nursery = None
        return status

    async def fetch(self, url: str, compressed: bool, timeout_s: float) -> Lease:
        found = self.artifacts.get(url, FileNotFoundError(url))
        if isinstance(found, Exception):
            raise found
        if found.name == "never":
            await asyncio.Event().wait()
        return Lease(found, self.leases)

    async def engine(self, **settings: Any) -> LocalEngine:
        defaults = {"look_every_s": 0.05, "adopt_artifact": lambda path: Lease(path, self.leases)}
        engine = LocalEngine(self.paths, self.fetch, SystemClock(), **{**defaults, **settings})
        self.engines.append(engine)
        await engine.open()
        return engine

    def alive(self) -> list[BirthRecord]:
        """The processes that live, by their records."""
        found = [record for _, record in records.all_records(self.paths.workers_dir) if record is not None]
        self.seen += found
        return [record for record in found if records.is_alive(record)]

    async def close(self) -> None:
        for engine in self.engines:
            await engine.close()
        if self.nursery is not None:
            self.end_nursery()
        self.alive()
        for record in self.seen:
            if records.is_alive(record):
                processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
        for fd in self.lifeline:
            os.close(fd)


def a_spec(replica_id: str = "r1", **changes: Any) -> ReplicaSpec:
    fields: dict[str, Any] = {"endpoint": "shop", "variant": "main", "version": "v1", "model_name": "m"}
    return ReplicaSpec(id=replica_id, **{**fields, "runtime": Runtime(), **changes})


def tiny(mode: str, replica_id: str = "r1", **changes: Any) -> ReplicaSpec:
    environment = {"TINY": mode, **changes.pop("environment", {})}
    return a_spec(replica_id, environment=environment, **changes)


def a_command(script: Path, replica_id: str = "c1", **changes: Any) -> ReplicaSpec:
    command = (sys.executable, str(script), "{port}")
    return a_spec(replica_id, runtime=Runtime(kind=RuntimeKind.COMMAND, command=command), **changes)
