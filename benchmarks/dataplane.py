"""What the data plane costs: client -> gateway -> worker -> gateway -> client, over loopback.

    python benchmarks/dataplane.py [--seconds 3] [--pin] [--profile DIR]

Starts one gateway process (HTTP server, SigV4, routing, frames) and one worker process (trimtab's own loop around an
echo function), and reports:

  * p50 added to an in-process call of the same function, one client, 512 B body: without and with SigV4;
  * the same for a 1 MB body, answered with a few bytes, and echoed;
  * requests/s and CPU microseconds per request (gateway, worker) with wrk at 64 connections.

Beside them, as a yardstick that shares the machine's noise: a bare one-process HTTP echo server (uvloop, httptools).
CPU time is steadier than wall-clock figures. Goals are printed beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
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
from collections.abc import Callable, Iterator
from pathlib import Path

SMALL = 512
LARGE = 1 << 20
ENDPOINT = "echo"
METERS_VARIABLE = "TRIMTAB_BENCH_METERS"  # "off": the gateway counts nothing (benchmarks/metering.py)
KEY_ID, SECRET, REGION = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"


def echo(body: object, meta: object) -> tuple[bytes, str, str]:
    """The model: gives back a small body, and of a large one its size, unless it is asked to echo."""
    if len(body) > 65_536 and meta.accept != "application/echo":  # type: ignore[arg-type,attr-defined]
        return b'{"size": %d}' % len(body), "application/json", ""  # type: ignore[arg-type]
    return body, "application/json", ""  # type: ignore[return-value]


# --- the processes -------------------------------------------------------------------------------------------------


def run_worker(path: str) -> None:
    from trimtab.worker.serve import Loop

    loop = Loop()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()

    def accept() -> None:
        while True:
            loop.adopt(listener.accept()[0], b"")

    threading.Thread(target=accept, daemon=True).start()
    loop.run(echo)


def run_gateway(port_fd: int, data_dir: str, profile: str) -> None:
    import uvloop

    from trimtab.aws.dataplane import serve
    from trimtab.aws.sigv4.verifier import Verifier
    from trimtab.config import Config
    from trimtab.gateway.gateway import Gateway

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        gateway = Gateway(metered=os.environ.get(METERS_VARIABLE) != "off")
        verifier = Verifier(lambda: {key.id: key for key in gateway.table.keys}, region=REGION)
        sock = socket.socket(fileno=port_fd)
        await serve(sock, Config(data_dir=Path(data_dir)), gateway=gateway, verifier=verifier, stop=stop)

    def run() -> None:
        uvloop.run(main())

    if not profile:
        run()
        return
    import cProfile

    with cProfile.Profile() as profiler:
        run()
    profiler.dump_stats(profile)


def run_bare(port_fd: int) -> None:
    """The least that an HTTP server in Python can do: parse, answer at once. No routes, no second process."""
    import httptools
    import uvloop

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.parser = httptools.HttpRequestParser(self)
            self.body: list[bytes] = []

        def data_received(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_body(self, data: bytes) -> None:
            self.body.append(data)

        def on_message_complete(self) -> None:
            body = b"".join(self.body) if sum(map(len, self.body)) <= 65_536 else b"{}"
            self.body.clear()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)  # type: ignore[attr-defined]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Bare, sock=socket.socket(fileno=port_fd))
        await server.serve_forever()

    uvloop.run(main())


@contextlib.contextmanager
def bare_server() -> Iterator[tuple[int, int]]:
    """Port and pid of the bare server: the yardstick that shares this machine's noise."""
    listener = socket.create_server(("127.0.0.1", 0))
    fd, port = listener.fileno(), listener.getsockname()[1]
    child = subprocess.Popen([sys.executable, __file__, "--role", "bare", str(fd)], pass_fds=(fd,))
    listener.close()
    try:
        yield port, child.pid
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def dataplane(*, auth: bool, pin: bool, profile: str = "") -> Iterator[tuple[int, int, int]]:
    """Gateway and worker running: port, and the two pids."""
    import msgspec

    from trimtab.config import Config
    from trimtab.resources.routing import AccessKey, EndpointRoute, Lane, RouteTable, VariantRoute

    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        path = f"{folder}/w.sock"
        lane = Lane(replica_id="r", address=f"unix:{path}")
        variant = VariantRoute(name="AllTraffic", weight=1.0, lanes=(lane,))
        table = RouteTable(
            version=1,
            endpoints=(EndpointRoute(name=ENDPOINT, variants=(variant,)),),
            keys=(AccessKey(id=KEY_ID, secret=SECRET),),
            require_auth=auth,
        )
        Config(data_dir=Path(folder)).paths.routes.write_bytes(msgspec.msgpack.encode(table))
        listener = socket.create_server(("127.0.0.1", 0))
        fd = listener.fileno()
        me = [sys.executable, __file__]
        children = [subprocess.Popen([*me, "--role", "worker", path])]
        wait_for(lambda: Path(path).exists())
        children.append(subprocess.Popen([*me, "--role", "gateway", str(fd), folder, profile], pass_fds=(fd,)))
        worker, gateway = children
        port = listener.getsockname()[1]
        listener.close()
        if pin:
            os.sched_setaffinity(gateway.pid, {0})
            os.sched_setaffinity(worker.pid, {1})
        try:
            yield port, gateway.pid, worker.pid
        finally:
            gateway.terminate()
            gateway.wait()
            worker.kill()
            worker.wait()


