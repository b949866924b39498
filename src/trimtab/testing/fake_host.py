"""FakeHost: a model host inside the test's own event loop; it says what the test tells it and keeps what it hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.resources.replica import Wire
from trimtab.resources.routing import Lane
from trimtab.testing.fake_frames import FramesConnection, FramesListener
from trimtab.testing.fake_worker import FakeWorker, Got
from trimtab.wire.frames import Kind
from trimtab.wire.hosting import ModelAt, ModelState, Use, Used, Want


class FakeHost(FramesListener):
    """Listens on a Unix socket. `on_want` decides what happens to a model that is not there; by default nothing does.

    A Want of a model that is ready is answered by itself, as any host must.
    """

    def __init__(self, path: Path, on_want: Callable[[Want], None] | None = None) -> None:
        super().__init__(path)
        self.on_want = on_want or (lambda want: None)
        self.wants: list[Want] = []
        self.uses: list[Use] = []
        self.models: dict[str, ModelAt] = {}  # ready ones
        self.workers: list[FakeWorker] = []

    def lane(self) -> Lane:
        """Its place in a route table."""
        return Lane(replica_id=self.path.stem, address=f"unix:{self.path}", wire=Wire.MODELS)

    def greet(self, connection: FramesConnection) -> None:
        """It is told all."""
        for at in self.models.values():
            _say(connection, at)

    def take(self, connection: FramesConnection, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        """See FramesListener."""
        if kind == Kind.WANT:
            want = msgspec.msgpack.decode(payload, type=Want)
            self.wants.append(want)
            if (at := self.models.get(want.model)) is not None and at.state is ModelState.READY:
                _say(connection, at)
            else:
                self.on_want(want)
        elif kind == Kind.USED:
            self.uses += msgspec.msgpack.decode(payload, type=Used).uses

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
            _say(connection, at)

    # --- the end ---------------------------------------------------------------------------------------------------

    async def die(self) -> None:
        """As by kill -9: its connections are cut. Its workers go on until `close`."""
        self.models.clear()
        await super().die()

    async def close(self) -> None:
        """The end of it and of its workers."""
        await self.die()
        for worker in self.workers:
            await worker.die()


def _say(connection: FramesConnection, at: ModelAt) -> None:
    connection.send(Kind.MODEL, 0, payload=msgspec.msgpack.encode(at))
