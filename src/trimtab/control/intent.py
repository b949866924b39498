"""EndpointIntent: calls about endpoints, turned into the record that the loop makes true. One write each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Set
from typing import Any

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.validate import ZERO_CURE, check_count, check_kinds, check_serverless, check_way, check_weight
from trimtab.errors import InUse, Invalid, NotFound
from trimtab.resources.deployment import DeployedVariant, Deployment, EndpointRecord, Scaling
from trimtab.resources.endpoint import Endpoint, EndpointStatus, Event, VariantState
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.lifecycles import ENDPOINT, step
from trimtab.resources.names import check_name, key_of
from trimtab.resources.runtime import Runtime
from trimtab.resources.serverless import Serverless
from trimtab.store.store import Store

E = EndpointStatus
# AWS: "Cannot update in-progress endpoint", for deletions too (semantics 3.2).
AT_REST = frozenset({E.IN_SERVICE, E.FAILED, E.OUT_OF_SERVICE, E.UPDATE_ROLLBACK_FAILED})
_SERVES_NOT = frozenset({E.FAILED, E.OUT_OF_SERVICE, E.UPDATE_ROLLBACK_FAILED})

Floor = Callable[[str, str], int]
"""(endpoint, variant): the least count that a caller may give it. 0 when a scalable target has the minimum 0."""
Scalable = Callable[[str, str], bool]
"""(endpoint, variant): whether it is a scalable target."""


class EndpointIntent:
    """Validates a call about an endpoint and records what is wanted."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        resolve_runtime: Callable[[str, Mapping[str, str]], Runtime],
        floor: Floor,
        scalable: Scalable,
    ) -> None:
        self._store = store
        self._clock = clock
        self._resolve_runtime = resolve_runtime
        self._floor = floor
        self._scalable = scalable

    def create(self, name: str, config_name: str, tags: Mapping[str, str], document: Mapping[str, Any]) -> Endpoint:
        """AlreadyExists; NotFound("endpoint-config"), or ("model") when a model was deleted since."""
        check_name("endpoint", name)
        config = self._store.get_config(config_name)
        now_s = self._clock.now_s()
        endpoint = Endpoint(
            name=name,
            created_s=now_s,
            modified_s=now_s,
            status=E.CREATING,
            config_name=config.name,
            variants=_initial(config),
            document=dict(document),
        )
        serving = self._deployment(config, 1, document)
        record = EndpointRecord(endpoint=endpoint, uid=secrets.token_hex(4), serving=serving, generations=1)
        event = Event(at_s=now_s, what="endpoint Creating", reason=f"create with {config.name}")
        return self._store.add_endpoint(record, tags, [event]).endpoint

    def update(
        self, name: str, config_name: str, *, retain_counts: bool, retain_weights: bool, document: Mapping[str, Any]
    ) -> Endpoint:
        """NotFound; InUse; Invalid when a scalable target would go or get another instance type (AWS). As on AWS,
        NotFound also names the config in use when that was deleted meanwhile."""
        record = self._at_rest(name)
        config = self._store.get_config(config_name)
        held = record.endpoint
        failed = held.status in (E.FAILED, E.OUT_OF_SERVICE)
        if not failed:
            self._store.get_config(held.config_name)  # AWS refuses the update of what it cannot describe
        self._check_targets(record, config)
        _check_stays_asynchronous(record, config)
        if record.serving is not None and not failed:
            check_way(record.serving, config)
        pending = _retained(_initial(config), held.variants, counts=retain_counts, weights=retain_weights)
        generation = record.generations + 1
        changes = {
            "incoming": self._deployment(config, generation, document),
            "generations": generation,
            "serving": None if failed else record.serving,
        }
        return self._save(
            record,
            E.UPDATING,
            f"update to {config.name}",
            changes,
            pending_config_name=config.name,
            pending_since_s=self._clock.now_s(),
            pending_variants=pending,
            failure_reason="",
        )

    def resize(
        self, name: str, weights: Mapping[str, float], counts: Mapping[str, int], serverless: Mapping[str, Serverless]
    ) -> Endpoint:
        """NotFound("endpoint" | "variant"); InUse; Invalid when the endpoint does not serve."""
        record = self._at_rest(name)
        held = record.endpoint
        _check_serves(record)
        _check_known(held, weights.keys() | counts.keys() | serverless.keys())
        check_kinds(held.variants, counts, serverless)
        for variant, weight in weights.items():
            check_weight(variant, weight)
        for variant, count in counts.items():
            check_count(variant, count, floor=min(1, self._floor(held.name, variant)), cure=ZERO_CURE)
        wanted = tuple(
            replace(
                variant,
                desired_count=counts.get(variant.name, variant.desired_count),
                desired_weight=weights.get(variant.name, variant.desired_weight),
                serverless=serverless.get(variant.name, variant.serverless),
            )
            for variant in held.variants
        )
        return self._save(
            record,
            E.UPDATING,
            ", ".join(f"{v.name}: {_capacity(v)}, weight {v.desired_weight:g}" for v in wanted),
            {"scaled_from": held.variants},
            variants=wanted,
            pending_since_s=self._clock.now_s(),
            failure_reason="",
        )

    def scale(
        self, name: str, variant: str, count: int, *, why: str, detect_s: float, decided_monotonic_s: float | None
    ) -> bool:
        """See ControlApi.scale."""
        record = self._store.get_endpoint(name)
        held = record.endpoint
        _check_serves(record)
        if held.status is not E.IN_SERVICE and not (record.scaled_from or record.scalings):
            raise _in_use(held)
        _check_known(held, {variant})
        check_count(variant, count, floor=0)
        state = next(v for v in held.variants if v.name == variant)
        wanted = state.with_capacity(count)
        if wanted.serverless is not None:
            check_serverless(variant, wanted.serverless)
        before = state.capacity
        if before == count:
            return False
        overtaken = record.scaling_of(variant)
        originally = next((v.capacity for v in record.scaled_from if v.name == variant), before)
        scaling = Scaling(
            variant=variant,
            wanted=count,
            least=min(count, before, overtaken.least if overtaken else originally),
            after=next((c.replica_id for c in reversed(record.crashes) if c.variant == variant), ""),
            why=why,
            detect_s=detect_s,
            decided_monotonic_s=self._clock.monotonic_s() if decided_monotonic_s is None else decided_monotonic_s,
        )
        self._save(
            record,
            E.UPDATING,
            f"scale {variant} {before} -> {count}: {why}",
            {"scalings": (*(s for s in record.scalings if s.variant != variant), scaling)},
            lazily=True,  # a replica waits for it; and with the machine, the load that it was decided on is gone
            variants=tuple(wanted if v is state else v for v in held.variants),
            failure_reason="",
        )
        return True

    def delete(self, name: str) -> Endpoint:
        """NotFound; InUse."""
        return self._save(self._at_rest(name), E.DELETING, "delete", {})

    def _at_rest(self, name: str) -> EndpointRecord:
        record = self._store.get_endpoint(name)
        if record.endpoint.status not in AT_REST:
            raise _in_use(record.endpoint)
        return record

    def _check_targets(self, record: EndpointRecord, config: EndpointConfig) -> None:
        """AWS: UpdateEndpoint may neither remove a scalable variant nor change its instance type (semantics 5.1)."""
        new = {key_of(spec.name): spec for spec in config.variants}
        for old in record.serving.variants if record.serving else ():
            name, after = old.spec.name, new.get(key_of(old.spec.name))
            if not self._scalable(record.endpoint.name, name):
                continue
            if after is None or after.instance_type != old.spec.instance_type:
                what = "has another instance type in" if after is not None else "is not part of"
                raise Invalid(
                    f"The variant {name!r} of endpoint {record.endpoint.name!r} is a scalable target and {what} "
                    f"the endpoint configuration {config.name!r}. Deregister the scalable target "
                    f"endpoint/{record.endpoint.name}/variant/{name} first "
                    "(application-autoscaling DeregisterScalableTarget), and register it again after the update."
                )

    def _save(
        self,
        record: EndpointRecord,
        status: EndpointStatus,
        why: str,
        changes: dict[str, Any],
        *,
        lazily: bool = False,
        **endpoint: Any,
    ) -> Endpoint:
        now_s = self._clock.now_s()
        status = step(ENDPOINT, record.endpoint.status, status)
        changed = replace(record.endpoint, status=status, modified_s=now_s, **endpoint)
        event = Event(at_s=now_s, what=f"endpoint {status.value}", reason=why)
        changed_record = replace(record, endpoint=changed, **changes)
        return self._store.save_endpoint(changed_record, [event], lazily=lazily).endpoint

    def _deployment(self, config: EndpointConfig, generation: int, document: Mapping[str, Any]) -> Deployment:
        variants = []
        for spec in config.variants:
            model = self._store.get_model(spec.model_name)
            container = model.containers[0]
            runtime = self._resolve_runtime(container.image, container.environment)
            variants.append(DeployedVariant(spec=spec, model=model, runtime=runtime))
        return Deployment(
            config_name=config.name,
            generation=generation,
            variants=tuple(variants),
            document=dict(document),
            asynchronous=config.asynchronous,
        )


