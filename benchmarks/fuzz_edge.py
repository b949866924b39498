"""Fuzz the AWS edge in-process: `python benchmarks/fuzz_edge.py [--requests N] [--seed S]`.

Valid requests for every operation of the services, damaged in method, path, query, headers and body, against the
Dispatcher with the real authentication: first with auth none (so that damage reaches parsing, validation, handlers and
serializing), then a fifth as many with signatures required. Exit status 1 when any answer is a 500, takes over 5 s,
shows a stack trace, has no request id, or when anything is logged as a failure inside trimtab.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "aws"))

import wire_halves
from edge_fuzzer import Report, fuzz, seeds, stub_handlers

from trimtab.aws import sts
from trimtab.aws.auth import Authenticator
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.http import HttpRequest
from trimtab.aws.iam import Iam
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Handlers, OperationHandler, handlers_of, merge
from trimtab.aws.s3 import s3_handlers
from trimtab.aws.sagemaker import sagemaker_handlers
from trimtab.clock import SystemClock
from trimtab.objects.indexed import open_object_store
from trimtab.objects.store import ObjectStore
from trimtab.resources.routing import AccessKey
from trimtab.testing.fake_control import FakeControl


class Counting(logging.Handler):
    """Counts warnings and worse: "a call failed inside trimtab" is one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def real_handlers(objects: ObjectStore) -> dict[str, dict[str, OperationHandler]]:
    """All of trimtab's own: on a control plane in memory, and on `objects`."""
    clock = SystemClock()
    return merge(
        sagemaker_handlers(FakeControl(clock), clock, Pager(b"0" * 32)),
        s3_handlers(objects),
        handlers_of(sts),
        handlers_of(Iam(created_s=clock.now_s())),
    )


def every_handler(real: Handlers) -> Handlers:
    """trimtab's own, and stubs for every other operation of AWS."""
    return {service: {**stubs, **real.get(service, {})} for service, stubs in stub_handlers().items()}


def worlds() -> list[HttpRequest]:
    """S3 calls that belong together, so that damaged ones meet buckets, objects and uploads that are there."""
    place = {"Bucket": "fuzzed", "Key": "a/k"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("CreateBucket", {"Bucket": "fuzzed"}),
        ("PutObject", place | {"Body": b"0123456789", "Metadata": {"a": "b"}}),
        ("PutObject", place | {"Body": b"x", "IfNoneMatch": "*"}),
        ("GetObject", place | {"Range": "bytes=1-4"}),
        ("GetObject", place | {"IfNoneMatch": '"0"', "ResponseContentType": "a/b"}),
        ("HeadObject", place | {"PartNumber": 1}),
        ("CopyObject", place | {"CopySource": "fuzzed/a/k", "MetadataDirective": "REPLACE"}),
        ("CopyObject", {"Bucket": "fuzzed", "Key": "b", "CopySource": "fuzzed/a/k"}),
        ("ListObjectsV2", {"Bucket": "fuzzed", "Delimiter": "/", "MaxKeys": 1, "StartAfter": "a"}),
        ("ListObjectVersions", {"Bucket": "fuzzed", "KeyMarker": "a", "VersionIdMarker": "1"}),
        ("PutBucketVersioning", {"Bucket": "fuzzed", "VersioningConfiguration": {"Status": "Enabled"}}),
        (
            "DeleteObjects",
            {"Bucket": "fuzzed", "Delete": {"Objects": [{"Key": "a/k"}, {"Key": "b", "VersionId": "1"}]}},
        ),
        ("CreateMultipartUpload", place),
        ("ListMultipartUploads", {"Bucket": "fuzzed", "Delimiter": "/"}),
        ("UploadPart", place | {"UploadId": "x", "PartNumber": 1, "Body": b"0"}),
        ("PutObjectTagging", place | {"Tagging": {"TagSet": [{"Key": "k", "Value": "v"}]}}),
        ("GetObjectTagging", place),
    ]
    return [wire_halves.request("s3", name, params, "rest-xml") for name, params in calls for _ in range(20)]


def edge(handlers: Handlers, *, required: bool) -> Dispatcher:
    """The Dispatcher with the real authentication and one key."""
    key = AccessKey(id="KEY", secret="secret")
    authenticate = Authenticator(lambda: {key.id: key}, region="us-east-1", clock=SystemClock(), required=required)
    return Dispatcher(handlers, authenticate, region="us-east-1", account="000000000000")


async def run(requests: int, seed: int, folder: Path) -> bool:
    """Fuzz over an object store in `folder`, print, say whether the edge stood it."""
    objects = open_object_store(folder, SystemClock())
    await objects.start()
    try:
        return await attack(requests, seed, real_handlers(objects))
    finally:
        await objects.close()


async def attack(requests: int, seed: int, real: Handlers) -> bool:
    """Fuzz `real` and the stubs around them, print, say whether the edge stood it."""
    logged = Counting()
    logging.getLogger().addHandler(logged)
    handlers = every_handler(real)
    pool = seeds(Random(seed), often=real) + worlds()
    good = True
    for name, required, count in (("auth none", False, requests), ("sigv4", True, requests // 5)):
        started = time.process_time()
        report = await fuzz(edge(handlers, required=required), pool, count=count, seed=seed)
        show(name, report, time.process_time() - started)
        good = good and not report.failures
    for record in logged.records[:5]:
        print("logged:", logging.Formatter().format(record))
    return good and not logged.records


def show(name: str, report: Report, cpu_s: float) -> None:
    """One paragraph per phase."""
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items()))
    print(f"{name}: {report.requests:,} requests, {len(report.failures)} failures, {cpu_s:.1f} s CPU ({statuses})")
    for failure in report.failures[:10]:
        print(f"  #{failure.number} {failure.what}\n     {failure.request}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trimtab-fuzz-") as folder:
        sys.exit(0 if asyncio.run(run(options.requests, options.seed, Path(folder))) else 1)


if __name__ == "__main__":
    main()
