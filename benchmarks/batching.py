"""Dynamic batching: how near trimtab comes to the bare model, and what batching does to one client alone.

    python -m benchmarks.batching [--seconds 3] [--rounds 3] [--cases off,on,adaptive] [--connections 1,16,64]

The model is a perceptron, 512-2048-2048-512-1 (25 MB, ONNX; that of the peers), of which 32 rows cost five times as
much as one. First onnxruntime alone, in a loop over full batches of 32 and over single rows, in a process of its own; then gateway and
worker with JSON bodies of 512 numbers, by wrk at 1, 16 and 64 connections: batching off, on (32 rows), and adaptive (a
latency of 20 ms). All in one run, interleaved, median over the rounds, as ratios to the bare loop. The goals: at 64 at
least 85 % of full batches' rate; at 1 within 5 % of batching off.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.dataplane import ENDPOINT, cpu_s, wait_for
from benchmarks.peers import models, wrk
from benchmarks.worker_dataplane import Running

ROWS = 32
CASES = {
    "off": {},
    "on": {"TRIMTAB_BATCH_SIZE": str(ROWS)},
    "adaptive": {"TRIMTAB_BATCH_LATENCY_MS": "20"},
}


BARE = """
import sys, time
import numpy as np, onnxruntime
from trimtab.worker.models.onnx import session_options
path, rows, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
session = onnxruntime.InferenceSession(path, session_options(onnxruntime, {}), providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)}
for _ in range(20):
    session.run(None, feed)
count, began_s = 0, time.perf_counter()
while time.perf_counter() - began_s < seconds:
    session.run(None, feed)
    count += 1
print(count * rows / (time.perf_counter() - began_s))
"""


def bare_rate(model: Path, rows: int, seconds: float) -> float:
    """Rows per second of onnxruntime in a loop."""
    command = [sys.executable, "-c", BARE, str(model), str(rows), str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def serving(model_dir: Path, data: bytes, environment: dict[str, str], rows: int) -> Iterator[tuple[int, int, int]]:
    """Gateway and worker: port, and the two pids."""
    from trimtab.config import Config
    from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute

    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder, contextlib.ExitStack() as stack:
        worker = stack.enter_context(Running(model_dir, Path(folder), environment=environment, pinned=False))
        lane = Lane(replica_id="r", address=f"unix:{worker.path}", batch_size=rows)
        variant = VariantRoute(name="AllTraffic", weight=1.0, lanes=(lane,))
        table = RouteTable(
            version=1, endpoints=(EndpointRoute(name=ENDPOINT, variants=(variant,)),), require_auth=False
        )
        Config(data_dir=Path(folder)).paths.routes.write_bytes(msgspec.msgpack.encode(table))
        listener = socket.create_server(("127.0.0.1", 0))
        fd, port = listener.fileno(), listener.getsockname()[1]
        me = [sys.executable, "-m", "benchmarks.dataplane"]
        gateway = subprocess.Popen([*me, "--role", "gateway", str(fd), folder, ""], pass_fds=(fd,))
        listener.close()
        try:
            wait_for(lambda: _answers(port, data))
            yield port, gateway.pid, worker.pid
        finally:
            gateway.terminate()
            gateway.wait()


def _answers(port: int, data: bytes) -> bool:
    """Whether the gateway takes connections and has its lane."""
    head = f"POST /endpoints/{ENDPOINT}/invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            return sock.recv(64).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def load(port: int, data: bytes, connections: int, seconds: int) -> tuple[float, float, float]:
    """Requests/s, p50 and p99 in milliseconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(wrk.script({"Content-Type": "application/json"}, data))
        lua.flush()
        url = f"http://127.0.0.1:{port}/endpoints/{ENDPOINT}/invocations"
        found = wrk.run(url, Path(lua.name), connections=connections, seconds=seconds)
    if found.errors or found.refused:
        raise RuntimeError(f"{found.errors} connections broke, {found.refused} requests were refused")
    return found.rate, found.p50_s * 1e3, found.p99_s * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="per figure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--connections", default="1,16,64")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print(wrk.INSTALL)
        return 0
    widths = [int(width) for width in options.connections.split(",")]
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        asked = models.model("mlp", Path(folder))
        data = models.payload(asked.rows[:1])
        for _ in range(options.rounds):
            for rows in (1, ROWS):
                found.setdefault(("bare", rows), []).append((bare_rate(asked.path, rows, options.seconds / 2),))
            for case in options.cases.split(","):
                measure(asked.path.parent, data, case, widths, options.seconds, found)
    report(found, widths, options.cases.split(","))
    return 0


Found = dict[tuple[str, int], list[tuple[float, ...]]]


def measure(model_dir: Path, data: bytes, case: str, widths: list[int], seconds: int, found: Found) -> None:
    """One server, every width."""
    rows = {"off": 0, "on": ROWS, "adaptive": 128}[case]
    with serving(model_dir, data, CASES[case], rows) as (port, gateway, worker):
        load(port, data, max(widths), 1)
        for width in widths:
            load(port, data, width, 1)
            before, began_s = (cpu_s(gateway), cpu_s(worker)), time.monotonic()
            rate, p50_ms, p99_ms = load(port, data, width, seconds)
            count = rate * (time.monotonic() - began_s)
            spent = cpu_s(gateway) - before[0], cpu_s(worker) - before[1]
            found.setdefault((case, width), []).append(
                (rate, p50_ms, p99_ms, spent[0] / count * 1e6, spent[1] / count * 1e6)
            )


def report(found: Found, widths: list[int], cases: list[str]) -> None:
    def median(case: str, width: int) -> list[float]:
        return [statistics.median(column) for column in zip(*found[case, width], strict=True)]

    single, full = median("bare", 1)[0], median("bare", ROWS)[0]
    print(f"onnxruntime alone: {single:,.0f} rows/s one by one, {full:,.0f} rows/s in batches of {ROWS}")
    print(
        f"{'batching':10} {'clients':>7} {'req/s':>9} {'of bare':>8} {'of off':>7} {'p50 ms':>8} {'p99 ms':>8}", end=""
    )
    print(f" {'CPU us: gateway':>15} {'worker':>7} {'spread':>7}")
    for case in cases:
        for width in widths:
            rate, p50_ms, p99_ms, gateway_us, worker_us = median(case, width)
            rates = [row[0] for row in found[case, width]]
            off = rate / median("off", width)[0] if ("off", width) in found else float("nan")
            print(
                f"{case:10} {width:7} {rate:9,.0f} {rate / full:8.0%} {off:7.2f} {p50_ms:8.2f} {p99_ms:8.2f} "
                f"{gateway_us:15.1f} {worker_us:7.1f} {(max(rates) - min(rates)) / rate:7.0%}"
            )
    if {"on", "off"} <= set(cases) and 64 in widths and 1 in widths:
        print(f"at 64: {median('on', 64)[0] / full:.0%} of full batches' rate (goal 85 %); at 1: ", end="")
        print(f"{median('on', 1)[0] / median('off', 1)[0]:.0%} of batching off (goal 95 %)")


if __name__ == "__main__":
    sys.exit(main())
