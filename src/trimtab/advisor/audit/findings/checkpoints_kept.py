"""Checkpoints that stay for ever at the dearest rate: no rule lets them expire, or moves them somewhere colder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.money import Money, storage_month
from trimtab.advisor.audit.stored import Bucket, Folder, Rule
from trimtab.advisor.finding import Call, Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "checkpoints-kept"
_GB: Final = 2**30
_DAYS: Final = 30  # S3 moves nothing to STANDARD_IA earlier
STANDARD: Final = "Standard storage, first 50 TB"
_COLDER: Final = "Standard-IA storage"
_SHOWN: Final = 5
_NOTE: Final = (
    "S3 replaces all rules of a bucket at once: those that are there stand in the call, too. Reading from STANDARD_IA "
    "costs by the GB; objects below 128 kB are not moved.\n"
    "Whoever knows that nobody resumes from them may let them go as well, in the same rule:\n"
    '    "Expiration": {"Days": 180}'
)


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Buckets with folders that training jobs write checkpoints to, for which there is no such rule."""
    for bucket in account.buckets:
        if bucket.rules is None:
            continue
        kept = [folder for folder in bucket.checkpoints or () if not covering(bucket.rules, folder.prefix)]
        if kept:
            yield _finding(bucket, kept, account, book)


def covering(rules: tuple[Rule, ...], prefix: str) -> list[Rule]:
    """The rules that let all objects below `prefix` expire, or move them somewhere colder."""
    return [
        rule
        for rule in rules
        if prefix.startswith(rule.prefix) and not rule.is_narrowed and (rule.expires or rule.colder)
    ]


def _finding(bucket: Bucket, kept: list[Folder], account: Account, book: Book) -> Finding:
    saves = _saves(kept, account, book)
    ages = [account.at_s - folder.oldest_s for folder in kept if folder.oldest_s is not None]
    is_whole = all(folder.is_whole for folder in kept)
    objects = sum(folder.objects for folder in kept)
    return Finding(
        id=f"{KIND}/{bucket.name}",
        kind=KIND,
        resource=f"arn:aws:s3:::{bucket.name}",
        title=f"Checkpoints in {_where(bucket, kept)} never expire, nor move to colder storage",
        evidence={
            "prefixes": ", ".join(folder.prefix or "(the whole bucket)" for folder in kept[:_SHOWN]),
            "objects": objects if is_whole else f"more than {objects - 1:,}",
            "size_gb": round(sum(folder.size_bytes for folder in kept) / _GB, 3),
            "older_than_30_days_gb": round(sum(folder.old_bytes for folder in kept) / _GB, 3),
            "oldest_days": round(max(ages, default=0.0) / 86_400, 1),
        },
        saves_micro_usd_per_month=saves.micro_usd,
        price_note=saves.note if is_whole else "; ".join(filter(None, (saves.note, "not all objects were listed"))),
        risk=Risk.LOW,
        confidence=Confidence.HIGH,
        fix=_fix(bucket, kept),
    )


def _where(bucket: Bucket, kept: list[Folder]) -> str:
    more = f" and {len(kept) - 1} more" if len(kept) > 1 else ""
    return f"s3://{bucket.name}/{kept[0].prefix}{more}"


def _saves(kept: list[Folder], account: Account, book: Book) -> Money:
    old_bytes = sum(folder.old_bytes for folder in kept)
    warm = storage_month(book, "s3", STANDARD, old_bytes, region=account.region, at_s=account.at_s)
    return warm.minus(storage_month(book, "s3", _COLDER, old_bytes, region=account.region, at_s=account.at_s))


def _fix(bucket: Bucket, kept: list[Folder]) -> Fix:
    title = f"Move them to STANDARD_IA after {_DAYS} days"
    if any(not folder.prefix for folder in kept):
        document = (
            "They lie at the bucket's root, beside whatever else is there: give them a prefix first, then a rule."
        )
        return Fix(title=title, document=document)
    ours = [_rule(folder) for folder in kept]
    names = {rule["ID"] for rule in ours}
    rules = [*(rule for rule in bucket.rule_documents if rule.get("ID") not in names), *ours]
    call = Call(
        service="s3",
        operation="put_bucket_lifecycle_configuration",
        parameters={"Bucket": bucket.name, "LifecycleConfiguration": {"Rules": rules}},
    )
    return Fix(title=title, calls=(call,), is_safe=True, document=_NOTE)


def _rule(folder: Folder) -> dict[str, Any]:
    name = "-".join(part for part in folder.prefix.split("/") if part)
    return {
        "ID": f"colder-{name}"[:255],
        "Status": "Enabled",
        "Filter": {"Prefix": folder.prefix},
        "Transitions": [{"Days": _DAYS, "StorageClass": "STANDARD_IA"}],
    }
