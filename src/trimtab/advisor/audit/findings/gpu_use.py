"""GPUs that are paid for and not used; and GPUs that are used up, so that requests wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import finding_id, gpu_percent, mean_count, month_of, used
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import Money, instances_month
from trimtab.advisor.audit.series import DAY_S, Series
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.shapes import Shape, shape_of, shapes
from trimtab.resources.scaling import VARIANT_COUNT

UNDERUSED: Final = "gpu-underused"
QUEUEING: Final = "gpu-queueing"
_DAYS: Final = 7.0
_LOW_PERCENT: Final = 40.0
_HIGH_PERCENT: Final = 80.0
_REGULARLY: Final = 0.1  # of the hours
_FEWEST_HOURS: Final = 24  # published, to say anything of a week
_ROOM: Final = 1.2  # beyond the peak of memory that was seen


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Variants whose GPUs had a mean use under 40 % over 7 days, or over 80 % in more than a tenth of the hours."""
    for endpoint, variant, _ in used(account):
        percent = gpu_percent(variant, _DAYS)
        if percent is None or len(percent.present) < _FEWEST_HOURS:
            continue
        mean = percent.mean or 0.0
        crowded = float((percent.present > _HIGH_PERCENT).mean())
        if crowded > _REGULARLY:
            yield _queueing(account, endpoint, variant, percent, crowded, book)
        elif mean < _LOW_PERCENT:
            yield _underused(account, endpoint, variant, percent, book)


class Choice(Struct, frozen=True):
    """Another instance type, and what as many of it cost."""

    instance_type: str
    month: Money
    is_same_gpu: bool


def _underused(account: Account, endpoint: Endpoint, variant: Variant, percent: Series, book: Book) -> Finding:
    now = month_of(account, variant, book)
    choice = smaller(account, variant, percent, book)
    peak = percent.quantile(0.99) or 0.0
    evidence: dict[str, float | int | str] = {
        "mean_gpu_percent": round(percent.mean or 0.0, 1),
        "busiest_hours_gpu_percent": round(peak, 1),
        "instances": variant.count,
        "instance_type": variant.instance_type,
        "now_usd_per_month": now.usd,
    }
    if choice is not None:
        evidence |= {"smaller_shape": choice.instance_type, "then_usd_per_month": choice.month.usd}
    saves = now.minus(choice.month) if choice is not None else Money(None, "no smaller shape with this memory is known")
    return Finding(
        id=finding_id(UNDERUSED, endpoint, variant),
        kind=UNDERUSED,
        resource=endpoint.arn,
        title=f"{endpoint.name}: {percent.mean or 0.0:.0f} % of its GPUs used on average",
        evidence=evidence,
        saves_micro_usd_per_month=saves.micro_usd,
        price_note=saves.note,
        risk=Risk.MEDIUM,
        confidence=Confidence.HIGH if choice is not None and choice.is_same_gpu else Confidence.LOW,
        fix=_smaller_fix(endpoint, variant, choice),
    )


def smaller(account: Account, variant: Variant, percent: Series, book: Book) -> Choice | None:
    """The cheapest type that holds what was held and has the GPUs for the busiest hours; None where none is cheaper.

    The same GPU is preferred: what it does in a second is known. Another one must have the memory, and is a guess.
    """
    has = shape_of(variant.instance_type)
    if has is None:
        return None
    count = mean_count(variant)
    now = instances_month(book, variant.instance_type, count, region=account.region, at_s=account.at_s)
    found = []
    for shape in shapes().values():
        kind = f"ml.{shape.instance_type}"
        if kind == variant.instance_type or not _holds(shape, has, variant, percent):
            continue
        month = instances_month(book.fresh(), kind, count, region=account.region, at_s=account.at_s)
        if month.micro_usd is not None and now.micro_usd is not None and month.micro_usd < now.micro_usd:
            found.append(Choice(kind, month, shape.accelerator == has.accelerator))
    return min(found, key=lambda each: (not each.is_same_gpu, each.month.micro_usd), default=None)


