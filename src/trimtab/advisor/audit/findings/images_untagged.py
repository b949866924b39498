"""Images that no tag names any more, and that are still paid for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings.images import digests_in_use
from trimtab.advisor.audit.money import storage_month
from trimtab.advisor.audit.stored import Image, Repository
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "images-untagged"
DAYS: Final = 14
_GB: Final = 2**30
IMAGES: Final = "private repository storage"  # by its name in the price list


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Repositories with images that have had no tag for over 14 days, that nothing runs by its digest, and that no
    policy lets expire. ECR tells when an image was pushed, not when it lost its tag: the first is what counts here."""
    used = digests_in_use(account)
    for repository in account.repositories or ():
        expires = repository.expires_untagged_days
        if expires is None or 0 < expires <= DAYS:
            continue
        old = [
            image
            for image in repository.images or ()
            if not image.tags and image.digest not in used and account.at_s - image.pushed_s > DAYS * 86_400
        ]
        if old:
            yield _finding(repository, old, account, book)


def _finding(repository: Repository, old: list[Image], account: Account, book: Book) -> Finding:
    size_bytes = sum(image.size_bytes for image in old)
    saves = storage_month(book, "ecr", IMAGES, size_bytes, region=account.region, at_s=account.at_s)
    count = len(old)
    return Finding(
        id=f"{KIND}/{repository.name}",
        kind=KIND,
        resource=repository.arn,
        title=f"{count} image{'' if count == 1 else 's'} in {repository.name} without a tag for over {DAYS} days",
        evidence={
            "untagged": count,
            "images": len(repository.images or ()),
            "size_gb": round(size_bytes / _GB, 3),
            "oldest_days": round((account.at_s - min(image.pushed_s for image in old)) / 86_400, 1),
        },
        saves_micro_usd_per_month=saves.micro_usd,
        price_note="; ".join(filter(None, (saves.note, "images that share layers with others free less"))),
        risk=Risk.MEDIUM,  # an image that somebody names by its digest elsewhere is gone
        confidence=Confidence.MEDIUM,
        fix=_fix(repository),
    )


def _fix(repository: Repository) -> Fix:
    policy = {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"Untagged images go after {DAYS} days",
                "selection": {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": DAYS,
                },
                "action": {"type": "expire"},
            }
        ]
    }
    call = Call(
        service="ecr",
        operation="put_lifecycle_policy",
        parameters={"repositoryName": repository.name, "lifecyclePolicyText": json.dumps(policy)},
    )
    document = (
        "It deletes images, so it is not applied from here. `aws ecr start-lifecycle-policy-preview` lists what would "
        "go. A repository has one policy: where it has one, add this rule to it."
    )
    return Fix(title=f"Let untagged images go after {DAYS} days", calls=(call,), document=document)
