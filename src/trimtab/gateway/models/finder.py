"""Finder: which copies of a model get requests, and which host is asked for one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

from trimtab.gateway.models.host_link import HostLink
from trimtab.gateway.models.model_lane import ModelLane
from trimtab.gateway.models.model_queue import ModelQueue
from trimtab.policies.models.copies import Seen
from trimtab.policies.models.failures import AGAIN, ELSEWHERE, not_loaded
from trimtab.policies.models.placement import Member, next_replica, order
from trimtab.resources.hosting import ModelSetting
from trimtab.wire.hosting import ABSENT, ModelAt, Want

if TYPE_CHECKING:
    from trimtab.gateway.models.hosted_variant import HostedVariant

_SETTLE_S: Final = 0.05  # a host that was just connected is still telling what it has
_SILENT_S: Final = 2.0  # a host that was asked and has said nothing for so long: another one is asked, too
_APART_S: Final = 0.05  # between two times of asking for one model
_LATER_S: Final = 0.25  # a host said that it can be asked again


class Finder:
    """Of one multi-model variant. It keeps the lanes of queues as links say, and asks while a queue has none."""

    def __init__(self, variant: HostedVariant, now_s: Callable[[], float]) -> None:
        self._variant = variant
        self._now_s = now_s
        self._lacking: dict[ModelQueue, None] = {}  # requests wait, and there is no copy
        self.settings: dict[str, ModelSetting] = {}

    # --- what hosts say ----------------------------------------------------------------------------------------

    def placed(self, link: HostLink, model: str) -> None:
        """A copy (or a new version of it) is ready."""
        queue = self._variant.queues.get(model)
        if queue is None:
            return
        asked_s = queue.asks.pop(link, None)
        if asked_s is not None:
            queue.load_s = self._now_s() - asked_s
        queue.refused.clear()
        self.refresh(queue)

    def left(self, model: str) -> None:
        """A copy is to get nothing new."""
        if (queue := self._variant.queues.get(model)) is not None:
            queue.why = "gone"
            self.refresh(queue)

    def not_loaded(self, link: HostLink, at: ModelAt) -> None:
        """A host cannot load a model: another one may, or those who wait are told."""
        queue = self._variant.queues.get(at.model)
        if queue is None:
            return
        asked = queue.asks.pop(link, None) is not None
        if queue.lanes and asked:  # for a further copy: the host has no room for it, and another may not have either
            queue.refused.add(link)
            queue.copies.refused(self._now_s())
        if queue.lanes or not queue.waiting:
            return
        if at.reason == AGAIN:
            queue.again_s = self._now_s() + _LATER_S
            return  # it is in `_lacking`: the sweep asks again
        if at.reason in ELSEWHERE:
            queue.refused.add(link)
            queue.again_s = 0.0
            self._ask(queue)
        if not queue.asks:
            self._lacking.pop(queue, None)
            queue.refused.clear()
            queue.fail_waiting(not_loaded(at.reason, at.message))

    def link_lost(self, link: HostLink) -> None:
        """A host is gone, and what it had. What it was asked for, others are."""
        for queue in list(self._variant.queues.values()):
            queue.refused.discard(link)
            asked = queue.asks.pop(link, None) is not None
            if any(lane.link is link for lane in queue.lanes):  # type: ignore[attr-defined]
                queue.why = "gone"
                self.refresh(queue)
            elif asked and queue.waiting and not queue.lanes:
                self.lack(queue)

    def lane_gone(self, queue: ModelQueue, lane: ModelLane) -> None:
        """A worker died or is leaving, and its host did not say so yet."""
        if lane not in queue.lanes:
            return
        held = lane.link.held.get(queue.model)
        if held is not None and held.version == lane.version:
            del lane.link.held[queue.model]
        queue.why = "gone"
        self.refresh(queue)

    def doubted(self, queue: ModelQueue, lane: ModelLane, why: str) -> None:
        """A host's program does not have what the host says it has, or no memory for its work: the host is told, and
        where memory is short another host is asked first."""
        link = lane.link
        if lane not in queue.lanes:
            return  # it is known already
        self.lane_gone(queue, lane)
        if not link.connected:
            return
        link.want(Want(queue.model, why))
        if why == ABSENT:
            queue.asks[link] = self._now_s()
        elif len(self._links()) > 1:
            queue.refused.add(link)

    # --- copies ------------------------------------------------------------------------------------------------

    def refresh(self, queue: ModelQueue) -> None:
        """Give a queue the lanes to the copies that there are, those that it is to use first."""
        model = queue.model
        holders = self._holders(model)
        if len(holders) > 1:
            setting = self.settings.get(model)
            most = setting.max_copies if setting and setting.max_copies else len(holders)
            holders = {replica: holders[replica] for replica in order(model, holders)[:most]}
        known: dict[tuple[HostLink, str, str], ModelLane] = {
            (lane.link, lane.version, lane.route.address): lane  # type: ignore[attr-defined, misc]
            for lane in queue.lanes
        }
        lanes = tuple(
            known.get((link, at.version, route.address)) or link.lane(route, at.version, queue)
            for link in holders.values()
            for at in (link.held[model],)
            for route in at.lanes
        )
        queue.used = sum(len(link.held[model].lanes) for link in islice(holders.values(), queue.use))
        if lanes:
            self._lacking.pop(queue, None)
        if lanes != queue.lanes:
            queue.change(self._variant.route, lanes)

    def look(self, queue: ModelQueue, now_s: float) -> None:
        """Whether a model needs more copies than it uses, or fewer. A few times a second while it has requests."""
        links = self._links()
        if len(links) < 2 or not queue.lanes:
            return
        setting = self.settings.get(queue.model)
        holders = self._holders(queue.model)
        route = queue.lanes[0].route
        coming = {link.route.replica_id for link in links if queue.model in link.coming or link in queue.asks}
        verdict = queue.copies.look(
            now_s,
            Seen(
                in_hand=sum(lane.outstanding for lane in queue.lanes),
                waiting=queue.waiting,
                ready=len(holders),
                coming=len(coming.difference(holders)),
                slots=max(route.concurrency, route.batch_size),
                replicas=len(links),
                least=setting.least if setting else 0,
                most=setting.max_copies if setting else 0,
                load_s=queue.load_s,
            ),
        )
        if verdict.use != queue.use:
            queue.use = verdict.use
            self.refresh(queue)
        if verdict.want:
            refused = {link.route.replica_id for link in queue.refused}
            queue.refused.clear()  # whoever refused this time is asked again the next
            self._want(queue, {*coming, *holders, *refused}, "hot", verdict.words)

    def _holders(self, model: str) -> dict[str, HostLink]:
        return {link.route.replica_id: link for link in self._links() if model in link.held}

    def _links(self) -> list[HostLink]:
        links: list[HostLink] = self._variant.lanes  # type: ignore[assignment]
        return [link for link in links if link.connected]

    # --- asking ------------------------------------------------------------------------------------------------

    def lack(self, queue: ModelQueue) -> None:
        """Requests wait for a model of which there is no copy."""
        self._lacking[queue] = None
        if self._variant.lanes:
            self._ask(queue)
        else:
            self._variant.starve()

    def seek(self) -> None:
        """Ask for what is still to be asked for."""
        for queue in list(self._lacking):
            if queue.lanes or not queue.waiting or queue.retired:
                del self._lacking[queue]
            else:
                self._ask(queue)

    def _ask(self, queue: ModelQueue) -> None:
        now_s = self._now_s()
        if now_s < queue.again_s or any(self._is_at_it(link, queue, now_s) for link in queue.asks):
            return
        links = self._links()
        if len(links) > 1 and any(now_s - link.since_s < _SETTLE_S for link in links):
            return  # one of them may be about to say that it has it
        asked = {link.route.replica_id for link in (*queue.asks, *queue.refused)}
        self._want(queue, asked, queue.why, "")

    @staticmethod
    def _is_at_it(link: HostLink, queue: ModelQueue, now_s: float) -> bool:
        return queue.model in link.coming or now_s - queue.asks[link] < _SILENT_S

    def _want(self, queue: ModelQueue, having: set[str], why: str, words: str) -> None:
        """Ask the host that is next for the model; of those without a copy, one that is loading it already."""
        links = {link.route.replica_id: link for link in self._links()}
        loading = [r for r, link in links.items() if queue.model in link.coming and r not in having]
        members = [
            Member(r, len(link.held) + link.loading, float(link.in_hand), link.loading) for r, link in links.items()
        ]
        replica = loading[0] if loading else next_replica(queue.model, members, having)
        if replica is None:
            return
        now_s = self._now_s()
        queue.asks[links[replica]] = now_s
        queue.again_s = now_s + _APART_S
        links[replica].want(Want(queue.model, why, words))
