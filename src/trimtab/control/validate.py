"""What may be declared: checks that need nothing but the declaration. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trimtab.errors import Invalid, LimitExceeded, NotSupported
from trimtab.policies.models.settings import hosting_of
from trimtab.policies.serverless.settings import keep_warm_of
from trimtab.resources.deployment import Deployment
from trimtab.resources.endpoint import VariantState
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Model
from trimtab.resources.names import check_name
from trimtab.resources.serverless import MAX_CONCURRENCY, MEMORY_MIB, Serverless

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
    keep_warm_of(model.containers[0].environment)  # raises Invalid


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
        if variant.serverless is not None:
            check_serverless(variant.name, variant.serverless)
        else:
            floor = 0 if variant.managed_min == 0 else 1
            check_count(variant.name, variant.initial_count, floor=floor, cure=_MANAGED_CURE)
        check_weight(variant.name, variant.initial_weight)
    if len(config.variants) > 1 and any(variant.serverless is not None for variant in config.variants):
        raise Invalid("A serverless endpoint has one production variant: several are not supported.")
    if config.asynchronous is not None and any(variant.serverless is not None for variant in config.variants):
        raise Invalid("AsyncInferenceConfig and ServerlessConfig exclude one another: give one of them.")


def check_serverless(variant: str, rules: Serverless) -> None:
    """Invalid for what AWS refuses (docs "Deploy models with Amazon SageMaker Serverless Inference")."""
    if rules.memory_mib not in MEMORY_MIB:
        sizes = ", ".join(map(str, MEMORY_MIB))
        raise Invalid(f"MemorySizeInMB of variant {variant!r} is {rules.memory_mib}: it must be one of {sizes}.")
    if not 1 <= rules.max_concurrency <= MAX_CONCURRENCY:
        raise Invalid(
            f"MaxConcurrency of variant {variant!r} is {rules.max_concurrency}: it must be 1 to {MAX_CONCURRENCY}."
        )
    if not 0 <= rules.provisioned <= rules.max_concurrency:
        raise Invalid(
            f"ProvisionedConcurrency of variant {variant!r} is {rules.provisioned}: it must not be more than its "
            f"MaxConcurrency, {rules.max_concurrency}."
        )


def check_on_demand(model: Model) -> None:
    """Invalid for a model that a serverless variant cannot have (AWS, as above)."""
    if model.containers[0].multi_model:
        raise Invalid(f"The model {model.name!r} has a multi-model container: a serverless endpoint cannot host one.")
    for member in ("VpcConfig", "EnableNetworkIsolation"):
        if model.document.get(member):
            raise Invalid(f"The model {model.name!r} has {member}: a serverless endpoint does not support it.")


def check_kinds(
    variants: Sequence[VariantState], counts: Mapping[str, int], serverless: Mapping[str, Serverless]
) -> None:
    """Invalid for a count of a serverless variant, or a serverless setting of another."""
    for variant in variants:
        if variant.serverless is not None and variant.name in counts:
            raise Invalid(
                f"The variant {variant.name!r} is serverless and has no instances: change its MaxConcurrency or "
                "ProvisionedConcurrency, by ServerlessUpdateConfig."
            )
        if (rules := serverless.get(variant.name)) is not None:
            if variant.serverless is None:
                raise Invalid(f"The variant {variant.name!r} has instances: ServerlessUpdateConfig is not for it.")
            check_serverless(variant.name, rules)


def check_way(serving: Deployment, config: EndpointConfig) -> None:
    """AWS: a real-time endpoint cannot be updated to a serverless one; the other way is possible, with no way back."""
    if any(v.serverless is not None for v in config.variants) and not any(
        v.spec.serverless is not None for v in serving.variants
    ):
        raise Invalid(
            f"The endpoint runs on instances ({serving.config_name!r}) and cannot be updated to the serverless "
            f"endpoint configuration {config.name!r}. Create a new endpoint."
        )


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
