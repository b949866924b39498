"""Lane: the way to one model server process, whichever wire leads there."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Protocol

from trimtab import logs
from trimtab.errors import ReplicaLost, TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.meters import VersionMeter
from trimtab.policies.routing import Pace
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire.frames import AnswerMeta

logger = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.02
_LAST_RETRY_S = 1.0
_ABANDONED_LEAST_S = 0.1
_SIGN_OF_LIFE_S = 2.0  # AWS: so long has a container to answer /ping


class LaneOwner(Protocol):
    """Who is told what becomes of the calls: a variant."""

    def answered(self, call: Call, meta: AnswerMeta, body: bytes, now_s: float) -> None:
        """The whole answer is here."""
        ...

    def began(self, call: Call, meta: AnswerMeta) -> None:
        """A streamed answer begins."""
        ...

    def received(self, call: Call, data: bytes) -> None:
        """A piece of it."""
        ...

    def ended(self, call: Call, now_s: float) -> None:
        """It is complete."""
        ...

    def failed(self, call: Call, error: TrimtabError) -> None:
        """No (more) answer will come."""
        ...

    def returned(self, call: Call) -> None:
        """The lane did not work on it: send it elsewhere."""
        ...

    def has_room(self) -> None:
        """A lane can take (more) requests."""
        ...

    def busy(self) -> bool:
        """Whether any of its lanes has a request in hand."""
        ...


async def connect(address: str, protocol: asyncio.Protocol) -> None:
    """Connect `protocol` to `unix:/path` or `tcp:host:port`. OSError when nobody listens there."""
    loop = asyncio.get_running_loop()
    scheme, _, rest = address.partition(":")
    if scheme == "unix":
        await loop.create_unix_connection(lambda: protocol, rest)
    else:
        host, _, port = rest.rpartition(":")
        await loop.create_connection(lambda: protocol, host, int(port))


class Lane(ABC):
    """Sends calls to one address and reports to its owner. Reconnects as long as it is not retired.

    `outstanding` counts the calls in the lane's hands, abandoned ones included until the worker is done with them.
    """

    def __init__(self, route: LaneRoute, owner: LaneOwner, now_s: Callable[[], float]) -> None:
        self.route = route
        self.owner = owner
        self.opened = False  # being kept connected
        self.connected = False
        self.ready = False  # connected, and willing to take requests
        self.outstanding = 0
        self.pace = Pace(route.concurrency, route.batch_size, alone=route.alone)
        self.window = self.pace.window
        self.retired = False
        self.meter = VersionMeter("")  # of the version that it serves; the gateway gives the variant's own
        self.busy_since_s = 0.0  # 0: idle
        self._hung_up = False  # the server, since it last gave a sign of life
        self.share = 1.0  # of its replica: one of so many lanes
        self._busy_s = 0.0  # before that, since the last `take_busy`
        self._taken_busy_s = 0.0  # by `take_busy`, so far
        self._now_s = now_s
        self._last_answer_s = 0.0
        self._abandoned: dict[int, float] = {}  # stream id to the time at which its slot is taken to be free
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    # --- connection --------------------------------------------------------------------------------------------

    async def open(self, *, timeout_s: float) -> bool:
        """Try to connect once; whatever comes of it, keep the lane connected from now on. True: ready."""
        self.opened = True
        connected = await self._try_connect(timeout_s)
        if not self.retired:
            self._keeper = asyncio.get_running_loop().create_task(self._keep(timeout_s))
        return connected

    async def _keep(self, timeout_s: float) -> None:
        delay_s = _FIRST_RETRY_S
        while not self.retired:
            if self.connected:
                delay_s = _FIRST_RETRY_S
                await self._lost.wait()
                self._lost.clear()
            if self.retired or await self._try_connect(timeout_s):
                continue
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LAST_RETRY_S)

    async def _try_connect(self, timeout_s: float) -> bool:
        try:
            if self._hung_up:
                async with asyncio.timeout(_SIGN_OF_LIFE_S):
                    await self._see_it_live()
                self._hung_up = False
            async with asyncio.timeout(timeout_s):
                await self._connect()
        except (OSError, TimeoutError) as error:
            logger.debug("lane not reachable %s", logs.fields(address=self.route.address, error=error))
            return False
        if self.retired:
            self._disconnect()
            return False
        self.connected = self.ready = True
        self.owner.has_room()
        return True

    def _connection_lost(self) -> None:
        """For subclasses: the peer is gone; take nothing more until it is back."""
        if self.connected and not self.retired:
            logger.info("lane lost %s", logs.fields(replica=self.route.replica_id, address=self.route.address))
        self.connected = self.ready = False
        self._lost.set()

    def _hangs_up(self) -> None:
        """For subclasses: the peer closed a connection as one does that ends. It takes nothing more until it answers.

        A process that ends closes its connections one by one, and then its listener: to that, one can connect in
        between. A request sent there would be lost with it, although it could have waited for the next replica.
        """
        self._hung_up = True
        self._connection_lost()

    def retire(self) -> None:
        """Send nothing new; disconnect when the last answer is in."""
        self.retired = True
        self.ready = False
        self._lost.set()
        self._disconnect_if_idle()

    async def close(self) -> None:
        """Disconnect now. Calls in hand fail with ReplicaLost."""
        self.retired = True
        self.ready = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._disconnect()

    def _disconnect_if_idle(self) -> None:
        if self.retired and not self.calls():
            if self._keeper is not None:
                self._keeper.cancel()
            self._disconnect()

    # --- calls -------------------------------------------------------------------------------------------------

    def observe_answer(self, call: Call, now_s: float, most_s: float = inf) -> None:
        """An answer is complete: one slot is free, and the window follows the pace.

        The worker needed no more than `most_s` for it: what passed beyond that was this gateway's own delay, which must
        not make its window smaller.
        """
        self.outstanding -= 1
        begun_s = call.sent_s if call.sent_s > self._last_answer_s else self._last_answer_s
        self._last_answer_s = now_s
        gap_s = now_s - begun_s
        self.window = self.pace.observe(gap_s if gap_s < most_s else most_s)
        if self.outstanding == 0:
            self._busy_s += now_s - self.busy_since_s
            self.busy_since_s = 0.0

    def take_busy(self, now_s: float) -> float:
        """Seconds in which it had a request in hand, since this was last asked."""
        busy_s, self._busy_s = self._busy_s, 0.0
        if self.busy_since_s:
            busy_s += now_s - self.busy_since_s
        self.busy_since_s = now_s if self.outstanding else 0.0
        self._taken_busy_s += busy_s
        return busy_s

    def busy_so_far_s(self, now_s: float) -> float:
        """Seconds in which it had a request in hand, since it was made."""
        under_way_s = now_s - self.busy_since_s if self.busy_since_s else 0.0
        return self._taken_busy_s + self._busy_s + under_way_s

    def _freed(self) -> None:
        """A slot is free although no answer came."""
        if self.outstanding == 0 and self.busy_since_s:
            self._busy_s += self._now_s() - self.busy_since_s
            self.busy_since_s = 0.0

    def abandon(self, call: Call, *, overdue: bool) -> None:
        """The caller is gone, or its time is up. The slot stays taken until the worker is done with it, or may be."""
        grace_s = 10.0 if overdue else max(self.pace.gap_s * 2, _ABANDONED_LEAST_S)
        self._abandoned[call.stream_id] = self._now_s() + grace_s
        self._cancel(call)
        self._disconnect_if_idle()

    def free_abandoned(self, stream_id: int) -> None:
        """The worker is done with an abandoned call."""
        if self._abandoned.pop(stream_id, None) is not None:
            self.outstanding -= 1
            self._freed()

    def sweep(self, now_s: float) -> bool:
        """Free the slots of calls abandoned long ago. True while some are left."""
        for stream_id in [s for s, until_s in self._abandoned.items() if until_s <= now_s]:
            self.free_abandoned(stream_id)
        return bool(self._abandoned)

    def lost_error(self) -> ReplicaLost:
        """What callers are told whose request was in the hands of a lane that went away."""
        return ReplicaLost(
            "The replica that worked on this request is gone; whether the request had an effect there is not known."
        )

    # --- the wire ----------------------------------------------------------------------------------------------

    @abstractmethod
    def calls(self) -> list[Call]:
        """Calls in hand, oldest first."""

    @abstractmethod
    def send(self, call: Call, now_s: float) -> None:
        """Take a call in hand, now. Only when ready and with room in the window."""

    @abstractmethod
    def credit(self, call: Call, size_bytes: int) -> None:
        """The caller has consumed so much of a streamed answer."""

    @abstractmethod
    async def _connect(self) -> None:
        """Connect once. OSError when that fails."""

    @abstractmethod
    async def _see_it_live(self) -> None:
        """Ask for nothing that matters, on a connection of its own. OSError, or no end, unless there is an answer."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection(s), if any."""

    @abstractmethod
    def _cancel(self, call: Call) -> None:
        """Forget a call in hand and tell the worker, if the wire can."""
