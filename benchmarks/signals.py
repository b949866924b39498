"""How long control and a gateway take to wake a variant at zero, hop by hop, when a replica is there at once.

    python benchmarks/signals.py [--wakes 1000] [--endpoints 0,1000]

Three processes: a gateway (calls, signals and routes as in `trimtab serve`), control's signal server and route publisher,
and a worker that echoes. A call comes to a variant without lanes; the gateway tells control; control publishes a table
with one lane to the worker, which is running (a real wake has a birth here); the gateway connects to it and sends the
call. Then the lane is taken away, and it begins again. With `--endpoints` the table has so many others, idle and without
lanes. All times are of one clock that the processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dataplane import report
from trimtab.clock import SystemClock
from trimtab.control.routes import RoutePublisher
from trimtab.control.signal_server import SignalServer, Total
from trimtab.gateway.calls import Call
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.routes import RouteClient
from trimtab.gateway.signaller import Signaller
from trimtab.resources.routing import EndpointRoute, Lane, RouteTable, VariantRoute
from trimtab.testing.fake_worker import FakeWorker

AT_ZERO = EndpointRoute(name="e", variants=(VariantRoute(name="v", weight=1.0, lanes=(), signals=True),))
HOPS = (
    "call comes -> signal written (the turn's end)",
    "signal written -> control is called",
    "control is called -> gateway has read the table",
    "table read -> lane connected, call sent",
    "sent -> answered",
)


class Timed(Call):
    """A call, and the times at which it came and was answered."""

    def __init__(self) -> None:
        super().__init__("e", [b"x"], 1)
        self.answered_s = asyncio.get_running_loop().create_future()

    def answered(self, meta: object, body: bytes) -> None:
        self.answered_s.set_result(time.monotonic())

    def failed(self, error: Exception) -> None:
        self.answered_s.set_exception(error)


async def worker(folder: Path, pipe: Connection) -> None:
    fake = await FakeWorker(folder / "worker.sock", lambda got: got.answer(got.body)).start()
    pipe.send(fake.lane())
    await asyncio.to_thread(pipe.recv)


async def control(folder: Path, pipe: Connection) -> None:
    lane, endpoints = await asyncio.to_thread(pipe.recv)
    at_one = replace(AT_ZERO, variants=(replace(AT_ZERO.variants[0], lanes=(lane,)),))
    publisher = RoutePublisher(folder / "routes", folder / "routes.sock", SystemClock(), require_auth=False)
    for number in range(endpoints):
        publisher.book.publish(f"other-{number}", replace(AT_ZERO, name=f"other-{number}"))
    publisher.book.publish("e", AT_ZERO)
    await publisher.open()
    times: list[tuple[float, float]] = []

    def hear(endpoint: str, variant: str, total: Total) -> None:
        if total.waiting and publisher.book.route("e") == AT_ZERO:
            times.append((total.sent_monotonic_s, time.monotonic()))
            publisher.book.publish("e", at_one)
        elif not total.now and publisher.book.route("e") == at_one:
            publisher.book.publish("e", AT_ZERO)

    signals = SignalServer(folder / "signals.sock", hear)
    await signals.open()
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    pipe.send(times)
    await signals.close()
    await publisher.close()


class Noting(Gateway):
    """A gateway that keeps when it was given a table."""

    given_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    async def apply(self, table: RouteTable) -> None:
        given_s = time.monotonic()
        await super().apply(table)
        if not self.is_at_zero():
            self.given_s = given_s
        self.changed.set()

    def is_at_zero(self) -> bool:
        return "e" in self.endpoints and not self.endpoints["e"].variants[0].lanes


async def gateway(folder: Path, pipe: Connection) -> None:
    wakes = await asyncio.to_thread(pipe.recv)
    here = Noting()
    signaller = Signaller(here, folder / "signals.sock")
    routes = RouteClient(here, socket_path=folder / "routes.sock", file_path=folder / "routes")
    works = [asyncio.create_task(signaller.run()), asyncio.create_task(routes.run())]
    times: list[tuple[float, float, float, float]] = []
    for _ in range(wakes):
        while not here.is_at_zero():
            here.changed.clear()
            await here.changed.wait()
        call = Timed()
        here.submit(call)
        answered_s = await asyncio.wait_for(call.answered_s, 10)
        times.append((call.arrived_s, here.given_s, call.sent_s, answered_s))
        list(here.reports())
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    await here.close()
    pipe.send(times)


def play(role: str, folder: Path, pipe: Connection) -> None:
    import uvloop

    uvloop.run({"worker": worker, "control": control, "gateway": gateway}[role](folder, pipe))


def measure(wakes: int, endpoints: int) -> None:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="tt-") as folder:
        pipes: dict[str, Connection] = {}
        processes = []
        for role in ("worker", "control", "gateway"):
            pipes[role], theirs = spawn.Pipe()
            processes.append(spawn.Process(target=play, args=(role, Path(folder), theirs), daemon=True))
            processes[-1].start()
        lane: Lane = pipes["worker"].recv()
        pipes["control"].send((lane, endpoints))
        pipes["control"].recv()
        pipes["gateway"].send(wakes)
        of_gateway = pipes["gateway"].recv()
        pipes["control"].send("end")
        of_control = pipes["control"].recv()
        pipes["worker"].send("end")
        for process in processes:
            process.join()
    tell(endpoints, of_gateway, of_control)


def tell(endpoints: int, of_gateway: list[tuple[float, ...]], of_control: list[tuple[float, ...]]) -> None:
    hops: list[list[float]] = [[] for _ in HOPS]
    heard, whole = [], []
    for (came, given, sent, answered), (written, called) in zip(of_gateway, of_control, strict=True):
        for hop, (before, after) in zip(hops, pairwise((came, written, called, given, sent, answered)), strict=True):
            hop.append(after - before)
        heard.append(called - came)
        whole.append(sent - called)
    print(f"-- {endpoints} other endpoints in the table, {len(heard)} wakes", flush=True)
    for name, times in [
        *zip(HOPS, hops, strict=True),
        ("call comes -> control is called", heard),
        ("control is called -> call sent", whole),
    ]:
        times.sort()
        report(name, f"{times[len(times) // 2] * 1e6:.0f} us", f"p99 {times[int(len(times) * 0.99)] * 1e6:.0f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=1000)
    parser.add_argument("--endpoints", default="0,1000", help="numbers, with commas")
    options = parser.parse_args()
    for endpoints in map(int, options.endpoints.split(",")):
        measure(options.wakes, endpoints)


if __name__ == "__main__":
    main()
