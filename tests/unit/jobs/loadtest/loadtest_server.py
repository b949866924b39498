"""A server to load, in the test's own event loop, and a sender for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from trimtab.jobs.loadtest.generator import Generator
from trimtab.jobs.loadtest.patterns import PointArrivals, ProfileArrivals, Schedule
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.profiles import constant
from trimtab.jobs.loadtest.sender import Address, Failure
from trimtab.jobs.loadtest.tally import Tally

Answer = Callable[[bytes], Awaitable[bytes]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ok(_body: bytes) -> bytes:
    return OK


class Server:
    """Answers each request with what `answer` gives (raw bytes; empty closes the connection)."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._tls = tls
        self.requests = 0
        self.connections = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                self.requests += 1
                answer = await self.answer(body)
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)


@asynccontextmanager
async def serving(answer: Answer = ok, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer, tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Plain:
    """Unsigned requests to a port."""

    streams = False

    def __init__(self, port: int) -> None:
        self.address = Address("127.0.0.1", port)

    def wire(self, payload: Payload):
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(payload.body) + payload.body
        return lambda second: request

    def failure(self, status: int, error_type: bytes, body: bytes) -> Failure:
        kind = error_type.decode() or f"HTTP {status}"
        return Failure(kind, body.decode(), hopeless=kind == "Gone")

    def stream_reader(self):
        raise NotImplementedError


def evenly(rate: float, duration_s: float, **more) -> LoadPlan:
    schedule = Schedule(ProfileArrivals(constant(rate, duration_s), random=False))
    return LoadPlan(schedule=schedule, payloads=(Payload(b"hello"),), **{"timeout_s": 5.0, **more})


def at(*times_s: float, **more) -> LoadPlan:
    schedule = Schedule(PointArrivals(times_s, times_s[-1] + 1e-6))
    return LoadPlan(schedule=schedule, payloads=(Payload(b"hello"),), **{"timeout_s": 5.0, **more})


async def generated(plan: LoadPlan, port: int, sender=None) -> Tally:
    """Run a plan here and now."""
    total = Tally()
    generator = Generator(plan, sender or Plain(port), total.merge)
    try:
        await generator.prepare()
        await generator.run(asyncio.get_running_loop().time() + 0.01)
    finally:
        await generator.close()
    return total
