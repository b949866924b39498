"""Waiting for what no event tells of: of another process, another thread, or the other end of a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LIMIT_S = 20.0


async def until(look: Callable[[], object], limit_s: float = LIMIT_S) -> object:
    """What `look` finds, as soon as that is something. `look` may have to be awaited. TimeoutError after `limit_s`."""
    async with asyncio.timeout(limit_s):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.002)
