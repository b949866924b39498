"""ModelLane: the way to one version of one model of a host: to its worker, or into the program that holds all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from trimtab.errors import ReplicaLost
from trimtab.gateway.calls import Call
from trimtab.gateway.frames_lane import FramesLane
from trimtab.gateway.http_lane import CONNECT_TIMEOUT_S, HttpLane
from trimtab.gateway.lane import Lane
from trimtab.gateway.looker import Looker
from trimtab.resources.replica import Wire
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire import http
from trimtab.wire.hosting import ABSENT, SHORT

if TYPE_CHECKING:
    from trimtab.gateway.models.host_link import HostLink
    from trimtab.gateway.models.model_queue import ModelQueue

_LOOK_S: Final = 2.0  # for a program to say whether it has a model
_SHORT_TIMES: Final = 2  # that a call is sent elsewhere because a model ran out of memory


class ModelLane(Lane):
    """A Lane whose host is told how it is used. When its worker is gone, it is not connected again: the host says
    where the model is then."""

    queue: ModelQueue
    link: HostLink
    version: str
    sent = 0  # requests, not told to the host yet
    missed = 0  # of these, that came before the model was loaded
    _noted = False  # the host's link knows it as busy
    _answered = False  # something, ever

    def _belong(self, queue: ModelQueue, link: HostLink, version: str) -> None:
        self.queue = queue
        self.link = link
        self.version = version
        self.meter = link.meter

    # --- use ---------------------------------------------------------------------------------------------------

    def send(self, call: Call, now_s: float) -> None:
        """As any lane; counted."""
        self.sent += 1
        if call.missed:
            self.missed += 1
        super().send(call, now_s)  # type: ignore[safe-super] # of the wire's own lane
        if not self._noted:
            self._note()

    def observe_answer(self, call: Call, now_s: float, most_s: float = float("inf")) -> None:
        """As any lane; the host's link notes when the last one is in."""
        if not self._answered:
            self._answered = True
            if call.missed:  # else it was loaded before, and may have answered others
                self.queue.note_first((now_s - call.sent_s) * 1e6)
        super().observe_answer(call, now_s, most_s)
        if not self.outstanding:
            self._note()

    def _freed(self) -> None:
        super()._freed()
        if not self.outstanding:
            self._note()

    def _note(self) -> None:
        busy = self.outstanding > 0
        if busy is not self._noted:
            self._noted = busy
            self.link.noted(self, busy=busy)

    # --- connection --------------------------------------------------------------------------------------------

    def _connection_lost(self) -> None:
        super()._connection_lost()
        if not self.retired:
            self.queue.lane_gone(self)

    def _disconnect(self) -> None:
        super()._disconnect()  # type: ignore[safe-super] # of the wire's own lane
        if self.retired:
            self.link.forget(self)

    def lost_error(self) -> ReplicaLost:
        """What callers are told whose request was in the worker's hands."""
        return ReplicaLost(
            f"The process of model {self.queue.model} that worked on this request is gone; whether the request had an "
            "effect there is not known. The model is loaded again when it is asked for."
        )


class WorkerModelLane(ModelLane, FramesLane):
    """To a worker that has the model alone."""

    def __init__(
        self,
        route: LaneRoute,
        queue: ModelQueue,
        link: HostLink,
        version: str,
        now_s: Callable[[], float],
        looker: Looker,
    ) -> None:
        super().__init__(replace(route, replica_id=link.route.replica_id), queue, now_s, looker)
        self._belong(queue, link, version)

    def _set_beside(self, call: Call, stream: int) -> None:
        super()._set_beside(call, stream)
        self._note()  # a stream under way is work, too

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker is gone, or was left."""
        super().connection_lost(exc)
        if self.retired:
            self.link.forget(self)


class ProgramModelLane(ModelLane, HttpLane):
    """Into a program that keeps AWS's multi-model container contract, and has other models, too."""

    def __init__(
        self, route: LaneRoute, queue: ModelQueue, link: HostLink, version: str, now_s: Callable[[], float]
    ) -> None:
        super().__init__(replace(route, replica_id=link.route.replica_id), queue, now_s)
        self._belong(queue, link, version)
        self._looks: set[asyncio.Task[None]] = set()

    def refused(self, call: Call, status: int, body: bytes, content_type: str) -> None:
        """404 may be the program's, which does not know the model, or the model's own; 507: its work needs memory."""
        if status == 404:
            self._hold(call)
            task = self._loop.create_task(self._look(call, body, content_type))
            self._looks.add(task)
            task.add_done_callback(self._looks.discard)
        elif status == 507 and call.short < _SHORT_TIMES:
            call.short += 1
            self.queue.doubted(self, SHORT)
            self.owner.returned(call)
        else:
            super().refused(call, status, body, content_type)

    def _hold(self, call: Call) -> None:
        """It is in hand again, until it is known what its answer means."""
        self._calls[call.stream_id] = (call, None)
        self.outstanding += 1
        if self.outstanding == 1:
            self.busy_since_s = self._now_s()
        self._note()

    async def _look(self, call: Call, body: bytes, content_type: str) -> None:
        path = self.route.path.removesuffix("/invoke")
        try:
            status, _ = await http.ask(self.route.address, "GET", path, timeout_s=_LOOK_S, connect_s=CONNECT_TIMEOUT_S)
        except asyncio.CancelledError:  # the lane is closed
            if self._calls.pop(call.stream_id, None) is not None:
                self.owner.failed(call, self.lost_error())
            raise
        except (OSError, ValueError):  # TimeoutError is the first; the host will say what has become of it
            status = 0
        if self._calls.pop(call.stream_id, None) is None:
            return  # cancelled, and its slot is swept
        self.outstanding -= 1
        self._freed()
        if status == 404:
            self.queue.doubted(self, ABSENT)
            self.owner.returned(call)
        else:
            super().refused(call, 404, body, content_type)
        self.owner.has_room()
        self._disconnect_if_idle()

    def _disconnect(self) -> None:
        for task in self._looks:
            task.cancel()
        super()._disconnect()


def model_lane(
    route: LaneRoute, queue: ModelQueue, link: HostLink, version: str, now_s: Callable[[], float], looker: Looker
) -> ModelLane:
    """The lane that `route` needs."""
    if route.wire is Wire.HTTP:
        return ProgramModelLane(route, queue, link, version, now_s)
    return WorkerModelLane(route, queue, link, version, now_s, looker)
