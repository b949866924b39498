"""A start, step by step: fetch the artifact, install its requirements, order the processes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from trimtab.config import Paths
from trimtab.engines.local import failures, gpus, processes, records
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.containers import Containers
from trimtab.engines.local.failures import StartFailed
from trimtab.engines.local.layers import Layer, Layers, RequirementsFailed
from trimtab.engines.local.learning import NO_THREADS
from trimtab.engines.local.members import Member
from trimtab.engines.local.orders import Bear, BirthRecord, Born, Spawn
from trimtab.engines.local.ports import Ports, is_free
from trimtab.engines.local.program_orders import program_order
from trimtab.engines.local.programs import ProgramMember
from trimtab.engines.local.replica import Lease, LocalReplica
from trimtab.engines.local.workers import WorkerMember
from trimtab.errors import Broken, Invalid, Unavailable
from trimtab.resources.failures import of_artifact
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import Failure, ReplicaSpec, StartCause
from trimtab.resources.runtime import RuntimeKind
from trimtab.resources.serverless import INSTANCE_TYPE_PREFIX

logger = logging.getLogger(__name__)

_SOCKET_PATH_LIMIT = 107  # sockaddr_un
_PORT_TRIES = 3
_LEARNS_S = 60.0  # an import of everything that a runtime names takes some seconds
LOGS_KEPT = 50  # per variant: a model that fails again and again must not fill the disk
# Read by the loader, the interpreter or a library when it starts: a forked child is too late for them.
_READ_AT_START = ("LD_", "PYTHON", "OMP_", "OPENBLAS_", "MKL_", "KMP_", "GOMP_", "MALLOC_", "GLIBC_")
_READ_AT_START_HARMLESS = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}  # a worker flushes every line anyway


Fetch = Callable[[str, bool, float], Awaitable[Lease]]  # url, compressed, timeout_s


class Starter:
    """What a start needs, gathered once."""

    def __init__(
        self,
        paths: Paths,
        fetch: Fetch,
        layers: Layers,
        nursery: NurseryClient,
        *,
        containers: Containers,
        ports: Ports,
        machine_gpus: Sequence[gpus.Gpu],
        region: str,
        orphan_grace_s: float,
        ping_every_s: float,
        hung_after_s: float,
        house: str,
    ) -> None:
        """All parts are shared with the engine, which opens and closes them."""
        self._paths = paths
        self._fetch = fetch
        self._layers = layers
        self._nursery = nursery
        self._containers = containers
        self._ports = ports
        self._gpus = machine_gpus
        self._region = region
        self._orphan_grace_s = orphan_grace_s
        self._ping_every_s = ping_every_s
        self._hung_after_s = hung_after_s
        self._house = house

    async def start(self, replica: LocalReplica) -> None:
        """Bring the replica's processes into being. Raises StartFailed; cancelled, leaves no process behind."""
        spec = replica.spec
        began_s = time.monotonic()
        if spec.decided_monotonic_s:
            replica.spend(place_s=max(0.0, began_s - spec.decided_monotonic_s))
        try:
            async with asyncio.timeout(spec.download_timeout_s):
                model_dir, layer = await self._gather_files(replica)
        except TimeoutError:
            raise StartFailed(failures.download_timeout(spec.download_timeout_s, spec.artifact_url)) from None
        replica.spend(fetch_s=time.monotonic() - began_s)
        replica.step = "starting its processes"
        ordered_s = time.monotonic()
        try:
            async with asyncio.timeout(spec.startup_timeout_s):
                if spec.runtime.kind is RuntimeKind.PYTHON or spec.hosting is not None:
                    await self._start_workers(replica, model_dir, layer)
                else:
                    await self._start_program(replica, model_dir)
        except TimeoutError:
            raise StartFailed(_too_late(replica)) from None
        finally:
            self._prune_logs(spec)
        await self.await_ready(replica, time.monotonic() - ordered_s)

    async def await_ready(self, replica: LocalReplica, age_s: float) -> None:
        """Wait until a replica whose processes were ordered `age_s` ago is ready or failed. Raises StartFailed."""
        replica.step = "loading the model"
        try:
            async with asyncio.timeout(max(0.0, replica.spec.startup_timeout_s - age_s)):
                await replica.settled.wait()
        except TimeoutError:
            raise StartFailed(_too_late(replica)) from None

    async def _gather_files(self, replica: LocalReplica) -> tuple[str, Layer | None]:
        spec = replica.spec
        if not spec.artifact_url:
            return "", None
        replica.step = "fetching the artifact"
        try:
            fetched = await self._fetch(spec.artifact_url, spec.artifact_compressed, spec.download_timeout_s)
            replica.artifact = fetched
        except Exception as error:
            raise StartFailed(_artifact_failure(error, spec)) from error
        requirements = fetched.path / "code" / "requirements.txt"
        if spec.runtime.kind is not RuntimeKind.PYTHON or not requirements.is_file():
            return str(fetched.path), None
        replica.step = "installing code/requirements.txt"
        try:
            layer = await self._layers.ensure(requirements, timeout_s=spec.download_timeout_s)
        except RequirementsFailed as error:
            raise StartFailed(Failure(reason="RequirementsFailed", message=str(error), tail=error.tail)) from error
        return str(fetched.path), layer

    async def _start_workers(self, replica: LocalReplica, model_dir: str, layer: Layer | None) -> None:
        spec, place = replica.spec, replica.place
        ordered_s = time.monotonic()
        host = spec.hosting is not None  # the model's environment is for the workers that it will order
        fresh = not host and (bool(layer and layer.replaces) or needs_fresh_interpreter(spec.environment))
        if spec.cause is StartCause.DEPLOYMENT and spec.instance_type.startswith(INSTANCE_TYPE_PREFIX) and not fresh:
            # Its environments are born for requests that wait: what they import is there before the endpoint is.
            replica.step = "importing what its runtime needs"
            await self._nursery.learned(spec.runtime.imports, within_s=min(_LEARNS_S, spec.startup_timeout_s / 2))
            replica.step = "starting its processes"
            ordered_s = time.monotonic()
        for index in range(replica.processes):
            socket_path = self._paths.workers_dir / f"{spec.id}-{index}.sock"
            if len(os.fsencode(socket_path)) > _SOCKET_PATH_LIMIT:
                raise Broken(f"a socket's path may have {_SOCKET_PATH_LIMIT} bytes: {socket_path}")
            record = self._record(replica, index, f"unix:{socket_path}", model_dir)
            launch = WorkerLaunch(
                spec=record.spec,
                index=index,
                socket_path=str(socket_path),
                model_dir=model_dir,
                layers=(str(layer.path),) if layer else (),
                log_path=record.log_path,
                orphan_grace_s=self._orphan_grace_s,
                gpus=place.gpus,
                hide_gpus=bool(self._gpus),
                cpus=place.cpus,
                memory_limit_bytes=place.memory_bytes,
                region=self._region,
                ordered_monotonic_s=ordered_s,
                data_dir=str(self._paths.data_dir.absolute()) if host else "",
                house=self._house,
                hung_after_s=self._hung_after_s,
            )
            path = records.record_path(self._paths.workers_dir, spec.id, index)
            order = Bear(id=0, record=record, record_path=str(path), launch=msgspec.msgpack.encode(launch), fresh=fresh)
            record = await self._order(replica, order)
            replica.attach(WorkerMember(record, path, self._nursery, replica.members_changed))

    async def _start_program(self, replica: LocalReplica, model_dir: str) -> None:
        """Start the program; again on another port when somebody else took the first one meanwhile."""
        ordered_s = time.monotonic()
        replica.step = "not answering GET /ping"
        for attempt in range(_PORT_TRIES):
            port = self._ports.take()
            changed = asyncio.Event()
            replica.retrying = True
            try:
                order = await self._program_order(replica, port, model_dir)
                record = await self._order(replica, order)
                member = self.follow_program(replica, record, Path(order.record_path), changed)
            except BaseException:
                self._ports.give_back(port)
                raise
            replica.attach(member)
            while not (member.dead.is_set() or member.ready):
                await changed.wait()
                changed.clear()
            if member.ready or attempt + 1 == _PORT_TRIES or is_free(port):
                break
            logger.warning("port %d was taken by another program; trying again", port)
            replica.members.remove(member)
            await member.close()
        replica.spend(load_s=time.monotonic() - ordered_s)
        replica.retrying = False
        replica.members_changed()

    def follow_program(
        self, replica: LocalReplica, record: BirthRecord, path: Path, changed: asyncio.Event | None = None
    ) -> ProgramMember:
        """Watch a program that runs."""

        def on_change() -> None:
            if changed is not None:
                changed.set()
            replica.members_changed()

        return ProgramMember(
            record, path, self._nursery, on_change, ping_every_s=self._ping_every_s, after_death=self._program_died
        )

    async def _program_order(self, replica: LocalReplica, port: int, model_dir: str) -> Spawn:
        return await program_order(
            replica.spec,
            self._record(replica, 0, f"tcp:127.0.0.1:{port}", model_dir),
            records.record_path(self._paths.workers_dir, replica.spec.id, 0),
            self._containers,
            region=self._region,
            devices=gpus.environment(replica.place.gpus, self._gpus),
            cwd=model_dir or str(_made(self._paths.run_dir / "empty")),
            container=f"trimtab-{replica.spec.id}",
        )

    def _record(self, replica: LocalReplica, index: int, address: str, model_dir: str) -> BirthRecord:
        spec, place = replica.spec, replica.place
        folder = _made(self._logs_of(spec))
        return BirthRecord(
            replica_id=spec.id,
            index=index,
            spec=msgspec.msgpack.encode(spec),
            address=address,
            log_path=str(folder / f"{spec.id}-{index}.log"),
            cpus=place.cpus,
            memory_bytes=place.memory_bytes,
            gpus=place.gpus,
            processes=replica.processes,
            started_s=replica.started_s,
            model_dir=model_dir,
            house=self._house,
        )

    def _logs_of(self, spec: ReplicaSpec) -> Path:
        return self._paths.logs / spec.endpoint / spec.variant

    def _prune_logs(self, spec: ReplicaSpec) -> None:
        """Remove the oldest logs of its variant. Not before its processes are ordered: this takes a while.

        A model host's models log beside it, under its replica's name and their own.
        """
        living = tuple(
            f"{path.stem.rpartition('-')[0]}-" for path in self._paths.workers_dir.glob(f"*{records.SUFFIX}")
        )
        processes.prune_logs(self._logs_of(spec), LOGS_KEPT, lambda name: name.startswith(living))

    async def _order(self, replica: LocalReplica, order: Bear | Spawn) -> BirthRecord:
        """Give an order and wait for the process. Cancelled meanwhile, the process is ended as soon as it exists."""
        task = asyncio.ensure_future(self._nursery.order(order))
        try:
            born = await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(kill_unwanted)
            replica.unwanted.append(task)
            raise
        except FileNotFoundError as error:
            raise StartFailed(
                Failure(reason="RuntimeMissing", message=f"The command of the runtime cannot be started: {error}.")
            ) from error
        except OSError as error:
            raise StartFailed(Failure(reason="NoCapacity", message=f"No process could be started: {error}.")) from error
        except Unavailable as error:
            raise StartFailed(Failure(reason="NoCapacity", message=str(error))) from error
        return msgspec.structs.replace(order.record, pid=born.pid, start_ticks=born.start_ticks)

    def _program_died(self, record: BirthRecord) -> None:
        self._ports.give_back(int(record.address.rpartition(":")[2]))
        if record.container:
            self._containers.remove(record.container)


