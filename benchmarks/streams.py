"""A hundred response streams at once: what trimtab adds to the first piece, and how soon a client that leaves is let go.

    python -m benchmarks.streams [--streams 100] [--seconds 10] [--replicas 1] [--busy-ms 0] [--pause-ms 100]

The script gives its first piece at once and tells when it began and when it gave each piece away (the kernel's
monotonic clock is the same in all processes). Streams of two seconds with ten pieces a second follow each other, so
that `--streams` of them are open all the time. Added to the first piece = from the request's sending until the piece
is here, less the script's own time. (A worker computes one first piece at a time: with `--first-ms` the wait for it is
in the figure.)

Clients leave in the middle, while the script gives a piece a millisecond, and while it waits for a client that does not
read: the time is from closing the connection until the script's generator is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterable
from typing import cast
from urllib.parse import urlsplit

import psutil
import uvloop
from botocore.eventstream import EventStreamBuffer
from rich.console import Console
from rich.table import Table

from trimtab.testing.artifacts import script
from trimtab.testing.server import serving

SCRIPT = """
import json
import socket
import time

def model_fn(model_dir):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

def input_fn(body, content_type):
    return json.loads(body)

def predict_fn(asked, model):
    began_ns = time.monotonic_ns()
    return pieces(asked, model, began_ns)

def pieces(asked, teller, began_ns):
    try:
        time.sleep(asked["first_s"])
        for number in range(asked["pieces"]):
            if number:
                time.sleep(asked["pause_s"])
            until_s = time.thread_time() + asked.get("busy_s", 0)
            while time.thread_time() < until_s:  # Python code, which keeps the interpreter
                pass
            head = {"began_ns": began_ns, "given_ns": time.monotonic_ns(), "number": number}
            yield json.dumps(head).encode().ljust(asked["size"])
    finally:
        if asked.get("tell"):
            teller.sendto(json.dumps([asked["id"], time.monotonic_ns()]).encode(), ("127.0.0.1", asked["tell"]))
"""
GOAL_S = 0.001
_LIFE_S = 2.0  # of a stream
NAME = "streams"


class Answer(asyncio.Protocol):
    """One request on a connection of its own. Notes when bytes come as soon as they do, whoever looks at them later."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.transport: asyncio.Transport
        self._came: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came.put_nowait((time.monotonic_ns(), data))
        self.begun.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came.put_nowait((0, b""))

    async def pieces(self) -> AsyncIterator[tuple[int, dict[str, int]]]:
        """Each piece: when it came (monotonic ns), and what the script wrote into it. Raises RuntimeError for a failure."""
        events, rest, headed = EventStreamBuffer(), b"", False
        while True:
            now_ns, data = await self._came.get()
            rest += data
            if not headed and b"\r\n\r\n" in rest:
                if not rest.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"no stream: {rest!r}")
                headed, rest = True, rest.partition(b"\r\n\r\n")[2]
            while (chunk := _chunk(rest)) is not None:
                payload, rest = chunk
                events.add_data(payload)
            for event in events:  # botocore's buffer gives each once
                if event.headers[":message-type"] != "event":
                    raise RuntimeError(str(event.headers))
                yield now_ns, json.loads(event.payload)
            if not data:
                return


class Streams:
    """The endpoint, as a raw HTTP client sees it."""

    def __init__(self, url: str) -> None:
        found = urlsplit(url)
        assert found.hostname is not None
        assert found.port is not None
        self._host, self._port = found.hostname, found.port

    async def ask(self, question: dict[str, object]) -> tuple[Answer, int]:
        """Send the request; the answer is the caller's to look at. When it was sent (monotonic ns), too."""
        body = json.dumps(question).encode()
        transport, answer = await asyncio.get_running_loop().create_connection(Answer, self._host, self._port)
        head = f"POST /endpoints/{NAME}/invocations-response-stream HTTP/1.1\r\nHost: {self._host}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        sent_ns = time.monotonic_ns()
        transport.write(head.encode() + body)
        return answer, sent_ns


def _chunk(data: bytes) -> tuple[bytes, bytes] | None:
    """The first whole chunk of a chunked body, and the rest; None while it is not whole."""
    size, found, after = data.partition(b"\r\n")
    if not found:
        return None
    length = int(size.partition(b";")[0], 16)
    return (after[:length], after[length + 2 :]) if len(after) >= length + 2 else None


