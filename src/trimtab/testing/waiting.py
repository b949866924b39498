"""Waiting for what no event tells of: of another process, another thread, or the other end of a socket.

The limits are for what never comes: a busy machine takes longer, and a test that passes waits for nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_S = 60.0
PAUSE_S = 0.01
Found = TypeVar("Found")
What = str | Callable[[], object]


async def until(look: Callable[[], object], what: What = "", limit_s: float = LIMIT_S) -> object:
    """As `wait_until`, in an event loop. `look` may have to be awaited."""
    try:
        async with asyncio.timeout(limit_s):
            while True:
                found = look()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.002)
    except TimeoutError as error:
        raise _too_late(what, limit_s) from error


def wait_until(look: Callable[[], Found], what: What = "", limit_s: float = LIMIT_S) -> Found:
    """What `look` finds, as soon as that is something. TimeoutError after `limit_s`.

    `what` is being waited for, or finds what there is instead: the error says so.
    """
    ends_s = time.monotonic() + limit_s
    while not (found := look()):
        if time.monotonic() > ends_s:
            raise _too_late(what, limit_s)
        time.sleep(PAUSE_S)
    return found


def _too_late(what: What, limit_s: float) -> TimeoutError:
    return TimeoutError(f"not within {limit_s:g} s: {what if isinstance(what, str) else what()}")
