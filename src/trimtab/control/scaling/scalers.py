"""Scalers: one for each target, made when it is needed; they hear of their endpoints' records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from trimtab.control.scaling.activities import overridden
from trimtab.control.scaling.book import Book, Place, place_of
from trimtab.control.scaling.means import Means
from trimtab.control.scaling.scaler import Scaler
from trimtab.control.scaling.seen import VariantSeen, target_seen
from trimtab.control.turn import SCALED, SCALING_FAILED
from trimtab.errors import NotFound
from trimtab.logs import fields
from trimtab.policies.scaling.state import State, unpack
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import Event
from trimtab.resources.names import key_of
from trimtab.resources.scaling import ActivityStatus, ScalableTarget, ScalingActivity

logger = logging.getLogger(__name__)

_LOOKED_AT = 200  # newest activities in which one that is under way is looked for


class Records(Protocol):
    """The store's endpoints."""

    def get_endpoint(self, name: str) -> EndpointRecord:
        """NotFound("endpoint")."""
        ...

    def list_endpoints(self) -> Sequence[EndpointRecord]: ...


class Scalers:
    """`soon` runs something in the next turn of the event loop."""

    def __init__(self, book: Book, records: Records, means: Means, soon: Callable[[Callable[[], None]], None]) -> None:
        self._book = book
        self._records = records
        self._means = means
        self._soon = soon
        self._live: dict[Place, Scaler] = {}
        self.on_gone: Callable[[], None] = lambda: None  # an endpoint or variant of a target is no more
        self._heard: dict[str, list[Event]] = {}  # by endpoint, ends of changes that nobody was told of yet

    def start(self) -> None:
        """Take over from the control before: what it had under way is finished, or ended as the records have it."""
        for target in self._book.targets():
            place = place_of(target.endpoint, target.variant)
            if (seen := self.seen(target)) is not None:
                self._live[place] = scaler = self._make(place, target, seen)
                under_way = self._under_way(target)
                for old in under_way[1:]:  # it died between a change and writing down that an earlier one was over
                    self._means.store.save_activity(_lost(old, self._means.clock.now_s()))
                scaler.adopt(under_way[0] if under_way else None, seen)
                scaler.mend_bounds()

    def find(self, place: Place) -> Scaler | None:
        """The target's scaler; None when there is no such target, or nothing of its endpoint."""
        if (scaler := self._live.get(place)) is not None:
            return scaler
        target = self._book.find(place)
        seen = self.seen(target) if target is not None else None
        if target is None or seen is None:
            return None
        self._live[place] = scaler = self._make(place, target, seen)
        return scaler

    def fresh(self, place: Place) -> Scaler | None:
        """The same, and it knows the record as it is now."""
        if (scaler := self.find(place)) is not None and (seen := self.seen(scaler.rules.target)) is not None:
            scaler.see(seen)
        return scaler

    def follow(self, records: Sequence[EndpointRecord]) -> None:
        """Each scaler knows its record as it is in `records`; targets that have none get one."""
        by_name = {key_of(record.endpoint.name): record for record in records}
        for target in self._book.targets():
            record = by_name.get(key_of(target.endpoint))
            seen = target_seen(target, record) if record is not None else None
            if seen is not None and (scaler := self.find(place_of(target.endpoint, target.variant))) is not None:
                scaler.see(seen)

    def live(self) -> Iterator[tuple[Place, Scaler]]:
        """All that were made."""
        return iter(list(self._live.items()))

    def changed(self, place: Place) -> None:
        """The target's rules are others now."""
        if (scaler := self._live.get(place)) is not None:
            scaler.rules = replace(self._book.rules(place), ceiling=scaler.rules.ceiling)

    def drop(self, place: Place) -> None:
        """The target is gone: what it had under way goes on, and is told no more."""
        if (scaler := self._live.pop(place, None)) is not None:
            scaler.abandon()

    def seen(self, target: ScalableTarget) -> VariantSeen | None:
        """The variant now; None when it is gone."""
        try:
            record = self._records.get_endpoint(target.endpoint)
        except NotFound:
            return None
        return target_seen(target, record)

    def told(self, endpoint: str, events: Sequence[Event] = ()) -> None:
        """Something is recorded of an endpoint: its scalers look at it soon, not in the middle of what does that."""
        waiting = key_of(endpoint) in self._heard
        heard = self._heard.setdefault(key_of(endpoint), [])
        heard += [event for event in events if event.what in (SCALED, SCALING_FAILED)]
        if not waiting:
            self._soon(lambda: self._look(key_of(endpoint)))

    def _look(self, endpoint: str) -> None:
        events = self._heard.pop(endpoint, [])
        mine = [(place, scaler) for place, scaler in self._live.items() if place[0] == endpoint]
        for place, scaler in mine:
            seen = self.seen(scaler.rules.target)
            if seen is None:
                self.on_gone()
                continue
            ends = [event for event in events if key_of(event.variant) == place[1]]
            if ends:
                last = ends[-1]
                scaler.ended(seen, _why(last) if last.what == SCALING_FAILED else "")
            scaler.see(seen)

    def _make(self, place: Place, target: ScalableTarget, seen: VariantSeen) -> Scaler:
        return Scaler(self._book.rules(place), self._state(target), self._means, seen)

    def _state(self, target: ScalableTarget) -> State:
        kept = self._means.store.state(target.endpoint, target.variant)
        try:
            return unpack(kept) if kept is not None else State()
        except msgspec.DecodeError as error:
            place = {"endpoint": target.endpoint, "variant": target.variant}
            logger.error("a target's cooldowns cannot be read; they begin anew %s", fields(**place, error=error))
            return State()

    def _under_way(self, target: ScalableTarget) -> list[ScalingActivity]:
        newest = self._means.store.activities(target.endpoint, target.variant, limit=_LOOKED_AT)
        return [activity for activity in newest if activity.status is ActivityStatus.IN_PROGRESS]


def _why(event: Event) -> str:
    return event.reason or event.failure


def _lost(activity: ScalingActivity, now_s: float) -> ScalingActivity:
    return overridden(activity, now_s, "a later scaling activity")
