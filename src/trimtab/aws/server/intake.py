"""Intake: whether a connection is being read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trimtab.policies.admission import Impatience


class Intake:
    """Reading of one transport, on and off. Without a transport, or with one that closes, nothing changes any more."""

    __slots__ = ("_impatience", "held", "reads", "transport")

    def __init__(self) -> None:
        self.reads = True
        self.transport: asyncio.Transport | None = None
        self.held = False
        self._impatience: Impatience | None = None  # few connections ever need one

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

    def hold(self, now_s: float, then: Callable[[], None]) -> None:
        """Read no more for as long as the client's impatience asks for; call `then` when that is over."""
        if self.held:
            return
        if self._impatience is None:
            self._impatience = Impatience()
        self.held = True
        self.pause()
        asyncio.get_running_loop().call_later(self._impatience.pause_s(now_s), self._unhold, then)

    def unhold(self) -> None:
        """Read on in any case."""
        self.held = False
        self.resume()

    def _unhold(self, then: Callable[[], None]) -> None:
        self.held = False
        then()
