"""What an endpoint's record says to autoscaling about one of its variants. Pure."""

from __future__ import annotations

from msgspec import Struct

from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import EndpointStatus
from trimtab.resources.endpoint_config import VariantSpec
from trimtab.resources.names import key_of
from trimtab.resources.scaling import VARIANT_COUNT, ScalableTarget


class VariantSeen(Struct, frozen=True, kw_only=True):
    """`capacity` is what is wanted now of what `dimension` (AWS's ScalableDimension) counts, at most `ceiling`.

    `moving`: a change that autoscaling decided is under way, and `why`.

    `scalable`: a change of count would be taken. `failure`: why the endpoint is as it is, if something failed.
    """

    name: str
    capacity: int
    moving: bool
    scalable: bool
    why: str = ""
    since_s: float = 0.0
    before: int = 0
    failure: str = ""
    dimension: str = VARIANT_COUNT
    ceiling: int | None = None


def seen_of(record: EndpointRecord, variant: str) -> VariantSeen | None:
    """None: the endpoint has no such variant (any more), or it is being deleted."""
    endpoint = record.endpoint
    if endpoint.status is EndpointStatus.DELETING:
        return None
    key = key_of(variant)
    for state in (*endpoint.variants, *endpoint.pending_variants):
        if key_of(state.name) != key:
            continue
        scaling = record.scaling_of(state.name)
        return VariantSeen(
            name=state.name,
            capacity=state.capacity,
            moving=scaling is not None,
            scalable=endpoint.status is EndpointStatus.IN_SERVICE or bool(record.scaled_from or record.scalings),
            why=scaling.why if scaling is not None else "",
            since_s=endpoint.modified_s,
            before=state.current_capacity,
            failure=endpoint.failure_reason,
            dimension=state.dimension,
            ceiling=state.serverless.max_concurrency if state.serverless is not None else None,
        )
    return None


def target_seen(target: ScalableTarget, record: EndpointRecord) -> VariantSeen | None:
    """The variant of a target. None: it is gone, or what goes by its name is not what was registered: another endpoint
    made since, or one that has instances where it was serverless."""
    if target.created_s < record.endpoint.created_s:
        return None
    seen = seen_of(record, target.variant)
    return seen if seen is not None and seen.dimension == target.dimension else None


def managed_of(record: EndpointRecord) -> dict[str, tuple[int, int]]:
    """The bounds of the variants whose config has ManagedInstanceScaling, by name."""
    specs: list[VariantSpec] = [variant.spec for variant in record.serving.variants] if record.serving else []
    return {
        spec.name: (spec.managed_min, spec.managed_max)
        for spec in specs
        if spec.managed_min is not None and spec.managed_max is not None
    }
