"""An async stream, read as a file by a thread: tarfile knows nothing of event loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """Whoever wanted the bytes does not any more."""


class Bridge:
    """From a thread to the loop that feeds it. `cancel` (on the loop) makes the thread's next step raise Cancelled."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending: concurrent.futures.Future[Any] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Give up."""
        self._cancelled = True
        if self._pending is not None:
            self._pending.cancel()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """From the thread: run `coroutine` on the loop, and wait."""
        return self.wait(self.begin(coroutine))

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """From the thread: start `coroutine` on the loop."""
        if self._cancelled:
            coroutine.close()
            raise Cancelled
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def wait(self, future: concurrent.futures.Future[T]) -> T:
        """From the thread: the result of what was begun."""
        self._pending = future
        if self._cancelled:
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None
        finally:
            self._pending = None


class StreamFile(io.RawIOBase):
    """The stream as a file. One piece is fetched ahead, so that reading and unpacking overlap."""

    def __init__(self, stream: AsyncIterator[bytes], bridge: Bridge) -> None:
        super().__init__()
        self._stream = stream
        self._bridge = bridge
        self._piece = memoryview(b"")
        self._next: concurrent.futures.Future[bytes | None] | None = bridge.begin(self._fetch())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of `buffer`; 0 at the end."""
        while not self._piece:
            if self._next is None:
                return 0
            piece = self._bridge.wait(self._next)
            self._next = None if piece is None else self._bridge.begin(self._fetch())
            self._piece = memoryview(piece or b"")
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    async def _fetch(self) -> bytes | None:
        return await anext(self._stream, None)
