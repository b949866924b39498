"""FakeWorker: a framed worker inside the test's own event loop, that does as the test says and keeps what it got."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Struct

from trimtab.resources.routing import Lane
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import AnswerMeta, FailureMeta, Kind, RequestMeta, pack


class Got(Struct):
    """A request that a worker received."""

    connection: WorkerConnection
    stream: int
    meta: RequestMeta
    body: bytes

    def answer(
        self,
        body: bytes,
        content_type: str = "text/plain",
        custom_attributes: str = "",
        *,
        compute_us: int = 0,
        batch: int = 0,
    ) -> None:
        """ANSWER."""
        meta = msgspec.msgpack.encode(AnswerMeta(content_type, custom_attributes, compute_us, batch=batch))
        self.connection.send(Kind.ANSWER, self.stream, meta, body)

    def fail(self, status: int, text: bytes) -> None:
        """FAILURE."""
        self.connection.send(Kind.FAILURE, self.stream, msgspec.msgpack.encode(FailureMeta(status)), text)

    def refuse(self) -> None:
        """REFUSED."""
        self.connection.send(Kind.REFUSED, self.stream)

    def head(self, content_type: str = "text/plain") -> None:
        """HEAD."""
        self.connection.send(Kind.HEAD, self.stream, msgspec.msgpack.encode(AnswerMeta(content_type)))

    def chunk(self, data: bytes) -> None:
        """CHUNK."""
        self.connection.send(Kind.CHUNK, self.stream, b"", data)

    def end(self) -> None:
        """END."""
        self.connection.send(Kind.END, self.stream)


class WorkerConnection(asyncio.Protocol):
    """A gateway's connection to a fake worker."""

    def __init__(self, worker: FakeWorker) -> None:
        self.worker = worker
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(self._frame)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway came."""
        self.transport = cast(asyncio.Transport, transport)
        if self.worker.dead:  # accepted just before
            self.transport.abort()
        self.worker.connections.append(self)
        self.worker.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It left."""
        self.transport = None
        self.worker.connections.remove(self)
        self.worker.wake()

    def data_received(self, data: bytes) -> None:
        """Bytes of frames."""
        self._decoder.feed(data)

    def send(self, kind: Kind, stream: int, meta: bytes = b"", payload: bytes = b"") -> None:
        """One frame, unless the gateway has gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(pack(kind, stream, meta, payload))

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        worker = self.worker
        if kind == Kind.REQUEST:
            got = Got(self, stream, msgspec.msgpack.decode(meta, type=RequestMeta), payload)
            worker.got.append(got)
            worker.on_request(got)
        elif kind == Kind.CANCEL:
            worker.cancelled.append(stream)
        elif kind == Kind.CREDIT:
            worker.credit[stream] = worker.credit.get(stream, 0) + int.from_bytes(payload, "little")
        worker.wake()


class FakeWorker:
    """Listens on a Unix socket. `on_request` decides what happens to each request; by default it is kept in `got`."""

    def __init__(self, path: Path, on_request: Callable[[Got], None] | None = None) -> None:
        self.path = path
        self.on_request = on_request or (lambda got: None)
        self.connections: list[WorkerConnection] = []
        self.got: list[Got] = []
        self.cancelled: list[int] = []
        self.credit: dict[int, int] = {}
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def dead(self) -> bool:
        """Not started, or killed."""
        return self._server is None

    def lane(self, *, concurrency: int = 1, alone: bool = False) -> Lane:
        """Its place in a route table."""
        return Lane(replica_id=self.path.stem, address=f"unix:{self.path}", concurrency=concurrency, alone=alone)

    async def start(self) -> FakeWorker:
        """Listen."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: WorkerConnection(self), str(self.path))
        return self

    async def die(self) -> None:
        """As by kill -9: everything is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self.until(lambda: not self.connections)

    async def until(self, done: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until `done()`, looked at every millisecond and at each event here; TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not done():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.001)

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()
