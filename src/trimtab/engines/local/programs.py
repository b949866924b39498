"""A member that keeps SageMaker's container contract over HTTP: a program, or an image run by a container engine."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.members import Member
from trimtab.engines.local.orders import BirthRecord
from trimtab.engines.local.program_log import LOOK_EVERY_S, ProgramLog
from trimtab.logs import fields
from trimtab.resources.replica import Failure, ReplicaState

logger = logging.getLogger(__name__)

PING_LIMIT_S = 2.0  # AWS: a container has 2 s to answer /ping
PING_EVERY_S = 5.0
TERM_GRACE_S = 30.0  # AWS: SIGKILL follows SIGTERM after 30 s
FAILED_PINGS = 3
_FIRST_PING_S, _LONGEST_FIRST_PING_S = 0.02, 0.5
CONNECTIONS_LOOK_S = 0.05


class ProgramMember(Member):
    """Follows one program by GET /ping."""

    what = "The model server"

    def __init__(
        self,
        record: BirthRecord,
        path: Path,
        nursery: NurseryClient,
        on_change: Callable[[], None],
        *,
        ping_every_s: float = PING_EVERY_S,
        after_death: Callable[[BirthRecord], None] | None = None,
    ) -> None:
        """Watch the process and begin to ping it. `after_death` cleans up what the process stood for."""
        super().__init__(record, path, nursery, on_change)
        self.port = int(record.address.rpartition(":")[2])
        self._ping_every_s = ping_every_s
        self._after_death = after_death
        self._task = asyncio.create_task(self._follow(), name=f"ping {record.replica_id}")
        self._log = ProgramLog(Path(record.log_path))
        self._log_task = asyncio.create_task(self._keep_log(), name=f"log of {record.replica_id}")

    async def drain(self, grace_s: float) -> None:
        """Wait until no connection is open (no gateway routes here any more), then end it; after `grace_s` anyway."""
        self.set_state(ReplicaState.DRAINING)
        self._task.cancel()
        try:
            async with asyncio.timeout(grace_s):
                await self._unused()
        except TimeoutError:
            logger.warning("drain took too long %s", fields(replica=self.record.replica_id, port=self.port))
        await self.stop()

    async def _unused(self) -> None:
        """Wait for the last connection to end. The kernel tells no one of that, so this looks."""
        while connections_to(self.port) and not await self.died_within(CONNECTIONS_LOOK_S):
            continue

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL 30 s later."""
        self._task.cancel()
        self.kill(signal.SIGTERM)
        if not await self.died_within(TERM_GRACE_S):
            self.kill()
            await self.dead.wait()

    async def close(self) -> None:
        """Stop pinging; the program lives on."""
        self._task.cancel()
        self._log_task.cancel()
        await super().close()

    async def _follow(self) -> None:
        pause_s = _FIRST_PING_S
        while not await ping(self.port):
            self.known.set()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_FIRST_PING_S)
        self.known.set()
        self.set_state(ReplicaState.READY)
        failed = 0
        while failed < FAILED_PINGS:
            await asyncio.sleep(self._ping_every_s)
            failed = 0 if await ping(self.port) else failed + 1
        self.fail(
            Failure(
                reason="HealthCheckFailed",
                message=f"The model server did not answer GET /ping with 200 within {PING_LIMIT_S:g} s, "
                f"{FAILED_PINGS} times in a row. See its log.",
                tail=self.log_tail(),
            )
        )

    async def _keep_log(self) -> None:
        while True:
            await asyncio.to_thread(self._log.look)
            await asyncio.sleep(LOOK_EVERY_S)

    def _forget(self) -> None:
        self._task.cancel()
        self._log_task.cancel()
        asyncio.get_running_loop().run_in_executor(None, self._log.finish)
        super()._forget()
        if self._after_death is not None:
            self._after_death(self.record)


async def ping(port: int) -> bool:
    """Whether GET /ping on a loopback port answers 200 in time."""
    try:
        async with asyncio.timeout(PING_LIMIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
                status = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):  # ValueError: a first line without end
        return False
    return len(status) >= 2 and status[0].startswith(b"HTTP/1.") and status[1] == b"200"


def connections_to(port: int) -> int:
    """How many TCP connections to a local port are established, ours included."""
    wanted, established = f":{port:04X}", "01"
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:  # no IPv6
            continue
        for line in lines:
            columns = line.split()
            count += columns[1].endswith(wanted) and columns[3] == established
    return count
