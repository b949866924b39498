"""What metering costs: requests/s with the meters on and off, and a scrape of 10,000 variants.

    python benchmarks/metering.py [--seconds 2] [--pairs 10] [--variants 10000] [--only cost|scrape]

cost: two data planes (gateway and worker, see dataplane.py) run side by side, one with meters and one without; wrk
loads them in turn (64 connections), pair by pair, so that both share the machine's noise. The median of the pairs'
ratios is reported, of rates and of the gateways' CPU time per request. The one with meters reports to a control.

scrape: a control with so many variants, every one of which has had requests, is scraped through a gateway: when all of
them changed since the last scrape, when few did, and by prometheus_client's own exposition for comparison. Then p99 of
invocations through that gateway, with and without a scrape every second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dataplane import ENDPOINT, METERS_VARIABLE, SMALL, cpu_s, report, request_bytes, round_trips, wait_for

DATAPLANE = str(Path(__file__).with_name("dataplane.py"))


# --- the processes -------------------------------------------------------------------------------------------------


def run_control(data_dir: str, variants: int) -> None:
    """Metering, store, Prometheus: the part of control that this is about. `variants` of them have had requests."""
    import uvloop

    from trimtab.aws.auth import Authenticator
    from trimtab.aws.http import HttpResponse
    from trimtab.aws.prometheus import Prometheus
    from trimtab.aws.server import HttpServer
    from trimtab.clock import SystemClock
    from trimtab.config import Config
    from trimtab.control.exposition import Exposition
    from trimtab.control.metering import Metering
    from trimtab.control.report_server import ReportServer
    from trimtab.metrics.sqlite import SqliteMetricStore
    from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute

    async def main() -> None:
        paths, clock = Config(data_dir=Path(data_dir)).paths, SystemClock()

        def route(name: str) -> VariantRoute:
            return VariantRoute(name=name, weight=1.0, lanes=(Lane(replica_id="r", address="unix:/x"),), version="c-1")

        endpoints = [
            EndpointRoute(name=f"endpoint-{n}", variants=tuple(route(f"variant-{v}") for v in range(10)))
            for n in range(variants // 10)
        ]
        table = RouteTable(
            version=1, endpoints=(*endpoints, EndpointRoute(name=ENDPOINT, variants=(route("AllTraffic"),)))
        )
        metrics = SqliteMetricStore(paths.metrics, clock)
        metering = Metering(metrics, lambda: table, clock)
        for place in list(metering.variants):
            metering.variants[place].totals.add(some_report(*place))
        reports = ReportServer(paths.reports_socket, metering)
        await reports.open()
        authenticate = Authenticator(dict, region="us-east-1", clock=clock, required=False)
        exposition = Exposition(metering)
        prometheus = Prometheus(exposition, dict, authenticate, required=False)

        async def all_changed(request: object) -> object:
            if request.query in ("all", "touch"):  # type: ignore[attr-defined]
                metering.changed.update(metering.variants)
            if request.query == "touch":  # type: ignore[attr-defined]
                return HttpResponse(body=b"touched")
            if request.query == "longest":  # type: ignore[attr-defined]
                longest_s, turns[0] = turns[0], 0.0
                return HttpResponse(body=str(longest_s).encode())
            return await prometheus(request)  # type: ignore[arg-type]

        turns = [0.0]

        async def watch_turns() -> None:
            """The longest time for which the loop was held up: what any other call had to wait."""
            while True:
                began_s = time.monotonic()
                await asyncio.sleep(0.001)
                turns[0] = max(turns[0], time.monotonic() - began_s - 0.001)

        server = HttpServer(all_changed)  # type: ignore[arg-type]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(paths.control_socket))
        listener.listen()
        listener.setblocking(False)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await server.start(listener)
        works = [asyncio.create_task(metering.run()), asyncio.create_task(exposition.run())]
        works.append(asyncio.create_task(watch_turns()))
        await stop.wait()
        for work in works:
            work.cancel()
        await server.stop(grace_s=1.0)
        await reports.close()
        metrics.close()

    uvloop.run(main())


def some_report(endpoint: str, variant: str) -> object:
    """What a gateway may have counted of a variant: a thousand requests."""
    from trimtab.gateway.meters import Values
    from trimtab.wire.reports import VariantReport, VersionReport

    draw = random.Random(f"{endpoint}{variant}")
    values = Values()
    values.add([draw.lognormvariate(8, 1) for _ in range(100)])
    tally = values.take()
    version = VersionReport(version="c-1", ended=100, latency=tally, model_latency=tally, queue_time=tally,
                            compute_time=tally, errors={"ModelFailed": 1})  # fmt: skip
    return VariantReport(endpoint=endpoint, variant=variant, received=100, versions=[version])


@contextlib.contextmanager
def plane(*, meters: bool = True, variants: int = 0) -> Iterator[tuple[int, int, int]]:
    """Gateway, worker and, with meters, control: the gateway's port and pid, and control's pid."""
    import msgspec

    from trimtab.config import Config
    from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute

    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        paths = Config(data_dir=Path(folder)).paths
        paths.run_dir.mkdir(mode=0o700, parents=True)
        lane = Lane(replica_id="r", address=f"unix:{folder}/w.sock")
        variant = VariantRoute(name="AllTraffic", weight=1.0, lanes=(lane,))
        table = RouteTable(
            version=1, endpoints=(EndpointRoute(name=ENDPOINT, variants=(variant,)),), require_auth=False
        )
        paths.routes.write_bytes(msgspec.msgpack.encode(table))
        listener = socket.create_server(("127.0.0.1", 0))
        fd, port = listener.fileno(), listener.getsockname()[1]
        environment = dict(os.environ, **({} if meters else {METERS_VARIABLE: "off"}))
        started = [subprocess.Popen([sys.executable, DATAPLANE, "--role", "worker", f"{folder}/w.sock"])]
        try:
            wait_for(lambda: Path(f"{folder}/w.sock").exists())
            if meters:
                command = [sys.executable, __file__, "--role", "control", folder, str(variants)]
                started.append(subprocess.Popen(command))
                wait_for(paths.control_socket.exists, timeout_s=60)
            command = [sys.executable, DATAPLANE, "--role", "gateway", str(fd), folder, ""]
            started.append(subprocess.Popen(command, pass_fds=(fd,), env=environment))
            listener.close()
            yield port, started[-1].pid, started[1].pid
        finally:
            for process in reversed(started):
                process.terminate() if process is not started[0] else process.kill()
                process.wait()
            shutil.rmtree(paths.run_dir)


# --- cost ------------------------------------------------------------------------------------------------------------


def wrk(port: int, seconds: float, connections: int = 64) -> tuple[float, float]:
    """Requests, and p99 in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method = "POST"\nwrk.body = string.rep("x", {SMALL})\n')
        script.flush()
        url = f"http://127.0.0.1:{port}/endpoints/{ENDPOINT}/invocations"
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--latency",
            "-s",
            script.name,
            url,
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    count = re.search(r"(\d+) requests in", output)
    assert p99 is not None, output
    assert count is not None, output
    return float(count[1]), float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]


