"""Training that begins anew when it is interrupted: on spot instances, or for hours, without checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings.training import Family, families
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "training-without-checkpoints"
_LONG_S: Final = 3600.0  # a shorter run is begun anew for little


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Families whose last run wrote none, where that may lose work: on spot, or longer than an hour."""
    for family in families(account.training or ()):
        job = family.newest
        longest_s = max(each.training_s for each in family.jobs)
        if not job.checkpoints and (job.is_spot or longest_s >= _LONG_S):
            yield _finding(family, longest_s)


def _finding(family: Family, longest_s: float) -> Finding:
    job = family.newest
    bucket = job.output.removeprefix("s3://").partition("/")[0] or "BUCKET"
    document = (
        "In the next create_training_job:\n\n"
        f'    CheckpointConfig={{"S3Uri": "s3://{bucket}/checkpoints/{family.name}/"}},\n\n'
        "SageMaker copies /opt/ml/checkpoints there while the job runs, and back before it starts again: the program "
        "saves there, and looks there first."
    )
    why = "on spot instances, " if job.is_spot else ""
    return Finding(
        id=f"{KIND}/{family.name}/{job.instance_type}",
        kind=KIND,
        resource=job.arn,
        title=f"Training {family.name} runs {why}without checkpoints: interrupted, it begins anew",
        evidence={
            "jobs": len(family.jobs),
            "longest_hours": round(longest_s / 3600, 2),
            "on_spot": "yes" if job.is_spot else "no",
            "newest_job": job.name,
        },
        saves_micro_usd_per_month=0,
        price_note="what an interruption costs depends on when it comes",
        risk=Risk.LOW,
        confidence=Confidence.HIGH if job.is_spot else Confidence.MEDIUM,
        fix=Fix(title="Write checkpoints", document=document),
    )
