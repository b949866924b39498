"""The account of `testing.account` on a trimtab: its faults as far as trimtab can have them, each with its clean twin.

    prepare(data_dir, time.time())     # weeks of metrics, and what serves the images; then `trimtab serve`
    populate(clients)                  # through boto3's clients

Training jobs and images are not there, nor rules that let objects expire: trimtab has none, and an audit says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.config import Paths
from trimtab.testing.account import BUCKET, CASES, Case, Clients, create
from trimtab.testing.account_stores import LOOSE, PRODUCTION, TIDY
from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.history import write_history

OWN_CASES: Final[tuple[Case, ...]] = (*CASES, *PRODUCTION)
OWN_STORED_FAULTS: Final = frozenset({
    "too-few-instances/ledger/main",
    f"no-versioning/{LOOSE}",
    f"flat-artifact-keys/{LOOSE}",
})  # fmt: skip
"""Ids of the findings that are not of one endpoint's traffic."""

_IMAGES: Final = """\
[[runtime]]  # the account's images: trimtab's own worker serves them
match = ["company/*", "*/team/*", "*/sagemaker-scikit-learn"]
kind = "python"
"""


def prepare(data_dir: Path, now_s: float, *, days: int = 14, cases: tuple[Case, ...] = OWN_CASES) -> None:
    """Make a data directory whose endpoints have been called for so many days, though they are yet to be made."""
    write_history(data_dir, cases, now_s, days=days)
    Paths(data_dir).runtimes.write_text(_IMAGES)


def populate(clients: Clients, *, cases: tuple[Case, ...] = OWN_CASES) -> None:
    """Buckets, artifacts, endpoints and policies; returns once all endpoints are in service."""
    s3 = clients("s3")
    for name in (BUCKET, LOOSE):
        s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=TIDY, VersioningConfiguration={"Status": "Enabled"})
    artifact = script(ECHO)
    for case in cases:
        bucket, _, key = _artifact(case).partition("/")
        s3.put_object(Bucket=bucket, Key=key, Body=artifact)
        create(clients, case, captures=False)
    _settled(clients("sagemaker"), cases)


def _artifact(case: Case) -> str:
    return (case.artifact or f"s3://{BUCKET}/{case.name}/1/model.tar.gz").removeprefix("s3://")


def _settled(sagemaker: Any, cases: tuple[Case, ...]) -> None:
    waiter = sagemaker.get_waiter("endpoint_in_service")
    for case in cases:
        waiter.wait(EndpointName=case.name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
