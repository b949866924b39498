"""WorkerRunner: one worker process for each loaded model, ordered from the nursery like a replica's.

What a model does to its process (a crash, a leak, a module of the same name as another's) stays there, and all that it
took is back when the process has ended. Pages that came with the fork are shared with all others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import sysconfig
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from trimtab.config import Paths
from trimtab.engines.local import processes, records
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.orders import Bear, BirthRecord, Born
from trimtab.engines.local.starting import LOGS_KEPT, end_unwanted, kill_unwanted, needs_fresh_interpreter
from trimtab.engines.local.workers import WorkerMember
from trimtab.errors import Unavailable
from trimtab.host.background import Background
from trimtab.host.footprints import Footprints
from trimtab.host.libraries import packages_mapped
from trimtab.host.runner import Footprint, Key, LoadFault, OnEnd, Running
from trimtab.logs import fields
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import Failure, ReplicaSpec
from trimtab.resources.routing import Lane
from trimtab.wire.hosting import Files

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_LATE_S = 0.2
_SLOW_LOAD_S = 0.05  # a load that takes so long may have spent it on imports that the nursery could have made
_SITE = Path(sysconfig.get_paths()["platlib"])
_PRUNE_EVERY_LOADS = 50
_NAME_CHARS = 60  # of a model in its log's name
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_NAMES = 36**4  # of sockets: four characters is what the longest path has room for
_LOG_PART = 8  # a model's log may have so much less than a replica's that has one model


class _Copy:
    """One model on its way, loaded, or leaving."""

    def __init__(self, index: int, path: Path) -> None:
        self.index = index
        self.path = path  # of its birth record
        self.member: WorkerMember | None = None
        self.order: asyncio.Task[Born] | None = None
        self.changed = asyncio.Event()
        self.on_gpus_before = 0  # bytes in use when it was ordered
        self.is_up = False  # it was loaded, and nobody has had it unloaded


class WorkerRunner:
    """See Runner."""

    def __init__(
        self,
        launch: WorkerLaunch,
        spec: ReplicaSpec,
        on_end: OnEnd,
        *,
        in_hand: Callable[[Key], int] = lambda key: 0,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`launch` is the host's own: its workers get the same devices, CPUs and limits.

        `in_hand` says how many requests gateways have sent to a model and not seen answered.
        """
        self._launch = launch
        self._spec = spec
        self._on_end = on_end
        self._in_hand = in_hand
        self._look_every_s = look_every_s
        self._paths = Paths(Path(launch.data_dir))
        self._nursery = NurseryClient(self._paths.nursery_socket)
        self._footprints = Footprints(launch.gpus)
        self._logs = self._paths.logs / spec.endpoint / spec.variant
        self._fresh = needs_fresh_interpreter(spec.environment)
        self._copies: dict[Key, _Copy] = {}
        self._births = 0
        self._loads = 0
        self._background = Background()

    async def open(self) -> None:
        """Connect to the nursery."""
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._paths.models_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._nursery.open()
        self._nursery.learn(self._spec.runtime.imports)
        self._background.start(self._look(), "look after models")

    def leave(self) -> None:
        """See Runner. A worker can be ended while it loads."""

    async def close(self, *, grace_s: float) -> None:
        """See Runner."""
        await asyncio.gather(*(self.unload(key, grace_s=grace_s) for key in list(self._copies)))
        await self._background.close()
        await self._nursery.close()
        await self._footprints.close()

    async def load(self, key: Key, files: Files) -> Running:
        """See Runner."""
        began_s = time.monotonic()
        copy = self._copies[key] = self._new_copy()
        limit_s = self._spec.startup_timeout_s
        try:
            copy.on_gpus_before = await self._footprints.on_gpus()
            async with asyncio.timeout(limit_s):
                member = copy.member = await self._born(key, files, copy)
                while not (member.ready or member.failure or member.dead.is_set()):
                    await copy.changed.wait()
                    copy.changed.clear()
            if not member.ready:
                raise _fault(member)
        except TimeoutError:
            await self._abandon(key, copy)
            raise LoadFault(_too_late(limit_s)) from None
        except BaseException:
            await asyncio.shield(self._abandon(key, copy))
            raise
        copy.is_up = True
        self._loads += 1
        if self._loads % _PRUNE_EVERY_LOADS == 0:
            in_use = {log_name(self._spec.id, key) for key in self._copies}
            self._background.start(asyncio.to_thread(self._prune_logs, in_use), "prune logs")
        lane = Lane(
            replica_id=self._spec.id,
            address=member.record.address,
            concurrency=member.concurrency,
            batch_size=member.batch_size,
        )
        took_s = time.monotonic() - began_s
        if took_s > _SLOW_LOAD_S:
            self._background.start(self._learn_from(member.record.pid), "learn what models import")
        return Running(lanes=(lane,), took_s=took_s, pid=member.record.pid)

    async def _learn_from(self, pid: int) -> None:
        """Have the nursery import what a model has: the next one of its kind is loaded sooner, and shares the pages."""
        try:
            maps = await asyncio.to_thread(Path(f"/proc/{pid}/maps").read_text)
        except OSError:
            return  # it has ended
        self._nursery.learn(packages_mapped(maps, _SITE))

    async def weigh(self, key: Key) -> Footprint | None:
        """See Runner."""
        copy = self._copies.get(key)
        if copy is None or copy.member is None:
            return None
        return await self._footprints.of(copy.member.record.pid, on_gpus_before=copy.on_gpus_before)

    async def unload(self, key: Key, *, grace_s: float) -> None:
        """See Runner."""
        copy = self._copies.get(key)
        if copy is None:
            return
        copy.is_up = False
        member = copy.member
        if member is not None:  # else it is being born still, and whoever waits for that is to be cancelled
            await (member.drain(grace_s) if grace_s else member.stop())
            await self._bury(key, copy)

    async def has(self, key: Key) -> bool:
        """See Runner. A worker has its model for as long as it lives, and its death is told."""
        copy = self._copies.get(key)
        return copy is not None and copy.is_up

    async def measure(self) -> Mapping[Key, Footprint]:
        """See Runner."""
        pids = {copy.member.record.pid: key for key, copy in self._copies.items() if copy.is_up and copy.member}
        return {pids[pid]: found for pid, found in (await self._footprints.some(pids)).items()}

    @property
    def pids(self) -> tuple[int, ...]:
        """See Runner."""
        members = (copy.member for copy in self._copies.values())
        return tuple(member.record.pid for member in members if member is not None and not member.dead.is_set())

    # births

    async def _born(self, key: Key, files: Files, copy: _Copy) -> WorkerMember:
        record, launch = self._order_of(key, files, copy)
        order = Bear(
            id=0,
            record=record,
            record_path=str(copy.path),
            launch=msgspec.msgpack.encode(launch),
            fresh=files.fresh or self._fresh,
        )
        copy.order = asyncio.create_task(self._nursery.order(order), name=f"order {key.model}")
        try:
            born = await asyncio.shield(copy.order)
        except (OSError, Unavailable) as error:
            failure = Failure(reason="NoCapacity", message=f"No process could be started: {error}")
            raise LoadFault(failure) from error
        record = msgspec.structs.replace(record, pid=born.pid, start_ticks=born.start_ticks)
        return WorkerMember(record, copy.path, self._nursery, lambda: self._changed(key, copy))

    def _order_of(self, key: Key, files: Files, copy: _Copy) -> tuple[BirthRecord, WorkerLaunch]:
        spec = msgspec.structs.replace(
            self._spec, hosting=None, model_name=key.model, decided_monotonic_s=0.0, detect_s=None, decide_s=None
        )
        own, packed = self._launch, msgspec.msgpack.encode(spec)
        socket_path = copy.path.with_suffix(".sock")
        launch = msgspec.structs.replace(
            own,
            spec=packed,
            index=copy.index,
            socket_path=str(socket_path),
            listener_fd=-1,
            lifeline_fd=-1,
            model_dir=files.path,
            layers=files.layers,
            log_path=str(self._logs / f"{log_name(spec.id, key)}.log"),
            log_max_bytes=own.log_max_bytes // _LOG_PART,
            environment={**own.environment, "SAGEMAKER_MULTI_MODEL": "true"},
            ordered_monotonic_s=time.monotonic(),
            owned=True,
            data_dir="",
        )
        record = BirthRecord(
            replica_id=spec.id,
            index=copy.index,
            spec=packed,
            address=f"unix:{socket_path}",
            log_path=launch.log_path,
            cpus=own.cpus,
            gpus=own.gpus,
            started_s=time.time(),
            model_dir=files.path,
            house=own.house,
        )
        return record, launch

    def _new_copy(self) -> _Copy:
        """With a name for its record and socket that is short and was not used for long: a gateway may be about to
        connect to a worker that has just ended, and must not find another model there."""
        self._births += 1
        name = f"{self._spec.id}-{_base36(self._births % _NAMES)}"
        return _Copy(self._births, self._paths.models_dir / f"{name}{records.SUFFIX}")

    async def _abandon(self, key: Key, copy: _Copy) -> None:
        """It is not to be: nothing is left of it when this returns."""
        if copy.member is not None:
            await copy.member.stop()
        elif copy.order is not None:
            copy.order.add_done_callback(kill_unwanted)
            await end_unwanted([copy.order])
            records.forget(copy.path)
            copy.path.with_suffix(".sock").unlink(missing_ok=True)
        await self._bury(key, copy)

    async def _bury(self, key: Key, copy: _Copy) -> None:
        if self._copies.get(key) is copy:
            del self._copies[key]
        if copy.member is not None:
            await copy.member.close()

    # what members tell

    def _changed(self, key: Key, copy: _Copy) -> None:
        copy.changed.set()
        member = copy.member
        if not copy.is_up or member is None or (member.failure is None and not member.dead.is_set()):
            return
        copy.is_up = False
        self._background.start(self._lost(key, copy, member), f"end of {key.model}")

    async def _lost(self, key: Key, copy: _Copy, member: WorkerMember) -> None:
        """It was loaded, and nobody had it unloaded."""
        await member.stop()
        await self._bury(key, copy)
        assert member.failure is not None  # noted when it died, at the latest
        logger.warning("model ended %s", fields(model=key.model, reason=member.failure.reason))
        self._on_end(key, member.failure)

    async def _look(self) -> None:
        """Find those that hang: of the ones that have work in hand, since an idle one cannot."""
        asked: set[Key] = set()
        looked_s = time.monotonic()
        while True:
            await asyncio.sleep(self._look_every_s)
            now_s = time.monotonic()
            late = now_s - looked_s > self._look_every_s + _LATE_S  # this process was held up, not the workers
            looked_s = now_s
            oom_kills = processes.oom_kills()
            for key, copy in list(self._copies.items()):
                member = copy.member
                if member is None:
                    continue
                member.note_oom_kills(oom_kills)
                if not (copy.is_up and (member.in_flight or self._in_hand(key))):
                    asked.discard(key)
                    continue
                if late or key not in asked:
                    member.heard_s = now_s  # what it said before was not asked for
                elif self._launch.hung_after_s:
                    member.check_hung(self._launch.hung_after_s, now_s)
                asked.add(key)
                member.ask()

    def _prune_logs(self, in_use: Collection[str]) -> None:
        """Remove the oldest logs of models that are not loaded any more. Does I/O."""
        mine, host = f"{self._spec.id}-", f"{self._spec.id}-{self._launch.index}"

        def is_kept(name: str) -> bool:
            return name in in_use or name == host or not name.startswith(mine)

        kept = sum(is_kept(path.stem) for path in self._logs.glob("*.log"))
        processes.prune_logs(self._logs, LOGS_KEPT + kept, is_kept)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, last = divmod(number, 36)
        digits = _DIGITS[last] + digits
    return digits or "0"


def log_name(replica_id: str, key: Key) -> str:
    """Of the log of one version of a model, without its suffix: the replica's name, the model's, and which of that."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", key.model)[-_NAME_CHARS:]
    return f"{replica_id}-{safe}-{hashlib.sha256(f'{key.model}@{key.version}'.encode()).hexdigest()[:8]}"


def _fault(member: WorkerMember) -> LoadFault:
    """Why it is not ready."""
    failure = member.failure or Failure(reason="Exited", message="The model's worker ended while it was loading.")
    return LoadFault(failure, out_of_memory=failure.reason == "OutOfMemory", died=failure.reason == "Exited")


def _too_late(limit_s: float) -> Failure:
    return Failure(
        reason="StartTimeout",
        message=f"The model was not loaded within {limit_s:g} s. Raise ContainerStartupHealthCheckTimeoutInSeconds if "
        "it needs longer, or see its log for what it waits for.",
    )