def _in_use(endpoint: Endpoint) -> InUse:
    return InUse(
        "endpoint",
        endpoint.name,
        f"The endpoint {endpoint.name!r} is {endpoint.status.value}: wait until that has finished.",
    )


def _check_serves(record: EndpointRecord) -> None:
    endpoint = record.endpoint
    if endpoint.status in _SERVES_NOT:
        raise Invalid(
            f"The endpoint {endpoint.name!r} is {endpoint.status.value}: update it to a working configuration."
        )


def _check_known(endpoint: Endpoint, variants: Set[str]) -> None:
    unknown = sorted(variants - {variant.name for variant in endpoint.variants})
    if unknown:
        listed = ", ".join(f'"{variant}"' for variant in unknown)
        text = f"The variant name(s) {listed} is/are not present within endpoint configuration"
        raise NotFound("variant", unknown[0], f'{text} "{endpoint.config_name}".')  # AWS's words, less the ARN


def _check_stays_asynchronous(record: EndpointRecord, config: EndpointConfig) -> None:
    """AWS refuses an update that drops the asynchronous settings: what is in the queue would have nowhere to go."""
    if record.serving is not None and record.serving.asynchronous is not None and config.asynchronous is None:
        raise Invalid(
            f"The AsyncInferenceConfig parameter cannot be removed from this endpoint {record.endpoint.name}. Give the "
            f"endpoint configuration {config.name!r} an AsyncInferenceConfig, or make another endpoint."
        )


