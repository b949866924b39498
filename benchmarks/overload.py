"""What happens at three times the capacity of an endpoint.

    python -m benchmarks.overload [--seconds 10] [--connections 2048]

First its capacity is measured (wrk, 16 or 64 connections). Then:

  * a script that computes for 5 ms gets three times its capacity, evenly, whatever comes back (open loop). Goodput must
    stay at 95 % of the capacity; the rest must be refused at once as ThrottlingException;
  * the fraud model gets what wrk can send on 2,048 connections, twice as many as may wait: a refused one asks again at
    once. Clients of their own ask 50 times a second beside it and look at what a refusal is and how long it takes.

On a machine of few cores the second load takes its CPU from the server: the share of each is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.footprint import Footprint, footprints
from benchmarks.peers import models, processes, wrk
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab, serving

BUSY = """
import time

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    until_s = time.thread_time() + 0.005
    while time.thread_time() < until_s:
        pass
    return body, content_type
"""
TIMES = 3
QUEUE = 1024  # requests that trimtab lets wait for a variant in each gateway
GOAL = 0.95


def capacity(url: str, body: bytes, connections: int, seconds: int) -> wrk.Figures:
    """Right answers a second that the endpoint can make, asked by clients that wait."""
    with lua(body) as path:
        wrk.run(url, path, connections=connections, seconds=1)
        figures = wrk.run(url, path, connections=connections, seconds=seconds)
    if figures.errors or figures.refused:
        raise RuntimeError(f"{figures.errors} errors and {figures.refused} refusals below capacity")
    return figures


@contextlib.contextmanager
def lua(body: bytes) -> Iterator[Path]:
    """wrk's script for one body."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.lua"
        path.write_text(wrk.script({"Content-Type": "application/json"}, body))
        yield path


