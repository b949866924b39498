"""Reading: what every model host reads from the local disk, and answers to what it asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from trimtab.control.hosts.files import Disk, HostFiles
from trimtab.control.hosts.server import Host
from trimtab.logs import fields
from trimtab.wire.hosting import Fetch, HostHello

logger = logging.getLogger(__name__)

GRACE_S: Final = 10.0  # a host that has lost its connection is back long before


class Terms(Struct, frozen=True, kw_only=True):
    """How models of one variant are fetched."""

    python: bool = True  # trimtab's own workers: requirements are installed for them
    timeout_s: float = 3600.0  # AWS: ModelDataDownloadTimeoutInSeconds


class Reading:
    """Leases live with the connection, and for a moment after it: a host that connects anew says what it holds, and
    what it reads must not be gone by then. On the event loop."""

    def __init__(self, disk: Disk, terms: Callable[[HostHello], Terms], *, grace_s: float = GRACE_S) -> None:
        self._disk = disk
        self._terms = terms
        self._grace_s = grace_s
        self._files: dict[Host, HostFiles] = {}
        self._tasks: dict[Host, set[asyncio.Task[None]]] = {}
        self._lingering: dict[HostFiles, asyncio.TimerHandle] = {}

    def joined(self, host: Host) -> None:
        """Lease what a host holds."""
        hello = host.hello
        terms = self._terms(hello)
        files = HostFiles(self._disk, hello.prefix, python=terms.python, timeout_s=terms.timeout_s)
        self._files[host], self._tasks[host] = files, set()
        for path in files.adopt(hello.holds):
            logger.error("a model host reads files that the artifact cache does not have %s",
                         fields(replica=hello.replica_id, path=path))  # fmt: skip

    def fetch(self, host: Host, asked: Fetch) -> None:
        """Answer with Files or NoFiles, in time."""
        task = asyncio.create_task(self._fetch(host, asked), name=f"fetch {asked.model} for {host.replica_id}")
        tasks = self._tasks[host]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _fetch(self, host: Host, asked: Fetch) -> None:
        host.tell(await self._files[host].fetch(asked))

    def release(self, host: Host, path: str) -> None:
        """One lease less."""
        self._files[host].release(path)

    def leased(self, host: Host) -> dict[str, int]:
        """Its leases, by path."""
        return self._files[host].leased

    def left(self, host: Host) -> None:
        """Give up what is on its way to a host, and soon what it holds."""
        for task in self._tasks.pop(host):
            task.cancel()
        files = self._files.pop(host)
        if files.leased:
            later = asyncio.get_running_loop().call_later(self._grace_s, self._let_go, files)
            self._lingering[files] = later
        else:
            files.close()

    def _let_go(self, files: HostFiles) -> None:
        del self._lingering[files]
        files.close()

    async def close(self) -> None:
        """End what is under way. Leases stay: hosts read on, and the process ends."""
        for timer in self._lingering.values():
            timer.cancel()
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
