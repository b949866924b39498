"""What the control plane can be told. Each call validates, records intent durably, wakes the loop and returns.

Calls are synchronous and quick: one transaction each. They raise `trimtab.errors.RequestError`s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trimtab.resources.endpoint import Endpoint, EndpointView, Event
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.serverless import Serverless


class ControlApi(Protocol):
    """The intent side of control. `aws` translates to and from it; nothing in it knows AWS's shapes."""

    def create_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """AlreadyExists; Invalid when its artifact does not exist or its image maps to no runtime."""
        ...

    def get_model(self, name: str) -> Model:
        """NotFound("model")."""
        ...

    def list_models(self) -> Sequence[Model]:
        """All, in no particular order; `aws` filters, sorts and pages."""
        ...

    def delete_model(self, name: str) -> None:
        """NotFound. Running replicas of it go on (as on AWS)."""
        ...

    def create_endpoint_config(self, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """AlreadyExists; NotFound("model")."""
        ...

    def get_endpoint_config(self, name: str) -> EndpointConfig:
        """NotFound("endpoint-config")."""
        ...

    def list_endpoint_configs(self) -> Sequence[EndpointConfig]: ...

    def delete_endpoint_config(self, name: str) -> None: ...

    def create_endpoint(
        self, name: str, config_name: str, tags: Mapping[str, str], document: Mapping[str, Any]
    ) -> Endpoint:
        """AlreadyExists; NotFound("endpoint-config"). Returns the endpoint in Creating."""
        ...

    def update_endpoint(
        self,
        name: str,
        config_name: str,
        *,
        retain_counts: bool,
        retain_weights: bool,
        document: Mapping[str, Any],
    ) -> Endpoint:
        """NotFound; InUse while a change is under way. `retain_*`: RetainAllVariantProperties per property."""
        ...

    def update_weights_and_counts(
        self,
        name: str,
        weights: Mapping[str, float],
        counts: Mapping[str, int],
        serverless: Mapping[str, Serverless] = {},
    ) -> Endpoint:
        """By variant name; `serverless` replaces what serverless variants were declared with. NotFound("endpoint" |
        "variant"); InUse while a change is under way; Invalid for a count of a serverless variant."""
        ...

    def scale(
        self,
        name: str,
        variant: str,
        count: int,
        *,
        why: str,
        detect_s: float = 0.0,
        decided_monotonic_s: float | None = None,
    ) -> bool:
        """Change one variant's replica count as autoscaling decided; return whether that changes anything.

        A change of counts under way is overtaken: the newest count holds. `count` may be 0. If it returns True, an
        event SCALED or SCALING_FAILED (control/turn.py) follows, unless another change overtakes this one; a change
        that fails keeps what has come of it. For the starts' budgets: `detect_s` is from the need until the decision
        stood, `decided_monotonic_s` when it did (None: now). NotFound("endpoint" | "variant"); InUse while an update
        replaces what is deployed, is undone, or the endpoint is being made or deleted; Invalid when it does not serve,
        or for a bad count; LimitExceeded.
        """
        ...

    def get_endpoint(self, name: str) -> EndpointView:
        """NotFound("endpoint")."""
        ...

    def get_events(self, name: str, *, last: int) -> Sequence[Event]:
        """The `last` newest events of an endpoint, newest last; none for one that is not there."""
        ...

    def list_replicas(self) -> Sequence[ReplicaStatus]:
        """What runs, of all endpoints. Cheap."""
        ...

    def list_endpoints(self) -> Sequence[Endpoint]: ...

    def delete_endpoint(self, name: str) -> None:
        """NotFound; InUse while Creating or Updating."""
        ...

    def get_tags(self, kind: str, name: str) -> Mapping[str, str]:
        """`kind` as in NotFound: model, endpoint, endpoint-config."""
        ...

    def add_tags(self, kind: str, name: str, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Returns all tags. LimitExceeded beyond 50."""
        ...

    def delete_tags(self, kind: str, name: str, keys: Sequence[str]) -> None: ...