async def steady(
    streams: Streams, count: int, seconds: float, first_s: float, busy_s: float, pause_s: float
) -> tuple[list[float], list[float]]:
    """`count` streams open all the time. Seconds added to the first piece, and to each later one since it was given."""
    pieces = round(_LIFE_S / pause_s)
    to_first_s: list[float] = []
    to_later_s: list[float] = []
    until_s = time.monotonic() + seconds
    question = {"first_s": first_s, "pieces": pieces, "pause_s": pause_s, "busy_s": busy_s, "size": 200}

    async def follow(number: int) -> None:
        await asyncio.sleep(_LIFE_S * number / count)  # they begin one after the other, and so go on
        while time.monotonic() < until_s:
            answer, sent_ns = await streams.ask(question)
            async for came_ns, told in answer.pieces():
                if told["number"] == 0:
                    to_first_s.append((came_ns - sent_ns - (told["given_ns"] - told["began_ns"])) / 1e9)
                else:
                    to_later_s.append((came_ns - told["given_ns"]) / 1e9)
            answer.transport.close()

    await asyncio.gather(*(follow(i) for i in range(count)))
    return to_first_s, to_later_s


async def burst(streams: Streams, count: int, first_s: float) -> list[float]:
    """`count` streams asked for in the same instant: seconds added to the first piece of each."""

    async def follow() -> float:
        answer, sent_ns = await streams.ask({"first_s": first_s, "pieces": 5, "pause_s": 0.1, "size": 200})
        added = [
            (came_ns - sent_ns - (told["given_ns"] - told["began_ns"])) / 1e9
            async for came_ns, told in answer.pieces()
            if told["number"] == 0
        ]
        answer.transport.close()
        return added[0]

    return await asyncio.gather(*(follow() for _ in range(count)))


async def leaving(streams: Streams, count: int, *, reads: bool) -> list[float]:
    """Clients that leave: seconds from closing the connection until the script's generator is closed."""
    ends: dict[int, asyncio.Future[int]] = {}
    loop = asyncio.get_running_loop()

    class Teller(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: object) -> None:
            number, closed_ns = json.loads(data)
            ends[number].set_result(closed_ns)

    transport, _ = await loop.create_datagram_endpoint(Teller, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    took_s = []
    for number in range(count):
        ends[number] = loop.create_future()
        size = 200 if reads else 1 << 20  # more than the buffers between them hold
        question = {"id": number, "tell": port, "first_s": 0, "pieces": 10_000, "pause_s": 0.001, "size": size}
        answer, _ = await streams.ask(question)
        if reads:
            seen = answer.pieces()
            for _ in range(5):
                await anext(seen)
        else:
            await answer.begun.wait()
            answer.transport.pause_reading()
            await asyncio.sleep(0.3)  # every buffer on the way fills
        left_ns = time.monotonic_ns()
        answer.transport.abort()
        took_s.append((await asyncio.wait_for(ends[number], 30) - left_ns) / 1e9)
    transport.close()
    return took_s


def row(table: Table, what: str, seconds: Iterable[float], goal: str = "") -> float:
    """Add p50, p99 and the largest; returns p99."""
    found = list(seconds)
    cuts = statistics.quantiles(found, n=100, method="inclusive")
    cells = [f"{value * 1000:.2f}" for value in (cuts[49], cuts[98], max(found))]
    table.add_row(what, f"{len(found):,}", *cells, goal)
    return cuts[98]


async def measure(url: str, options: argparse.Namespace, table: Table) -> bool:
    """All of it; whether the goal is met."""
    streams, count, first_s = Streams(url), options.streams, options.first_ms / 1000
    await burst(streams, count, first_s)  # threads, connections
    to_first_s, to_later_s = await steady(
        streams, count, options.seconds, first_s, options.busy_ms / 1000, options.pause_ms / 1000
    )
    p99_s = row(table, f"{count} streams open: added to the first piece", to_first_s, f"p99 <= {GOAL_S * 1000:.0f} ms")
    row(table, f"{count} streams open: later pieces, from the script to the client", to_later_s)
    row(table, f"{count} streams begun in one instant: added to the first piece", await burst(streams, count, first_s))
    row(table, "a client leaves, a piece comes each ms: generator closed after", await leaving(streams, 30, reads=True))
    row(table, "a client leaves that did not read: generator closed after", await leaving(streams, 10, reads=False))
    return p99_s <= GOAL_S


def main() -> int:
    """1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--replicas", type=int, default=1, help="a worker has at most 256 streams at once")
    parser.add_argument("--first-ms", type=float, default=0, help="that the script takes before its first piece")
    parser.add_argument("--busy-ms", type=float, default=0, help="of Python code before each piece of the open streams")
    parser.add_argument("--pause-ms", type=float, default=100, help="between their pieces")
    options = parser.parse_args()
    cores = psutil.cpu_count()
    table = Table(title=f"Response streams, {options.replicas} workers, {cores} cores; ms", title_justify="left")
    for column in ("what", "times", "p50", "p99", "most", "goal"):
        table.add_column(column, justify="left" if column in ("what", "goal") else "right")
    with serving("--auth", "none") as trimtab:
        trimtab.deploy(NAME, script(SCRIPT), count=options.replicas)
        good = uvloop.run(measure(trimtab.url, options, table))
    Console(width=130).print(table)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
