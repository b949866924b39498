"""The program (or container) of one host that keeps AWS's multi-model contract: started, watched, and started again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.config import Paths
from trimtab.engines.local import processes, records
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.containers import MODELS_DIR, Containers
from trimtab.engines.local.failures import StartFailed, start_timeout
from trimtab.engines.local.orders import BirthRecord, Born, Spawn
from trimtab.engines.local.ports import Ports, is_free
from trimtab.engines.local.program_orders import program_order
from trimtab.engines.local.programs import PING_EVERY_S, ProgramMember
from trimtab.engines.local.starting import end_unwanted, kill_unwanted
from trimtab.errors import NoCapacity, Unavailable
from trimtab.host import model_calls
from trimtab.host.model_folder import ModelFolder
from trimtab.logs import fields
from trimtab.resources.launch import WorkerLaunch, gpu_variables
from trimtab.resources.replica import Failure, ReplicaSpec
from trimtab.resources.runtime import RuntimeKind

logger = logging.getLogger(__name__)

_PORT_TRIES = 3
_STARTS = 5  # that fail in a row, until the replica has failed
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.25, 10.0
_CLOSE_S = 1.0  # for a start under way to be given up
_SETTLED_S = 60.0  # an end after so long is no sign of the next one
_DEATH_NEWS_S = 2.0  # between a broken connection and the news of the death that broke it


class Program:
    """`on_up(pid)` and `on_down(failure)` are told in turn; `on_broken` once, when it cannot be started any more."""

    def __init__(
        self,
        launch: WorkerLaunch,
        spec: ReplicaSpec,
        nursery: NurseryClient,
        *,
        on_down: Callable[[Failure], None],
        on_broken: Callable[[Failure], None],
        ping_every_s: float = PING_EVERY_S,
    ) -> None:
        """`launch` is the host's own: its program gets the same devices, CPUs and memory."""
        self._launch = launch
        self._spec = spec
        self._nursery = nursery
        self._on_down = on_down
        self._on_broken = on_broken
        self._ping_every_s = ping_every_s
        self._paths = Paths(Path(launch.data_dir))
        self._containers = Containers()
        self._ports = Ports(random.Random())
        inside = MODELS_DIR if spec.runtime.kind is RuntimeKind.CONTAINER else ""
        self.folder = ModelFolder(self._paths.hosted / spec.id, inside=inside)
        self._births = 0
        self._member: ProgramMember | None = None
        self._inside_pid = 0  # of a container: its first process
        self._changed = asyncio.Event()
        self._up = asyncio.Event()
        self._broken: Failure | None = None
        self._fault: Failure | None = None  # why it is being ended by its host
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start it. Raises StartFailed."""
        self.folder.open()
        await self._start()
        self._task = asyncio.create_task(self._keep(), name="keep the program up")

    async def close(self) -> None:
        """End it: SIGTERM, and SIGKILL 30 s later."""
        if self._task is not None:
            self._task.cancel()
            # A start that no nursery answers any more is left: what comes of it has a birth record, and is seen off.
            await asyncio.wait({self._task}, timeout=_CLOSE_S)
        await self._end_member()
        await self._containers.close()
        self.folder.close()

    # --- for the runner -------------------------------------------------------------------------------------------

    async def up(self) -> str:
        """Wait until it takes orders; its address. Raises StartFailed when it never will again."""
        while True:
            if self._broken is not None:
                raise StartFailed(self._broken)
            if self._up.is_set() and self._member is not None:
                return self._member.record.address
            await self._up.wait()

    @property
    def address(self) -> str:
        """Of the one that is up; "" when none is."""
        return self._member.record.address if self._up.is_set() and self._member is not None else ""

    @property
    def pid(self) -> int:
        """What is measured; 0: nothing is."""
        member = self._member
        if member is None or member.dead.is_set():
            return 0
        return self._inside_pid if member.record.container else member.record.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Its processes, as far as they are known by name."""
        member = self._member
        if member is None or member.dead.is_set():
            return ()
        return (member.record.pid, self._inside_pid) if self._inside_pid else (member.record.pid,)

    async def why_down(self) -> Failure | None:
        """A connection to it broke: why it died, or None when it lives."""
        member = self._member
        if member is None or self._broken is not None:
            return self._broken
        return member.failure if await member.died_within(_DEATH_NEWS_S) else None

    def restart(self, failure: Failure) -> None:
        """End it, since it cannot go on; another one is started."""
        if self._member is not None and not self._member.dead.is_set():
            self._fault = failure
            self._member.fail(failure)  # noticed by `_keep`

    def look(self) -> None:
        """Once a second."""
        if self._member is not None:
            self._member.note_oom_kills(processes.oom_kills())

    # --- its life -------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        failed = 0
        while True:
            began_s = time.monotonic()
            failure = await self._ended()
            self._up.clear()
            await self._end_member(at_once=True)
            self._on_down(failure)
            failed = 0 if time.monotonic() - began_s > _SETTLED_S else failed
            for attempt in range(_STARTS):
                await asyncio.sleep(min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0**failed) if failed else 0.0)
                failed += 1
                try:
                    await self._start()
                    break
                except StartFailed as error:
                    broken = error.failure
                    logger.warning("the program did not start %s", fields(attempt=attempt + 1, why=broken.message))
            else:
                self._broken = broken
                self._up.set()  # whoever waits is told
                self._on_broken(broken)
                return

    async def _ended(self) -> Failure:
        """Wait until it has died, or must."""
        member = self._member
        assert member is not None
        while member.failure is None:
            await self._changed.wait()
            self._changed.clear()
        logger.warning("the program ends %s", fields(reason=member.failure.reason, why=member.failure.message))
        return member.failure

    async def _end_member(self, *, at_once: bool = False) -> None:
        member, self._member = self._member, None
        if member is None:
            return
        if at_once:
            member.kill()
        if not member.dead.is_set():
            await member.stop()
        await member.close()
        self._inside_pid = 0

    async def _start(self) -> None:
        """Start it; again on another port when somebody else took the first one meanwhile."""
        try:
            async with asyncio.timeout(self._spec.startup_timeout_s):
                for attempt in range(_PORT_TRIES):
                    member = self._member = await self._ordered()
                    while not (member.dead.is_set() or member.ready or member.failure):
                        await self._changed.wait()
                        self._changed.clear()
                    if member.ready or attempt + 1 == _PORT_TRIES or is_free(member.port):
                        break
                    await self._end_member(at_once=True)
            if not member.ready:
                raise StartFailed(member.failure or Failure(reason="Exited", message="The model server has ended."))
            await self._check(member)
            if member.record.container:
                self._inside_pid = await self._containers.pid(member.record.container) or 0
        except TimeoutError:
            tail = self._member.log_tail() if self._member is not None else ""
            await self._end_member(at_once=True)
            raise StartFailed(start_timeout(self._spec.startup_timeout_s, "not answering GET /ping", tail)) from None
        except BaseException:
            await asyncio.shield(self._end_member(at_once=True))
            raise
        self._up.set()

    async def _check(self, member: ProgramMember) -> None:
        """What answers pings must keep the multi-model contract, too."""
        try:
            await model_calls.listed(member.record.address)
        except (LookupError, ValueError) as error:
            text = (
                f"The model server does not keep AWS's multi-model container contract: {error}. An endpoint of one "
                "model needs no Mode MultiModel."
            )
            raise StartFailed(Failure(reason="HealthCheckFailed", message=text, tail=member.log_tail())) from error
        except OSError as error:  # TimeoutError is one
            text = f"The model server did not answer GET /models: {error or 'it took too long'}."
            raise StartFailed(Failure(reason="HealthCheckFailed", message=text, tail=member.log_tail())) from error

    async def _ordered(self) -> ProgramMember:
        try:
            port = self._ports.take()
        except NoCapacity as error:
            raise StartFailed(Failure(reason="NoCapacity", message=str(error))) from error
        try:
            order = await self._order(port)
            born = await self._born(order)
        except BaseException:
            self._ports.give_back(port)
            raise
        record = msgspec.structs.replace(order.record, pid=born.pid, start_ticks=born.start_ticks)
        return ProgramMember(
            record, Path(order.record_path), self._nursery, self._changed.set,
            ping_every_s=self._ping_every_s, after_death=self._died,
        )  # fmt: skip

    async def _order(self, port: int) -> Spawn:
        own, spec = self._launch, self._spec
        self._births += 1
        record = BirthRecord(
            replica_id=spec.id,
            index=self._births,
            spec=msgspec.msgpack.encode(spec),
            address=f"tcp:127.0.0.1:{port}",
            log_path=str(self._paths.logs / spec.endpoint / spec.variant / f"{spec.id}-program.log"),
            cpus=own.cpus,
            memory_bytes=own.memory_limit_bytes,
            gpus=own.gpus,
            started_s=time.time(),
            house=own.house,
        )
        cwd = self._paths.run_dir / "empty"
        cwd.mkdir(parents=True, exist_ok=True, mode=0o700)
        return await program_order(
            spec,
            record,
            self._paths.models_dir / f"{spec.id}-{self._births}{records.SUFFIX}",
            self._containers,
            region=own.region,
            devices=gpu_variables(own.gpus) if own.hide_gpus else {},
            cwd=str(cwd),
            container=f"trimtab-{spec.id}-{self._births}",
            models_dir=str(self.folder.path.absolute()),
        )

    async def _born(self, order: Spawn) -> Born:
        task = asyncio.ensure_future(self._nursery.order(order))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(kill_unwanted)
            await asyncio.shield(end_unwanted([task]))
            raise
        except FileNotFoundError as error:
            text = f"The command of the runtime cannot be started: {error}."
            raise StartFailed(Failure(reason="RuntimeMissing", message=text)) from error
        except (OSError, Unavailable) as error:
            text = f"No process could be started: {error}."
            raise StartFailed(Failure(reason="NoCapacity", message=text)) from error

    def _died(self, record: BirthRecord) -> None:
        self._ports.give_back(int(record.address.rpartition(":")[2]))
        if record.container:
            self._containers.remove(record.container)
