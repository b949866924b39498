"""Buckets that forget: an artifact that is overwritten or deleted is gone, and with it the way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.stored import Bucket
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "no-versioning"


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Buckets that artifacts of endpoints' models lie in, whose versioning is not on."""
    for bucket in account.buckets:
        if bucket.artifacts and bucket.versioning is not None and bucket.versioning != "Enabled":
            yield _finding(bucket)


def _finding(bucket: Bucket) -> Finding:
    call = Call(
        service="s3",
        operation="put_bucket_versioning",
        parameters={"Bucket": bucket.name, "VersioningConfiguration": {"Status": "Enabled"}},
    )
    return Finding(
        id=f"{KIND}/{bucket.name}",
        kind=KIND,
        resource=f"arn:aws:s3:::{bucket.name}",
        title=f"Bucket {bucket.name} keeps no versions of the artifacts that endpoints run",
        evidence={"artifacts": len(bucket.artifacts), "versioning": bucket.versioning or "never enabled"},
        saves_micro_usd_per_month=0,
        price_note="versions that are kept are paid for as storage",
        risk=Risk.LOW,
        confidence=Confidence.HIGH,
        fix=Fix(title="Keep versions", calls=(call,), is_safe=True),
    )
