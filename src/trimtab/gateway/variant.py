"""Variant: the queue of one variant in this gateway, and the lanes that empty it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from trimtab.errors import ReplicaLost, TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane
from trimtab.gateway.meters import Meter, VersionMeter
from trimtab.policies.admission import STREAM_TIMEOUT_S, overdue, overfull, oversize
from trimtab.policies.costs.tokens import NONE as NO_TOKENS
from trimtab.policies.costs.tokens import tokens_of
from trimtab.policies.routing import least_outstanding
from trimtab.resources.routing import VariantRoute
from trimtab.wire.frames import AnswerMeta
from trimtab.wire.reports import ModelsReport, VariantReport

logger = logging.getLogger(__name__)


class Variant:
    """Takes calls in, gives each to the least busy lane with room, and queues what no lane can take yet.

    `readmit` is given the calls that wait here when the variant goes away; `starved` is told at once that one waits and
    there is no lane to wait for. With `metered` false nothing is counted.
    """

    hosted = False  # calls name a model each

    def __init__(
        self,
        route: VariantRoute,
        *,
        now_s: Callable[[], float],
        random: Callable[[], float],
        readmit: Callable[[Call], None],
        starved: Callable[[Variant], None] = lambda _: None,
        endpoint: str = "",
        metered: bool = True,
    ) -> None:
        self.route = route
        self.endpoint = endpoint
        self.lanes: tuple[Lane, ...] = ()
        self.retiring: list[Lane] = []  # no longer routed to; finishing what they have
        self.meter = Meter() if metered else None
        self.retired = False
        self.active = False  # the gateway looks after it: it has had calls lately
        self._now_s = now_s
        self._random = random
        self._readmit = readmit
        self._starved = starved
        self._pruned_busy_s = 0.0  # of lanes that are no more
        self._queue: OrderedDict[int, Call] = OrderedDict()

    # --- callers -----------------------------------------------------------------------------------------------

    def admit(self, call: Call) -> None:
        """Take a call in: send it, queue it, or fail it."""
        route = self.route
        if (meter := self.meter) is not None:
            meter.in_hand = in_hand = meter.in_hand + 1
            if in_hand > meter.most:
                meter.most = in_hand
        call.variant = self
        now_s = self._now_s()
        if not call.arrived_s:
            call.arrived_s = now_s
        call.deadline_s = call.arrived_s + (call.timeout_s or route.timeout_s)
        if call.size_bytes > route.max_payload_bytes and (refusal := oversize(route, call.size_bytes)):
            self.failed(call, refusal)
            return
        if not self._queue and (lane := self._pick()) is not None:
            lane.send(call, now_s)
            return
        self._wait(call)

    def _wait(self, call: Call) -> None:
        full = overfull(self.route, waiting=len(self._queue))
        if full is not None:
            self.failed(call, full)
            return
        self._queue[id(call)] = call
        if (meter := self.meter) is not None and len(self._queue) > meter.waiting_most:
            meter.waiting_most = len(self._queue)
        if not self.lanes:
            self._starved(self)

    def cancel(self, call: Call) -> None:
        """The caller has gone."""
        call.done = True
        if (meter := self.meter) is not None:
            meter.left()
            meter.clients_gone += 1
        self._remove(call, overdue=False)

    def give_up(self, call: Call, error: TrimtabError) -> None:
        """The caller cannot take the answer that has begun."""
        self._remove(call, overdue=False)
        self.failed(call, error)

    def _remove(self, call: Call, *, overdue: bool) -> None:
        if self._queue.pop(id(call), None) is None and call.lane is not None:
            self._waste(call)
            call.lane.abandon(call, overdue=overdue)

    # --- lanes -------------------------------------------------------------------------------------------------

    def _pick(self) -> Lane | None:
        lanes = self.lanes
        if len(lanes) == 1:
            lane = lanes[0]
            return lane if lane.ready and lane.outstanding < lane.window else None
        return least_outstanding(lanes, self._random)

    def has_room(self) -> None:
        """Give what waits to lanes with room, oldest first."""
        queue = self._queue
        while queue and (lane := self._pick()) is not None:
            _, call = queue.popitem(last=False)
            lane.send(call, self._now_s())

    def busy(self) -> bool:
        """Whether any lane has a request in hand."""
        for lane in self.lanes:  # noqa: SIM110 a generator would cost more than the look
            if lane.outstanding:
                return True
        return False

    def answered(self, call: Call, meta: AnswerMeta, body: bytes, now_s: float) -> None:
        """A lane has the whole answer."""
        call.done = True
        if (meter := self.meter) is not None:
            meter.in_hand = in_hand = meter.in_hand - 1
            if in_hand < meter.least:
                meter.least = in_hand
            version = call.lane.meter  # type: ignore[union-attr]
            if (arrived_s := call.arrived_s) == call.sent_s:
                version.log_latency((now_s - arrived_s) * 1e6)
                version.log_compute(meta.compute_us)
            else:
                version.waited(call.arrived_s, call.sent_s, now_s, meta.compute_us)
            version.request_bytes += call.size_bytes
            version.response_bytes += len(body)
            if meta.batch:
                version.batches.append(meta.batch)
            if meta.custom_attributes:
                self._count_tokens(call, meta.custom_attributes)
        try:
            call.answered(meta, body)
        except Exception:  # one caller's bug must not take down the lane that others share
            logger.exception("caller failed to take its answer endpoint=%s", call.endpoint)
        if self._queue:
            self.has_room()

    def began(self, call: Call, meta: AnswerMeta) -> None:
        """A streamed answer begins; a caller that wants it so has a stream's time limit."""
        call.streamed = True
        if call.wants_stream:
            call.deadline_s = call.arrived_s + STREAM_TIMEOUT_S
        if meta.custom_attributes and self.meter is not None:
            self._count_tokens(call, meta.custom_attributes)
        self._guarded(call, lambda: call.began(meta))

    def received(self, call: Call, data: bytes) -> None:
        """A piece of a streamed answer."""
        if call.wants_stream and not call.first_chunk_s and self.meter is not None:
            call.first_chunk_s = now_s = self._now_s()
            self._version(call).began(call.arrived_s, call.sent_s, now_s)
        call.streamed_bytes += len(data)
        self._guarded(call, lambda: call.received(data))

    def ended(self, call: Call, now_s: float) -> None:
        """A streamed answer is complete."""
        call.done = True
        if (meter := self.meter) is not None:
            meter.left()
            version = self._version(call)
            version.waited(call.arrived_s, call.sent_s, now_s, 0)
            version.request_bytes += call.size_bytes
            version.response_bytes += call.streamed_bytes
        self._guarded(call, call.ended)
        self.has_room()

    def failed(self, call: Call, error: TrimtabError) -> None:
        """There is no (more of an) answer."""
        call.done = True
        if (meter := self.meter) is not None:
            if isinstance(error, ReplicaLost):
                self._waste(call)
            meter.failed(self._version(call), error, streaming=call.streamed)
        self._guarded(call, lambda: call.failed(error))
        self.has_room()

    def returned(self, call: Call) -> None:
        """A lane did not work on it: it is the next to go elsewhere."""
        if self.meter is not None:
            self.meter.retried += 1
        call.lane = None
        if self.retired:
            self._move(call)
            return
        self._queue[id(call)] = call
        self._queue.move_to_end(id(call), last=False)
        if not self.lanes:
            self._starved(self)
        self.has_room()

    def _guarded(self, call: Call, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # one caller's bug must not take down the lane that others share
            logger.exception("caller failed to take its answer endpoint=%s", call.endpoint)

    # --- time --------------------------------------------------------------------------------------------------

    def sweep(self, now_s: float) -> bool:
        """Fail what is overdue, and fold what the meters hold. True while there is anything to come back for."""
        if self.meter is not None:
            self.meter.fold()
        return self._enforce(now_s)

    def _enforce(self, now_s: float) -> bool:
        overdue_calls = [call for call in self._queue.values() if call.deadline_s <= now_s]
        busy = bool(self._queue)
        for lane in (*self.lanes, *self.retiring):
            in_hand = lane.calls()
            busy = lane.sweep(now_s) or bool(in_hand) or busy
            overdue_calls += [call for call in in_hand if call.deadline_s <= now_s]
        for call in overdue_calls:
            self._remove(call, overdue=True)
            self.failed(call, self._overdue(call))
        if busy:
            self.has_room()  # abandoned slots may have become free
        return busy

    def _overdue(self, call: Call) -> TrimtabError:
        return overdue(self.route, sent=call.lane is not None)

    # --- change ------------------------------------------------------------------------------------------------

    def change(self, route: VariantRoute, lanes: tuple[Lane, ...]) -> None:
        """Route as `route` says, over `lanes`. Lanes not among them get nothing new and end when they are idle."""
        self.route = route
        leaving = [lane for lane in self.lanes if lane not in lanes]
        for lane in set(lanes).difference(self.lanes):
            lane.share = 1 / sum(other.route.replica_id == lane.route.replica_id for other in lanes)
        self.lanes = lanes
        if self.meter is not None:
            for lane in lanes:  # made a while ago: its version may have been forgotten since
                lane.meter = self.meter.version(lane.meter.version)
                lane.meter.bills = route.serverless is not None
        finishing = [lane for lane in self.retiring if lane.calls()]
        self._pruned_busy_s += self._busy_of(lane for lane in self.retiring if lane not in finishing)
        self.retiring = finishing + leaving
        for lane in leaving:
            lane.retire()
        if self._queue and not lanes and not self.retired:
            self._starved(self)
        self.has_room()

    def retire(self) -> None:
        """The variant is no more: what waits goes back to the gateway, what lanes have in hand is finished."""
        self.retired = True
        self.change(self.route, ())
        while self._queue:
            _, call = self._queue.popitem(last=False)
            self._move(call)

    def _move(self, call: Call) -> None:
        if self.meter is not None:
            self.meter.left()  # as if it had never come here
        self._readmit(call)

    # --- levels ------------------------------------------------------------------------------------------------

    @property
    def signals(self) -> bool:
        """Whether control wants to know at once what is in hand."""
        return self.route.signals and not self.retired

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def in_hand(self) -> int:
        """Calls in the queue and with lanes."""
        if self.meter is not None:
            return self.meter.in_hand
        return self.waiting + sum(len(lane.calls()) for lane in (*self.lanes, *self.retiring))

    def counted(self) -> tuple[int, int]:
        """Calls that came so far, and of these: answered, failed, or left by their caller. Zeros without a meter."""
        if self.meter is None:
            return 0, 0
        ended = self.meter.ended_so_far()
        return ended + self.meter.in_hand, ended

    def busy_so_far_s(self) -> float:
        """Replica-seconds with a call in hand, so far."""
        return self._pruned_busy_s + self._busy_of((*self.lanes, *self.retiring))

    def _busy_of(self, lanes: Iterable[Lane]) -> float:
        now_s = self._now_s()
        return sum(lane.busy_so_far_s(now_s) * lane.share for lane in lanes)

    def starving_s(self) -> float:
        """For how long the oldest call has waited, when there is no lane to wait for; else 0."""
        if self.lanes or not self._queue:
            return 0.0
        return self._now_s() - next(iter(self._queue.values())).arrived_s

    # --- meters ------------------------------------------------------------------------------------------------

    def _waste(self, call: Call) -> None:
        """A lane has worked on it, and nobody has the answer."""
        if self.meter is not None and call.lane is not None:
            call.lane.meter.wasted(max(0.0, self._now_s() - call.sent_s))

    def _count_tokens(self, call: Call, custom_attributes: str) -> tuple[int, int]:
        """What the model told; (0, 0) when that is nothing."""
        told = tokens_of(custom_attributes)
        if told != NO_TOKENS:
            self._version(call).tokens(told)
        return told

    def _version(self, call: Call) -> VersionMeter:
        """The meter of the version that a call is with, or would be."""
        if call.lane is not None:
            return call.lane.meter
        assert self.meter is not None
        return self.meter.version(self.route.version)

    def report(self, now_s: float) -> VariantReport | None:
        """All that happened since the last report; None when nothing did."""
        if self.meter is None:
            return None
        busy_s: dict[str, float] = {}
        current = {self.route.version, *(lane.meter.version for lane in self.lanes)}
        for lane in (*self.lanes, *self.retiring):
            if lane.outstanding:
                current.add(lane.meter.version)
            if lane_busy_s := lane.take_busy(now_s):
                replica = lane.route.replica_id
                busy_s[replica] = busy_s.get(replica, 0.0) + lane_busy_s
        return self.meter.take(
            self.endpoint,
            self.route.name,
            waiting=self.waiting,
            busy_s=busy_s,
            current=current,
            models=self._models_report(now_s),
        )

    def _models_report(self, now_s: float) -> ModelsReport | None:
        return None
