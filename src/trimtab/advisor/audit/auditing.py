"""From what is known of an account to what is wrong with it. Pure: the account and the prices come in."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings import CHECKS
from trimtab.advisor.audit.findings.checkpoints_kept import STANDARD
from trimtab.advisor.audit.findings.images_untagged import IMAGES
from trimtab.advisor.audit.findings.training import families, month
from trimtab.advisor.audit.findings.usage import month_of
from trimtab.advisor.audit.money import Money, instances_month, storage_month
from trimtab.advisor.audit.observing import observed_workloads
from trimtab.advisor.audit.resilience import kept
from trimtab.advisor.audit.series import DAY_S
from trimtab.advisor.finding import Audit, Finding
from trimtab.advisor.prices.book import Book


def audited(account: Account, book: Book) -> Audit:
    """All that the checks find, dearest first; what it all costs a month as it is now."""
    book = book.fresh()
    findings = kept((finding for check in CHECKS for finding in check(account, book)), account)
    running = [month_of(account, variant, book) for _, variant in account.variants()]
    running += [month(family, account, book) for family in families(account.training or ()) if family.billed_s]
    running += _transformed(account, book)
    running += _stored(account, book)
    return Audit(
        account=account.account,
        region=account.region,
        at_s=account.at_s,
        days=account.days,
        findings=tuple(sorted(findings, key=_dearest_first)),
        unseen=account.unseen,
        endpoints=len(account.endpoints),
        month_micro_usd=sum(money.micro_usd or 0 for money in running),
        month_is_whole=all(money.micro_usd is not None for money in running),
        price_notes=tuple(book.notes(datetime.fromtimestamp(account.at_s, UTC).date())),
        observed=observed_workloads(account),
    )


def _transformed(account: Account, book: Book) -> list[Money]:
    """Batch transform, a month of it, if it goes on as in the days that were looked at."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for job in account.transforms or ():
        seconds[job.instance_type] += job.seconds * job.instance_count
    return [
        instances_month(
            book,
            instance_type,
            instance_s / (account.days * DAY_S),
            region=account.region,
            at_s=account.at_s,
            use="batch-transform",
        )
        for instance_type, instance_s in seconds.items()
        if instance_s
    ]


def _stored(account: Account, book: Book) -> list[Money]:
    """What findings are about: checkpoints and images, at the rate of what is used every day."""
    folders = [folder for bucket in account.buckets for folder in bucket.checkpoints or ()]
    images = [image for repository in account.repositories or () for image in repository.images or ()]
    return [
        storage_month(book, service, item, size_bytes, region=account.region, at_s=account.at_s)
        for service, item, size_bytes in (
            ("s3", STANDARD, sum(folder.size_bytes for folder in folders)),
            ("ecr", IMAGES, sum(image.size_bytes for image in images)),
        )
        if size_bytes
    ]


def _dearest_first(finding: Finding) -> tuple[int, str]:
    return (-(finding.saves_micro_usd_per_month or 0), finding.id)
