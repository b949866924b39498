"""What every store promises: durable desired state, one transaction per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from trimtab.errors import TrimtabError
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.store.alarms import AlarmStore
from trimtab.store.hosting import HostingStore
from trimtab.store.scaling import ScalingStore

EVENTS_KEPT = 500  # per endpoint; older ones make room


class Stale(TrimtabError):
    """Someone wrote this endpoint since it was read: read it again and decide again."""

    reason = "Stale"


class Store(Protocol):
    """Desired state. Each call is one transaction: all of it is durable when the call returns, or none of it is.

    Names are found and kept unique without regard to case; what comes back has the case it was created with.
    """

    @property
    def alarms(self) -> AlarmStore:
        """Alarms and their history."""
        ...

    @property
    def scaling(self) -> ScalingStore:
        """Autoscaling's targets, policies, scheduled actions, activities and states."""
        ...

    @property
    def hosting(self) -> HostingStore:
        """Settings of models of multi-model endpoints."""
        ...

    def add_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """AlreadyExists."""
        ...

    def get_model(self, name: str) -> Model:
        """NotFound("model")."""
        ...

    def list_models(self) -> Sequence[Model]:
        """All, in no particular order."""
        ...

    def delete_model(self, name: str) -> None:
        """And its tags. NotFound."""
        ...

    def add_config(self, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """AlreadyExists."""
        ...

    def get_config(self, name: str) -> EndpointConfig:
        """NotFound("endpoint-config")."""
        ...

    def list_configs(self) -> Sequence[EndpointConfig]:
        """All, in no particular order."""
        ...

    def delete_config(self, name: str) -> None:
        """And its tags. NotFound."""
        ...

    def add_endpoint(
        self, record: EndpointRecord, tags: Mapping[str, str], events: Sequence[Event] = ()
    ) -> EndpointRecord:
        """AlreadyExists. Returns it with its first revision."""
        ...

    def get_endpoint(self, name: str) -> EndpointRecord:
        """NotFound("endpoint")."""
        ...

    def list_endpoints(self) -> Sequence[EndpointRecord]:
        """All, in no particular order."""
        ...

    def save_endpoint(
        self, record: EndpointRecord, events: Sequence[Event] = (), *, lazily: bool = False
    ) -> EndpointRecord:
        """Replace it if its revision is still `record.endpoint.revision`; return it with its new revision.

        Stale when it was written, or removed, since. `lazily`: for what would be decided again, it need not wait for
        the disk: it survives the death of any process, and when the machine dies, it or a later state may be lost.
        Whatever is written after it and not lazily makes it last.
        """
        ...

    def remove_endpoint(self, name: str, *, revision: int) -> None:
        """And its tags, events and settings of models. No effect when it is gone already; Stale when it was written
        since."""
        ...

    def add_events(self, endpoint: str, events: Sequence[Event]) -> None:
        """Append lazily; the newest EVENTS_KEPT are kept. No effect for an endpoint that is not there."""
        ...

    def list_events(self, endpoint: str, *, last: int = EVENTS_KEPT) -> Sequence[Event]:
        """The `last` newest, newest last; empty for an endpoint that is not there."""
        ...

    def get_tags(self, kind: str, name: str) -> Mapping[str, str]:
        """In the order they were added. `kind`: model, endpoint, endpoint-config. NotFound(kind)."""
        ...

    def set_tags(self, kind: str, name: str, tags: Mapping[str, str]) -> None:
        """Replace all tags. NotFound(kind)."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
