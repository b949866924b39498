"""HostLink: the connection to one model host: which models it has, what is wanted of it, how they are used.

See `wire/hosting.py` for what travels. No request goes this way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import msgspec

from trimtab import logs
from trimtab.errors import Broken
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane, connect
from trimtab.gateway.looker import Looker
from trimtab.gateway.models.model_lane import ModelLane, model_lane
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import Kind, pack
from trimtab.wire.hosting import SHORT, ModelAt, ModelState, Use, Used, Want

if TYPE_CHECKING:
    from trimtab.gateway.models.hosted_variant import HostedVariant
    from trimtab.gateway.models.model_queue import ModelQueue

logger = logging.getLogger(__name__)

_TELL_EVERY_S: Final = 0.2  # how its models are used
_TELL_IDLE_S: Final = 0.05  # that one of them is idle: at once, but not more often than this
_OPEN_TIMEOUT_S: Final = 1.0
_ROWS: Final = 1000  # models in one Used

_encode = msgspec.msgpack.Encoder().encode
_decode_at = msgspec.msgpack.Decoder(ModelAt).decode
_MODEL: Final = int(Kind.MODEL)


class HostLink(Lane, asyncio.Protocol):
    """A Lane that leads to a host instead of a worker: it is kept connected and is busy while any lane to the host's
    workers is; `outstanding` is the number of these."""

    def __init__(self, route: LaneRoute, variant: HostedVariant, now_s: Callable[[], float], looker: Looker) -> None:
        super().__init__(route, variant, now_s)
        self.variant = variant
        self.held: dict[str, ModelAt] = {}  # ready here
        self.coming: dict[str, str] = {}  # on their way: the version, "" while it is not known
        self._wanted: set[str] = set()  # asked for here; the host has not said yet that they are on their way
        self.since_s = 0.0  # connected
        self._looker = looker
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(self._frame)
        self._crowded = False  # the host reads slower than it is told
        self._lanes: dict[ModelLane, None] = {}  # to its workers, until they have finished
        self._opening: set[asyncio.Task[None]] = set()
        self._busy: dict[ModelLane, None] = {}
        self._untold: dict[ModelLane, None] = {}  # busy, or used since the host was told
        self._told: dict[str, int] = {}  # in hand of each model that is not idle
        self._leaving: dict[tuple[str, str], None] = {}  # versions whose host waits until nothing is in hand of them
        self._told_s = 0.0
        self._idle = False  # a model has become idle, and the host does not know
        self._tell_due = False

    # --- models ------------------------------------------------------------------------------------------------

    def want(self, want: Want) -> None:
        """Ask for a model; answered by a change of it, sooner or later. Only when connected."""
        assert self._transport is not None
        if want.why != SHORT:
            self._wanted.add(want.model)
        self._transport.write(pack(Kind.WANT, 0, payload=_encode(want)))

    @property
    def loading(self) -> int:
        """Models on their way here, as far as this gateway knows."""
        return len(self.coming) + len(self._wanted)

    def lane(self, route: LaneRoute, version: str, queue: ModelQueue) -> ModelLane:
        """A new lane to a worker, being connected."""
        lane = model_lane(route, queue, self, version, self._now_s, self._looker)
        self._lanes[lane] = None
        task = self._loop.create_task(self._open_lane(lane))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return lane

    @staticmethod
    async def _open_lane(lane: ModelLane) -> None:
        if not await lane.open(timeout_s=_OPEN_TIMEOUT_S) and not lane.retired:
            lane.queue.lane_gone(lane)

    def forget(self, lane: ModelLane) -> None:
        """A lane that was given up has finished."""
        if not lane.calls():
            self._lanes.pop(lane, None)
            self._disconnect_if_idle()

    @property
    def in_hand(self) -> int:
        """Requests with its workers."""
        return sum(lane.outstanding for lane in self._busy)

    # --- use ---------------------------------------------------------------------------------------------------

    def noted(self, lane: ModelLane, *, busy: bool) -> None:
        """A lane has its first request in hand, or has none any more."""
        if busy:
            if not self._busy:
                self.busy_since_s = self._now_s()
            self._busy[lane] = self._untold[lane] = None
            self.outstanding = len(self._busy)
            return
        self._busy.pop(lane, None)
        self.outstanding = len(self._busy)
        self._freed()
        if self._transport is None:
            self._untold.pop(lane, None)
            return
        self._idle = True
        if self._now_s() - self._told_s >= _TELL_IDLE_S or not self.variant.keeps or self._leaving:
            self._tell_soon()

    def _tell_soon(self) -> None:
        if not self._tell_due:
            self._tell_due = True
            self._loop.call_soon(self._tell)

    def tell(self, now_s: float) -> bool:
        """Tell what is due. True while there is anything to tell later, and somebody to tell it to."""
        if self._transport is None:
            return False
        if (self._untold or self._leaving) and (self._idle or now_s - self._told_s >= _TELL_EVERY_S):
            self._tell()
        return bool(self._untold)

    def _tell(self) -> None:
        self._tell_due = False
        transport = self._transport
        if transport is None or self._crowded:
            return  # later: what it is told adds up
        self._idle = False
        self._told_s = self._now_s()
        uses = self._uses()
        for first in range(0, len(uses), _ROWS):
            transport.write(pack(Kind.USED, 0, payload=_encode(Used(tuple(uses[first : first + _ROWS])))))

    def _uses(self) -> list[Use]:
        rows: dict[str, list[int]] = {}
        done = self._take_done()
        for lane in list(self._untold):
            row = rows.setdefault(lane.queue.model, [0, 0, 0])
            row[0] += lane.sent
            row[1] += lane.outstanding
            row[2] += lane.missed
            lane.sent = lane.missed = 0
            if not lane.outstanding:
                del self._untold[lane]
        uses = []
        for model, (requests, in_hand, misses) in rows.items():
            if requests or self._told.get(model, 0) != in_hand:
                uses.append(Use(model, requests, in_hand, misses, done.pop(model, ())))
            if in_hand:
                self._told[model] = in_hand
            else:
                self._told.pop(model, None)
        return uses + [Use(model, 0, self._told.get(model, 0), 0, versions) for model, versions in done.items()]

    def _take_done(self) -> dict[str, tuple[str, ...]]:
        """Versions that leave and of which nothing is in hand any more."""
        found: dict[str, tuple[str, ...]] = {}
        if self._leaving:
            busy = {(lane.queue.model, lane.version) for lane in self._busy}
            for model, version in [leaving for leaving in self._leaving if leaving not in busy]:
                del self._leaving[model, version]
                found[model] = (*found.get(model, ()), version)
        return found

    # --- connection --------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await connect(self.route.address, self)

    async def _see_it_live(self) -> None:
        """Not asked: what goes over this link is said again on the next connection, and no request is lost with it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: the host tells now what it has."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._decoder = FrameDecoder(self._frame)
        self._crowded = False
        self.since_s = self._now_s()
        if self._untold:  # in the hands of workers that have outlived the connection before
            self._loop.call_soon(self._tell)

    def connection_lost(self, exc: Exception | None) -> None:
        """The host is gone. Its workers finish what they have; nothing new is sent to them."""
        self._transport = None
        self.held.clear()
        self.coming.clear()
        self._wanted.clear()
        self._leaving.clear()
        self._told.clear()
        self._untold = dict(self._busy)  # of what is over nobody needs to hear
        self._connection_lost()
        self.variant.finder.link_lost(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the host."""
        try:
            self._decoder.feed(data)
        except (Broken, msgspec.MsgspecError) as error:
            logger.warning("model host breaks the wire %s", logs.fields(address=self.route.address, error=error))
            if self._transport is not None:
                self._transport.abort()

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        if kind != _MODEL:
            return  # of a newer host
        at = _decode_at(payload)
        model, finder = at.model, self.variant.finder
        self._wanted.discard(model)
        if at.state is ModelState.LOADING:
            self.coming[model] = at.version
        elif at.state is ModelState.READY:
            self.coming.pop(model, None)
            self.held[model] = at
            finder.placed(self, model)
        elif at.state is ModelState.FAILED:
            self.coming.pop(model, None)
            finder.not_loaded(self, at)
        else:
            self._left(model, at.version)

    def _left(self, model: str, version: str) -> None:
        if self.coming.get(model) == version:  # its load was given up
            del self.coming[model]
        if (held := self.held.get(model)) is not None and held.version == version:
            del self.held[model]
            self.variant.finder.left(model)
        self._leaving[model, version] = None
        self._tell_soon()

    def pause_writing(self) -> None:
        """The host is slow: it is asked, but not told of every use."""
        self._crowded = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._crowded = False

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def close(self) -> None:
        """Disconnect now, from its workers too. Calls in hand fail with ReplicaLost."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(lane.close() for lane in list(self._lanes)))
        await super().close()

    # --- calls: none of its own ----------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """Calls with its workers."""
        return [call for lane in self._lanes for call in lane.calls()]

    def send(self, call: Call, now_s: float) -> None:
        """Never: calls go to workers."""
        raise Broken("a call was sent to a model host")

    def credit(self, call: Call, size_bytes: int) -> None:
        """Nothing streams here."""

    def _cancel(self, call: Call) -> None:
        """No call is here."""
