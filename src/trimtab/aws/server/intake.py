"""Intake: whether a connection is being read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Intake:
    """Reading of one transport, on and off. Without a transport, or with one that closes, nothing changes any more."""

    __slots__ = ("held", "reads", "transport")

    def __init__(self) -> None:
        self.reads = True
        self.transport: asyncio.Transport | None = None
        self.held = False

    def pause(self) -> None:
        """Read no more."""
        if self.reads and self.transport is not None and not self.transport.is_closing():
            self.reads = False
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on, unless it is held."""
        if not (self.reads or self.held or self.transport is None or self.transport.is_closing()):
            self.reads = True
            self.transport.resume_reading()

    def hold(self, pause_s: float, then: Callable[[], None]) -> None:
        """Read no more for `pause_s` seconds at least; call `then` when they are over."""
        if not self.held:
            self.held = True
            self.pause()
            asyncio.get_running_loop().call_later(pause_s, self._unhold, then)

    def unhold(self) -> None:
        """Read on in any case."""
        self.held = False
        self.resume()

    def _unhold(self, then: Callable[[], None]) -> None:
        self.held = False
        then()
