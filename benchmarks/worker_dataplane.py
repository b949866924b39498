"""What a worker costs by itself: requests per second, CPU time per request, latency.

    python benchmarks/worker_dataplane.py [--seconds 3]

Cases: echo (512 B), the fraud model's shape (ONNX, 30 features, as JSON and as CSV), a 1 MB echo, a 1 MB body with a
short answer. The client is a bare
frame pump in this process, pinned to core 0; the worker is pinned to core 1 where there are two. CPU microseconds are
the worker's own, read from the kernel, and steadier than the wall clock on a shared machine. `in-process` is the same
function called here without a wire: what the wire adds is the difference.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil

from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, RequestMeta, pack
from trimtab.worker import artifact
from trimtab.worker.plain import PlainModel

SEED = 42
SINK = "def model_fn(d): return d\ndef transform_fn(model, data, content_type, accept): return str(len(data))\n"
ECHO = "def model_fn(d): return d\ndef transform_fn(model, data, content_type, accept): return data, content_type\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    seconds = parser.parse_args().seconds
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    row = np.random.default_rng(SEED).normal(size=30).round(6)
    as_json = msgspec.json.encode([row.tolist()])
    as_csv = ",".join(map(str, row.tolist())).encode()
    with tempfile.TemporaryDirectory() as folder:
        echo, sink, fraud = Path(folder, "echo"), Path(folder, "sink"), Path(folder, "fraud")
        (echo / "code").mkdir(parents=True)
        (echo / "code" / "inference.py").write_text(ECHO)
        (sink / "code").mkdir(parents=True)
        (sink / "code" / "inference.py").write_text(SINK)
        fraud.mkdir()
        (fraud / "model.onnx").write_bytes(fraud_shaped_model())
        cases = [
            ("echo 512 B", echo, b"x" * 512, "application/octet-stream", (1, 64)),
            ("echo 1 MB", echo, b"x" * 2**20, "application/octet-stream", (1,)),
            ("1 MB to length", sink, b"x" * 2**20, "application/octet-stream", (1,)),
            ("fraud JSON", fraud, as_json, "application/json", (1, 64)),
            ("fraud CSV", fraud, as_csv, "text/csv", (1, 64)),
        ]
        print(f"{'case':14} {'at once':>7} {'req/s':>9} {'p50 us':>8} {'p99 us':>9} {'worker CPU us':>14}")
        for name, model_dir, body, content_type, widths in cases:
            with Running(model_dir, Path(folder)) as worker:
                for width in widths:
                    measure(worker, name, body, content_type, width, seconds)
        model = PlainModel(artifact.load(fraud / "model.onnx", "onnx", {}), "application/json")
        for name, body, kind in (("fraud JSON", as_json, "application/json"), ("fraud CSV", as_csv, "text/csv")):
            meta = RequestMeta(kind)
            print(f"{name:14} in-process {in_process_us(lambda: model.answer(body, meta)):.1f} us")  # noqa: B023
        session = model._model.native
        array = row.astype(np.float32).reshape(1, -1)
        print(f"{'fraud':14} onnxruntime alone {in_process_us(lambda: session.run(None, {'input': array})):.1f} us")


def fraud_shaped_model() -> bytes:
    """A logistic regression over 30 features with label and probabilities, as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(SEED)
    rows = random.normal(size=(500, 30)).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 0] > 0)
    proto = to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)
    proto.graph.input[0].name, old = "input", proto.graph.input[0].name
    for node in proto.graph.node:
        node.input[:] = ["input" if name == old else name for name in node.input]
    return bytes(proto.SerializeToString())


class Running:
    """A worker process, from its launch to its end."""

    def __init__(
        self, model_dir: Path, folder: Path, *, environment: dict[str, str] | None = None, pinned: bool = True
    ) -> None:
        spec = ReplicaSpec(
            id="r",
            endpoint="e",
            variant="v",
            version="1",
            model_name="m",
            runtime=Runtime(),
            environment=environment or {},
        )
        cpus = tuple(sorted(psutil.Process().cpu_affinity() or ())) if hasattr(os, "sched_setaffinity") else ()
        everything = tuple(range(os.cpu_count() or 1))
        self.path = str(folder / "socket")
        self._launch = WorkerLaunch(
            spec=msgspec.msgpack.encode(spec),
            socket_path=self.path,
            model_dir=str(model_dir),
            log_path=str(folder / "log"),
            cpus=everything[1:2] if pinned and cpus and len(everything) > 1 else (),
        )
        (folder / "launch").write_bytes(msgspec.msgpack.encode(self._launch))
        self._process = subprocess.Popen([sys.executable, "-m", "trimtab.worker", str(folder / "launch")])
        self.pid = self._process.pid

    def __enter__(self) -> Running:
        self.control = connect(self.path)
        self.control.sendall(pack(Kind.DESCRIBE, 0))
        while b"Ready" not in self.control.recv(65536):
            pass
        return self

    def __exit__(self, *_: object) -> None:
        self.control.sendall(pack(Kind.STOP, 0))
        self._process.wait(10)


def connect(path: str) -> socket.socket:
    deadline_s = time.monotonic() + 10
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)


def measure(worker: Running, name: str, body: bytes, content_type: str, width: int, seconds: float) -> None:
    """Keep `width` requests in the worker's hands, for `seconds`; print one line."""
    sock = connect(worker.path)
    request = pack(Kind.REQUEST, 7, msgspec.msgpack.encode(RequestMeta(content_type)), body)
    process = psutil.Process(worker.pid)
    round_trip(sock, request, width, 0.3)
    cpu_s = sum(process.cpu_times()[:2])
    began_s = time.monotonic()
    latencies_s, count = round_trip(sock, request, width, seconds)
    wall_s, cpu_s = time.monotonic() - began_s, sum(process.cpu_times()[:2]) - cpu_s
    p50, p99 = np.percentile(latencies_s, [50, 99]) * 1e6
    print(f"{name:14} {width:7} {count / wall_s:9.0f} {p50:8.1f} {p99:9.1f} {cpu_s / count * 1e6:14.2f}", flush=True)
    sock.close()


def round_trip(sock: socket.socket, request: bytes, width: int, seconds: float) -> tuple[list[float], int]:
    """Send bursts of `width` and read their answers; latencies are per burst."""
    burst = request * width
    latencies_s: list[float] = []
    count = 0
    buffer = bytearray(4 * 2**20)
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        began_s = time.perf_counter()
        sock.sendall(burst)
        missing, filled = width, 0
        while missing:
            filled += sock.recv_into(memoryview(buffer)[filled:])
            at = 0
            while filled - at >= HEADER_SIZE:
                size, _, meta_size, kind, _ = HEADER.unpack_from(buffer, at)
                total = HEADER_SIZE + meta_size + size
                if filled - at < total:
                    break
                assert kind == Kind.ANSWER, bytes(buffer[at : at + total])
                at += total
                missing -= 1
            buffer[: filled - at] = buffer[at:filled]
            filled -= at
        latencies_s.append(time.perf_counter() - began_s)
        count += width
    return latencies_s, count


def in_process_us(call: Callable[[], object], rounds: int = 20_000) -> float:
    """Mean time of one call, best of three."""
    best = float("inf")
    for _ in range(3):
        began_s = time.perf_counter()
        for _ in range(rounds):
            call()
        best = min(best, (time.perf_counter() - began_s) / rounds)
    return best * 1e6


if __name__ == "__main__":
    main()
