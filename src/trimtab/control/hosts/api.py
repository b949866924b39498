"""What can be asked of the models of multi-model endpoints, and set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from trimtab.control.hosts.came import CameRow
from trimtab.resources.hosting import ModelSetting
from trimtab.wire.hosting import ModelEvent, Resident


class HostView(Struct, frozen=True, kw_only=True):
    """One replica and what it holds."""

    replica_id: str
    variant: str
    memory_bytes: int
    used_bytes: int
    hits: int
    misses: int
    residents: tuple[Resident, ...]


class PastEvent(Struct, frozen=True, kw_only=True):
    """A ModelEvent with its place."""

    replica_id: str
    variant: str
    event: ModelEvent


class ModelCount(Struct, frozen=True, kw_only=True):
    """Counters of one model of an endpoint, over all its replicas, since the endpoint was made."""

    model: str
    loads: int = 0
    failures: int = 0
    evictions: int = 0
    unloads: int = 0
    crashes: int = 0
    requests: int = 0  # of copies that have been unloaded since, and of those that are loaded
    misses: int = 0  # of these, those that had to wait for a load
    load_s: float = 0.0  # download and load, added up
    last_why: str = ""  # of its last unload: `evicted: for b.tar.gz, which needs ...`


class ModelsApi(Protocol):
    """Implemented by control/hosts/service.py. NotFound("endpoint"); Invalid for one that holds one model a replica."""

    def hosts(self, endpoint: str) -> Sequence[HostView]:
        """What each living replica holds."""
        ...

    async def counts(self, endpoint: str) -> Sequence[ModelCount]:
        """By model, those with anything to count. Unavailable, as `events`."""
        ...

    async def events(
        self, endpoint: str, *, model: str = "", since_s: float = 0.0, last: int = 1000
    ) -> Sequence[PastEvent]:
        """The newest `last` of them, oldest first."""
        ...

    async def came(
        self, endpoint: str, variant: str, *, start_s: int, end_s: int, most: int = 3600
    ) -> Sequence[CameRow]:
        """What was reported of single requests from `start_s` to before `end_s`, in order of time: `most` rows, the
        earliest. Of the last day at most, and of any endpoint. Unavailable, as `events`."""
        ...

    def settings(self, endpoint: str) -> Sequence[ModelSetting]:
        """What users have set, by model: that of the container's environment, replaced by what was set since."""
        ...

    def set(self, endpoint: str, setting: ModelSetting) -> None:
        """Durable when it returns; in force at hosts and gateways soon after. Invalid; LimitExceeded."""
        ...

    def unset(self, endpoint: str, model: str) -> None:
        """As if nothing had been set. No effect when nothing was."""
        ...
