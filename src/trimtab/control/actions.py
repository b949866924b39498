"""What a plan may ask for. Each is safe to repeat; `why` is the reason that people read later."""

from __future__ import annotations

from msgspec import Struct

from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import Event
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.routing import EndpointRoute


class StartReplica(Struct, frozen=True, kw_only=True):
    """Order a replica."""

    spec: ReplicaSpec
    why: str


class Publish(Struct, frozen=True, kw_only=True):
    """Make this the endpoint's route in the next table; None takes it out."""

    endpoint: str
    route: EndpointRoute | None
    why: str


class DrainReplica(Struct, frozen=True, kw_only=True):
    """Let it finish and end. No gateway routes to it any more."""

    replica_id: str
    grace_s: float
    why: str


class StopReplica(Struct, frozen=True, kw_only=True):
    """End it (it never took a request, or is dead already) and forget it."""

    replica_id: str
    why: str


class Save(Struct, frozen=True, kw_only=True):
    """Write the record, fenced by the revision it was read at, together with the turn's events."""

    record: EndpointRecord
    events: tuple[Event, ...]
    why: str


class Record(Struct, frozen=True, kw_only=True):
    """Append events; the record stays as it is."""

    endpoint: str
    events: tuple[Event, ...]


class Remove(Struct, frozen=True, kw_only=True):
    """Delete the endpoint's record: nothing of it runs and nothing routes to it."""

    endpoint: str
    revision: int


Action = StartReplica | Publish | DrainReplica | StopReplica | Save | Record | Remove


class Plan(Struct, frozen=True, kw_only=True):
    """Actions in the order to apply them, and when to plan again if nothing happens until then (None: never)."""

    actions: tuple[Action, ...] = ()
    wake_in_s: float | None = None
