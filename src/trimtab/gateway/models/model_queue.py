"""ModelQueue: the requests for one model in this gateway, and the lanes to its copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane
from trimtab.gateway.variant import Variant
from trimtab.policies.admission import overfull, overfull_models
from trimtab.policies.costs.tokens import NONE as NO_TOKENS
from trimtab.policies.models.copies import Copies
from trimtab.policies.models.failures import late
from trimtab.policies.routing import least_outstanding
from trimtab.resources.routing import VariantRoute

if TYPE_CHECKING:
    from trimtab.gateway.models.host_link import HostLink
    from trimtab.gateway.models.hosted_variant import HostedVariant
    from trimtab.gateway.models.model_lane import ModelLane


class ModelQueue(Variant):
    """A Variant of one model. What is counted is counted for the whole variant. It is made by the model's first request
    and dropped when the model has been idle for a while; where the model is, hosts have told the links."""

    def __init__(
        self,
        model: str,
        hosted: HostedVariant,
        *,
        now_s: Callable[[], float],
        random: Callable[[], float],
        readmit: Callable[[Call], None],
    ) -> None:
        super().__init__(
            hosted.route,
            now_s=now_s,
            random=random,
            readmit=readmit,
            starved=lambda _: hosted.finder.lack(self),
            endpoint=hosted.endpoint,
            metered=False,
        )
        self.meter = hosted.meter
        self.model = model
        self.hits = self.misses = 0  # since the last report
        self.copies = Copies(now_s())
        self.use = 1  # so many copies get requests; the others when these have no room
        self.used = 0  # so many of `lanes` lead to them
        self.tokens = NO_TOKENS  # in and out, since the last report
        self.asks: dict[HostLink, float] = {}  # hosts that were asked and have not answered, since when
        self.refused: set[HostLink] = set()  # hosts that have no room for it
        self.again_s = 0.0  # no host is asked before
        self.load_s = 1.0  # what its last load took, as seen from here
        self.why = "asked"  # it is to be loaded
        self._hosted = hosted
        self._counted = 0  # of the queue, in `hosted.waiting`

    # --- what waits --------------------------------------------------------------------------------------------

    def _wait(self, call: Call) -> None:
        full = overfull(self.route, waiting=len(self._queue))
        full = full or overfull_models(self.route, waiting=self._hosted.waiting)
        if full is not None:
            self.failed(call, full)
            return
        self._queue[id(call)] = call
        self._count()
        if not self.lanes:
            self._starved(self)

    def _count(self) -> None:
        """Keep the variant's number of all that wait."""
        now = len(self._queue)
        if now != self._counted:
            self._hosted.count_waiting(now - self._counted)
            self._counted = now

    def _remove(self, call: Call, *, overdue: bool) -> None:
        super()._remove(call, overdue=overdue)
        self._count()

    def has_room(self) -> None:
        """As any variant."""
        super().has_room()
        self._count()

    def fail_waiting(self, error: TrimtabError) -> None:
        """The model is not loaded. Who asks meanwhile begins anew."""
        calls = list(self._queue.values())
        self._queue.clear()
        self._count()
        for call in calls:
            self.failed(call, error)

    def oldest_s(self) -> float:
        """When the oldest call that waits arrived; only while one waits."""
        return next(iter(self._queue.values())).arrived_s

    def _overdue(self, call: Call) -> TrimtabError:
        if call.lane is not None or self.lanes or not self._hosted.lanes:
            return super()._overdue(call)
        return late(self.model, self.route.timeout_s)

    # --- lanes -------------------------------------------------------------------------------------------------

    def _pick(self) -> Lane | None:
        lanes, used = self.lanes, self.used
        if used >= len(lanes):
            return super()._pick()
        return least_outstanding(lanes[:used], self._random) or least_outstanding(lanes[used:], self._random)

    def note_first(self, took_us: float) -> None:
        """So long had it its first request in hand: its pages and caches were not warm."""
        self._hosted.note_first(took_us)

    def take_busy(self, now_s: float) -> float:
        """Seconds in which copies of the model had a request in hand, since this was last asked."""
        return sum(lane.take_busy(now_s) for lane in (*self.lanes, *self.retiring))

    def _count_tokens(self, call: Call, custom_attributes: str) -> tuple[int, int]:
        told = super()._count_tokens(call, custom_attributes)
        self.tokens = (self.tokens[0] + told[0], self.tokens[1] + told[1])
        return told

    def busy(self) -> bool:
        """Whether the variant has a request in hand: that of another model counts."""
        return self._hosted.busy()

    def returned(self, call: Call) -> None:
        """A worker is leaving, or its host did not say so yet."""
        lane = call.lane
        if lane is not None and lane in self.lanes:
            self.lane_gone(lane)  # type: ignore[arg-type]
        super().returned(call)

    def lane_gone(self, lane: ModelLane) -> None:
        """Its worker cannot be reached (any more)."""
        self._hosted.finder.lane_gone(self, lane)

    def doubted(self, lane: ModelLane, why: str) -> None:
        """A host's program says that it does not have the model, or has no memory for its work (hosting.Want.why)."""
        self._hosted.finder.doubted(self, lane, why)

    def change(self, route: VariantRoute, lanes: tuple[Lane, ...]) -> None:
        """As any variant; the waiting for a load is over when there is a lane."""
        if lanes and not self.lanes:
            now_s = self._now_s()
            self._hosted.note_waits([(now_s - call.arrived_s) * 1e6 for call in self._queue.values() if call.missed])
        super().change(route, lanes)
        self._count()

    def retire(self) -> None:
        """As any variant."""
        super().retire()
        self._count()
