"""Work that takes long, beside the event loop: in a few threads of its own, so that other calls are answered meanwhile.

Threads share the interpreter with the loop, which waits for each of them in its turns: hence so few. A caller that
leaves gives back its place in the queue; what has begun is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

AT_ONCE: Final = 1
LARGE_BYTES: Final = 32_768  # a document that takes milliseconds to be read

P = ParamSpec("P")
T = TypeVar("T")


class Apart:
    """`await apart(function, ...)`: what it returns or raises."""

    def __init__(self, name: str, at_once: int = AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
