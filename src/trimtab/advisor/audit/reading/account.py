"""Everything of an account that the audit looks at, read in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Endpoint, Scaling, Variant
from trimtab.advisor.audit.measures import Measure
from trimtab.advisor.audit.reading.buckets import read_buckets, used
from trimtab.advisor.audit.reading.hosting import read_endpoints
from trimtab.advisor.audit.reading.identity import account_number
from trimtab.advisor.audit.reading.images import read_repositories
from trimtab.advisor.audit.reading.jobs import read_training, read_transforms
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.audit.reading.metrics import MINUTE_S, Key, read_metrics, read_minutes
from trimtab.advisor.audit.reading.payloads import with_payloads
from trimtab.advisor.audit.reading.reader import Reader
from trimtab.advisor.audit.reading.scaling import read_scaling
from trimtab.advisor.audit.reading.tags import with_tags
from trimtab.advisor.audit.series import Series
from trimtab.errors import Invalid

MOST_DAYS: Final = 15
"""CloudWatch keeps points of a minute for so long."""

Progress = Callable[[str], None]
Measured = Mapping[Measure, Series]


def read_account(login: Login, *, days: int, now_s: float, progress: Progress = lambda step: None) -> Account:
    """One look at the account that `login` is of. Each subject is read by a file of its own beside this one.

    Invalid: `days` is more than CloudWatch has. Denied, Unavailable: see `account_number`.
    """
    if not 1 <= days <= MOST_DAYS:
        raise Invalid(f"--days is 1 to {MOST_DAYS}: CloudWatch keeps what is needed for {MOST_DAYS} days.")
    number = account_number(login)
    reader = Reader(login)
    progress("endpoints")
    endpoints = _endpoints(reader, days, now_s, progress)
    progress("jobs")
    training = read_training(reader, days=days, now_s=now_s)
    transforms = read_transforms(reader, days=days, now_s=now_s)
    progress("buckets and images")
    buckets = read_buckets(reader, used(endpoints, training or ()), now_s=now_s)
    repositories = read_repositories(reader)
    return Account(
        account=number or _account_of(endpoints),
        region=reader.region,
        at_s=now_s,
        days=days,
        endpoints=endpoints,
        training=training,
        transforms=transforms,
        buckets=buckets,
        repositories=repositories,
        unseen=reader.unseen,
    )


def _endpoints(reader: Reader, days: int, now_s: float, progress: Progress) -> tuple[Endpoint, ...]:
    bare = with_tags(reader, read_endpoints(reader) or ())
    if not bare:
        return ()
    progress(f"scaling of {len(bare)} endpoints")
    scaling = read_scaling(reader)
    progress(f"metrics of {len(bare)} endpoints")
    metrics = read_metrics(reader, bare, days=days, now_s=now_s)
    known = _changed(bare, lambda key, variant: _with(variant, key, scaling, metrics.get(key)))
    minutes = read_minutes(reader, _by_the_minute(known), days=days, now_s=now_s)
    known = _changed(known, lambda key, variant: replace(variant, minutes=minutes.get(key)))
    return with_payloads(reader, known, days=days, now_s=now_s)


def _changed(endpoints: Sequence[Endpoint], change: Callable[[Key, Variant], Variant]) -> tuple[Endpoint, ...]:
    return tuple(
        replace(endpoint, variants=tuple(change((endpoint.name, each.name), each) for each in endpoint.variants))
        for endpoint in endpoints
    )


def _with(variant: Variant, key: Key, scaling: Mapping[Key, Scaling] | None, metrics: Measured | None) -> Variant:
    mine = None if scaling is None else scaling.get(key, Scaling())
    return replace(variant, scaling=mine, metrics=metrics)


def _by_the_minute(endpoints: Sequence[Endpoint]) -> list[Key]:
    """Variants with requests whose scaling looks at minutes: whether that is too slow, minutes tell."""
    return [
        (endpoint.name, variant.name)
        for endpoint in endpoints
        for variant in endpoint.variants
        if variant.scaling is not None
        and any(period_s >= MINUTE_S for period_s in variant.scaling.periods_s.values())
        and variant.requests is not None
        and variant.requests.total > 0
    ]


def _account_of(endpoints: Sequence[Endpoint]) -> str:
    """The number in an ARN, where nobody says who calls."""
    return endpoints[0].arn.split(":")[4] if endpoints and endpoints[0].arn.count(":") >= 5 else ""