class Probe:
    """Ten clients that ask five times a second each, and keep what they saw."""

    def __init__(self, url: str, body: bytes) -> None:
        self.refused_s: list[float] = []
        self.ok_s: list[float] = []
        self.kinds: set[str] = set()
        self._url, self._body = urlsplit(url), body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(10)]

    def __enter__(self) -> Probe:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        assert self._url.hostname is not None
        connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=70)
        while not self._stop.wait(0.2):
            began_s = time.perf_counter()
            connection.request("POST", self._url.path, self._body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            took_s = time.perf_counter() - began_s
            (self.ok_s if answer.status == 200 else self.refused_s).append(took_s)
            if answer.status != 200:
                self.kinds.add(f"{answer.status} {answer.headers.get('x-amzn-ErrorType', '')}")
        connection.close()


def busy(trimtab: Trimtab, url: str, seconds: int, report: Table) -> bool:
    """The script, in an open loop at three times what it can."""
    body = b"[1]"
    able = capacity(url, body, 16, max(2, seconds // 3)).rate
    seconds = max(seconds, 3 + round(QUEUE / (TIMES - 1) / able))  # the queue must be full for some of it
    before = footprints(trimtab)
    request = openloop.request(urlsplit(url).path, body)
    port = urlsplit(url).port
    assert port is not None

    async def load() -> openloop.Outcome:
        client = openloop.Client(port, request, is_right=lambda answer: answer == body, most_connections=6000)
        try:
            return await client.run(TIMES * able, seconds)
        finally:
            client.close()

    seen = uvloop.run(load())
    good = seen.in_time / seconds
    report.add_row("script of 5 ms", "capacity", f"{able:,.0f}/s")
    report.add_row(
        "", "offered", f"{seen.sent / seconds:,.0f}/s, evenly; at most {seen.last_sent_late_s * 1000:.0f} ms late"
    )
    report.add_row("", "goodput", f"{good:,.0f}/s: {good / able:.1%} of capacity (goal: {GOAL:.0%})")
    report.add_row("", "refused", ", ".join(f"{n:,} x {kind}" for kind, n in seen.refusals.items()) or "none")
    report.add_row("", "a refusal takes", tail(seen.refused_s))
    report.add_row("", "an answer takes", tail(seen.ok_s))
    report.add_row("", "wrong, broken", f"{seen.wrong}, {seen.statuses[0]}")
    memory_rows(report, before, footprints(trimtab))
    return good >= GOAL * able and set(seen.refusals) == {"ThrottlingException"} and not seen.wrong + seen.statuses[0]


def flood(trimtab: Trimtab, url: str, options: argparse.Namespace, report: Table, body: bytes) -> bool:
    """The fraud model, by as many requests as wrk can send."""
    seconds, connections = options.seconds, options.connections
    able = capacity(url, body, 64, max(2, seconds // 3)).rate
    before = footprints(trimtab)
    supervisor = psutil.Process(trimtab.process.pid)
    with lua(body) as path, Probe(url, body) as probe:
        own = {p.pid: p for p in supervisor.children(recursive=True)}
        cpu_before_s = {pid: processes.cpu_s([p]) for pid, p in own.items()}
        began_s = time.monotonic()
        seen = wrk.run(url, path, connections=connections, seconds=seconds)
        wall_s = time.monotonic() - began_s
        shares = {process_name(p): (processes.cpu_s([p]) - cpu_before_s[pid]) / wall_s for pid, p in own.items()}
    good = (seen.requests - seen.refused) / seen.seconds
    report.add_row("fraud", "capacity", f"{able:,.0f}/s")
    report.add_row(
        "", "offered", f"{seen.rate:,.0f}/s: {seen.rate / able:.1f} x capacity, on {connections:,} connections"
    )
    report.add_row("", "goodput", f"{good:,.0f}/s: {good / able:.1%} of capacity (goal: {GOAL:.0%})")
    report.add_row(
        "", "CPU, in cores", ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share > 0.01)
    )
    report.add_row("", "refused", f"{seen.refused:,}: {', '.join(sorted(probe.kinds)) or 'none seen by the probe'}")
    report.add_row("", "a refusal takes", tail(probe.refused_s))
    report.add_row("", "an answer takes", tail(probe.ok_s))
    report.add_row("", "broken", str(seen.errors))
    memory_rows(report, before, footprints(trimtab))
    return good >= GOAL * able and not seen.errors and probe.kinds <= {"400 ThrottlingException"}


def process_name(process: psutil.Process) -> str:
    """control, gateway, nursery or worker."""
    try:
        return " ".join(process.cmdline()).removeprefix("trimtab: ").split()[0]
    except psutil.Error:  # it has just ended
        return "ended"


def memory_rows(report: Table, before: dict[str, Footprint], after: dict[str, Footprint]) -> None:
    """Before and after, process by process."""
    for name, now in after.items():
        was = before[name].pss_bytes / 2**20 if name in before else 0.0
        report.add_row("", f"memory of {name}", f"{was:.1f} -> {now.pss_bytes / 2**20:.1f} MiB")


def tail(latencies_s: list[float]) -> str:
    """p50, p99 and the largest, in ms."""
    if len(latencies_s) < 2:
        return "-"
    cuts = statistics.quantiles(latencies_s, n=100)
    return f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms, at most {max(latencies_s) * 1000:.1f} ms"


def main() -> int:
    """1 where the goals are missed or something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=int, default=10, help="of each overload; more where the queue needs it to fill"
    )
    parser.add_argument("--connections", type=int, default=2048, help="of the flood; 1,024 requests may wait")
    parser.add_argument("--only", choices=["script", "fraud"], default="", help="one of the two")
    options = parser.parse_args()
    seconds = options.seconds = max(5, options.seconds)
    report = Table(title=f"Overload, {seconds} s each, {psutil.cpu_count()} cores", title_justify="left")
    for column in ("model", "what", "figure"):
        report.add_column(column)
    try:
        wrk.installed()
    except wrk.Missing as error:
        print(error, file=sys.stderr)
        return 1
    good = True
    with tempfile.TemporaryDirectory() as folder, serving("--auth", "none") as trimtab:
        if options.only != "fraud":
            trimtab.deploy("busy", script(BUSY))
            good &= busy(trimtab, f"{trimtab.url}/endpoints/busy/invocations", seconds, report)
            trimtab.sagemaker.delete_endpoint(EndpointName="busy")
            report.add_section()
        if options.only != "script":
            fraud = models.model("fraud", Path(folder))
            trimtab.deploy("fraud", archive(model_onnx=fraud.path.read_bytes()))
            body = models.payload([fraud.rows[0]])
            assert fraud.is_right(0, json.loads(trimtab.invoke("fraud", body))[0])
            good &= flood(trimtab, f"{trimtab.url}/endpoints/fraud/invocations", options, report, body)
    Console(width=150).print(report)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
