"""One model server process of a replica: what both kinds (workers, programs) have in common."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path

from trimtab.engines.local import processes, records
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.failures import exited
from trimtab.engines.local.orders import BirthRecord, Exited
from trimtab.logs import fields
from trimtab.resources.replica import Failure, ReplicaState

logger = logging.getLogger(__name__)

_OOM_LOOKS = 10  # seconds before a death in which the kernel may have killed: ending a large process takes it long
_KILLED_EXIT = 128 + signal.SIGKILL  # what a container's command exits with when the kernel killed what it ran
_EXIT_NEWS_S = 0.1  # how long the nursery's word on how a process ended is waited for


class Member:
    """A living process with its birth record. Subclasses follow what it says of itself."""

    what = "A model server process"

    def __init__(self, record: BirthRecord, path: Path, nursery: NurseryClient, on_change: Callable[[], None]) -> None:
        """Begin to watch the process; `on_change` is called whenever anything below has changed."""
        self.record = record
        self.state = ReplicaState.STARTING
        self.failure: Failure | None = None
        self.in_flight = 0
        self.concurrency = 1
        self.batch_size = 0  # the most requests that it works on together; 0: it does not batch
        self.batching = ""  # in words
        self.family: tuple[int, ...] = ()  # processes that it has ordered: what they take, it takes
        self.dead = asyncio.Event()
        self.known = asyncio.Event()  # it has spoken, or has failed to
        self.path = path
        self._nursery = nursery
        self._on_change = on_change
        self._oom_kills = deque([processes.oom_kills()], _OOM_LOOKS)
        self._ending: asyncio.Task[None] | None = None
        self._death = processes.DeathWatch(record.pid, record.start_ticks, self._died)

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.state is ReplicaState.READY and not self.dead.is_set()

    def log_tail(self) -> str:
        """The end of its log."""
        return processes.tail(self.record.log_path)

    def set_state(self, state: ReplicaState) -> None:
        """Note a state that it has reached, and tell."""
        if state is not self.state:
            self.state = state
            self._on_change()

    def fail(self, failure: Failure) -> None:
        """Note why it failed, if nothing was noted before, and tell."""
        if self.failure is None:
            self.failure = failure
        self.state = ReplicaState.FAILED
        self._on_change()

    def note_oom_kills(self, count: int) -> None:
        """So many processes of the machine have been killed for memory up to now. To be told about once a second."""
        self._oom_kills.append(count)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal its whole process group."""
        processes.signal_group(self.record.pid, self.record.start_ticks, number)

    async def drain(self, grace_s: float) -> None:
        """Let it finish what it has in hand, then end; at the latest after `grace_s`. Returns when it is dead."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End it now. Returns when it is dead."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop following it; it lives on."""
        self._death.close()
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.gather(self._ending, return_exceptions=True)

    async def died_within(self, seconds: float) -> bool:
        """Wait for its death."""
        try:
            async with asyncio.timeout(seconds):
                await self.dead.wait()
        except TimeoutError:
            return False
        return True

    def _died(self) -> None:
        self._ending = asyncio.create_task(self._bury(), name=f"death of {self.record.pid}")

    async def _bury(self) -> None:
        """Find out how it ended, end what it leaves behind, remove its record."""
        end = await self._nursery.exit_of(self.record.pid, within_s=_EXIT_NEWS_S)
        self.kill()
        memory = self._was_killed(end) and processes.oom_kills() > self._oom_kills[0]
        if self.failure is None:
            self.failure = exited(self.what, end, self.log_tail(), out_of_memory=memory)
        logger.info(
            "process ended %s",
            fields(replica=self.record.replica_id, pid=self.record.pid, how=end.status if end else "unknown"),
        )
        self._forget()
        self.dead.set()
        self.known.set()
        self._on_change()

    def _was_killed(self, end: Exited | None) -> bool:
        if end is None:
            return False
        code = os.waitstatus_to_exitcode(end.status)
        return code == -signal.SIGKILL or (bool(self.record.container) and code == _KILLED_EXIT)

    def _forget(self) -> None:
        records.forget(self.path)