def cost(options: argparse.Namespace) -> None:
    if shutil.which("wrk") is None:
        print("wrk is not installed: no throughput figures")
        return
    rates: list[float] = []
    cpu: list[tuple[float, float]] = []
    with plane(meters=True) as on, plane(meters=False) as off:
        for port, _, _ in (on, off):
            wrk(port, 1)
        for pair in range(options.pairs):
            found = {}
            for port, gateway, _ in (on, off) if pair % 2 else (off, on):
                before_s = cpu_s(gateway)
                count, _ = wrk(port, options.seconds)
                found[port] = count, (cpu_s(gateway) - before_s) / count * 1e6
            rates.append(found[on[0]][0] / found[off[0]][0])
            cpu.append((found[on[0]][1], found[off[0]][1]))
    with_us, without_us = (statistics.median(figures) for figures in zip(*cpu, strict=True))
    ratio = statistics.median(one / other for one, other in cpu)
    report("requests/s with meters, of those without (median)", f"{statistics.median(rates):.1%}", "goal >= 97 %")
    report("    spread of the pairs", f"{min(rates):.1%} .. {max(rates):.1%}")
    report("gateway CPU per request, with meters", f"{with_us:.2f} us")
    report("    without", f"{without_us:.2f} us")
    report("    more with meters (median of the pairs)", f"{ratio - 1:+.1%}")


# --- scrape ----------------------------------------------------------------------------------------------------------


