"""From replicas to what is measured of them: whose processes are whose, and a thread to read them in."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trimtab.clock import Clock
from trimtab.engines.local import processes
from trimtab.engines.local.containers import Containers
from trimtab.engines.local.gpu_usage import GpuMeter
from trimtab.engines.local.members import Member
from trimtab.engines.local.placement import Machine
from trimtab.engines.local.replica import LocalReplica
from trimtab.engines.local.usage import ProcessKey, Subject, UsageMeter
from trimtab.resources.usage import ReplicaUsage

_ASK_AGAIN_S = 30.0  # an engine that does not know a container's process


class Measuring:
    """One per engine."""

    def __init__(self, data_dir: Path, machine: Machine, containers: Containers, clock: Clock) -> None:
        self._clock = clock
        self._machine = machine
        self._containers = containers
        self._meter = UsageMeter(data_dir, GpuMeter() if machine.gpus else None, cores=len(machine.cpus))
        self._closed = False
        self._inside: dict[str, ProcessKey] = {}  # container -> its first process
        self._asked_at_s: dict[str, float] = {}
        self._asking: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="measure")  # one: readings follow one another

    async def measure(self, replicas: Sequence[LocalReplica]) -> Sequence[ReplicaUsage]:
        """Read those that have processes."""
        living = [(r, [m for m in r.members if not m.dead.is_set()]) for r in replicas]
        self._look_inside({m.record.container for _, members in living for m in members if m.record.container})
        subjects = [self._subject(replica, members) for replica, members in living if members]
        read = functools.partial(self._meter.measure, subjects, self._clock.monotonic_s())
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def close(self) -> None:
        """After the reading under way. Again: no effect."""
        if self._closed:
            return
        self._closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._meter.close)
        self._thread.shutdown()

    def _subject(self, replica: LocalReplica, members: Sequence[Member]) -> Subject:
        keys = [self._key(member) for member in members]
        keys += [(pid, ticks) for m in members for pid in m.family if (ticks := processes.start_ticks(pid)) is not None]
        return Subject(
            replica_id=replica.spec.id,
            endpoint=replica.spec.endpoint,
            variant=replica.spec.variant,
            processes=tuple(key for key in keys if key is not None),
            memory_limit_bytes=replica.place.memory_bytes or self._machine.memory_bytes,
            gpus=replica.place.gpus,
        )

    def _key(self, member: Member) -> ProcessKey | None:
        if member.record.container:  # its own process is only the command that started it
            return self._inside.get(member.record.container)
        return member.record.pid, member.record.start_ticks

    def _look_inside(self, containers: Collection[str]) -> None:
        """Have the first processes of containers that are new here found. Their engine may take its time."""
        now_s = self._clock.monotonic_s()
        for name in self._asked_at_s.keys() - containers:
            del self._asked_at_s[name]
            self._inside.pop(name, None)
        unknown = [
            name
            for name in containers
            if name not in self._inside and now_s - self._asked_at_s.get(name, float("-inf")) >= _ASK_AGAIN_S
        ]
        if unknown and (self._asking is None or self._asking.done()):
            self._asked_at_s.update(dict.fromkeys(unknown, now_s))
            self._asking = asyncio.create_task(self._ask(unknown), name="find processes of containers")

    async def _ask(self, containers: Sequence[str]) -> None:
        for name in containers:
            pid = await self._containers.pid(name)
            ticks = processes.start_ticks(pid) if pid else None
            if pid and ticks is not None:
                self._inside[name] = (pid, ticks)
