"""What may be declared: checks that need nothing but the declaration. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trimtab.errors import Invalid, LimitExceeded, NotSupported
from trimtab.policies.models.settings import hosting_of
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.resources.names import check_name

ZERO_CURE = (
    "To have none, register a scalable target for the variant with MinCapacity 0 first "
    "(application-autoscaling RegisterScalableTarget): then a request that arrives starts one."
)
_MANAGED_CURE = "To begin with none, give the variant ManagedInstanceScaling with MinInstanceCount 0."
MAX_TAGS = 50  # AWS
MAX_COUNT = 1000  # replicas of one variant; a typing error must not order a million processes


def check_model(model: Model) -> None:
    """Invalid, or NotSupported for what is not built yet."""
    check_name("model", model.name)
    if not model.containers:
        raise Invalid(f"The model {model.name!r} has no container: give PrimaryContainer (or one in Containers).")
    if len(model.containers) > 1:
        raise NotSupported(
            "inference pipelines",
            f"The model {model.name!r} has {len(model.containers)} containers. Pipelines of several containers are "
            "not supported yet: put the steps into one container.",
        )
    hosting_of(model.containers[0])  # raises Invalid


def check_config(config: EndpointConfig) -> None:
    """Invalid when a variant is malformed or variants contradict each other."""
    check_name("endpoint configuration", config.name)
    if not config.variants:
        raise Invalid(f"The endpoint configuration {config.name!r} has no production variant: give at least one.")
    names: set[str] = set()
    for variant in config.variants:
        check_name("variant", variant.name)
        if variant.name in names:
            raise Invalid(f'The variant name "{variant.name}" was non-unique within the request.')  # AWS's words
        names.add(variant.name)
        check_count(variant.name, variant.initial_count, floor=0 if variant.managed_min == 0 else 1, cure=_MANAGED_CURE)
        check_weight(variant.name, variant.initial_weight)


def check_count(variant: str, count: int, *, floor: int = 1, cure: str = "") -> None:
    """Invalid below `floor`, saying `cure` where that may be 0; LimitExceeded above MAX_COUNT."""
    if count < floor:
        text = f"The instance count of variant {variant!r} is {count}: it must be at least {floor}."
        raise Invalid(f"{text} {cure}" if cure and count == 0 else text)
    if count > MAX_COUNT:
        raise LimitExceeded(f"The instance count of variant {variant!r} is {count}: at most {MAX_COUNT} are allowed.")


def check_weight(variant: str, weight: float) -> None:
    """Invalid unless it is a finite number that is not negative."""
    if not math.isfinite(weight) or weight < 0:
        raise Invalid(f"The weight of variant {variant!r} is {weight}: it must be 0 or more.")


def check_tags(tags: Mapping[str, str]) -> None:
    """LimitExceeded beyond 50 tags."""
    if len(tags) > MAX_TAGS:
        raise LimitExceeded(f"A resource can have at most {MAX_TAGS} tags; this would make {len(tags)}.")
