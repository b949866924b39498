"""What many busy variants cost control: CPU for each variant's report of one second, from its bytes to the file.

    python benchmarks/reports.py [--variants 100,1000,10000] [--seconds 0]

One process, no sockets: reports as gateways encode them (`--requests` in each variant and second) are decoded, taken by
`Metering`, and committed by the store's step once for each second, as control does; the clock is stepped by hand, so
that minutes are rolled up, too. "the loop" is what control's event loop spends, "the thread" what the store's writer
does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dataplane import report
from trimtab.clock import ManualClock
from trimtab.control.metering import Metering
from trimtab.gateway.meters import VersionMeter
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute
from trimtab.wire.reports import Range, Report, VariantReport

IN_A_REPORT = 25
NOW_S = 1_700_000_040


def route_table(variants: int) -> RouteTable:
    """Ten variants to an endpoint."""

    def route(name: str) -> VariantRoute:
        return VariantRoute(name=name, weight=1.0, lanes=(Lane(replica_id="r", address="unix:/x"),), version="c-1")

    per_endpoint = min(10, variants)
    return RouteTable(
        version=1,
        endpoints=tuple(
            EndpointRoute(name=f"endpoint-{n}", variants=tuple(route(f"variant-{v}") for v in range(per_endpoint)))
            for n in range(variants // per_endpoint)
        ),
    )


def encoded_reports(table: RouteTable, requests: int) -> list[bytes]:
    """A second of every variant, `IN_A_REPORT` variants in each; number and start are set by `renumbered`."""
    draw = random.Random(1)
    made = []
    for endpoint in table.endpoints:
        for route in endpoint.variants:
            meter = VersionMeter("c-1")
            for _ in range(requests):
                meter.log_latency(draw.lognormvariate(7, 0.5))
                meter.log_compute(draw.randint(50, 90))
                meter.request_bytes += 2000
                meter.response_bytes += 200
            version = meter.take()
            assert version is not None
            made.append(
                VariantReport(
                    endpoint=endpoint.name,
                    variant=route.name,
                    received=requests,
                    in_hand=Range(0, 3),
                    busy_s={"r": 0.3},
                    versions=[version],
                )
            )
    return [
        msgspec.msgpack.encode(Report(number=0, start_s=0, variants=made[first : first + IN_A_REPORT]))
        for first in range(0, len(made), IN_A_REPORT)
    ]


def seconds_of(messages: list[bytes], seconds: int) -> Iterator[list[Report]]:
    """The decoded reports of each second; decoding is part of what is measured."""
    decode = msgspec.msgpack.Decoder(Report).decode
    number = 0
    for second in range(seconds):
        reports = []
        for message in messages:
            number += 1
            reports.append(decode(message))
            reports[-1].number, reports[-1].start_s = number, NOW_S + second
        yield reports


async def measure(variants: int, seconds: int, requests: int) -> None:
    table = route_table(variants)
    messages = encoded_reports(table, requests)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        clock = ManualClock(NOW_S)
        path = Path(folder) / "metrics.db"
        store = SqliteMetricStore(path, clock, commit_every_s=0)
        metering = Metering(store, lambda: table, clock)
        store.watch(metering.watch)
        loop_s = thread_s = 0.0
        longest_s = 0.0
        began_s = time.process_time()
        for reports in seconds_of(messages, seconds):
            for one in reports:
                at_s = time.process_time()
                metering.take("g", one, lambda number: None)
                await asyncio.sleep(0)
                longest_s = max(longest_s, time.process_time() - at_s)
            metering.tick()
            loop_s += time.process_time() - began_s
            clock.advance(1)
            began_s = time.process_time()
            store.step()
            thread_s += time.process_time() - began_s
            began_s = time.process_time()
        size_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
        store.close()
    told = variants * seconds
    report(f"{variants:,} active variants: for each variant's second", f"{(loop_s + thread_s) / told * 1e6:.0f} us")
    report("    of that the loop", f"{loop_s / told * 1e6:.0f} us")
    report("    of that the thread", f"{thread_s / told * 1e6:.0f} us")
    report("    control's CPU in each second", f"{(loop_s + thread_s) / seconds:.2f} s")
    report("    the longest turn of the loop", f"{longest_s * 1e3:.1f} ms", "goal <= 10 ms")
    report("    file", f"{size_bytes / told:.0f} B/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", default="100,1000,10000", help="numbers, with commas")
    parser.add_argument("--seconds", type=int, default=0, help="0: 20, fewer when there are many variants")
    parser.add_argument("--requests", type=int, default=20, help="of each variant in each second")
    options = parser.parse_args()
    for variants in map(int, options.variants.split(",")):
        seconds = options.seconds or max(3, min(20, 20_000 // variants))
        asyncio.run(measure(variants, seconds, options.requests))


if __name__ == "__main__":
    main()
