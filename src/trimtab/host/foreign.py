"""ForeignRunner: one program or container that keeps AWS's multi-model container contract holds all models itself.

It is told to load and unload over HTTP; gateways post requests to it, each to the path of its model. What it answers is
acted upon: 507 to a load makes room and tries again, an unknown model (404) is loaded again, a model that ran out of
memory while it worked (507) is unloaded. When it dies all its models are gone, and another one is started.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from trimtab.config import Paths
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.failures import StartFailed
from trimtab.host import model_calls
from trimtab.host.background import Background
from trimtab.host.footprints import Footprints
from trimtab.host.program import Program
from trimtab.host.runner import Footprint, Key, LoadFault, OnEnd, Running
from trimtab.logs import fields
from trimtab.policies.models.memory import Size
from trimtab.policies.models.shares import Shares
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import Failure, ReplicaSpec, Wire
from trimtab.resources.routing import Lane
from trimtab.wire.hosting import Files

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LIST_EVERY_LOOKS = 5
GIVE_UP_S = 60.0  # how long a load that nobody wants any more may take to end, before its program is ended
_UNLOAD_TRIES, _UNLOAD_PAUSE_S = 3, 1.0


class _Copy:
    """One model on its way, loaded, or leaving."""

    def __init__(self, key: Key, files: Files) -> None:
        self.name = name_of(key)
        self.files = files
        self.load: asyncio.Task[None] | None = None
        self.unload: asyncio.Task[None] | None = None
        self.hurry = asyncio.Event()  # it is to end now
        self.is_up = False  # it was loaded, and nobody has had it unloaded
        self.is_weighed = False  # until then the program grows for it, and not for those that are loaded


class ForeignRunner:
    """See Runner."""

    def __init__(
        self,
        launch: WorkerLaunch,
        spec: ReplicaSpec,
        on_end: OnEnd,
        *,
        on_broken: Callable[[Failure], None],
        quiet: Callable[[Key], Awaitable[None]],
        look_every_s: float = LOOK_EVERY_S,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        """`on_broken`: the program cannot be started any more. `quiet` returns once no gateway has a request for a
        version in hand that is LEAVING."""
        self._spec = spec
        self._on_end = on_end
        self._quiet = quiet
        self._look_every_s = look_every_s
        self._give_up_s = give_up_s
        paths = Paths(Path(launch.data_dir))
        self._logs = paths.logs / spec.endpoint / spec.variant
        self._models_dir = paths.models_dir
        self._nursery = NurseryClient(paths.nursery_socket)
        self._program = Program(launch, spec, self._nursery, on_down=self._down, on_broken=on_broken)
        self._footprints = Footprints(launch.gpus)
        self._shares = Shares()
        self._unmeasured = True  # the program holds nothing yet, and its memory is not known
        self._measuring = asyncio.Lock()
        self._copies: dict[Key, _Copy] = {}
        self._leaving = asyncio.Event()
        self._background = Background()

    async def open(self) -> None:
        """Start the program."""
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._models_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._nursery.open()
        await self._program.open()
        self._background.start(self._look(), "look after the program")

    def leave(self) -> None:
        """See Runner."""
        self._leaving.set()

    async def close(self, *, grace_s: float) -> None:
        """See Runner."""
        self._leaving.set()
        await self._background.close()
        await self._program.close()
        self._copies.clear()
        await self._nursery.close()
        await self._footprints.close()

    # --- loads ----------------------------------------------------------------------------------------------------

    async def load(self, key: Key, files: Files) -> Running:
        """See Runner."""
        began_s = time.monotonic()
        copy = self._copies[key] = _Copy(key, files)
        copy.load = asyncio.create_task(self._load(copy), name=f"load {key.model}")
        try:
            await asyncio.shield(copy.load)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_up(key, copy, copy.load))
            raise
        except LoadFault:
            await self._forget(key, copy)
            raise
        copy.is_up = True
        address = self._program.address
        if not address:  # it has died since
            await self._forget(key, copy)
            raise LoadFault(Failure(reason="Exited", message="The model server has ended just after the load."))
        lane = Lane(replica_id=self._spec.id, address=address, wire=Wire.HTTP, path=model_calls.path_of(copy.name))
        return Running(lanes=(lane,), took_s=time.monotonic() - began_s, pid=self._program.pid)

    async def _load(self, copy: _Copy) -> None:
        try:
            address = await self._program.up()
        except StartFailed as error:
            raise LoadFault(error.failure) from error
        await self._weigh_empty()
        try:
            url = await asyncio.to_thread(self._program.folder.put, copy.name, copy.files.path)
        except OSError as error:
            text = f"The model's files could not be shown to the model server: {error}."
            raise LoadFault(Failure(reason="ModelLoadFailed", message=text)) from error
        try:
            await model_calls.load(address, copy.name, url)
        except (OSError, ValueError) as error:
            died = await self._program.why_down()
            text = f"The model server could not be told to load the model: {error}."
            failure = died or Failure(reason="ModelLoadFailed", message=text)
            raise LoadFault(failure, out_of_memory=failure.reason == "OutOfMemory") from error

    async def _give_up(self, key: Key, copy: _Copy, load: asyncio.Task[None]) -> None:
        """Nobody wants it any more. The contract has no word for that: the load must end, then it is unloaded."""
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({load, leaving}, timeout=self._give_up_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if not load.done():
            if not self._leaving.is_set():
                text = f"A load that was given up {self._give_up_s:g} s ago did not end."
                logger.warning("the program hangs in a load %s", fields(model=key.model))
                self._program.restart(Failure(reason="Hung", message=text))
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
        elif not load.cancelled() and load.exception() is None and not self._leaving.is_set():
            await self._delete(copy)
        await self._forget(key, copy)

    # --- unloads --------------------------------------------------------------------------------------------------

    async def unload(self, key: Key, *, grace_s: float) -> None:
        """See Runner."""
        copy = self._copies.get(key)
        if copy is None or (copy.load is not None and not copy.load.done()):
            return  # whoever waits for the load is to be cancelled
        copy.is_up = False
        if not grace_s:
            copy.hurry.set()
        if copy.unload is None:
            copy.unload = asyncio.create_task(self._unload(key, copy, grace_s), name=f"unload {key.model}")
        await asyncio.shield(copy.unload)

    async def _unload(self, key: Key, copy: _Copy, grace_s: float) -> None:
        if not copy.hurry.is_set():
            waits = [asyncio.ensure_future(self._quiet(key)), asyncio.ensure_future(copy.hurry.wait())]
            await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if not self._leaving.is_set():  # else the program ends, with all that it holds
            await self._delete(copy)
        await self._forget(key, copy)

    async def _delete(self, copy: _Copy) -> None:
        for attempt in range(_UNLOAD_TRIES):
            address = self._program.address
            if not address or await model_calls.unload(address, copy.name):
                return
            if await model_calls.has(address, copy.name) is False:
                return
            await asyncio.sleep(_UNLOAD_PAUSE_S * (attempt + 1))
        logger.warning("a model stays loaded in the program %s", fields(name=copy.name))

    async def _forget(self, key: Key, copy: _Copy) -> None:
        if self._copies.get(key) is copy:
            del self._copies[key]
            self._shares.ended(key)
            await asyncio.to_thread(self._program.folder.remove, copy.name)

    # --- what is there --------------------------------------------------------------------------------------------

    async def has(self, key: Key) -> bool:
        """See Runner."""
        copy, address = self._copies.get(key), self._program.address
        if copy is None or not copy.is_up or not address:
            return False
        if await model_calls.has(address, copy.name) is not False:
            return True
        await self._missing(key, copy)
        return False

    async def _missing(self, key: Key, copy: _Copy) -> None:
        """The program has given it up by itself."""
        if self._copies.get(key) is copy and copy.is_up:
            copy.is_up = False
            await self._forget(key, copy)
            text = "The model server does not know the model any more, although nobody had it unloaded."
            self._on_end(key, Failure(reason="Exited", message=text))

    def _down(self, failure: Failure) -> None:
        """The program has ended, and all models with it."""
        self._unmeasured = True
        for key, copy in list(self._copies.items()):
            if copy.is_up:
                copy.is_up = False
                self._background.start(self._forget(key, copy), f"forget {key.model}")
                self._on_end(key, failure)

    async def _look(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(self._look_every_s)
            looks += 1
            self._program.look()
            if looks % LIST_EVERY_LOOKS == 0:
                await self._compare()

    async def _compare(self) -> None:
        """Find out what the program has given up by itself."""
        up = {key: copy for key, copy in self._copies.items() if copy.is_up}
        address = self._program.address
        if not up or not address:
            return
        try:
            there = await model_calls.listed(address)
        except (OSError, LookupError, ValueError) as error:
            logger.warning("models were not listed %s", fields(error=error))
            return
        for key, copy in up.items():
            if copy.name not in there and copy.is_up:
                await self.has(key)

    # --- memory ---------------------------------------------------------------------------------------------------

    async def weigh(self, key: Key) -> Footprint | None:
        """See Runner. By how much the program has grown."""
        async with self._measuring:
            pid = self._program.pid
            whole = await self._footprints.of(pid) if pid else None
            copy = self._copies.get(key)
            if copy is None or not copy.is_up:
                return None
            copy.is_weighed = True
            if whole is None:  # nobody may look into its processes
                return Footprint(copy.files.size_bytes)
            share = self._shares.loaded(key, _size(whole), copy.files.size_bytes)
            return Footprint(share.bytes, share.gpu)

    async def measure(self) -> Mapping[Key, Footprint]:
        """See Runner."""
        pid = self._program.pid
        if not pid or self._is_growing():
            return {}
        whole = (await self._footprints.some([pid])).get(pid)
        if whole is None or self._is_growing():
            return {}
        found = self._shares.measured(_size(whole))
        return {key: Footprint(found[key].bytes, found[key].gpu) for key in self._copies if key in found}

    def _is_growing(self) -> bool:
        """A model is on its way: what it takes would be counted as growth of the others."""
        return self._measuring.locked() or not all(copy.is_weighed for copy in self._copies.values())

    async def _weigh_empty(self) -> None:
        """What the program takes before it holds anything."""
        async with self._measuring:
            pid = self._program.pid
            if self._unmeasured and pid:
                whole = await self._footprints.of(pid)
                self._shares.began(_size(whole) if whole is not None else Size())
                self._unmeasured = False

    @property
    def pids(self) -> tuple[int, ...]:
        """See Runner."""
        return self._program.pids


def name_of(key: Key) -> str:
    """What the program knows one version of a model as: it says nothing, and is fit for a path."""
    return hashlib.sha256(f"{key.model}@{key.version}".encode()).hexdigest()[:32]


def _size(whole: Footprint) -> Size:
    return Size(whole.bytes, whole.gpu_bytes)
