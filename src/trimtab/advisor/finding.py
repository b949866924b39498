"""What an audit finds: one thing that costs money or safety, what shows it, and how it is mended."""

from __future__ import annotations

import enum
from typing import Any

from msgspec import Struct, field

from trimtab.advisor.observed import Observed


class Risk(enum.StrEnum):
    """Of mending it."""

    NONE = "none"  # nobody notices
    LOW = "low"  # can be undone at once
    MEDIUM = "medium"  # callers may notice: try it on a variant first
    HIGH = "high"  # callers must change


class Confidence(enum.StrEnum):
    """How sure the evidence is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Call(Struct, frozen=True, kw_only=True):
    """One call of AWS's API, as boto3 takes it."""

    service: str  # application-autoscaling
    operation: str  # put_scaling_policy
    parameters: dict[str, Any]


class Fix(Struct, frozen=True, kw_only=True):
    """How it is mended: calls in order, or a document to fill in where a person must decide."""

    title: str
    calls: tuple[Call, ...] = ()
    document: str = ""
    is_safe: bool = False  # `--apply` may carry it out: it changes no answer and loses nothing


class Finding(Struct, frozen=True, kw_only=True):
    """`id` is the same in each audit of the same account while the thing lasts: kind and resource."""

    id: str
    kind: str  # no-scaling-policy
    resource: str  # ARN, or name where AWS has none
    title: str
    evidence: dict[str, float | int | str] = field(default_factory=dict)
    saves_micro_usd_per_month: int | None = None  # negative: costs; None: not known, `price_note` says why
    covers: tuple[str, ...] = ()  # resources whose cost the saving is a part of, where not `resource` alone
    price_note: str = ""  # of prices that are derived, old or missing
    risk: Risk = Risk.LOW
    confidence: Confidence = Confidence.MEDIUM
    fix: Fix | None = None


class Unseen(Struct, frozen=True, kw_only=True):
    """What could not be looked at: never counted as fine."""

    what: str
    why: str
    needs: str = ""  # the permission


class Audit(Struct, frozen=True, kw_only=True):
    """One look at one account and region. `month_micro_usd`: what all that was found running costs in 730 hours;
    without what has no price, where `month_is_whole` is not set."""

    account: str
    region: str
    at_s: float
    days: int
    findings: tuple[Finding, ...]
    unseen: tuple[Unseen, ...]
    endpoints: int
    month_micro_usd: int
    month_is_whole: bool = True
    price_notes: tuple[str, ...] = ()
    observed: tuple[Observed, ...] = ()  # what `trimtab plan` begins with