def _capacity(state: VariantState) -> str:
    return f"count {state.desired_count}" if state.serverless is None else f"provisioned {state.serverless.provisioned}"


def _initial(config: EndpointConfig) -> tuple[VariantState, ...]:
    return tuple(
        VariantState(
            name=v.name,
            desired_count=v.initial_count,
            desired_weight=v.initial_weight,
            serverless=v.serverless,
        )
        for v in config.variants
    )


def _retained(
    new: tuple[VariantState, ...], held: tuple[VariantState, ...], *, counts: bool, weights: bool
) -> tuple[VariantState, ...]:
    """AWS's RetainAllVariantProperties: variants of the same name keep what they were scaled to."""
    before = {variant.name: variant for variant in held}
    return tuple(
        replace(
            variant,
            desired_count=before.get(variant.name, variant).desired_count if counts else variant.desired_count,
            desired_weight=before.get(variant.name, variant).desired_weight if weights else variant.desired_weight,
            serverless=_retained_rules(variant, before.get(variant.name), kept=counts),
        )
        for variant in new
    )


def _retained_rules(new: VariantState, old: VariantState | None, *, kept: bool) -> Serverless | None:
    """Memory is the new config's: it is no property that was changed since."""
    if not kept or old is None or old.serverless is None or new.serverless is None:
        return new.serverless
    return replace(old.serverless, memory_mib=new.serverless.memory_mib)
