"""Images that nobody has looked into for known vulnerabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.stored import Image, Repository
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "images-unscanned"
_SCANNED_AT_ONCE: Final = 10  # images that the fix starts a scan of: the newest; ECR scans each once a day


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Repositories that do not scan what is pushed, with images that were never scanned."""
    for repository in account.repositories or ():
        unscanned = [image for image in repository.images or () if not image.is_scanned]
        if unscanned and not repository.scans_on_push:
            yield _finding(repository, unscanned)


def _finding(repository: Repository, unscanned: list[Image]) -> Finding:
    newest = sorted(unscanned, key=lambda image: -image.pushed_s)[:_SCANNED_AT_ONCE]
    calls = [
        Call(
            service="ecr",
            operation="put_image_scanning_configuration",
            parameters={
                "repositoryName": repository.name,
                "imageScanningConfiguration": {"scanOnPush": True},
            },
        ),
        *(
            Call(
                service="ecr",
                operation="start_image_scan",
                parameters={"repositoryName": repository.name, "imageId": {"imageDigest": image.digest}},
            )
            for image in newest
        ),
    ]
    count = len(unscanned)
    return Finding(
        id=f"{KIND}/{repository.name}",
        kind=KIND,
        resource=repository.arn,
        title=f"Repository {repository.name} scans nothing: {count} image{'' if count == 1 else 's'} never looked into",
        evidence={"unscanned": count, "images": len(repository.images or ()), "scan_on_push": "off"},
        saves_micro_usd_per_month=0,
        price_note="basic scanning is free",
        risk=Risk.NONE,
        confidence=Confidence.HIGH,
        fix=Fix(title="Scan on push, and the newest ones now", calls=tuple(calls), is_safe=True),
    )
