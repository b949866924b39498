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
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "aws"))

from edge_fuzzer import Report, fuzz, seeds, stub_handlers

from trimtab.aws import sts
from trimtab.aws.auth import Authenticator
from trimtab.aws.dispatch import Dispatcher
from trimtab.aws.iam import Iam
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Handlers, OperationHandler, handlers_of, merge
from trimtab.aws.sagemaker import sagemaker_handlers
from trimtab.clock import SystemClock
from trimtab.resources.routing import AccessKey
from trimtab.testing.fake_control import FakeControl


class Counting(logging.Handler):
    """Counts warnings and worse: "a call failed inside trimtab" is one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def real_handlers() -> dict[str, dict[str, OperationHandler]]:
    """trimtab's own, on a control plane in memory."""
    clock = SystemClock()
    return merge(
        sagemaker_handlers(FakeControl(clock), clock, Pager(b"0" * 32)),
        handlers_of(sts),
        handlers_of(Iam(created_s=clock.now_s())),
    )


def every_handler() -> Handlers:
    """trimtab's own where they need no disk, stubs for every other operation of AWS."""
    real = real_handlers()
    return {service: {**stubs, **real.get(service, {})} for service, stubs in stub_handlers().items()}


def edge(handlers: Handlers, *, required: bool) -> Dispatcher:
    """The Dispatcher with the real authentication and one key."""
    key = AccessKey(id="KEY", secret="secret")
    authenticate = Authenticator(lambda: {key.id: key}, region="us-east-1", clock=SystemClock(), required=required)
    return Dispatcher(handlers, authenticate, region="us-east-1", account="000000000000")


async def run(requests: int, seed: int, handlers: Handlers) -> bool:
    """Fuzz, print, say whether the edge stood it."""
    logged = Counting()
    logging.getLogger().addHandler(logged)
    pool = seeds(Random(seed), often=real_handlers())
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
    sys.exit(0 if asyncio.run(run(options.requests, options.seed, every_handler())) else 1)


if __name__ == "__main__":
    main()
