"""An account to audit: every fault that `trimtab audit` finds, and beside each a clean twin that it must not flag.

    python examples/audit/populate.py --serve              # an account on this machine, until Ctrl-C
    python examples/audit/populate.py http://127.0.0.1:5000    # into moto's server, or whatever speaks AWS there

With --serve it prints the exports to audit it with. It takes a minute or two: two weeks of metrics are sent as AWS has
them. Real AWS and trimtab take no metrics into AWS's own namespaces, so that endpoints made there show faults of their
configuration alone.

Needs boto3; --serve needs moto and flask, too (`pip install 'moto[server]' boto3`).
"""

from __future__ import annotations

import argparse
import signal
import time
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from trimtab.testing.account import CAPTURES, CASES, create, populate
from trimtab.testing.account_stores import ACCOUNT, REGION, aged, populate_stores, run_both
from trimtab.testing.aws_server import aws_server

KEYS = {"aws_access_key_id": "AKIAAUDIT", "aws_secret_access_key": "audit"}


def fill(url: str, now_s: float, *, days: int = 14, keys: dict[str, str] | None = None) -> bool:
    """Everything, into the account at `url`; whether it takes metrics."""

    @cache
    def clients(service: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5, "mode": "standard"})
        return boto3.client(service, endpoint_url=url, region_name=REGION, config=config, **(keys or KEYS))

    populate_stores(clients)
    run_both(clients)
    clients("s3").create_bucket(Bucket=CAPTURES)
    if _takes_metrics(clients("cloudwatch")):
        populate(clients, now_s, days=days)
        return True
    for case in CASES:
        create(clients, case)
    return False


def _takes_metrics(cloudwatch: Any) -> bool:
    try:
        cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=[{"MetricName": "Probe", "Value": 0.0}])
    except ClientError as error:
        if error.response["Error"]["Code"] in ("InvalidParameterValue", "InvalidParameterValueException"):
            return False
        raise
    return True


def serve(days: int) -> None:
    """An account of our own, until somebody ends it."""
    with aws_server() as server:
        now_s = time.time()
        fill(server.url, now_s, days=days)
        aged(ACCOUNT, REGION, now_s)
        print(f"export AWS_ENDPOINT_URL={server.url}")
        print(
            f"export AWS_ACCESS_KEY_ID={KEYS['aws_access_key_id']} AWS_SECRET_ACCESS_KEY={KEYS['aws_secret_access_key']}"
        )
        print(f"export AWS_DEFAULT_REGION={REGION}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="endpoint of the account to fill")
    parser.add_argument("--serve", action="store_true", help="serve an account on this machine")
    parser.add_argument("--days", type=int, default=14, help="of metrics")
    given = parser.parse_args()
    if given.serve == bool(given.url):
        parser.error("give the URL of an account, or --serve")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM} if given.serve else set())
    if given.serve:
        serve(given.days)
    elif not fill(given.url, time.time(), days=given.days):
        print("it takes no metrics: its endpoints show faults of their configuration alone")


if __name__ == "__main__":
    main()