def _holds(shape: Shape, has: Shape, variant: Variant, percent: Series) -> bool:
    """Whether a shape has the GPUs and the memory for what was seen at the peak."""
    if shape.accelerator_maker != "NVIDIA" or shape.accelerators < 1 or shape.arch != has.arch:
        return False
    busiest = (percent.quantile(0.99) or 0.0) / 100 * has.accelerators
    if shape.accelerator == has.accelerator:
        if shape.accelerators * _HIGH_PERCENT / 100 < busiest:
            return False
    elif shape.accelerators < has.accelerators:
        return False
    on_gpu, on_host = variant.series(Measure.GPU_MEMORY), variant.series(Measure.MEMORY)
    gpu_gib, host_gib = _held(on_gpu, has.accelerator_gib_each, has.accelerator_gib), _held(on_host, has.memory_gib)
    return shape.accelerator_gib >= gpu_gib and shape.memory_gib >= host_gib


def _held(percent: Series | None, of_gib: float, all_gib: float | None = None) -> float:
    """What must be there for what was held at the peak; where that was not seen, as much as there is now."""
    everything = of_gib if all_gib is None else all_gib
    return everything if percent is None else min(everything, (percent.peak or 0.0) / 100 * of_gib * _ROOM)


def _smaller_fix(endpoint: Endpoint, variant: Variant, choice: Choice | None) -> Fix:
    if choice is None:
        return Fix(
            title="Share it: one multi-model endpoint, or several models as inference components on one instance",
            document="No cheaper instance holds this model. `trimtab plan` says which models it could share with.",
        )
    return Fix(
        title=f"A config with {choice.instance_type}, tried on a second variant first",
        document=(
            f"Make a config like {endpoint.config} with InstanceType {choice.instance_type} for variant "
            f"{variant.name}; measure it under load (`trimtab bench`), then update_endpoint. AWS refuses to change the "
            "type of a variant that scales: deregister its target before, and register it again afterwards."
        ),
    )


def _queueing(
    account: Account, endpoint: Endpoint, variant: Variant, percent: Series, crowded: float, book: Book
) -> Finding:
    one_more = instances_month(book, variant.instance_type, 1, region=account.region, at_s=account.at_s)
    latency = variant.series(Measure.LATENCY_P99)
    evidence: dict[str, float | int | str] = {
        "hours_over_80_percent": round(crowded * 100, 1),
        "mean_gpu_percent": round(percent.mean or 0.0, 1),
        "highest_hour_gpu_percent": round(percent.peak or 0.0, 1),
        "instances": variant.count,
    }
    if latency is not None and (share := _slower(percent, latency)):
        evidence["p99_is_times_as_long_in_those_hours"] = share
    return Finding(
        id=finding_id(QUEUEING, endpoint, variant),
        kind=QUEUEING,
        resource=endpoint.arn,
        title=f"{endpoint.name}: its GPUs are over 80 % used in {crowded * 100:.0f} % of the hours, so requests queue",
        evidence=evidence,
        saves_micro_usd_per_month=None if one_more.micro_usd is None else -one_more.micro_usd,
        price_note=one_more.note,
        risk=Risk.LOW,
        confidence=Confidence.HIGH,
        fix=_room_fix(endpoint, variant),
    )


def _slower(percent: Series, latency: Series) -> float | None:
    """How many times as long p99 is in crowded hours as in the others."""
    times = latency.last(_DAYS * DAY_S).values
    if len(times) != len(percent.values):
        return None
    is_crowded = percent.values > _HIGH_PERCENT
    crowded, others = times[is_crowded & np.isfinite(times)], times[~is_crowded & np.isfinite(times)]
    return round(float(crowded.mean() / others.mean()), 2) if len(crowded) and len(others) and others.mean() else None


def _room_fix(endpoint: Endpoint, variant: Variant) -> Fix:
    target = variant.scaling.target if variant.scaling is not None else None
    if target is None:
        more = {"VariantName": variant.name, "DesiredInstanceCount": variant.count + 1}
        call = Call(
            service="sagemaker",
            operation="update_endpoint_weights_and_capacities",
            parameters={"EndpointName": endpoint.name, "DesiredWeightsAndCapacities": [more]},
        )
        return Fix(title="One more instance", calls=(call,))
    bounds = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": target.resource_id,
        "ScalableDimension": VARIANT_COUNT,
        "MinCapacity": target.min_capacity + 1,
        "MaxCapacity": max(target.max_capacity, target.min_capacity + 1),
    }
    call = Call(service="application-autoscaling", operation="register_scalable_target", parameters=bounds)
    return Fix(title="One more instance at least; then lower the target of its policy", calls=(call,))
