"""From an account's endpoints to the workloads that a plan begins with: what came when, how long it took, on what."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import MICROSECOND, busy_s, gpus, mean_count, observed, used
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.resilience import asked_by
from trimtab.advisor.audit.series import HOUR_S, Series
from trimtab.advisor.observed import Observed
from trimtab.advisor.prices.shapes import shape_of, shapes
from trimtab.sim.world import Mode

_PERCENTILES: Final = {Measure.LATENCY_P50: "50", Measure.LATENCY_P90: "90", Measure.LATENCY_P99: "99"}
_GIB: Final = 2**30
_ROOM: Final = 1.2  # beyond the peak of memory that was seen


def observed_workloads(account: Account) -> tuple[Observed, ...]:
    """One for each variant that was asked something and told how long its answers took."""
    return tuple(_observed(account))


def _observed(account: Account) -> Iterator[Observed]:
    serverless = [
        (endpoint, variant, variant.requests)
        for endpoint, variant in account.variants()
        if variant.serverless is not None and variant.requests is not None and variant.requests.total > 0
    ]
    for endpoint, variant, requests in (*used(account), *serverless):
        service_s = service_times_s(variant, requests)
        if service_s:
            yield replace(
                _of(endpoint, variant, requests, service_s), two_asked_by=asked_by(endpoint, account.resilient)
            )


def service_times_s(variant: Variant, requests: Series) -> dict[str, float]:
    """Seconds by percentile, over all of the time: each hour's, weighted by its requests. The least is not published.

    Where CloudWatch gave no percentile: the mean, and the most. Empty where there was neither.
    """
    weights = requests.summed(HOUR_S)
    found = {name: _weighted_s(variant.series(measure), weights) for measure, name in _PERCENTILES.items()}
    known = {name: value for name, value in found.items() if value is not None}
    if "50" not in known and (mean := _weighted_s(variant.series(Measure.LATENCY_MEAN), weights)) is not None:
        known["50"] = mean
    longest = variant.series(Measure.LATENCY_MAX)
    if known and longest is not None:
        known["100"] = max((longest.peak or 0.0) * MICROSECOND, *known.values())
    return dict(sorted(known.items(), key=lambda pair: float(pair[0])))


def _weighted_s(series: Series | None, weights: Series) -> float | None:
    if series is None:
        return None
    if len(series.values) != len(weights.values):
        return (series.mean or 0.0) * MICROSECOND
    is_known = np.isfinite(series.values) & (weights.filled > 0)
    if not is_known.any():
        return (series.mean or 0.0) * MICROSECOND
    return float(np.average(series.values[is_known], weights=weights.filled[is_known]) * MICROSECOND)


def _of(endpoint: Endpoint, variant: Variant, requests: Series, service_s: dict[str, float]) -> Observed:
    seen = observed(requests)
    scaling, target = variant.scaling, variant.scaling.target if variant.scaling is not None else None
    serverless, payload = variant.serverless, endpoint.payload
    alone = len(endpoint.variants) == 1
    return Observed(
        name=endpoint.name if alone else f"{endpoint.name}-{variant.name}",
        endpoint=endpoint.name,
        mode=_mode(endpoint, variant),
        counts=tuple(float(count) for count in seen.filled),
        start_s=seen.start_s,
        step_s=seen.period_s,
        service_s=service_s,
        instance_type=variant.instance_type,
        as_fast_on=_as_fast_on(variant),
        replicas=variant.count,
        min_replicas=target.min_capacity if target is not None else None,
        max_replicas=target.max_capacity if target is not None else None,
        policies=scaling.policies if scaling is not None else (),
        schedule=scaling.schedule if scaling is not None else (),
        memory_mb=serverless.memory_mib if serverless is not None else 0,
        max_concurrency=serverless.max_concurrency if serverless is not None else 0,
        provisioned=serverless.provisioned if serverless is not None else 0,
        request_bytes=round(payload.mean_bytes) if payload is not None else 0,
        memory_bytes=_memory_bytes(variant),
        container=_container(variant),
        slots=_slots(variant, requests),
        gaps=int((~np.isfinite(seen.values)).sum()),
        notes=_notes(endpoint, variant),
    )


def _mode(endpoint: Endpoint, variant: Variant) -> Mode:
    if variant.serverless is not None:
        return Mode.SERVERLESS
    if endpoint.is_async:
        return Mode.ASYNC
    return Mode.MULTI_MODEL if endpoint.is_multi_model else Mode.REAL_TIME


def _memory_bytes(variant: Variant) -> int:
    """At the peak, of a GPU where there is one, else of the instance; 0 where it was not seen."""
    shape = shape_of(variant.instance_type)
    if shape is None:
        return 0
    is_gpu = gpus(variant.instance_type) > 0
    series = variant.series(Measure.GPU_MEMORY if is_gpu else Measure.MEMORY)
    gib = shape.accelerator_gib_each if is_gpu else shape.memory_gib
    return round((series.peak or 0.0) / 100 * gib * _GIB) if series is not None else 0


def _as_fast_on(variant: Variant) -> tuple[str, ...]:
    """Smaller and larger types with the same GPUs: they do the work. Memory of the host must hold what it held."""
    has, held = shape_of(variant.instance_type), variant.series(Measure.MEMORY)
    if has is None or gpus(variant.instance_type) <= 0 or held is None:
        return ()
    needed_gib = min(1.0, (held.peak or 0.0) / 100 * _ROOM) * has.memory_gib
    alike = (
        f"ml.{one.instance_type}"
        for one in shapes().values()
        if (one.family, one.accelerator, one.accelerators) == (has.family, has.accelerator, has.accelerators)
        and one.memory_gib >= needed_gib
    )
    return tuple(sorted(name for name in alike if name != variant.instance_type))


def _container(variant: Variant) -> str:
    """Equal for models that could share one; "" of a pipeline, and where it was not seen."""
    model = variant.model
    if model is None or len(model.containers) != 1 or not model.containers[0].image:
        return ""
    return f"{model.containers[0].image}#{model.containers[0].settings}"


def _slots(variant: Variant, requests: Series) -> int:
    """Requests at once on an instance, at least: the busiest hour's work could not have been done by fewer."""
    latency = variant.series(Measure.LATENCY_MEAN)
    if latency is None or busy_s(variant, requests) is None:
        return 1
    counts = requests.summed(HOUR_S).filled
    if len(counts) != len(latency.values):
        return 1
    busiest_s = float((counts * latency.filled).max()) * MICROSECOND
    return max(1, math.ceil(busiest_s / HOUR_S / max(1.0, mean_count(variant))))


def _notes(endpoint: Endpoint, variant: Variant) -> tuple[str, ...]:
    said = []
    if endpoint.payload is None:
        said.append("how large its requests are is not known")
    else:
        said.append("the size of its requests is that of requests and answers together")
    if endpoint.is_multi_model:
        said.append("which of its models was asked is not told by CloudWatch: they are one workload here")
    if variant.scaling is None:
        said.append("its scaling could not be seen")
    return tuple(said)
