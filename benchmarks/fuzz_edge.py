"""Fuzz the AWS edge in-process: `python benchmarks/fuzz_edge.py [--requests N] [--seed S]`.

Valid requests for every operation of the services in every protocol, and for Prometheus and `top`, damaged in method,
path, query, headers and body, packed, against all of control's edge with the real authentication: first with auth none
(so that damage reaches parsing, validation, handlers and serializing), then a fifth as many with signatures required.
Alarms are evaluated in between. Exit status 1 when any answer is a 500, takes over 5 s, shows a stack trace, has no
request id, or when anything is logged as a failure inside trimtab.
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "aws"))

from edge_fuzzer import Report, fuzz, seeds
from fuzz_worlds import World, calls, every_handler, world


class Counting(logging.Handler):
    """Counts warnings and worse: "a call failed inside trimtab" is one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def run(requests: int, seed: int, folder: Path) -> bool:
    """Fuzz a world in `folder`, print, say whether the edge stood it."""
    async with world(folder) as real:
        return await attack(requests, seed, real)


async def attack(requests: int, seed: int, real: World) -> bool:
    """Fuzz `real` and the stubs around it, print, say whether the edge stood it."""
    logged = Counting()
    logging.getLogger().addHandler(logged)
    handlers = every_handler(real.handlers)
    pool = seeds(Random(seed), often=real.handlers) + calls()
    good = True
    for name, required, count in (("auth none", False, requests), ("sigv4", True, requests // 5)):
        started = time.process_time()
        report = await fuzz(real.edge(handlers, required=required), pool, count=count, seed=seed)
        await real.alarm_loop.tick()
        show(name, report, time.process_time() - started)
        good = good and not report.failures
    for record in logged.records[:5]:
        print("logged:", logging.Formatter().format(record))
    return good and not logged.records


def show(name: str, report: Report, cpu_s: float) -> None:
    """One paragraph per phase."""
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(report.statuses.items()))
    print(f"{name}: {report.requests:,} requests, {len(report.failures)} failures, {cpu_s:.1f} s CPU ({statuses})")
    print(f"  the slowest took {report.slowest_s:.2f} s: {report.slowest[:300]}")
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
