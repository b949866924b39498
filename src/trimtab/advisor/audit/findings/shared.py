"""Models of one container on endpoints of their own, none of them busy: one multi-model endpoint holds them all."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from trimtab.advisor.audit.account import Account, Container, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import (
    HABIT_DAYS,
    busy_part,
    gpu_percent,
    gpus,
    mean_count,
    month_of,
    per_day,
    used,
)
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.money import Money, instances_month
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "could-share-an-endpoint"
_BUSY: Final = 0.4  # who is busier than this has use for an instance of its own
_FULL: Final = 0.6  # of the shared instances' time, with all models together at their mean
_PINNED_A_DAY: Final = 96  # requests: one in a quarter of an hour is never far away, and should not wait for a load
_ROOM: Final = 1.1  # of memory
_KNOWN: Final = (  # AWS's own images that serve many models; of GPUs, Triton's alone
    "scikit-learn",
    "xgboost",
    "pytorch-inference",
    "tensorflow-inference",
    "mxnet-inference",
    "multi-model-server",
    "tritonserver",
)
_LABEL: Final = "com.amazonaws.sagemaker.capabilities.multi-models=true"


class Member(Struct, frozen=True):
    """An endpoint that could give its model to a shared one."""

    endpoint: Endpoint
    variant: Variant
    requests: Series
    busy: float  # of its instances' time
    month: Money

    @property
    def is_pinned(self) -> bool:
        """Whether it is asked too often to be loaded anew."""
        return per_day(self.requests) >= _PINNED_A_DAY


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Groups of two or more real-time endpoints with equal containers, instance types, roles and networks, whose
    models are used less than 40 % of their time, where sharing saves something.

    Equal means image and environment: their code is in the artifact or in the image, or the environments would differ.
    """
    groups: defaultdict[tuple[str, ...], list[Member]] = defaultdict(list)
    for endpoint, variant, requests in used(account, least_days=HABIT_DAYS):
        container = _alone(endpoint, variant)
        busy = _busy(variant, requests)
        if container is None or variant.model is None or busy is None or busy >= _BUSY:
            continue
        model = variant.model
        key = (container.image, container.settings, model.role_arn, model.network, variant.instance_type)
        groups[key].append(Member(endpoint, variant, requests, busy, month_of(account, variant, book)))
    for (image, *_), members in groups.items():
        if len(members) > 1:
            yield from _finding(account, image, members, book)


def _alone(endpoint: Endpoint, variant: Variant) -> Container | None:
    """The one container of a real-time endpoint with one model; None for any other."""
    model = variant.model
    if model is None or model.is_multi_model or len(model.containers) != 1 or len(endpoint.variants) != 1:
        return None
    container = model.containers[0]
    return container if endpoint.is_real_time and container.image and container.model_data_url else None


def _busy(variant: Variant, requests: Series) -> float | None:
    """Of its time: by the GPU where there is one, else by how long its requests take."""
    percent = gpu_percent(variant, 14.0)
    return (percent.mean or 0.0) / 100 if percent is not None else busy_part(variant, requests)


def _finding(account: Account, image: str, members: Sequence[Member], book: Book) -> Iterator[Finding]:
    instance_type = members[0].variant.instance_type
    count = _count(members)
    now = Money(0)
    for member in members:
        now = now.plus(member.month)
    then = instances_month(book, instance_type, count, region=account.region, at_s=account.at_s)
    saves = now.minus(then)
    if saves.micro_usd is not None and saves.micro_usd <= 0:
        return
    pinned = [member.endpoint.name for member in members if member.is_pinned]
    first = min(member.endpoint.name for member in members)
    yield Finding(
        id=f"{KIND}/{first}",
        kind=KIND,
        resource=members[0].endpoint.arn,
        covers=tuple(sorted(member.endpoint.arn for member in members)),
        title=f"{len(members)} endpoints run {_short(image)} and are hardly used: one multi-model endpoint holds them",
        evidence={
            "endpoints": ", ".join(sorted(member.endpoint.name for member in members)),
            "to_pin": ", ".join(sorted(pinned)) or "none",
            "requests_per_day": round(sum(per_day(member.requests) for member in members)),
            "instances_now": round(sum(mean_count(member.variant) for member in members), 1),
            "instances_then": count,
            "used_now_percent": float(f"{100 * sum(member.busy for member in members) / len(members):.2g}"),
            "now_usd_per_month": now.usd,
            "then_usd_per_month": then.usd,
        },
        saves_micro_usd_per_month=saves.micro_usd,
        price_note=saves.note,
        risk=Risk.HIGH,
        confidence=Confidence.MEDIUM if _is_known(image, instance_type) else Confidence.LOW,
        fix=_fix(members, image, pinned, count),
    )


def _count(members: Sequence[Member]) -> int:
    """Instances for all of them: for their work, for the memory of those that stay; two, where one of them has two."""
    work = sum(member.busy * mean_count(member.variant) for member in members) / _FULL
    held = [_memory(member.variant) for member in members if member.is_pinned]
    others = max((_memory(member.variant) for member in members if not member.is_pinned), default=0.0)
    memory = (sum(held) + others) * _ROOM
    fewest = 2 if any(member.variant.count > 1 for member in members) else 1
    return max(fewest, math.ceil(work), math.ceil(memory))


def _memory(variant: Variant) -> float:
    """Of an instance's memory, the GPU's where it has one, what the model took at its peak; 0 where nothing tells."""
    has = gpus(variant.instance_type)
    series = variant.series(Measure.GPU_MEMORY if has else Measure.MEMORY)
    return (series.peak or 0.0) / 100 / max(has, 1.0) if series is not None else 0.0


def _is_known(image: str, instance_type: str) -> bool:
    """Whether AWS says that the image serves many models on such an instance."""
    names = ("tritonserver",) if gpus(instance_type) else _KNOWN
    return any(name in image for name in names)


def _short(image: str) -> str:
    return image.rpartition("/")[2]


def _fix(members: Sequence[Member], image: str, pinned: Sequence[str], count: int) -> Fix:
    variant = members[0].variant
    artifacts = [
        member.variant.model.containers[0].model_data_url for member in members if member.variant.model is not None
    ]
    container = {"Image": image, "Mode": "MultiModel", "ModelDataUrl": "s3://BUCKET/models/"}
    config = {"VariantName": "all", "InstanceType": variant.instance_type, "InitialInstanceCount": count}
    check = "" if _is_known(image, variant.instance_type) else f"First see that the image has the label {_LABEL}. "
    keep = (
        f"Keep {', '.join(pinned)} loaded: on trimtab `trimtab models NAME pin MODEL`; on AWS, which pins nothing, "
        "send each a request every few minutes, or leave it an endpoint of its own. "
        if pinned
        else ""
    )
    return Fix(
        title=f"One multi-model endpoint with {count} x {variant.instance_type}",
        document=(
            f"{check}Copy {', '.join(artifacts)} below one prefix, each under a name of its own; create_model with "
            f"PrimaryContainer={json.dumps(container)} and the environment and role of the models; a config with "
            f"ProductionVariants=[{json.dumps(config)}]; an endpoint. Callers name TargetModel. {keep}"
            "`trimtab plan` simulates the loads and evictions that this makes."
        ),
    )
