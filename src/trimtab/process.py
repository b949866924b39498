"""What the processes of `trimtab serve` have in common: they run until told to stop, and say when they are ready."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path


def run_until_stopped(process: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run on uvloop until SIGTERM or until the supervisor is gone."""
    import uvloop

    async def body() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        fd = lifeline_fd()

        def lifeline_ended() -> None:
            loop.remove_reader(fd)
            stop.set()

        if fd >= 0:
            loop.add_reader(fd, lifeline_ended)
        await process(stop)

    uvloop.run(body())
    return 0


async def until_stopped(stop: asyncio.Event, *works: Awaitable[None]) -> None:
    """Run `works` until `stop`. One that ends by itself is a defect, and raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    stopped = asyncio.ensure_future(stop.wait())
    done, pending = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def unix_listener(path: Path) -> socket.socket:
    """A Unix socket that only its owner may connect to; what an earlier process left is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def lifeline_fd() -> int:
    """The pipe whose end of file says that the supervisor is gone; -1 without one."""
    return int(os.environ.get("TRIMTAB_LIFELINE_FD", "-1"))


def tell_ready() -> None:
    """Tell the supervisor that this process can answer."""
    if fd := os.environ.pop("TRIMTAB_READY_FD", ""):
        os.write(int(fd), b"1")
        os.close(int(fd))
