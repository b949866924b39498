"""A keeper of queues in a process of its own, to be killed: `python -m trimtab.testing.queue_process FOLDER [BYTES]`.

It says "ready" when it serves FOLDER/queues.sock. No file that it writes may be longer than BYTES: its disk is full.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from trimtab.queues.keeper import QueueKeeper
from trimtab.queues.sqlite import SqliteQueueStore


def start_keeper(
    folder: Path, *, file_most_bytes: int = 0, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """A keeper that serves. The caller kills it, and waits for it."""
    argv = [sys.executable, "-m", "trimtab.testing.queue_process", str(folder), str(file_most_bytes)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout as said:
        if said.readline() != "ready\n":
            process.kill()
            raise AssertionError(f"the keeper ended with status {process.wait()}")
    return process


async def keep(folder: Path) -> None:
    """For ever."""
    keeper = QueueKeeper(SqliteQueueStore(folder / "queues.db"), folder / "queues.sock")
    await keeper.open()
    print("ready", flush=True)
    await keeper.run()


if __name__ == "__main__":
    if most_bytes := int(sys.argv[2]):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    asyncio.run(keep(Path(sys.argv[1])))
