"""From what is known of an account to what is wrong with it. Pure: the account and the prices come in."""

from __future__ import annotations

from trimtab.advisor.audit.account import Account, Variant
from trimtab.advisor.audit.findings import CHECKS
from trimtab.advisor.audit.findings.training import Family, families, month
from trimtab.advisor.audit.money import Prices, instances_month
from trimtab.advisor.audit.resilience import kept
from trimtab.advisor.finding import Audit, Finding


def audited(account: Account, prices: Prices) -> Audit:
    """All that the checks find, dearest first; what it all costs a month as it is now."""
    findings = kept((finding for check in CHECKS for finding in check(account, prices)), account)
    running = [_month(variant, account, prices) for _, variant in account.variants()]
    running += [_trained(family, account, prices) for family in families(account.training or ())]
    notes = sorted({note for _, note in running if note} | {each.price_note for each in findings if each.price_note})
    return Audit(
        account=account.account,
        region=account.region,
        at_s=account.at_s,
        days=account.days,
        findings=tuple(sorted(findings, key=_dearest_first)),
        unseen=account.unseen,
        endpoints=len(account.endpoints),
        month_micro_usd=sum(micro_usd for micro_usd, _ in running),
        price_notes=tuple(notes),
    )


def _dearest_first(finding: Finding) -> tuple[int, str]:
    return (-(finding.saves_micro_usd_per_month or 0), finding.id)


def _month(variant: Variant, account: Account, prices: Prices) -> tuple[int, str]:
    if not variant.instance_type:
        return 0, ""
    money = instances_month(prices, variant.instance_type, variant.count, region=account.region, at_s=account.at_s)
    return money.micro_usd or 0, money.note


def _trained(family: Family, account: Account, prices: Prices) -> tuple[int, str]:
    """A month of its runs, if it goes on as it did."""
    money = month(family, account, prices)
    return money.micro_usd or 0, money.note if family.billed_s else ""
