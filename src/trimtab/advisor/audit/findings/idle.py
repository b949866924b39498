"""Endpoints that nobody has asked anything for a week and more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account, Endpoint, Variant
from trimtab.advisor.audit.findings.usage import month_of, observed_days
from trimtab.advisor.audit.money import Money
from trimtab.advisor.audit.series import DAY_S
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book
from trimtab.advisor.words import counted

KIND: Final = "idle-endpoint"
LEAST_DAYS: Final = 7.0


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Endpoints with instances, none of whose variants was asked anything for LEAST_DAYS.

    Their number of days without a request is told by published zeros, or by the endpoint's age where nothing at all was
    published. Endpoints of inference components count their requests elsewhere, and are left out.
    """
    for endpoint in account.endpoints:
        paid = [variant for variant in endpoint.variants if variant.instance_type and variant.count > 0]
        if endpoint.status != "InService" or not paid or any(each.hosts_components for each in endpoint.variants):
            continue
        quiet_days = _quiet_days(account, endpoint)
        if quiet_days is not None and quiet_days >= min(LEAST_DAYS, account.days):
            yield _finding(account, endpoint, paid, quiet_days, book)


def _quiet_days(account: Account, endpoint: Endpoint) -> float | None:
    """Since when nothing was asked, up to the days looked at; None where that was not seen, or something was."""
    age_days = (account.at_s - endpoint.created_s) / DAY_S
    seen_days = 0.0
    for variant in endpoint.variants:
        requests = variant.requests
        if requests is None or requests.total > 0:
            return None
        seen_days = max(seen_days, observed_days(requests))
    return min(float(account.days), max(age_days, seen_days))


def _finding(account: Account, endpoint: Endpoint, paid: list[Variant], quiet_days: float, book: Book) -> Finding:
    cost = Money(0)
    for variant in paid:
        cost = cost.plus(month_of(account, variant, book))
    call = Call(service="sagemaker", operation="delete_endpoint", parameters={"EndpointName": endpoint.name})
    return Finding(
        id=f"{KIND}/{endpoint.name}",
        kind=KIND,
        resource=endpoint.arn,
        title=f"{endpoint.name}: nobody has asked it anything for {counted(round(quiet_days), 'day')}",
        evidence={
            "days_without_a_request": round(quiet_days, 1),
            "instances": sum(variant.count for variant in paid),
            "instance_type": ", ".join(sorted({variant.instance_type for variant in paid})),
            "now_usd_per_month": cost.usd,
        },
        saves_micro_usd_per_month=cost.micro_usd,
        price_note=cost.note,
        risk=Risk.MEDIUM,
        confidence=Confidence.HIGH if quiet_days >= LEAST_DAYS else Confidence.MEDIUM,
        fix=Fix(
            title=f"Delete it: its config {endpoint.config} stays, create_endpoint makes it again",
            calls=(call,),
        ),
    )
