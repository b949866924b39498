"""FakeHost: a model host inside the test's own event loop; it says what the test tells it and keeps what it hears."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from trimtab.resources.replica import Wire
from trimtab.resources.routing import Lane
from trimtab.testing.fake_worker import FakeWorker, Got
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import Kind, pack
from trimtab.wire.hosting import ModelAt, ModelState, Use, Used, Want


class HostConnection(asyncio.Protocol):
    """A gateway's connection to a fake host."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(self._frame)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway came: it is told all."""
        self.transport = cast(asyncio.Transport, transport)
        if self.host.dead:  # accepted just before
            self.transport.abort()
        self.host.connections.append(self)
        for at in self.host.models.values():
            self.say(at)
        self.host.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It left."""
        self.transport = None
        self.host.connections.remove(self)
        self.host.wake()

    def data_received(self, data: bytes) -> None:
        """Bytes of frames."""
        self._decoder.feed(data)

    def say(self, at: ModelAt) -> None:
        """One MODEL frame, unless the gateway has gone."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(pack(Kind.MODEL, 0, payload=msgspec.msgpack.encode(at)))

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        host = self.host
        if kind == Kind.WANT:
            want = msgspec.msgpack.decode(payload, type=Want)
            host.wants.append(want)
            if (at := host.models.get(want.model)) is not None and at.state is ModelState.READY:
                self.say(at)
            else:
                host.on_want(want)
        elif kind == Kind.USED:
            host.uses += msgspec.msgpack.decode(payload, type=Used).uses
        host.wake()


class FakeHost:
    """Listens on a Unix socket. `on_want` decides what happens to a model that is not there; by default nothing does.

    A Want of a model that is ready is answered by itself, as any host must.
    """

    def __init__(self, path: Path, on_want: Callable[[Want], None] | None = None) -> None:
        self.path = path
        self.on_want = on_want or (lambda want: None)
        self.connections: list[HostConnection] = []
        self.wants: list[Want] = []
        self.uses: list[Use] = []
        self.models: dict[str, ModelAt] = {}  # ready ones
        self.workers: list[FakeWorker] = []
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def dead(self) -> bool:
        """Not started, or killed."""
        return self._server is None

    def lane(self) -> Lane:
        """Its place in a route table."""
        return Lane(replica_id=self.path.stem, address=f"unix:{self.path}", wire=Wire.MODELS)

    async def start(self) -> FakeHost:
        """Listen."""
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: HostConnection(self), str(self.path))
        return self

    # --- models ----------------------------------------------------------------------------------------------------

    async def load(
        self, model: str, on_request: Callable[[Got], None] | None = None, *, version: str = "1"
    ) -> FakeWorker:
        """Start a worker for a model, and tell that it is ready."""
        name = f"{self.path.stem}-{len(self.workers)}.w"
        worker = await FakeWorker(self.path.with_name(name), on_request).start()
        self.workers.append(worker)
        self.ready(model, worker.lane(), version=version)
        return worker

    def ready(self, model: str, *lanes: Lane, version: str = "1") -> None:
        """Tell that a model is ready at `lanes`."""
        self.models[model] = ModelAt(model, version, ModelState.READY, lanes)
        self.tell(self.models[model])

    def loading(self, model: str, *, version: str = "1") -> None:
        """Tell that it is on its way."""
        self.tell(ModelAt(model, version, ModelState.LOADING))

    def leaving(self, model: str, *, version: str = "1") -> None:
        """Tell that it gets nothing new."""
        if (at := self.models.get(model)) is not None and at.version == version:
            del self.models[model]
        self.tell(ModelAt(model, version, ModelState.LEAVING))

    def fail(self, model: str, reason: str, message: str = "It does not load.") -> None:
        """Tell that it is not loaded."""
        self.tell(ModelAt(model, "", ModelState.FAILED, reason=reason, message=message))

    def tell(self, at: ModelAt) -> None:
        """Every gateway."""
        for connection in self.connections:
            connection.say(at)

    # --- the end ---------------------------------------------------------------------------------------------------

    async def die(self) -> None:
        """As by kill -9: its connections are cut. Its workers go on until `close`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.path.unlink(missing_ok=True)
        self.models.clear()
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await self.until(lambda: not self.connections)

    async def close(self) -> None:
        """The end of it and of its workers."""
        await self.die()
        for worker in self.workers:
            await worker.die()

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