def ask(port: int, query: str) -> bytes:
    """The answer to something that only this benchmark's control knows."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", f"/metrics{query}")
        return connection.getresponse().read()


def scrape(port: int, query: str = "") -> tuple[float, int]:
    """Seconds, and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began_s = time.perf_counter()
    connection.request("GET", f"/metrics{query}", headers={"Accept-Encoding": "gzip"})  # as Prometheus does
    answer = connection.getresponse()
    size_bytes = len(answer.read())
    took_s = time.perf_counter() - began_s
    connection.close()
    if answer.status != 200 or not size_bytes:
        raise RuntimeError(f"a scrape answered {answer.status}")
    return took_s, size_bytes


def scrapes(options: argparse.Namespace) -> None:
    with plane(variants=options.variants) as (port, _, control):
        first_s, size_bytes = scrape(port)
        report(f"a scrape of {options.variants:,} variants, compressed", f"{size_bytes / 1e6:.1f} MB")
        report("    the first", f"{first_s * 1e3:.0f} ms")
        before_s = cpu_s(control)
        all_s = [scrape(port, "?all")[0] for _ in range(5)]
        report("    everything changed since (median)", f"{statistics.median(all_s) * 1e3:.0f} ms", "goal <= 200 ms")
        report("    control's CPU for each", f"{(cpu_s(control) - before_s) / len(all_s) * 1e3:.0f} ms")
        scraped = ask(port, "?longest")
        report("    the longest that control's loop was held up", f"{float(scraped) * 1e3:.1f} ms", "goal <= 10 ms")
        ahead_s = []
        for _ in range(5):
            ask(port, "?touch")
            time.sleep(1.0)  # as between reports
            ahead_s.append(scrape(port)[0])
        report("    everything changes, and is rendered as it does", f"{statistics.median(ahead_s) * 1e3:.0f} ms",
               "goal <= 200 ms")  # fmt: skip
        again = [scrape(port)[0] for _ in range(7)]
        report(
            "    nearly nothing changed since (median)", f"{statistics.median(again) * 1e3:.0f} ms", "goal <= 200 ms"
        )
        before_s = cpu_s(control)
        scrape(port)
        report("    control's CPU for it", f"{(cpu_s(control) - before_s) * 1e3:.0f} ms")
        report("    prometheus_client's exposition of the same series", f"{theirs_s(options.variants) * 1e3:.0f} ms")
        quiet, scraped = [], []
        for _ in range(options.pairs):
            quiet.append(p99_ms(port, options.seconds, scraping=False))
            scraped.append(p99_ms(port, options.seconds, scraping=True))
        report("p99 of invocations, one client", f"{statistics.median(quiet):.2f} ms")
        report("    while it is scraped once a second", f"{statistics.median(scraped):.2f} ms")


def p99_ms(port: int, seconds: float, *, scraping: bool) -> float:
    done = threading.Event()

    def every_second() -> None:
        while not done.wait(1.0):
            scrape(port)

    thread = threading.Thread(target=every_second)
    if scraping:
        thread.start()
    found = round_trips(port, *request_bytes(b"x" * SMALL, auth=False), seconds)
    done.set()
    if scraping:
        thread.join()
    return statistics.quantiles(found, n=100)[98] * 1e3


def theirs_s(variants: int) -> float:
    """Seconds that prometheus_client's text exposition takes for as many histograms, summaries and counters."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest

    from trimtab.metrics.families import BOUNDS_S

    registry = CollectorRegistry()
    labels = ("endpoint", "variant", "version")
    histogram = Histogram("duration_seconds", "x", labels, buckets=BOUNDS_S, registry=registry)
    others = [kind(f"x{n}", "x", labels, registry=registry)
              for n, kind in enumerate((Counter,) * 5 + (Gauge,) * 4 + (Summary,) * 3)]  # fmt: skip
    part = max(1, variants // 10)  # the rest would take long, and is more of the same
    for n in range(part):
        for metric in (histogram, *others):
            metric.labels(f"endpoint-{n // 10}", f"variant-{n % 10}", "c-1")
    began_s = time.perf_counter()
    generate_latest(registry)
    return (time.perf_counter() - began_s) * variants / part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="of each load")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--only", choices=["cost", "scrape"], default="")
    parser.add_argument("--role", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role[:1] == ["control"]:
        run_control(options.role[1], int(options.role[2]))
        return
    if options.only != "scrape":
        cost(options)
    if options.only != "cost":
        scrapes(options)


if __name__ == "__main__":
    main()
