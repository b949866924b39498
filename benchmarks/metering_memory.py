"""Whether metering's memory is bounded: hours of a gateway and a control that meter, in one process, on a clock by hand.

    python benchmarks/metering_memory.py [--seconds 10000] [--variants 100]

Each second every variant has requests; the gateway's meters are taken, go through its backlog, and control takes and
commits them. Printed at every tenth of the time: objects in each part, bytes that Python has allocated (by
tracemalloc; with --fast the process's resident size instead), and the file. Exit status 1 when what is in memory grew
by more than 5 % over the last half, though the number of metrics did not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import tempfile
import tracemalloc
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.reports import IN_A_REPORT, NOW_S, route_table
from trimtab.clock import ManualClock
from trimtab.control.metering import Metering
from trimtab.gateway.backlog import Backlog
from trimtab.gateway.meters import Meter
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.wire.reports import Report, VariantReport


class World:
    """Both sides, and the clock."""

    def __init__(self, folder: Path, variants: int) -> None:
        self.clock = ManualClock(NOW_S)
        self.table = route_table(variants)
        self.file = folder / "metrics.db"
        self.store = SqliteMetricStore(self.file, self.clock, commit_every_s=0)
        self.metering = Metering(self.store, lambda: self.table, self.clock)
        self.store.watch(self.metering.watch)
        self.backlog = Backlog()
        self.meters = {(e.name, v.name): Meter() for e in self.table.endpoints for v in e.variants}
        self._draw = random.Random(1)
        self._number = 0

    async def second(self) -> None:
        """One second of requests, reports, and what the store does."""
        reports: list[VariantReport] = []
        for (endpoint, variant), meter in self.meters.items():
            version = meter.version("c-1")
            for _ in range(3):
                version.log_latency(self._draw.lognormvariate(7, 0.5))
                version.log_compute(self._draw.randint(50, 90))
                version.request_bytes += 2000
                version.response_bytes += 200
            taken = meter.take(endpoint, variant, waiting=0, busy_s={"r": 0.3}, current={"c-1"})
            assert taken is not None
            reports.append(taken)
        now_s = int(self.clock.now_s())
        for first in range(0, len(reports), IN_A_REPORT):
            self.backlog.add(Report(number=0, start_s=now_s, variants=reports[first : first + IN_A_REPORT]))
        while (report := self.backlog.take()) is not None:
            self._number += 1
            report.number = self._number
            self.metering.take("g", report, lambda number: None)
            await asyncio.sleep(0)
        self.metering.tick()
        self.clock.advance(1)
        self.store.step()

    def counts(self) -> dict[str, int]:
        """Objects by where they are held."""
        store, keeper = self.store, self.store._keeper
        return {
            "series": len(store._by_id),
            "waiting": store._batch.size,
            "stale": sum(map(len, keeper._stale.values())),
            "keys": sum(map(len, self.metering._maker._keys.values())),
            "totals": sum(len(variant.totals.versions) for variant in self.metering.variants.values()),
            "backlog": len(self.backlog),
        }


async def simulate(options: argparse.Namespace) -> int:
    sizes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        world = World(Path(folder), options.variants)
        if not options.fast:
            tracemalloc.start()
        for second in range(1, options.seconds + 1):
            await world.second()
            if second % (options.seconds // 10) == 0:
                gc.collect()
                held = psutil.Process().memory_info().rss if options.fast else tracemalloc.get_traced_memory()[0]
                sizes.append(held)
                counts = "  ".join(f"{name} {count:,}" for name, count in world.counts().items())
                print(f"{second:>6} s  {held / 2**20:6.1f} MiB  file {world.file.stat().st_size / 2**20:6.1f} MiB  "
                      f"{counts}", flush=True)  # fmt: skip
        world.store.close()
    growth = sizes[-1] / sizes[len(sizes) // 2] - 1
    print(f"growth over the last half: {growth:+.1%}")
    return int(growth > 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10_000)
    parser.add_argument("--variants", type=int, default=100)
    parser.add_argument("--fast", action="store_true")
    raise SystemExit(asyncio.run(simulate(parser.parse_args())))


if __name__ == "__main__":
    main()
