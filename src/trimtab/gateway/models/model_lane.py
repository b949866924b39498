"""ModelLane: the way to one worker of a model host, which has one version of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trimtab.errors import ReplicaLost
from trimtab.gateway.calls import Call
from trimtab.gateway.frames_lane import FramesLane
from trimtab.gateway.looker import Looker
from trimtab.resources.routing import Lane as LaneRoute

if TYPE_CHECKING:
    from trimtab.gateway.models.host_link import HostLink
    from trimtab.gateway.models.model_queue import ModelQueue


class ModelLane(FramesLane):
    """A FramesLane whose host is told how it is used. When its worker is gone, it is not connected again: the host says
    where the model is then."""

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
        self.queue = queue
        self.link = link
        self.version = version
        self.meter = link.meter
        self.sent = 0  # requests, not told to the host yet
        self.missed = 0  # of these, that came before the model was loaded
        self._noted = False  # the host's link knows it as busy

    # --- use ---------------------------------------------------------------------------------------------------

    def send(self, call: Call, now_s: float) -> None:
        """As any lane; counted."""
        self.sent += 1
        if call.missed:
            self.missed += 1
        super().send(call, now_s)
        if not self._noted:
            self._note()

    def observe_answer(self, call: Call, now_s: float, most_s: float = float("inf")) -> None:
        """As any lane; the host's link notes when the last one is in."""
        super().observe_answer(call, now_s, most_s)
        if not self.outstanding:
            self._note()

    def _freed(self) -> None:
        super()._freed()
        if not self.outstanding:
            self._note()

    def _set_beside(self, call: Call, stream: int) -> None:
        super()._set_beside(call, stream)
        self._note()  # a stream under way is work, too

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

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker is gone, or was left."""
        super().connection_lost(exc)
        if self.retired:
            self.link.forget(self)

    def _disconnect(self) -> None:
        super()._disconnect()
        if self.retired:
            self.link.forget(self)

    def lost_error(self) -> ReplicaLost:
        """What callers are told whose request was in the worker's hands."""
        return ReplicaLost(
            f"The process of model {self.queue.model} that worked on this request is gone; whether the request had an "
            "effect there is not known. The model is loaded again when it is asked for."
        )
