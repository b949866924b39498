"""LocalEngine: replicas as processes of this machine."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trimtab.clock import Clock
from trimtab.config import Paths
from trimtab.engines.local import adoption, gpus, processes, records, strays
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.containers import Containers
from trimtab.engines.local.failures import StartFailed
from trimtab.engines.local.hosted import HostedWorkers
from trimtab.engines.local.layers import Layers
from trimtab.engines.local.measuring import Measuring
from trimtab.engines.local.orders import BirthRecord
from trimtab.engines.local.placement import Machine, Place, Placer, this_machine
from trimtab.engines.local.ports import Ports
from trimtab.engines.local.programs import PING_EVERY_S
from trimtab.engines.local.replica import ENDED, Lease, LocalReplica
from trimtab.engines.local.shapes import Shape, shape_of
from trimtab.engines.local.starting import Fetch, Starter, end_members, end_unwanted, worker_processes
from trimtab.engines.local.workers import WorkerMember
from trimtab.errors import Invalid, NoCapacity
from trimtab.logs import fields
from trimtab.resources.replica import Failure, ReplicaSpec, ReplicaState, ReplicaStatus
from trimtab.resources.runtime import RuntimeKind
from trimtab.resources.usage import ReplicaUsage

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
HUNG_MARGIN_S = 10.0
_ADOPTION_LIMIT_S = 2.0
_LATE_S = 0.2


class LocalEngine:
    """The default `Engine`. One per control; a second one in a later process takes over what the first left."""

    def __init__(
        self,
        paths: Paths,
        fetch: Fetch,
        clock: Clock,
        *,
        adopt_artifact: Callable[[Path], Lease | None] = lambda _: None,
        region: str = "us-east-1",
        enforce_shapes: bool = False,
        invocation_limit_s: float = 60.0,
        hung_margin_s: float = HUNG_MARGIN_S,
        orphan_grace_s: float = 60.0,
        machine: Machine | None = None,
        nursery_patience_s: float = 30.0,
        look_every_s: float = LOOK_EVERY_S,
        ping_every_s: float = PING_EVERY_S,
        installer: Sequence[str] | None = None,
        rng: random.Random | None = None,
        house: str = "",
        supervisor_pid: int = 0,
    ) -> None:
        """`fetch(url, compressed, timeout_s)` brings an artifact to local disk and leases it; `adopt_artifact(folder)`
        leases one that an adopted process reads (None: it is nobody's to lease). A lease is released when its replica's
        last process is dead.

        A worker that has had one request in hand for `invocation_limit_s + hung_margin_s` is hung. `machine` and
        `installer` are found out when None. `house` names the supervisor: what lives of another one is dying with it.
        `supervisor_pid` is who inherits what models leave behind (0: nobody looks after that).
        """
        self._paths = paths
        self._clock = clock
        self._adopt_artifact = adopt_artifact
        self._enforce = enforce_shapes
        self._house = house
        self._strays = strays.Watch(supervisor_pid, paths.record_dirs, house)
        self._room = asyncio.Event()  # set when any has come free
        self._orphan_grace_s = orphan_grace_s
        self._hung_after_s = invocation_limit_s + hung_margin_s
        self._look_every_s = look_every_s
        machine = machine or this_machine(gpus.inventory())
        self._placer = Placer(machine, enforce=enforce_shapes)
        self._nursery = NurseryClient(paths.nursery_socket, patience_s=nursery_patience_s)
        self._layers = Layers(paths.layers, installer)
        self.install = self._layers.ensure  # for whoever else needs requirements: one install for each content
        self._containers = Containers()
        self._usage = Measuring(paths.data_dir, machine, self._containers, clock)
        self._ports = Ports(rng or random.Random())
        self._starter = Starter(
            paths,
            fetch,
            self._layers,
            self._nursery,
            containers=self._containers,
            ports=self._ports,
            machine_gpus=machine.gpus,
            region=region,
            orphan_grace_s=orphan_grace_s,
            ping_every_s=ping_every_s,
            hung_after_s=self._hung_after_s,
            house=house,
        )
        self._hosted = HostedWorkers(paths.models_dir, paths.hosted, self._containers)
        self._replicas: dict[str, LocalReplica] = {}
        self._ending: dict[str, LocalReplica] = {}  # stopped, not dead yet: their places are taken still
        self._tasks: set[asyncio.Task[None]] = set()
        self._wakes: list[Callable[[], None]] = []
        self._wake_due = False

    async def open(self) -> None:
        """Connect to the nursery and adopt what lives. Returns once every living worker has spoken (or 2 s passed)."""
        for folder in self._paths.record_dirs:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._nursery.open()
        self._background(asyncio.to_thread(self._layers.sweep), "sweep layers")
        living, dead = await adoption.find_living(self._paths.workers_dir, self._house)
        for record in dead:
            if record.container:
                self._containers.remove(record.container)
        for path, record in living:
            self._adopt(path, record)
        self._see_off(self._ending)
        members = [member for replica in self._replicas.values() for member in replica.members]
        if members:
            await asyncio.wait(
                [asyncio.ensure_future(member.known.wait()) for member in members], timeout=_ADOPTION_LIMIT_S
            )
        for replica in list(self._replicas.values()):
            self._go_on(replica)
        self._background(self._look(), "look after replicas")

    async def start(self, spec: ReplicaSpec) -> None:
        """Order a replica. Raises NoCapacity, unless others are leaving: then it waits for the room that they make.

        A spec that can never start becomes a failed replica (Invalid).
        """
        if spec.id in self._replicas or spec.id in self._ending:
            return
        try:
            workers = spec.runtime.kind is RuntimeKind.PYTHON and spec.hosting is None
            count = worker_processes(spec.environment) if workers else 1
            shape = shape_of(spec.instance_type)
        except Invalid as error:
            replica = self._new_replica(spec, Place(), 1, self._clock.now_s())
            replica.fail(Failure(reason="Invalid", message=str(error)))
            return
        start = self._starter.start
        try:
            place = self._placer.place(spec.id, shape)
        except NoCapacity:
            if not self._leaving():
                raise
            place, start = Place(), functools.partial(self._start_when_there_is_room, shape)
        replica = self._new_replica(spec, place, count, self._clock.now_s())
        replica.start = self._background(self._bring_up(replica, start), f"start {spec.id}")
        self._changed()

    async def drain(self, replica_id: str, *, grace_s: float) -> None:
        """Finish what is in hand, then end; what is not ready is stopped."""
        replica = self._replicas.get(replica_id)
        if replica is None or replica.ending is not None:
            return
        if replica.state in (ReplicaState.READY, ReplicaState.DRAINING):
            replica.drain_begins()
            replica.ending = self._background(self._drain(replica, grace_s), f"drain {replica_id}")
        else:
            await self.stop(replica_id)

    async def stop(self, replica_id: str) -> None:
        """End it now; it is no longer listed when this returns."""
        replica = self._replicas.pop(replica_id, None)
        if replica is None:
            return
        self._ending[replica_id] = replica
        replica.gone()
        self._background(self._end(replica), f"stop {replica_id}")
        self._changed()

    def observe(self) -> Sequence[ReplicaStatus]:
        """All replicas, those of earlier controls included. A failed one stays until it is stopped."""
        return [replica.status() for replica in self._replicas.values()]

    async def measure(self) -> Sequence[ReplicaUsage]:
        """What the processes of each replica take. A container's are found by the engine that runs it."""
        return await self._usage.measure(list(self._replicas.values()))

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call `wake` once per turn of the loop in which anything has changed."""
        self._wakes.append(wake)

    async def close(self) -> None:
        """Let go. Replicas live on, for the next control to adopt; starts and installs under way are given up."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        replicas = [*self._replicas.values(), *self._ending.values()]
        await asyncio.gather(*(member.close() for replica in replicas for member in replica.members))
        await self._layers.close()
        await self._usage.close()
        await self._containers.close()
        await self._nursery.close()

    def tail(self, replica_id: str) -> str:
        """The last lines that a replica logged, of each of its processes; "" for an unknown one. Does I/O."""
        replica = self._replicas.get(replica_id)
        tails = [member.log_tail() for member in replica.members] if replica else []
        return "\n".join(filter(None, tails))

    def log_files(self, replica_id: str) -> list[Path]:
        """Where a replica's processes log, dead or alive: paths.logs/ENDPOINT/VARIANT/REPLICA-INDEX.log. Does I/O."""
        return sorted(self._paths.logs.glob(f"*/*/{replica_id}-*.log"))

    def _new_replica(
        self,
        spec: ReplicaSpec,
        place: Place,
        count: int,
        started_s: float,
        *,
        among: dict[str, LocalReplica] | None = None,
    ) -> LocalReplica:
        replica = LocalReplica(spec, place, processes=count, started_s=started_s, on_change=self._changed)
        (self._replicas if among is None else among)[spec.id] = replica
        return replica

    def _leaving(self) -> bool:
        """Whether room will come free: what drains ends, and what has failed is stopped by whoever ordered it."""
        leaving = (ReplicaState.DRAINING, ReplicaState.FAILED)
        return bool(self._ending) or any(replica.state in leaving for replica in self._replicas.values())

    async def _start_when_there_is_room(self, shape: Shape, replica: LocalReplica) -> None:
        replica.step = "waiting for room"
        while True:
            try:
                replica.place = self._placer.place(replica.spec.id, shape)
                break
            except NoCapacity:
                if not self._leaving():
                    raise
            self._room.clear()
            await self._room.wait()
        await self._starter.start(replica)

    async def _bring_up(self, replica: LocalReplica, start: Callable[[LocalReplica], Awaitable[None]]) -> None:
        try:
            await start(replica)
        except StartFailed as error:
            replica.fail(error.failure)
        except NoCapacity as error:
            replica.fail(Failure(reason="NoCapacity", message=str(error)))
        except Exception as error:
            logger.exception("start broke %s", fields(id=replica.spec.id))
            replica.fail(Failure(reason="NoCapacity", message=f"trimtab could not start it: {error!r}. See its log."))
        if replica.state is ReplicaState.READY and replica.spec.runtime.imports:
            self._nursery.learn(replica.spec.runtime.imports)

    async def _drain(self, replica: LocalReplica, grace_s: float) -> None:
        await asyncio.gather(*(member.drain(grace_s) for member in replica.members))
        if replica.spec.hosting is not None:
            await self._hosted.see_off(replica.spec.id, 0.0)  # what its end left, if it had to be killed
        if self._replicas.get(replica.spec.id) is replica:
            del self._replicas[replica.spec.id]
            self._let_go(replica)
            if replica.state is ReplicaState.DRAINING:
                replica.gone()

    async def _end(self, replica: LocalReplica) -> None:
        """Give up its start, end its processes, then free its place."""
        for task in (replica.start, replica.ending):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        crashed = all(member.dead.is_set() for member in replica.members)
        await asyncio.gather(end_members(replica.members), end_unwanted(replica.unwanted))
        if replica.spec.hosting is not None:  # nobody has told its models to end, if it was dead already
            await self._hosted.see_off(replica.spec.id, self._orphan_grace_s if crashed else 0.0)
        self._let_go(replica)
        self._ending.pop(replica.spec.id, None)
        self._changed()  # there is room again for what was refused

    def _see_off(self, replica_ids: Iterable[str]) -> None:
        for replica_id in replica_ids:
            self._background(self._end_in_peace(self._ending[replica_id]), f"see off {replica_id}")

    async def _end_in_peace(self, replica: LocalReplica) -> None:
        grace_s = self._orphan_grace_s
        known = [asyncio.ensure_future(member.known.wait()) for member in replica.members]
        await asyncio.wait(known, timeout=grace_s)  # only who is connected can be told
        for waiting in known:
            waiting.cancel()
        await asyncio.gather(*(member.drain(grace_s) for member in replica.members))
        if replica.spec.hosting is not None:
            await self._hosted.see_off(replica.spec.id, grace_s)
        self._let_go(replica)
        self._ending.pop(replica.spec.id, None)
        self._changed()

    def _let_go(self, replica: LocalReplica) -> None:
        """Its last process is dead: give back what it held."""
        self._placer.release(replica.spec.id)
        replica.release_artifact()
        self._room.set()

    def _adopt(self, path: Path, record: BirthRecord) -> None:
        """Add a living process to its replica, which is made from the first one's record.

        One of another supervisor finishes what it has in hand and ends. It is never listed, so nobody counts on it, but
        it has its place until it is dead.
        """
        ours = record.house == self._house
        replicas = self._replicas if ours else self._ending
        replica = replicas.get(record.replica_id)
        if replica is None:
            try:
                spec = msgspec.msgpack.decode(record.spec, type=ReplicaSpec)
            except msgspec.DecodeError as error:
                logger.error("cannot adopt, ending it %s", fields(pid=record.pid, error=error))
                processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
                records.forget(path)
                return
            place = Place(cpus=record.cpus, memory_bytes=record.memory_bytes, gpus=record.gpus)
            self._placer.adopt(spec.id, place)
            replica = self._new_replica(spec, place, record.processes, record.started_s, among=replicas)
            if not ours:
                replica.drain_begins()
        if replica.artifact is None and record.model_dir:
            replica.artifact = self._adopt_artifact(Path(record.model_dir))
        replica.processes = max(replica.processes, record.processes)
        logger.info("adopted %s" if ours else "seen off %s", fields(id=record.replica_id, pid=record.pid))
        if record.address.startswith("unix:"):
            replica.attach(WorkerMember(record, path, self._nursery, replica.members_changed))
        else:
            member = self._starter.follow_program(replica, record, path)
            self._ports.hold(member.port)
            replica.attach(member)

    def _go_on(self, replica: LocalReplica) -> None:
        """After adoption: a replica that lost processes has failed; one that was starting has the rest of its time."""
        if len(replica.members) < replica.processes:
            missing = replica.processes - len(replica.members)
            replica.fail(
                Failure(
                    reason="Exited",
                    message=f"{missing} of its {replica.processes} model server processes were gone when control "
                    "came back.",
                    tail=replica.members[0].log_tail(),
                )
            )
        elif replica.state is ReplicaState.STARTING:
            age_s = records.age_s(replica.members[0].record)
            wait = functools.partial(self._starter.await_ready, age_s=age_s)
            replica.start = self._background(self._bring_up(replica, wait), f"await {replica.spec.id}")

    async def _look(self) -> None:
        """Once a second: ask the workers how they are, end what hangs or has outgrown its place."""
        looked_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(self._look_every_s)
            now_s = self._clock.monotonic_s()
            on_time = now_s - looked_s < self._look_every_s + _LATE_S
            looked_s = now_s
            oom_kills = processes.oom_kills()
            for replica in list(self._replicas.values()):
                for member in replica.members:
                    member.note_oom_kills(oom_kills)
                    if isinstance(member, WorkerMember):
                        if on_time:
                            member.check_hung(self._hung_after_s, now_s)
                        else:  # it is control that was held up: what workers said meanwhile is still unread
                            member.heard_s = now_s
                        member.ask()
                if self._enforce and replica.spec.hosting is None:  # a host bounds its models itself
                    self._check_memory(replica)
            self._take_in_newcomers()
            self._see_off_hosted()
            replicas = [*self._replicas.values(), *self._ending.values()]
            self._strays.look({pid for replica in replicas for pid in replica.pids})

    def _see_off_hosted(self) -> None:
        """Models whose host died when no control was there, or was born when it had been given up."""
        for replica_id in self._hosted.replicas() - self._replicas.keys() - self._ending.keys():
            self._background(self._hosted.see_off(replica_id, self._orphan_grace_s), f"see off models of {replica_id}")

    def _take_in_newcomers(self) -> None:
        """An earlier control's last orders may have been carried out after this one had looked for what lives."""
        replicas = [*self._replicas.values(), *self._ending.values()]
        known = {member.path for replica in replicas for member in replica.members}
        ours = {replica.spec.id: replica for replica in replicas}
        adopted: set[str] = set()
        for path, record in adoption.newcomers(self._paths.workers_dir, known):
            replica = ours.get(record.replica_id)
            if replica is None:
                self._adopt(path, record)
                adopted.add(record.replica_id)
            elif replica.state in ENDED:  # it was given up for want of this process
                processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
                records.forget(path)
        adoption.sweep(self._paths.workers_dir, self._replicas.keys() | self._ending.keys())
        self._see_off(adopted & self._ending.keys())
        for replica_id in adopted & self._replicas.keys():
            self._go_on(self._replicas[replica_id])

    def _check_memory(self, replica: LocalReplica) -> None:
        """All processes of a replica together may have what its instance type has."""
        limit = replica.place.memory_bytes
        used = sum(map(processes.resident_bytes, replica.pids)) if limit else 0
        if used > limit:
            replica.fail(
                Failure(
                    reason="OutOfMemory",
                    message=f"The replica used {used / 2**30:.1f} GiB; {replica.spec.instance_type} has "
                    f"{limit / 2**30:g} GiB. Use an instance type with more memory, or fewer model server workers.",
                    tail=replica.members[0].log_tail(),
                )
            )

    def _changed(self) -> None:
        for replica in self._replicas.values():
            if replica.state is ReplicaState.FAILED and replica.ending is None:
                # What is left of a failed replica must not go on beside its successor.
                replica.ending = self._background(end_members(replica.members), f"end {replica.spec.id}")
        if not self._wake_due:
            self._wake_due = True
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_due = False
        for wake in self._wakes:
            wake()

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task failed: %s", task.get_name(), exc_info=error)