def _too_late(replica: LocalReplica) -> Failure:
    tail = "\n".join(filter(None, (member.log_tail() for member in replica.members)))
    return failures.start_timeout(replica.spec.startup_timeout_s, replica.step, tail)


def worker_processes(environment: Mapping[str, str]) -> int:
    """How many model server processes a replica is: (SAGEMAKER_)MODEL_SERVER_WORKERS, 1 unless told.

    Raises Invalid for what is no positive number.
    """
    for name in ("SAGEMAKER_MODEL_SERVER_WORKERS", "MODEL_SERVER_WORKERS"):
        text = environment.get(name, "").strip()
        if text:
            if not text.isdecimal() or not 1 <= int(text) <= 256:
                raise Invalid(f"{name} is {text!r}; it must be a number of processes between 1 and 256.")
            return int(text)
    return 1


def needs_fresh_interpreter(environment: Mapping[str, str]) -> bool:
    """Whether a model's environment holds what only a new process can obey."""
    return any(
        name.startswith(_READ_AT_START) and name not in _READ_AT_START_HARMLESS and NO_THREADS.get(name) != value
        for name, value in environment.items()
    )


async def end_members(members: Sequence[Member]) -> None:
    """Stop all of them at once."""
    await asyncio.gather(*(member.stop() for member in members))


async def end_unwanted(orders: Sequence[asyncio.Task[Born]]) -> None:
    """Wait until what was ordered and given up is dead, or known not to be born: until then it may read files.

    `kill_unwanted` kills each as soon as it is born.
    """
    await asyncio.gather(*orders, return_exceptions=True)
    for born in (task.result() for task in orders if not task.cancelled() and task.exception() is None):
        dead = asyncio.Event()
        watch = processes.DeathWatch(born.pid, born.start_ticks, dead.set)
        try:
            await dead.wait()
        finally:
            watch.close()


def kill_unwanted(task: asyncio.Task[Born]) -> None:
    """A done callback of an order that was given up."""
    if not task.cancelled() and task.exception() is None:
        born = task.result()
        processes.signal_group(born.pid, born.start_ticks, signal.SIGKILL)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _artifact_failure(error: Exception, spec: ReplicaSpec) -> Failure:
    if (known := of_artifact(error, spec.artifact_url)) is not None:
        return known
    logger.error("fetching %s failed", spec.artifact_url, exc_info=error)
    message = f"Could not get {spec.artifact_url}: {type(error).__name__}: {error}"
    return Failure(reason="ArtifactInvalid", message=message)
