"""Signaller: tells control at once what this gateway has of variants that are scaled by events (`wire/signals.py`)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, cast

import msgspec

from trimtab import logs
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.signalled import Signalled, Source
from trimtab.gateway.variant import Variant
from trimtab.wire.signals import LEVELS_MOST, Level, Signal
from trimtab.wire.sized import sized

logger = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.02
_SHARE: Final = 0.05  # of this process's time for looking: with very many variants, it looks more rarely
_RETRY_S: Final = 0.05
_UNSENT_BYTES: Final = 1 << 16  # control is slow: what it has not read says enough, and newer levels wait

_encode = msgspec.msgpack.Encoder().encode


class Signaller:
    """`run` for ever. It looks only while a variant that control wants to know of has calls, and holds nothing back for
    control: what cannot be sent now is made anew when it can.
    """

    def __init__(self, gateway: Gateway, socket_path: Path, *, now_s: Callable[[], float] = time.monotonic) -> None:
        gateway.watcher = self
        self._gateway = gateway
        self._socket_path = socket_path
        self._now_s = now_s
        self._link: _Link | None = None
        self._known: dict[Variant, Signalled] = {}  # all that this connection was told of
        self._active: dict[Variant, Signalled] = {}
        self._last: list[Level] = []  # of variants that are over, not sent yet
        self._hungry: dict[Variant, None] = {}  # to be told at the end of this turn
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Keep connected. Control may come and go."""
        loop = asyncio.get_running_loop()
        link: _Link | None = None
        try:
            while True:
                try:
                    _, link = await loop.create_unix_connection(lambda: _Link(self), str(self._socket_path))
                    await link.over.wait()
                except OSError as error:
                    logger.debug("control takes no signals yet %s", logs.fields(error=error))
                await asyncio.sleep(_RETRY_S)
        finally:
            if link is not None:
                link.close()
            self.disconnected()

    @property
    def is_connected(self) -> bool:
        """Whether control listens."""
        return self._link is not None

    @property
    def is_heard(self) -> bool:
        """Whether control reads what it is sent."""
        return self._link is not None and self._link.ready

    @property
    def is_looking(self) -> bool:
        """Whether anything is looked at from time to time."""
        return self._timer is not None

    # --- the gateway tells ---------------------------------------------------------------------------------------

    def began(self, variant: Variant) -> None:
        """See Watcher."""
        if self._link is None:
            return
        self._active[variant] = self._signalled(variant)
        self._look_later()

    def starved(self, variant: Variant) -> None:
        """See Watcher. Control hears of the first call at once, and of those behind it as of any others."""
        if self._link is None or self._signalled(variant).is_starving:
            return
        if not self._hungry:
            asyncio.get_running_loop().call_soon(self._cry)
        self._hungry[variant] = None

    def switched(self, active: Iterable[Variant]) -> None:
        """See Watcher."""
        if self._link is None:
            return
        for variant in [variant for variant in self._known if not variant.signals]:
            self._last.append(self._known.pop(variant).tell_last())
            self._active.pop(variant, None)
        for variant in active:
            if variant.signals and variant not in self._active:
                self.began(variant)
        self._send([])

    def source(self, variant: Variant) -> Source:
        """What is told of a variant: what this gateway has of it."""
        return variant

    def _signalled(self, variant: Variant) -> Signalled:
        known = self._known.get(variant)
        if known is None:
            known = Signalled(variant.endpoint, variant.route.name, self.source(variant), self._now_s())
            self._known[variant] = known
            if variant.meter is None:
                place = logs.fields(endpoint=variant.endpoint, variant=variant.route.name)
                logger.warning("meters are off: control hears what is in hand, and of no count %s", place)
        return known

    # --- control is told -----------------------------------------------------------------------------------------

    def connected(self, link: _Link) -> None:
        """Control is there: it hears of all that is in hand. Counting begins."""
        self._link = link
        self.switched(self._gateway.active())
        self.caught_up()

    def disconnected(self) -> None:
        """Control is away: nobody is told, and nothing kept."""
        self._link = None
        self._known.clear()
        self._active.clear()
        self._last.clear()
        self._hungry.clear()
        self._look_no_more()

    def caught_up(self) -> None:
        """Control reads (again)."""
        now_s = self._now_s()
        self._send([signalled.tell(now_s) for signalled in self._active.values()])

    def look(self) -> None:
        """Look at each active variant, and send what is due."""
        if self._link is None:
            return
        now_s = self._now_s()
        due = [signalled for signalled in self._active.values() if signalled.look(now_s)]
        if self._link.ready:
            self._send([signalled.tell(now_s) for signalled in due])
            self._rest()

    def _rest(self) -> None:
        """Look no more at what has had no call for a while; it begins again with the next one."""
        for variant in [v for v, signalled in self._active.items() if not v.active and signalled.is_quiet]:
            del self._active[variant]

    def _cry(self) -> None:
        hungry, self._hungry = self._hungry, {}
        if self._link is not None and self._link.ready:
            now_s = self._now_s()
            self._send([self._signalled(variant).tell(now_s) for variant in hungry if variant.signals])

    def _send(self, levels: list[Level]) -> None:
        """Only when control reads: otherwise `levels` must be empty."""
        if self._link is None or not self._link.ready:
            return
        told, self._last = (*self._last, *levels), []
        for first in range(0, len(told), LEVELS_MOST):
            self._link.write(Signal(sent_monotonic_s=self._now_s(), levels=told[first : first + LEVELS_MOST]))

    # --- time ----------------------------------------------------------------------------------------------------

    def _look_later(self, after_s: float = _LOOK_EVERY_S) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._turn)

    def _look_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        began_s = self._now_s()
        self.look()
        if self._active:
            self._look_later(max(_LOOK_EVERY_S, (self._now_s() - began_s) / _SHARE))


class _Link(asyncio.Protocol):
    """The connection to control; it never says anything."""

    def __init__(self, signaller: Signaller) -> None:
        self.over = asyncio.Event()
        self.ready = False  # what is written goes out soon
        self._signaller = signaller
        self._transport: asyncio.Transport | None = None

    def write(self, signal: Signal) -> None:
        """Send."""
        assert self._transport is not None
        self._transport.write(sized(_encode(signal)))

    def close(self) -> None:
        """Say no more."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not subclasses
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self.ready = True
        self._signaller.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self._transport, self.ready = None, False
        self._signaller.disconnected()
        self.over.set()

    def pause_writing(self) -> None:
        """asyncio's."""
        self.ready = False

    def resume_writing(self) -> None:
        """asyncio's."""
        if self._transport is not None:
            self.ready = True
            self._signaller.caught_up()
