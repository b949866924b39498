"""Endpoint: the desired state behind one name, and what is observed of it."""

from __future__ import annotations

import enum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.scaling import PROVISIONED, VARIANT_COUNT
from trimtab.resources.serverless import Serverless


class EndpointStatus(enum.StrEnum):
    """AWS's EndpointStatus values; see `resources/lifecycles.py` for the arrows."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    SYSTEM_UPDATING = "SystemUpdating"
    ROLLING_BACK = "RollingBack"
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"
    OUT_OF_SERVICE = "OutOfService"
    DELETING = "Deleting"
    FAILED = "Failed"


class VariantState(Struct, frozen=True, kw_only=True):
    """Desired and current size and weight of one variant of the deployed config.

    The environments of a serverless variant come and go with its requests, and are recorded nowhere.
    """

    name: str
    desired_count: int
    desired_weight: float
    current_count: int = 0
    current_weight: float = 0.0
    serverless: Serverless | None = None  # as it is wanted; then counts are 0 and mean nothing
    current_serverless: Serverless | None = None

    @property
    def dimension(self) -> str:
        """What autoscaling changes of it: AWS's ScalableDimension."""
        return VARIANT_COUNT if self.serverless is None else PROVISIONED

    @property
    def capacity(self) -> int:
        """How much of that is wanted."""
        return self.desired_count if self.serverless is None else self.serverless.provisioned

    @property
    def current_capacity(self) -> int:
        """How much of that there is."""
        if self.serverless is None:
            return self.current_count
        return self.current_serverless.provisioned if self.current_serverless is not None else 0

    def with_capacity(self, capacity: int) -> VariantState:
        """The same with another capacity wanted."""
        if self.serverless is None:
            return replace(self, desired_count=capacity)
        return replace(self, serverless=replace(self.serverless, provisioned=capacity))


class Endpoint(Struct, frozen=True, kw_only=True):
    """One endpoint as stored.

    `config_name` is what serves; while an update runs, `pending_config_name` is what will (AWS's
    PendingDeploymentSummary). `revision` grows with every write and fences stale writers.
    """

    name: str
    created_s: float
    modified_s: float
    status: EndpointStatus
    config_name: str
    pending_config_name: str = ""
    pending_since_s: float = 0.0
    failure_reason: str = ""
    variants: tuple[VariantState, ...] = ()
    pending_variants: tuple[VariantState, ...] = ()
    revision: int = 0
    document: dict[str, Any] = field(default_factory=dict)


class EndpointView(Struct, frozen=True, kw_only=True):
    """An endpoint together with what runs: what `describe` shows."""

    endpoint: Endpoint
    replicas: tuple[ReplicaStatus, ...] = ()
    events: tuple[Event, ...] = ()


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to an endpoint, with its reason. Newest last.

    What is counted of it (metrics/names.py: ModelLoadTime, ReplicasLost, ...) is derived from it where it is written.
    """

    at_s: float
    what: str  # e.g. "replica started", "update failed", "endpoint InService"
    reason: str = ""
    replica_id: str = ""
    variant: str = ""  # of the replica
    cause: str = ""  # a StartCause: of the start that brought the replica into routing
    load_time_s: float | None = None  # of that start: from the decision until it was ready
    failure: str = ""  # the one stable word (Failure.reason) of a loss
