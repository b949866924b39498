"""FakeWorker: a framed worker inside the test's own event loop, that does as the test says and keeps what it got."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from trimtab.resources.routing import Lane
from trimtab.testing.fake_frames import FramesConnection, FramesListener
from trimtab.wire.frames import AnswerMeta, FailureMeta, Kind, RequestMeta, WorkerDescription


class Got(Struct):
    """A request that a worker received."""

    connection: FramesConnection
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


class FakeWorker(FramesListener):
    """Listens on a Unix socket. `on_request` decides what happens to each request; by default it is kept in `got`."""

    def __init__(self, path: Path, on_request: Callable[[Got], None] | None = None) -> None:
        super().__init__(path)
        self.on_request = on_request or (lambda got: None)
        self.got: list[Got] = []
        self.cancelled: list[int] = []
        self.credit: dict[int, int] = {}

    def lane(self, *, concurrency: int = 1, alone: bool = False) -> Lane:
        """Its place in a route table."""
        return Lane(replica_id=self.path.stem, address=f"unix:{self.path}", concurrency=concurrency, alone=alone)

    def take(self, connection: FramesConnection, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        """See FramesListener."""
        if kind == Kind.REQUEST:
            got = Got(connection, stream, msgspec.msgpack.decode(meta, type=RequestMeta), payload)
            self.got.append(got)
            self.on_request(got)
        elif kind == Kind.CANCEL:
            self.cancelled.append(stream)
        elif kind == Kind.DESCRIBE:
            described = WorkerDescription(replica_id=self.path.stem, index=0, pid=0, state="Ready")
            connection.send(Kind.DESCRIPTION, 0, payload=msgspec.msgpack.encode(described))
        elif kind == Kind.CREDIT:
            self.credit[stream] = self.credit.get(stream, 0) + int.from_bytes(payload, "little")
