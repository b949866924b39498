"""Fifty thousand models below one prefix: what that adds to a request, and whether a listing stalls it.

    python -m benchmarks.many_models [--models 50000] [--rounds 24] [--requests 300] [--json FILE]

A real `trimtab serve` with two multi-model endpoints: `one`, whose prefix has one model, and `many`, whose prefix has
`--models`. Both serve the same ONNX model (the peers' fraud model), which is loaded in both. A client with one
connection asks one request after the other: `one`, `many`, `many`, `one`, ...; so whatever else the machine does meets
both. Rounds of three kinds take turns:

  quiet    nothing else is asked;
  listed   clients in processes of their own list the 50,000, over and over: boto3's list_objects_v2, and
           `MultiDataModel.list_models` of the sagemaker SDK where its environment is there (`make clients`);
  busy     as many processes only compute, so that the cores are as wanted as they are by those clients.

A machine with few cores lets requests wait when clients list, whatever the server does. So of each request it is read
from the kernel (/proc/PID/schedstat) how long the gateway, the model and the client were ready and had no core; what is
left of its latency is the server's own doing.

Goals: p99 at most 1 ms more with 50,000 than with one, in quiet rounds; no request fails; every listing is whole; while
it is listed, no request waits longer than 20 ms for anything but a core. Exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.model_swaps import workers
from benchmarks.peers import models as peers
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab, serving

MODEL = "models/000000.tar.gz"
ADDED_MS, STALL_MS = 1.0, 20.0
KINDS = ("quiet", "listed", "busy")
UPLOADERS = 4
SDK = Path(__file__).parents[1] / ".venvs" / "sagemaker2" / "bin" / "python"
NOTHING = "def model_fn(model_dir):\n    return None\n"

PAGES = """
import boto3, sys, time
pages = boto3.client("s3").get_paginator("list_objects_v2")
while True:
    began_s = time.perf_counter()
    keys = [found["Key"] for page in pages.paginate(Bucket="models", Prefix="many/") for found in page["Contents"]]
    print("listed", len(set(keys)), time.perf_counter() - began_s, flush=True)
"""
LIST_MODELS = """
import boto3, sagemaker, time
from sagemaker.multidatamodel import MultiDataModel
session = sagemaker.Session(default_bucket="models")
many = MultiDataModel("many", "s3://models/many/", image_uri="trimtab://python", role="{role}", sagemaker_session=session)
while True:
    began_s = time.perf_counter()
    print("listed", len(set(many.list_models())), time.perf_counter() - began_s, flush=True)
