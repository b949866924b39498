"""Half of the maximum rate for a long time: does anything grow, does anything fail?

    python -m benchmarks.endurance --minutes 60 [--json FILE]

The fraud model, one gateway, one worker. The maximum is measured with wrk; then requests are due evenly at half of it,
whatever comes back. The memory of every process is read every 10 s. Drift is the growth of its PSS from the minute after
the first minutes (5, or a third of a shorter run) until the last minute; it must be under 1 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.footprint import Footprint, footprints
from benchmarks.overload import capacity
from benchmarks.peers import models, wrk
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

GOAL = 0.01
EVERY_S = 10.0
SETTLING_S = 300.0
WINDOW_S = 60.0


class Sample(msgspec.Struct, frozen=True):
    """Memory at one moment."""

    at_s: float  # since the load began
    processes: dict[str, Footprint]


class Report(msgspec.Struct, frozen=True):
    """The whole run."""

    seconds: float
    maximum: float  # requests/s
    rate: float
    sent: int
    right: int
    errors: dict[str, int]
    p50_s: float
    p99_s: float
    drift: dict[str, float]  # by process
    samples: list[Sample]


class Latencies:
    """A histogram with steps of 2 %: an hour of single latencies would be the memory that grows."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def append(self, seconds: float) -> None:
        """Count one."""
        step = round(math.log(max(seconds, 1e-6)) / math.log(1.02))
        self._counts[step] = self._counts.get(step, 0) + 1

    def quantile(self, share: float) -> float:
        """Seconds that this share of them took at most; NaN without any."""
        wanted = share * sum(self._counts.values())
        for step in sorted(self._counts):
            wanted -= self._counts[step]
            if wanted <= 0:
                return 1.02**step
        return math.nan


def drift(samples: list[Sample], seconds: float) -> dict[str, float]:
    """Growth of the PSS of each process that lived all the time, as a share, after the settling."""
    settling_s = min(SETTLING_S, seconds / 3)
    window_s = min(WINDOW_S, seconds / 6)
    early = [s for s in samples if settling_s <= s.at_s <= settling_s + window_s]
    late = [s for s in samples if s.at_s >= seconds - window_s]
    if not early or not late:
        return {}
    names = set.intersection(*(set(s.processes) for s in [*early, *late]))

    def middle(of: list[Sample], name: str) -> float:
        return statistics.median(s.processes[name].pss_bytes for s in of)

    return {name: middle(late, name) / middle(early, name) - 1 for name in sorted(names)}


async def load(
    trimtab: Trimtab, url: str, fraud: models.Model, rate: float, seconds: float
) -> tuple[openloop.Outcome, list[Sample]]:
    """The even load, and samples of memory beside it."""
    port = urlsplit(url).port
    assert port is not None
    body = models.payload([fraud.rows[0]])
    wanted = trimtab.invoke("fraud", body)
    assert fraud.is_right(0, json.loads(wanted)[0])
    client = openloop.Client(
        port, openloop.request(urlsplit(url).path, body), is_right=wanted.__eq__, most_connections=256
    )
    client.outcome.ok_s = Latencies()  # type: ignore[assignment]
    samples: list[Sample] = []
    began_s = time.monotonic()

    async def sample() -> None:
        every_s = min(EVERY_S, seconds / 18)
        while True:
            found = await asyncio.to_thread(footprints, trimtab)
            samples.append(Sample(time.monotonic() - began_s, found))
            await asyncio.sleep(every_s)

    sampling = asyncio.create_task(sample())
    try:
        return await client.run(rate, seconds), samples
    finally:
        sampling.cancel()
        client.close()


def show(report: Report) -> Table:
    """The report as a table."""
    title = f"{report.seconds / 60:.1f} minutes of {report.rate:,.0f} requests/s, half of {report.maximum:,.0f}/s; {psutil.cpu_count()} cores"
    table = Table(title=title, title_justify="left")
    for column in ("process", "PSS MiB, first", "settled", "last", "most", "drift (goal < 1 %)", "RSS MiB, last"):
        table.add_column(column, justify="left" if column == "process" else "right")
    settling_s = min(SETTLING_S, report.seconds / 3)
    settled = next((s for s in report.samples if s.at_s >= settling_s), report.samples[-1])
    for name, last in report.samples[-1].processes.items():
        sizes = [s.processes[name].pss_bytes / 2**20 for s in report.samples if name in s.processes]
        then = settled.processes.get(name)
        table.add_row(
            name,
            f"{sizes[0]:.2f}",
            f"{then.pss_bytes / 2**20:.2f}" if then else "-",
            f"{sizes[-1]:.2f}",
            f"{max(sizes):.2f}",
            f"{report.drift[name]:+.2%}" if name in report.drift else "came later",
            f"{last.rss_bytes / 2**20:.2f}",
        )
    return table


def measure(minutes: float) -> Report:
    """The whole run."""
    seconds = minutes * 60
    with tempfile.TemporaryDirectory() as folder, serving("--auth", "none") as trimtab:
        fraud = models.model("fraud", Path(folder))
        trimtab.deploy("fraud", archive(model_onnx=fraud.path.read_bytes()))
        url = f"{trimtab.url}/endpoints/fraud/invocations"
        maximum = capacity(url, models.payload([fraud.rows[0]]), 64, 5).rate
        seen, samples = uvloop.run(load(trimtab, url, fraud, maximum / 2, seconds))
    errors = {f"status {status}": n for status, n in seen.statuses.items() if status != 200}
    if seen.wrong:
        errors["wrong answer"] = seen.wrong
    if lost := seen.sent - sum(seen.statuses.values()):
        errors["no answer"] = lost
    latencies: Latencies = seen.ok_s  # type: ignore[assignment]
    return Report(
        seconds=seconds,
        maximum=maximum,
        rate=maximum / 2,
        sent=seen.sent,
        right=seen.statuses[200] - seen.wrong,
        errors=errors,
        p50_s=latencies.quantile(0.5),
        p99_s=latencies.quantile(0.99),
        drift=drift(samples, seconds),
        samples=samples,
    )


def main() -> int:
    """1 where anything grew or failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--json", type=Path, help="write the report here, with every sample")
    options = parser.parse_args()
    try:
        wrk.installed()
    except wrk.Missing as error:
        print(error, file=sys.stderr)
        return 1
    report = measure(options.minutes)
    Console(width=150).print(show(report))
    print(
        f"{report.sent:,} requests, {report.right:,} answered rightly, errors: {report.errors or 'none'}; "
        f"p50 {report.p50_s * 1000:.2f} ms, p99 {report.p99_s * 1000:.2f} ms from when each was due"
    )
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return 1 if report.errors or any(share >= GOAL for share in report.drift.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
