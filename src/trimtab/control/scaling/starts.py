"""How long a start takes: measured of each variant on this machine, from the decision until the replica is ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from trimtab.control.scaling.book import Place, place_of
from trimtab.control.turn import REPLICA_IN_ROUTING
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import ReplicaStatus

KEPT: Final = 3  # starts of a variant: new models take over soon, and one start that was lucky does not count alone


class Starts:
    """What the last starts of each variant took."""

    def __init__(self) -> None:
        self._took_s: dict[Place, deque[float]] = {}

    def found(self, replicas: Iterable[ReplicaStatus]) -> None:
        """At start: replicas that live tell what their start took."""
        for replica in sorted(replicas, key=lambda replica: replica.started_s):
            if (took_s := replica.budget.load_time_s) is not None:
                self._add(place_of(replica.endpoint, replica.variant), took_s)

    def told(self, endpoint: str, events: Sequence[Event]) -> None:
        """Something is recorded of an endpoint."""
        for event in events:
            if event.what == REPLICA_IN_ROUTING and event.load_time_s is not None:
                self._add(place_of(endpoint, event.variant), event.load_time_s)

    def of(self, place: Place) -> float:
        """The longest of the last starts; 0: none is known."""
        return max(self._took_s.get(place, ()), default=0.0)

    def keep(self, places: Iterable[Place]) -> None:
        """Forget all but these."""
        for gone in self._took_s.keys() - set(places):
            del self._took_s[gone]

    def _add(self, place: Place, took_s: float) -> None:
        self._took_s.setdefault(place, deque(maxlen=KEPT)).append(took_s)
