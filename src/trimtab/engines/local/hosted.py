"""Workers that a model host has ordered and left: they finish what they have in hand, and are ended when that is late.

No engine adopts them. A living host follows its own; a dead one's end by themselves (`WorkerLaunch.owned`), unless one
hangs where it cannot hear that its host has gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from trimtab.engines.local import processes, records
from trimtab.engines.local.containers import Containers
from trimtab.engines.local.orders import BirthRecord
from trimtab.engines.local.programs import CONNECTIONS_LOOK_S, TERM_GRACE_S, connections_to
from trimtab.logs import fields

logger = logging.getLogger(__name__)


class HostedWorkers:
    """The folder of their birth records and sockets, `MODELS_DIR/REPLICA-INDEX.birth`."""

    def __init__(self, models_dir: Path, files_dir: Path, containers: Containers) -> None:
        """`files_dir` has a folder for each replica whose models a program of their own reads."""
        self._models_dir = models_dir
        self._files_dir = files_dir
        self._containers = containers
        self._seen_off: set[str] = set()

    def replicas(self) -> set[str]:
        """The replicas whose host has or had any, but those that are being seen off. Reads one folder."""
        try:
            names = os.listdir(self._models_dir)
        except FileNotFoundError:
            return set()
        return {name.rpartition("-")[0] for name in names if name.endswith(records.SUFFIX)} - self._seen_off

    async def see_off(self, replica_id: str, grace_s: float) -> None:
        """Wait until those of a dead host are dead; kill what lives after `grace_s`. Removes what they leave."""
        self._seen_off.add(replica_id)
        try:
            found = self._of(replica_id)
            await asyncio.gather(*(self._end(record, grace_s) for _, record in found if record is not None))
            for path, _ in found:
                records.forget(path)
                path.with_suffix(".sock").unlink(missing_ok=True)
            await asyncio.to_thread(shutil.rmtree, self._files_dir / replica_id, ignore_errors=True)
        finally:
            self._seen_off.discard(replica_id)

    async def _end(self, record: BirthRecord, grace_s: float) -> None:
        if record.address.startswith("tcp:"):
            await _end_program(record, grace_s)
        else:
            await _end(record, grace_s)
        if record.container:
            self._containers.remove(record.container)

    def _of(self, replica_id: str) -> list[tuple[Path, BirthRecord | None]]:
        paths = self._models_dir.glob(f"{replica_id}-*{records.SUFFIX}")
        return [(path, records.read(path)) for path in paths if path.stem.rpartition("-")[0] == replica_id]


async def _end(record: BirthRecord, grace_s: float) -> None:
    if not records.is_alive(record):
        return
    dead = asyncio.Event()
    watch = processes.DeathWatch(record.pid, record.start_ticks, dead.set)
    try:
        async with asyncio.timeout(grace_s):
            await dead.wait()
    except TimeoutError:
        logger.warning("ending what a model host left %s", fields(replica=record.replica_id, pid=record.pid))
        processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
        await dead.wait()
    finally:
        watch.close()


async def _end_program(record: BirthRecord, grace_s: float) -> None:
    """A program does not know that its host has gone: it is told to end once nobody is connected to it any more."""
    if not records.is_alive(record):
        return
    dead = asyncio.Event()
    watch = processes.DeathWatch(record.pid, record.start_ticks, dead.set)
    port = int(record.address.rpartition(":")[2])
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while connections_to(port) and not dead.is_set():  # noqa: ASYNC110 - the kernel tells no one
                    await asyncio.sleep(CONNECTIONS_LOOK_S)
        processes.signal_group(record.pid, record.start_ticks, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(TERM_GRACE_S):
                await dead.wait()
        processes.signal_group(record.pid, record.start_ticks, signal.SIGKILL)
        await dead.wait()
    finally:
        watch.close()
