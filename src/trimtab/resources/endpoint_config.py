"""EndpointConfig: an immutable declaration of variants."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from trimtab.resources.asynchronous import AsyncSettings
from trimtab.resources.serverless import Serverless


class VariantSpec(Struct, frozen=True, kw_only=True):
    """One production variant as declared. Times are seconds; `weight` is relative to the other variants."""

    name: str
    model_name: str
    instance_type: str = "ml.m5.large"
    initial_count: int = 1
    initial_weight: float = 1.0
    startup_timeout_s: float = 240.0  # AWS: a container must answer /ping within 4 minutes of its start
    download_timeout_s: float = 3600.0
    managed_min: int | None = None  # AWS's ManagedInstanceScaling; None: it is not enabled
    managed_max: int | None = None
    serverless: Serverless | None = None  # then `instance_type` and `initial_count` do not count


class EndpointConfig(Struct, frozen=True, kw_only=True):
    """A named, immutable list of variants. `document` is the caller's declaration, kept for Describe."""

    name: str
    created_s: float
    variants: tuple[VariantSpec, ...]
    asynchronous: AsyncSettings | None = None  # requests are queued; real-time invocations are refused
    document: dict[str, Any] = field(default_factory=dict)