def wait_for(done: Callable[[], bool], timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > until:
            raise TimeoutError("the process did not start in time")
        time.sleep(0.01)


def cpu_s(pid: int) -> float:
    """CPU seconds used so far (nanosecond resolution)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9 if _single(pid) else _all_threads(pid)


def _single(pid: int) -> bool:
    return len(os.listdir(f"/proc/{pid}/task")) == 1


def _all_threads(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


# --- one client at a time ------------------------------------------------------------------------------------------


def request_bytes(body: bytes, *, auth: bool, accept: str = "*/*") -> tuple[bytes, bytes]:
    """Head and body as boto3 sends them."""
    path = f"/endpoints/{ENDPOINT}/invocations"
    headers = {
        "Host": "127.0.0.1:7070",
        "Accept": accept,
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "User-Agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.7",
        "amz-sdk-invocation-id": "0a1b2c3d-1111-2222-3333-444455556666",
        "amz-sdk-request": "attempt=1",
    }
    if auth:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest("POST", f"http://127.0.0.1:7070{path}", headers=headers, data=body)
        SigV4Auth(Credentials(KEY_ID, SECRET), "sagemaker", REGION).add_auth(request)
        headers = dict(request.headers.items())
    headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode(), body


def round_trips(port: int, head: bytes, body: bytes, seconds: float) -> list[float]:
    """Latencies in seconds of requests sent one after the other."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(1 << 21)
    view = memoryview(buffer)
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(latencies) < 20:
        start = time.perf_counter()
        sock.sendall(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            sock.sendall(body)
        received, wanted = 0, 1
        while received < wanted:
            count = sock.recv_into(view[received:])
            if not count:
                raise ConnectionError("the gateway closed the connection")
            received += count
            if wanted == 1 and (end := buffer.find(b"\r\n\r\n", 0, received)) >= 0:
                if not buffer.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(bytes(buffer[:received]).decode())
                length = re.search(rb"content-length: (\d+)", bytes(buffer[:end]), re.IGNORECASE)
                assert length is not None
                wanted = end + 4 + int(length[1])
        latencies.append(time.perf_counter() - start)
    sock.close()
    return latencies[len(latencies) // 10 :]


def in_process(body: bytes, seconds: float) -> float:
    """p50 in seconds of the same function, called here."""
    from trimtab.wire.frames import RequestMeta

    meta = RequestMeta("application/json", "*/*")
    latencies = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        echo(body, meta)
        latencies.append(time.perf_counter() - start)
    return statistics.median(latencies)


def bare_round_trip(seconds: float) -> float:
    """p50 in seconds of a 512 B echo through one Unix socket and back: what one hop costs here at the least."""
    ours, theirs = socket.socketpair()
    if (pid := os.fork()) == 0:
        while data := theirs.recv(4096):
            theirs.sendall(data)
        os._exit(0)
    theirs.close()
    latencies = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        ours.sendall(b"x" * SMALL)
        ours.recv(4096)
        latencies.append(time.perf_counter() - start)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return statistics.median(latencies)


# --- many clients --------------------------------------------------------------------------------------------------


def throughput(port: int, seconds: float, connections: int, *, pin: bool) -> float:
    """Requests/s by wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.body = string.rep("x", 512)\nwrk.headers["Content-Type"] = "application/json"\n'
        )
        script.flush()
        url = f"http://127.0.0.1:{port}/endpoints/{ENDPOINT}/invocations"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--latency", "-s", script.name, url]
        pinned = ["taskset", "-c", "1"] if pin else []
        output = subprocess.run([*pinned, *command], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None, output
    print("   ", " ".join(line.strip() for line in output.splitlines() if re.search(r"(50|99)%", line)))
    return float(rate[1])


def report(what: str, value: str, goal: str = "") -> None:
    print(f"{what:<58} {value:>12}   {goal}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="per figure")
    parser.add_argument("--pin", action="store_true", help="gateway on core 0, worker and clients on core 1")
    parser.add_argument("--profile", default="", help="file for cProfile's figures of the gateway under wrk")
    parser.add_argument("--only", choices=["latency", "throughput"], default="")
    parser.add_argument("--role", nargs="+", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role[:1] == ["worker"]:
        return run_worker(options.role[1])
    if options.role[:1] == ["gateway"]:
        return run_gateway(int(options.role[1]), options.role[2], [*options.role, ""][3])
    if options.role[:1] == ["bare"]:
        return run_bare(int(options.role[1]))
    if options.only != "throughput":
        latency(options)
    if options.only != "latency":
        many(options)
    return None


def latency(options: argparse.Namespace) -> None:
    seconds, small, large = options.seconds, b"x" * SMALL, os.urandom(LARGE)
    base_s, base_large_s = in_process(small, 0.3), in_process(large, 0.3)
    report("bare 512 B echo over one Unix socket, p50", f"{bare_round_trip(0.5) * 1e6:.1f} us")
    with bare_server() as (port, _):
        for body, name in ((small, "512 B echo"), (large, "1 MB in, small answer")):
            found = round_trips(port, *request_bytes(body, auth=False), seconds)
            report(f"bare one-process HTTP server, {name}, p50", f"{statistics.median(found) * 1e6:.1f} us")
    plain_s = 0.0
    for auth in (False, True):
        with dataplane(auth=auth, pin=options.pin) as (port, gateway, worker):
            before = cpu_s(gateway), cpu_s(worker)
            found = round_trips(port, *request_bytes(small, auth=auth), seconds)
            spent = cpu_s(gateway) - before[0], cpu_s(worker) - before[1]
            p50_s, p99_s = statistics.median(found), statistics.quantiles(found, n=100)[98]
            count = len(found) / 0.9
            name = "with SigV4" if auth else "no signature"
            goal = f"goal <= {20 if auth else 60} us{' more' if auth else ''}"
            shown = p50_s - plain_s if auth else p50_s - base_s
            report(f"512 B, 1 client, {name}: p50 added", f"{shown * 1e6:.1f} us", goal)
            report("    p99", f"{p99_s * 1e6:.1f} us")
            report("    CPU gateway + worker", f"{spent[0] / count * 1e6:.1f} + {spent[1] / count * 1e6:.1f} us")
            plain_s = p50_s
            if auth:
                continue
            found = round_trips(port, *request_bytes(large, auth=False), seconds)
            report("1 MB in, small answer: p50 added", _ms(statistics.median(found) - base_large_s), "goal <= 0.5 ms")
            found = round_trips(port, *request_bytes(large, auth=False, accept="application/echo"), seconds)
            report("1 MB in, 1 MB out: p50 added", _ms(statistics.median(found) - base_large_s))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def many(options: argparse.Namespace) -> None:
    if shutil.which("wrk") is None:
        print("wrk is not installed: no throughput figures")
        return
    with bare_server() as (port, pid):
        throughput(port, 1, 64, pin=options.pin)
        before_s = cpu_s(pid)
        bare_rate = throughput(port, options.seconds, 64, pin=options.pin)
        spent_s = cpu_s(pid) - before_s
        report("bare one-process HTTP server, 64 connections", f"{bare_rate:,.0f}/s")
        report("    CPU", f"{spent_s / bare_rate / options.seconds * 1e6:.1f} us")
    with dataplane(auth=False, pin=options.pin, profile=options.profile) as (port, gateway, worker):
        throughput(port, 1, 64, pin=options.pin)
        for connections in (1, 64):
            before = cpu_s(gateway), cpu_s(worker)
            rate = throughput(port, options.seconds, connections, pin=options.pin)
            spent = cpu_s(gateway) - before[0], cpu_s(worker) - before[1]
            count = rate * options.seconds
            report(f"echo 512 B, {connections} connections", f"{rate:,.0f}/s", "goal >= 40,000/s" * (connections > 1))
            report("    CPU gateway + worker", f"{spent[0] / count * 1e6:.1f} + {spent[1] / count * 1e6:.1f} us")
        report("    of the bare server's rate", f"{rate / bare_rate:.0%}")


if __name__ == "__main__":
    main()