"""


class Seen(Struct):
    """Of requests to each: latency, and how long of it all were ready and had no core, in seconds."""

    one: list[tuple[float, float]] = field(default_factory=list)
    many: list[tuple[float, float]] = field(default_factory=list)


class Listing(Struct):
    """Of one kind of client: names in each listing that was whole, and the seconds that it took."""

    name: str
    counts: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Lane(asyncio.Protocol):
    """One connection that asks one request at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._answered: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, request: bytes) -> float:
        """Seconds until its answer of 200. Raises RuntimeError for any other."""
        self._answered = asyncio.get_running_loop().create_future()
        began_s = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]
        return await self._answered - began_s

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < int(openloop.header(head, b"content-length") or 0):
            return
        self._received = b""
        assert self._answered is not None
        if head[9:12] == b"200":
            self._answered.set_result(time.perf_counter())
        else:
            self._answered.set_exception(RuntimeError(f"{head!r} {body!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(RuntimeError("the connection was closed"))


def upload(trimtab: Trimtab, count: int) -> float:
    """Put the models that nobody asks for below `many/`. Seconds."""
    body = script(NOTHING)
    parts = urlsplit(trimtab.url)
    began_s = time.perf_counter()

    def some(first: int) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for number in range(first, count, UPLOADERS):
            if number:
                connection.request("PUT", f"/models/many/models/{number:06}.tar.gz", body)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {said!r}")
        connection.close()

    with ThreadPoolExecutor(UPLOADERS) as pool:
        list(pool.map(some, range(UPLOADERS)))
    return time.perf_counter() - began_s


def without_core_s(pids: Sequence[int]) -> float:
    """How long these processes' main threads were ready to run, and did not, since they began; all added up."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e9


def ask(port: int, body: bytes, requests: int, pids: Sequence[int]) -> Seen:
    """Both endpoints in turn. `pids`: the processes that a request goes through."""
    target = f"X-Amzn-SageMaker-Target-Model: {MODEL}\r\n"
    to_one, to_many = (openloop.request(f"/endpoints/{name}/invocations", body, target) for name in ("one", "many"))

    async def run() -> Seen:
        loop, seen = asyncio.get_running_loop(), Seen()
        transport, lane = await loop.create_connection(Lane, openloop.HOST, port)
        turns = ((seen.one, to_one), (seen.many, to_many))
        for number in range(requests):
            for found, request in turns if number % 2 else turns[::-1]:
                before_s = without_core_s(pids)
                latency_s = await lane.ask(request)
                found.append((latency_s, without_core_s(pids) - before_s))
        transport.close()
        return seen

    return uvloop.run(run())


@contextmanager
def listed(trimtab: Trimtab, folder: Path) -> Iterator[list[Listing]]:
    """Clients list all models meanwhile, one after the other; told at the end."""
    programs = {"boto3 list_objects_v2": (sys.executable, PAGES)}
    if SDK.exists():
        from trimtab.testing.server import ROLE

        programs["MultiDataModel.list_models"] = (str(SDK), LIST_MODELS.format(role=ROLE))
    found, running = [Listing(name) for name in programs], []
    env = trimtab.env | {"SAGEMAKER_SUPPRESS_V2_WARNING": "1"}
    for number, (python, text) in enumerate(programs.values()):
        out = (folder / f"{number}.out").open("w+")
        running.append((subprocess.Popen([python, "-c", text], env=env, stdout=out, cwd=folder), out))
    try:
        deadline_s = time.monotonic() + 120
        while not all("listed " in Path(out.name).read_text() for _, out in running):  # each has listed all once
            if time.monotonic() > deadline_s or any(process.poll() is not None for process, _ in running):
                raise RuntimeError("a client that lists has ended, or takes more than two minutes")
            time.sleep(0.1)
        yield found
    finally:
        for listing, (process, out) in zip(found, running, strict=True):
            process.kill()
            process.wait()
            out.seek(0)
            for line in out.read().splitlines(keepends=True):
                if line.startswith("listed ") and line.endswith("\n"):  # the SDK says other things, too
                    _, count, seconds = line.split()
                    listing.counts.append(int(count))
                    listing.seconds.append(float(seconds))
            out.close()


@contextmanager
def computing(processes: int) -> Iterator[None]:
    """So many processes that do nothing else meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(models: int, rounds: int, requests: int) -> dict[str, Any]:
    """All of it."""
    seen = {kind: Seen() for kind in KINDS}
    listings: dict[str, Listing] = {}
    with tempfile.TemporaryDirectory() as folder, serving("--auth", "none") as trimtab:
        fraud = peers.model("fraud", Path(folder))
        packed = archive(model_onnx=fraud.path.read_bytes())
        for name in ("one", "many"):
            trimtab.deploy_many(name)
            trimtab.put_model(name, MODEL, packed)
        upload_s = upload(trimtab, models)
        port, body = urlsplit(trimtab.url).port, peers.payload(fraud.rows[:1])
        assert port is not None
        print(f"{models:,} models are there after {upload_s:.0f} s", flush=True)
        first_ms = {name: 1e3 * first_s(trimtab, name, body) for name in ("one", "many")}
        through = [trimtab.processes("trimtab: gateway")[0].pid, *workers(trimtab), os.getpid()]
        ask(port, body, 2 * requests, through)  # the first round warms up
        for turn in range(rounds):
            if turn % 3 == 0:
                add(seen["quiet"], ask(port, body, requests, through))
                continue
            if turn % 3 == 2:
                with computing(len(listings)):
                    add(seen["busy"], ask(port, body, requests, through))
                continue
            with listed(trimtab, Path(folder)) as clients:
                add(seen["listed"], ask(port, body, requests, through))
            for listing in clients:
                known = listings.setdefault(listing.name, Listing(listing.name))
                known.counts += listing.counts
                known.seconds += listing.seconds
    return {
        "models": models,
        "upload_s": upload_s,
        "first_ms": first_ms,
        "kinds": {kind: figures(one) for kind, one in seen.items()},
        "listings": {
            name: {
                "whole": len(one.counts),
                "short": sum(count != models for count in one.counts),
                "median_s": float(np.median(one.seconds)),
            }
            for name, one in listings.items()
        },
    }


def first_s(trimtab: Trimtab, name: str, body: bytes) -> float:
    """Seconds until the answer of the request that loads the model."""
    began_s = time.perf_counter()
    trimtab.invoke(name, body, TargetModel=MODEL)
    return time.perf_counter() - began_s


def add(to: Seen, more: Seen) -> None:
    to.one += more.one
    to.many += more.many


def figures(seen: Seen) -> dict[str, dict[str, float]]:
    """Milliseconds."""
    return {
        name: {
            "requests": len(values),
            "p50": 1e3 * float(np.quantile([latency_s for latency_s, _ in values], 0.5)),
            "p99": 1e3 * float(np.quantile([latency_s for latency_s, _ in values], 0.99)),
            "longest": 1e3 * max(latency_s for latency_s, _ in values),
            "own": 1e3 * max(latency_s - core_s for latency_s, core_s in values),
        }
        for name, values in (("one", seen.one), ("many", seen.many))
    }


def report(found: dict[str, Any]) -> None:
    table = Table(title=f"{found['models']:,} models below one prefix; a loaded one is asked", title_justify="left")
    for column in ("", "requests", "p50 ms", "p99 ms", "p99 added", "longest ms", "longest but for a core"):
        table.add_column(column, justify="left" if not column else "right")
    for kind, rows in found["kinds"].items():
        base = rows["one"]["p99"]
        for name, what in (("one", "a prefix with one model"), ("many", f"with {found['models']:,}")):
            row = rows[name]
            table.add_row(
                f"{kind}: {what}",
                f"{row['requests']:,}",
                f"{row['p50']:.2f}",
                f"{row['p99']:.2f}",
                f"{row['p99'] - base:+.2f}",
                f"{row['longest']:.1f}",
                f"{row['own']:.1f}",
            )
    Console(width=140).print(table)
    for name, row in found["listings"].items():
        print(
            f"{name}: {row['whole']} listings of all, {row['short']} not whole, {row['median_s']:.2f} s each (median)"
        )
    print("first answer, which loads it: one {one:.0f} ms, many {many:.0f} ms".format(**found["first_ms"]))


def reached(found: dict[str, Any]) -> bool:
    kinds = found["kinds"]
    added = kinds["quiet"]["many"]["p99"] - kinds["quiet"]["one"]["p99"]
    stalled = kinds["listed"]["many"]["own"] > STALL_MS
    return added <= ADDED_MS and not stalled and not any(row["short"] for row in found["listings"].values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--requests", type=int, default=300, help="to each endpoint in a round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.models, options.rounds, options.requests)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0 if reached(found) else 1


if __name__ == "__main__":
    sys.exit(main())
