"""A request body that is still arriving."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from trimtab.errors import Invalid, TooLarge

HIGH_WATER_BYTES = 1 << 20  # unread bytes at which the client is made to wait


class ArrivingBody:
    """`aws.http.Body` fed by a connection; back-pressure reaches the client through `on_consumed`."""

    def __init__(self, *, on_wanted: Callable[[], None], on_consumed: Callable[[], None]) -> None:
        self._on_wanted = on_wanted
        self._on_consumed = on_consumed
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._complete = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> bool:
        """Add a piece. False when the client should wait."""
        self._chunks.append(data)
        self._held_bytes += len(data)
        self._wake()
        return self._held_bytes < HIGH_WATER_BYTES

    def finish(self) -> None:
        """All of it is here."""
        self._complete = True
        self._wake()

    def lost(self) -> None:
        """The client left; only matters where the body is not complete."""
        self._lost = True
        self._wake()

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. TooLarge beyond `limit_bytes`; Invalid when the client left half-way."""
        parts: list[bytes] = []
        size = 0
        async for part in self.stream():
            size += len(part)
            if size > limit_bytes:
                raise TooLarge(f"The request body is over {limit_bytes} bytes.", limit_bytes=limit_bytes)
            parts.append(part)
        return b"".join(parts)

    async def stream(self) -> AsyncIterator[bytes]:
        """The pieces as they arrive. Invalid when the client left half-way."""
        self._on_wanted()
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._held_bytes -= len(chunk)
                if self._held_bytes < HIGH_WATER_BYTES // 2:
                    self._on_consumed()
                yield chunk
            if self._complete:
                return
            if self._lost:
                raise Invalid("The client closed the connection before it had sent the whole body.")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
