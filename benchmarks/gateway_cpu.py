"""What a request costs a gateway's Python: CPU microseconds, with meters on and off, with SigV4 on and off.

    python benchmarks/gateway_cpu.py [--rounds 60] [--requests 2000] [--connections 16]

No sockets: in one process, clients' bytes go into connections, frames come out at the lane and are answered in the same
turn, and the answers' bytes are counted. So the kernel's part is missing, and figures are steadier than rates where
processors are shared. With and without take turns, round by round, on the same objects, so that how they lie in memory
is the same for both. Each round ends with the report that a gateway makes once a second, so with meters its cost is in
the figure.

The least of the rounds is the cost, the median shows the noise. "with meters" compares the rounds pair by pair.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.dataplane import ENDPOINT, KEY_ID, REGION, SECRET, SMALL, report, request_bytes
from trimtab.wire.frames import HEADER, AnswerMeta, Kind, pack

if TYPE_CHECKING:
    from trimtab.aws.server.connection import Connection
    from trimtab.gateway.frames_lane import FramesLane
    from trimtab.gateway.gateway import Gateway

COMPUTE_US = tuple(range(5, 45))  # as workers with a quick model say


class Pipe:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written += parts

    def take(self) -> list[bytes]:
        taken, self.written = self.written, []
        return taken

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return self if name == "socket" else ("127.0.0.1", 1)

    def set_write_buffer_limits(self, high: int) -> None: ...
    def setsockopt(self, *option: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Plane:
    """A gateway with clients before it and a worker behind it, all of them in this process."""

    def __init__(self, *, signed: bool, connections: int) -> None:
        from trimtab.aws.runtime import RuntimeEdge
        from trimtab.aws.server import HttpServer
        from trimtab.aws.server.connection import Connection
        from trimtab.aws.sigv4.verifier import Verifier
        from trimtab.gateway.gateway import Gateway

        self.gateway: Gateway = Gateway()
        verifier = Verifier(lambda: {key.id: key for key in self.gateway.table.keys}, region=REGION)
        server = HttpServer(_unused, fast=RuntimeEdge(self.gateway, verifier))
        self._signed = signed
        self._worker = Pipe()
        self._clients: list[tuple[Connection, Pipe, bytes]] = []
        self._answered = 0
        for number in range(connections):
            connection, pipe = Connection(server), Pipe()
            connection.connection_made(pipe)  # type: ignore[arg-type]
            head, body = request_bytes(b"%08d" % number * (SMALL // 8), auth=signed)
            self._clients.append((connection, pipe, head + body))

    async def open(self) -> None:
        """Route to a lane whose wire ends here."""
        from trimtab.resources.routing import AccessKey, EndpointRoute, Lane, RouteTable, VariantRoute

        lane = Lane(replica_id="r", address="unix:/none")
        route = VariantRoute(name="AllTraffic", weight=1.0, lanes=(lane,), version="c-1")
        table = RouteTable(
            version=1,
            endpoints=(EndpointRoute(name=ENDPOINT, variants=(route,)),),
            keys=(AccessKey(id=KEY_ID, secret=SECRET),),
            require_auth=self._signed,
        )
        plan = self.gateway._prepare(table)
        self.gateway._switch(table, plan)
        self._variant = self.gateway.endpoints[ENDPOINT].variants[0]
        self._meter = self._variant.meter
        self._lane: FramesLane = self._variant.lanes[0]  # type: ignore[assignment]
        self._lane.connection_made(self._worker)  # type: ignore[arg-type]
        self._lane.connected = self._lane.ready = True

    async def round(self, requests: int, *, metered: bool) -> float:
        """CPU microseconds for a request, of `requests` of them and one report."""
        self._variant.meter = self._meter if metered else None  # nothing is in hand now
        turns = -(-requests // len(self._clients))
        spent_s = -time.process_time()
        for turn in range(turns):
            for connection, _, request in self._clients:
                buffer = connection.get_buffer(-1)
                buffer[: len(request)] = request
                connection.buffer_updated(len(request))
            await asyncio.sleep(0)  # the turn ends: frames leave
            while frames := self._worker.take():
                spent_s += time.process_time()
                answers = _answers(b"".join(frames), COMPUTE_US[turn % len(COMPUTE_US)])
                spent_s -= time.process_time()
                self._lane.data_received(answers)
                await asyncio.sleep(0)
        list(self.gateway.reports())
        spent_s += time.process_time()
        self._check(turns)
        return spent_s / (turns * len(self._clients)) * 1e6

    def _check(self, turns: int) -> None:
        for _, pipe, _ in self._clients:
            text = b"".join(pipe.take())
            if text.count(b"HTTP/1.1 200") != turns:
                raise RuntimeError(f"{turns} requests were answered with {text[:500]!r}")


async def _unused(request: object) -> object:  # type: ignore[misc]
    raise NotImplementedError


def _answers(frames: bytes, compute_us: int) -> bytes:
    """What the worker says to these requests."""
    answers, at = [], 0
    while at < len(frames):
        size, stream, meta_size, _, _ = HEADER.unpack_from(frames, at)
        at += HEADER.size + meta_size + size
        meta = msgspec.msgpack.encode(AnswerMeta("application/json", compute_us=compute_us))
        answers.append(pack(Kind.ANSWER, stream, meta=meta, payload=frames[at - size : at]))
    return b"".join(answers)


async def measure(options: argparse.Namespace) -> None:
    planes = {signed: Plane(signed=signed, connections=options.connections) for signed in (False, True)}
    for plane in planes.values():
        await plane.open()
        await plane.round(2000, metered=True)
    gc.collect()
    gc.freeze()  # as a gateway does
    kinds = [(metered, signed) for signed in (False, True) for metered in (True, False)]
    found: dict[tuple[bool, bool], list[float]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        for metered, signed in kinds if number % 2 else kinds[::-1]:
            found[(metered, signed)].append(await planes[signed].round(options.requests, metered=metered))
    for (metered, signed), figures in found.items():
        what = f"{'with' if metered else 'without'} meters, {'with' if signed else 'without'} SigV4"
        report(what, f"{min(figures):.2f} us", f"median {statistics.median(figures):.2f} us")
    for signed in (False, True):
        on, off = found[(True, signed)], found[(False, signed)]
        pairs = [one - other for one, other in zip(on, off, strict=True)]
        report(
            f"meters, {'with' if signed else 'without'} SigV4 (difference of the least)",
            f"{min(on) - min(off):.2f} us",
            f"median of the pairs {statistics.median(pairs):.2f} us",
        )
    signed_us = min(found[(True, True)]) - min(found[(True, False)])
    report("SigV4 of a 512 B body, in the gateway", f"{signed_us:.2f} us")


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=2000, help="in a round")
    parser.add_argument("--connections", type=int, default=16)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
