"""Connecting to a process that may be on its way: again and again, until somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

PAUSES_S: Final = (0.005, 0.1)  # the first, doubled each time, and the longest


async def until_connected(connect: Callable[[], Awaitable[T]], pauses_s: tuple[float, float] = PAUSES_S) -> T:
    """What `connect` gives, once it does not raise OSError."""
    pause_s, longest_s = pauses_s
    while True:
        try:
            return await connect()
        except OSError:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)


async def dial(
    socket_path: Path, pauses_s: tuple[float, float] = PAUSES_S
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a Unix socket, once somebody listens there."""
    reader, writer = await until_connected(lambda: asyncio.open_unix_connection(socket_path), pauses_s)
    # uvloop keeps what is below the limit until the turn of the event loop ends: what is asked does not wait for that.
    writer.transport.set_write_buffer_limits(high=0)
    return reader, writer
