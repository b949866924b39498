"""Training that pays for instances on demand: managed spot training takes what AWS has to spare."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings.training import Family, families, month
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "training-without-spot"


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Families whose last run was not on spot instances."""
    for family in families(account.training or ()):
        if not family.newest.is_spot:
            yield _finding(family, account, book)


def _finding(family: Family, account: Account, book: Book) -> Finding:
    job = family.newest
    costs = month(family, account, book)
    share, note = _saving(account, book, job.instance_type)
    saves = int(costs.micro_usd * share) if costs.micro_usd is not None and share is not None else None
    if not family.billed_s:
        saves, note = None, "how long the jobs took is not known"
    return Finding(
        id=f"{KIND}/{family.name}/{job.instance_type}",
        kind=KIND,
        resource=job.arn,
        title=f"Training {family.name} runs on demand, not on spot instances",
        evidence={
            "jobs": len(family.jobs),
            "days": account.days,
            "instance_type": job.instance_type,
            "instances": job.instance_count,
            "billed_instance_hours": round(family.billed_s / 3600, 2),
            "writes_checkpoints": "yes" if job.checkpoints else "no",
            "newest_job": job.name,
        },
        saves_micro_usd_per_month=saves,
        price_note="; ".join(part for part in (costs.note, note) if part),
        risk=Risk.LOW if job.checkpoints else Risk.MEDIUM,
        confidence=Confidence.MEDIUM,  # what spot saves changes by the hour
        fix=Fix(title="Train on spot instances, with checkpoints", document=_document(family)),
    )


def _saving(account: Account, book: Book, instance_type: str) -> tuple[Decimal | None, str]:
    """The part of the bill that spot saves, and where that is known from."""
    spot = book.instance(instance_type, "ec2-spot", account.region)
    full = book.instance(instance_type, "ec2", account.region)
    if spot is None or full is None or not full.usd:
        return None, f"what spot saves on {instance_type} is not known (AWS: up to 90 %)"
    share = max(Decimal(0), 1 - spot.usd / full.usd)
    today = datetime.fromtimestamp(account.at_s, UTC).date()
    said = f"spot taken to save {share:.0%}, as on EC2 (managed spot training bills the seconds that spot leaves)"
    return share, "; ".join(part for part in (said, spot.note(today)) if part)


def _document(family: Family) -> str:
    job = family.newest
    bucket = job.output.removeprefix("s3://").partition("/")[0] or "BUCKET"
    where = job.checkpoints or f"s3://{bucket}/checkpoints/{family.name}/"
    return (
        "In the next create_training_job:\n\n"
        "    EnableManagedSpotTraining=True,\n"
        f'    CheckpointConfig={{"S3Uri": "{where}"}},  # the program saves to and resumes from /opt/ml/checkpoints\n'
        f'    StoppingCondition={{"MaxRuntimeInSeconds": {job.max_runtime_s}, '
        f'"MaxWaitTimeInSeconds": {2 * job.max_runtime_s}}},\n\n'
        "With the sagemaker SDK: use_spot_instances=True, checkpoint_s3_uri=..., max_run=..., max_wait=...\n"
        "A job that was interrupted starts again from its last checkpoint; without checkpoints, from the beginning."
    )
