"""Artifacts that say neither their model nor their version: the next upload replaces what endpoints run."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.stored import Bucket
from trimtab.advisor.finding import Confidence, Finding, Fix, Risk
from trimtab.advisor.prices.book import Book

KIND: Final = "flat-artifact-keys"
_FOLDERS: Final = 2  # the model's, and the version's (or the job's)
_SHOWN: Final = 5
_ENDINGS: Final = (".tar.gz", ".tgz", ".tar", ".zip")


def find(account: Account, book: Book) -> Iterator[Finding]:
    """Buckets with artifacts that lie in fewer than two folders."""
    for bucket in account.buckets:
        flat = [key for key in bucket.artifacts if is_flat(key)]
        if flat:
            yield _finding(bucket, flat)


def is_flat(key: str) -> bool:
    """Whether fewer than two folders are above the file. A key that ends in a slash is a folder of files itself."""
    folders = [part for part in posixpath.dirname(key).split("/") if part]
    return len(folders) < _FOLDERS


def _finding(bucket: Bucket, flat: list[str]) -> Finding:
    moves = "\n".join(f"    s3://{bucket.name}/{key}\n      -> s3://{bucket.name}/{proposed(key)}" for key in flat[:20])
    plural = "" if len(flat) == 1 else "s"
    more = f"\n    ... and {len(flat) - 20} more" if len(flat) > 20 else ""
    return Finding(
        id=f"{KIND}/{bucket.name}",
        kind=KIND,
        resource=f"arn:aws:s3:::{bucket.name}",
        title=f"{len(flat)} artifact{plural} in {bucket.name} without folders of model and version",
        evidence={"flat": len(flat), "artifacts": len(bucket.artifacts), "for_example": ", ".join(flat[:_SHOWN])},
        saves_micro_usd_per_month=0,
        risk=Risk.MEDIUM,  # models must be made anew
        confidence=Confidence.MEDIUM,
        fix=Fix(
            title="A folder for each model, and one for each version in it",
            document=(
                "Copy each artifact to a key that never changes its meaning, make the models anew from there, and "
                f"update the endpoints:\n\n{moves}{more}\n\nThe old keys can go when nothing runs from them."
            ),
        ),
    )


def proposed(key: str) -> str:
    """`models/fraud-v3.tar.gz`: `models/fraud/3/model.tar.gz`. Without a version in the name it is the first."""
    folder, name = posixpath.split(key.rstrip("/"))
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
    stem = name.removesuffix(ending)
    versioned = re.fullmatch(r"(.+?)[-_.]?v?(\d+(?:[._]\d+)*)", stem)
    model, version = (versioned[1], versioned[2]) if versioned else (stem, "1")
    if model == "model":  # what every artifact is called: its folder is the model's name
        folder, model = posixpath.split(folder) if folder else ("", "NAME")
    return posixpath.join(folder or "models", model, version, f"model{ending}")
