"""A ControlApi in memory: what tests of the edge and the CLI talk to. Nothing runs; a test says what happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.errors import AlreadyExists, InUse, LimitExceeded, NotFound
from trimtab.resources.endpoint import Endpoint, EndpointStatus, EndpointView, Event, VariantState
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.serverless import Serverless

_BUSY = (EndpointStatus.CREATING, EndpointStatus.UPDATING)
_MAX_TAGS = 50
T = TypeVar("T")


class FakeControl:
    """Keeps what it is told. `settle`, `fail` and `replicas` play the control loop's part."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.models: dict[str, Model] = {}
        self.configs: dict[str, EndpointConfig] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.replicas: dict[str, tuple[ReplicaStatus, ...]] = {}
        self.events: dict[str, tuple[Event, ...]] = {}
        self._scaling: set[str] = set()  # endpoints that are Updating because of `scale`
        self.calls: list[tuple[str, Mapping[str, Any]]] = []  # updates, as they came

    # -- models and configurations ---------------------------------------------------------------------------

    def create_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """Keep the model."""
        _add(self.models, "model", model.name, model)
        self.tags["model", model.name] = dict(tags)

    def get_model(self, name: str) -> Model:
        """The model."""
        return _get(self.models, "model", name)

    def list_models(self) -> Sequence[Model]:
        """All models."""
        return list(self.models.values())

    def delete_model(self, name: str) -> None:
        """Forget the model."""
        _pop(self.models, "model", name)
        self.tags.pop(("model", name))

    def create_endpoint_config(self, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """Keep the configuration, if its models exist."""
        for variant in config.variants:
            _get(self.models, "model", variant.model_name)
        _add(self.configs, "endpoint-config", config.name, config)
        self.tags["endpoint-config", config.name] = dict(tags)

    def get_endpoint_config(self, name: str) -> EndpointConfig:
        """The configuration."""
        return _get(self.configs, "endpoint-config", name)

    def list_endpoint_configs(self) -> Sequence[EndpointConfig]:
        """All configurations."""
        return list(self.configs.values())

    def delete_endpoint_config(self, name: str) -> None:
        """Forget the configuration."""
        _pop(self.configs, "endpoint-config", name)
        self.tags.pop(("endpoint-config", name))

    # -- endpoints -------------------------------------------------------------------------------------------

    def create_endpoint(
        self, name: str, config_name: str, tags: Mapping[str, str], document: Mapping[str, Any]
    ) -> Endpoint:
        """Keep the wish; the endpoint stays Creating until `settle` or `fail`."""
        now_s = self._clock.now_s()
        config = self.get_endpoint_config(config_name)
        endpoint = Endpoint(
            name=name,
            created_s=now_s,
            modified_s=now_s,
            status=EndpointStatus.CREATING,
            config_name=config_name,
            variants=_states(config),
            document=dict(document),
        )
        _add(self.endpoints, "endpoint", name, endpoint)
        self.tags["endpoint", name] = dict(tags)
        return endpoint

    def update_endpoint(
        self, name: str, config_name: str, *, retain_counts: bool, retain_weights: bool, document: Mapping[str, Any]
    ) -> Endpoint:
        """Keep the wish; the endpoint stays Updating until `settle` or `fail`."""
        self._require_free(name)
        config = self.get_endpoint_config(config_name)
        self.calls.append(("update_endpoint", {"retain_counts": retain_counts, "retain_weights": retain_weights}))
        return self._write(
            name,
            status=EndpointStatus.UPDATING,
            pending_config_name=config_name,
            pending_since_s=self._clock.now_s(),
            pending_variants=_states(config),
            document=dict(document),
        )

    def update_weights_and_counts(
        self,
        name: str,
        weights: Mapping[str, float],
        counts: Mapping[str, int],
        serverless: Mapping[str, Serverless] = {},
    ) -> Endpoint:
        """Keep the new desired values."""
        self._require_free(name)
        endpoint = self.endpoints[name]
        for variant in (*weights, *counts):
            if variant not in {state.name for state in endpoint.variants}:
                raise NotFound("variant", variant)
        variants = tuple(
            replace(
                state,
                desired_weight=weights.get(state.name, state.desired_weight),
                desired_count=counts.get(state.name, state.desired_count),
                serverless=serverless.get(state.name, state.serverless),
            )
            for state in endpoint.variants
        )
        return self._write(name, status=EndpointStatus.UPDATING, variants=variants)

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
        """Keep the new desired count; a change of counts under way is overtaken."""
        endpoint = _get(self.endpoints, "endpoint", name)
        if endpoint.status in _BUSY and not (endpoint.status is EndpointStatus.UPDATING and name in self._scaling):
            raise InUse("endpoint", name)
        self.calls.append(("scale", {"variant": variant, "count": count, "why": why}))
        held = next((state for state in endpoint.variants if state.name == variant), None)
        if held is None:
            raise NotFound("variant", variant)
        if held.capacity == count:
            return False
        variants = (v.with_capacity(count) if v.name == variant else v for v in endpoint.variants)
        self._write(name, status=EndpointStatus.UPDATING, variants=tuple(variants))
        self._scaling.add(name)
        return True

    def get_endpoint(self, name: str) -> EndpointView:
        """The endpoint with the replicas and events that the test gave it."""
        endpoint = _get(self.endpoints, "endpoint", name)
        return EndpointView(endpoint=endpoint, replicas=self.replicas.get(name, ()), events=self.events.get(name, ()))

    def get_events(self, name: str, *, last: int) -> Sequence[Event]:
        """The newest of those that the test gave it."""
        events = self.events.get(name, ())
        return events[max(0, len(events) - last) :]

    def list_replicas(self) -> Sequence[ReplicaStatus]:
        """Those that the test gave the endpoints."""
        return [replica for replicas in self.replicas.values() for replica in replicas]

    def list_endpoints(self) -> Sequence[Endpoint]:
        """All endpoints."""
        return list(self.endpoints.values())

    def delete_endpoint(self, name: str) -> None:
        """Gone at once, unless a change is under way."""
        self._require_free(name)
        del self.endpoints[name]
        self.tags.pop(("endpoint", name))

    # -- tags ------------------------------------------------------------------------------------------------

    def get_tags(self, kind: str, name: str) -> Mapping[str, str]:
        """The tags."""
        self._require(kind, name)
        return self.tags[kind, name]

    def add_tags(self, kind: str, name: str, tags: Mapping[str, str]) -> Mapping[str, str]:
        """All tags after adding."""
        self._require(kind, name)
        merged = {**self.tags[kind, name], **tags}
        if len(merged) > _MAX_TAGS:
            raise LimitExceeded(f"A resource may have {_MAX_TAGS} tags.")
        self.tags[kind, name] = merged
        return merged

    def delete_tags(self, kind: str, name: str, keys: Sequence[str]) -> None:
        """Remove what is there."""
        self._require(kind, name)
        for key in keys:
            self.tags[kind, name].pop(key, None)

    # -- what the control loop would do ----------------------------------------------------------------------

    def settle(self, name: str) -> None:
        """The change under way is finished: InService, with everything as desired."""
        self._scaling.discard(name)
        endpoint = self.endpoints[name]
        wanted = endpoint.pending_variants or endpoint.variants
        variants = tuple(
            replace(
                state,
                current_count=state.desired_count,
                current_weight=state.desired_weight,
                current_serverless=state.serverless,
            )
            for state in wanted
        )
        self._write(
            name,
            status=EndpointStatus.IN_SERVICE,
            config_name=endpoint.pending_config_name or endpoint.config_name,
            pending_config_name="",
            pending_since_s=0.0,
            pending_variants=(),
            variants=variants,
            failure_reason="",
        )

    def fail(self, name: str, reason: str) -> None:
        """The change under way failed: a creation ends Failed, an update InService with what served before."""
        creating = self.endpoints[name].status is EndpointStatus.CREATING
        status = EndpointStatus.FAILED if creating else EndpointStatus.IN_SERVICE
        self._write(
            name,
            status=status,
            pending_config_name="",
            pending_since_s=0.0,
            pending_variants=(),
            failure_reason=reason,
        )

    def _write(self, name: str, **changes: Any) -> Endpoint:
        old = self.endpoints[name]
        self.endpoints[name] = replace(old, modified_s=self._clock.now_s(), revision=old.revision + 1, **changes)
        return self.endpoints[name]

    def _require_free(self, name: str) -> None:
        if _get(self.endpoints, "endpoint", name).status in _BUSY:
            raise InUse("endpoint", name)

    def _require(self, kind: str, name: str) -> None:
        if (kind, name) not in self.tags:
            raise NotFound(kind, name)


def _states(config: EndpointConfig) -> tuple[VariantState, ...]:
    return tuple(
        VariantState(
            name=spec.name,
            desired_count=spec.initial_count,
            desired_weight=spec.initial_weight,
            serverless=spec.serverless,
        )
        for spec in config.variants
    )


def _add(into: dict[str, T], kind: str, name: str, value: T) -> None:
    if name in into:
        raise AlreadyExists(kind, name)
    into[name] = value


def _get(table: dict[str, T], kind: str, name: str) -> T:
    if name not in table:
        raise NotFound(kind, name)
    return table[name]


def _pop(table: dict[str, T], kind: str, name: str) -> T:
    value = _get(table, kind, name)
    del table[name]
    return value
