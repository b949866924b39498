"""Both ends of a model host, for tests: a control that has artifacts in folders, and a gateway that asks for models."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec

from trimtab.testing.waiting import LIMIT_S, until
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, RequestMeta, pack
from trimtab.wire.hosting import (
    Changed,
    ControlSays,
    Events,
    Fetch,
    Files,
    Holding,
    HostHello,
    HostSays,
    ModelAt,
    ModelEvent,
    ModelState,
    NoFiles,
    Noted,
    Release,
    Settings,
    Use,
    Used,
    Want,
)
from trimtab.wire.sized import SIZE

_decode = msgspec.msgpack.Decoder(HostSays).decode
_encode = msgspec.msgpack.Encoder().encode


class HostControl:
    """Control's end. `models` are folders by name, with a version; what is not there is ArtifactMissing."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.models: dict[str, tuple[Path, str]] = {}
        self.answers = asyncio.Event()  # cleared: it is slow, and answers no fetch
        self.answers.set()
        self.writes_down = True
        self.hellos: list[HostHello] = []
        self.fetches: list[str] = []
        self.leases: Counter[str] = Counter()
        self.events: list[ModelEvent] = []
        self.holding: Holding | None = None
        self.settings = Settings()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; again after `close`, as the next control."""
        self.leases.clear()
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def close(self) -> None:
        """Be gone, as if killed."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await until(lambda: not self._writers)
        self.socket.unlink(missing_ok=True)

    def tell(self, says: ControlSays) -> None:
        """To all hosts."""
        if isinstance(says, Settings):
            self.settings = says
        for writer in self._writers:
            _send(writer, says)

    def change(self, model: str, folder: Path, version: str) -> None:
        """Somebody has overwritten the model."""
        self.models[model] = folder, version
        self.tell(Changed(model=model))

    async def heard(self, what: str, model: str = "", count: int = 1) -> list[ModelEvent]:
        """Wait for so many events of a kind."""
        await until(lambda: len(self.happened(what, model)) >= count)
        return self.happened(what, model)

    def happened(self, what: str, model: str = "") -> list[ModelEvent]:
        """Events of a kind."""
        return [event for event in self.events if event.what == what and model in ("", event.model)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                (size,) = SIZE.unpack(await reader.readexactly(SIZE.size))
                self._hear(writer, _decode(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _hear(self, writer: asyncio.StreamWriter, said: HostSays) -> None:
        if isinstance(said, HostHello):
            self.hellos.append(said)
            self.leases.update(said.holds)
            _send(writer, self.settings)
        elif isinstance(said, Fetch):
            self.fetches.append(said.model)
            task = asyncio.create_task(self._answer(writer, said))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(said, Release):
            self.leases[said.path] -= 1
        elif isinstance(said, Holding):
            self.holding = said
        elif isinstance(said, Events) and self.writes_down:
            known = self.events[-1].seq if self.events else 0
            self.events += [event for event in said.events if event.seq > known]
            _send(writer, Noted(seq=self.events[-1].seq))

    async def _answer(self, writer: asyncio.StreamWriter, said: Fetch) -> None:
        await self.answers.wait()
        found = self.models.get(said.model)
        if found is None:
            text = f"Failed to download model data (bucket: b, key: {said.model}). There is no such object."
            _send(writer, NoFiles(id=said.id, reason="ArtifactMissing", message=text))
            return
        folder, version = found
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        self.leases[str(folder)] += 1
        _send(writer, Files(id=said.id, path=str(folder), version=version, size_bytes=size, fetched=True, took_s=0.01))


class HostGateway:
    """A gateway's end."""

    def __init__(self) -> None:
        self.told: list[ModelAt] = []
        self.at: dict[tuple[str, str], ModelAt] = {}  # by model and version, as last told
        self.over = asyncio.Event()
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self, address: str) -> None:
        """To a host."""
        reader, self._writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        self._task = asyncio.create_task(self._read(reader))

    def want(self, model: str, why: str = "asked") -> None:
        """Ask."""
        self._send(pack(Kind.WANT, 0, payload=_encode(Want(model, why))))

    def use(self, model: str, requests: int, in_hand: int = 0, *, done: tuple[str, ...] = ()) -> None:
        """Tell of requests; and of versions that are LEAVING, that nothing is in hand of them."""
        self._send(pack(Kind.USED, 0, payload=_encode(Used((Use(model, requests, in_hand, done=done),)))))

    async def ready(self, model: str, version: str = "") -> ModelAt:
        """Wait until the model is somewhere. AssertionError when it is told to have failed."""
        return await self._until(model, version, ModelState.READY)

    async def failed(self, model: str) -> ModelAt:
        """Wait until those who wait for the model are told no."""
        return await self._until(model, "", ModelState.FAILED)

    async def leaving(self, model: str, version: str = "") -> ModelAt:
        """Wait until nothing more is to be sent to it."""
        return await self._until(model, version, ModelState.LEAVING)

    async def get(self, model: str) -> ModelAt:
        """Ask, and wait."""
        self.want(model)
        return await self.ready(model)

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _until(self, model: str, version: str, state: ModelState) -> ModelAt:
        async with asyncio.timeout(LIMIT_S):
            while True:
                for at in reversed(self.at.values()):
                    if at.model == model and at.state is state and version in ("", at.version):
                        return at
                no = self.at.get((model, ""))
                if no is not None and no.state is ModelState.FAILED and state is ModelState.READY:
                    raise AssertionError(f"{model} failed: {no.reason}: {no.message}")
                await self._changed.wait()
                self._changed.clear()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = FrameDecoder(self._frame)
        while data := await reader.read(1 << 16):
            decoder.feed(data)
        self.over.set()

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        if kind == Kind.MODEL:
            at = msgspec.msgpack.decode(payload, type=ModelAt)
            self.told.append(at)
            self.at.pop((at.model, at.version), None)
            self.at[at.model, at.version] = at
            if at.state is not ModelState.FAILED:
                self.at.pop((at.model, ""), None)
            self._changed.set()

    def _send(self, frame: bytes) -> None:
        assert self._writer is not None
        self._writer.write(frame)


async def invoke(at: ModelAt, body: bytes = b"x", content_type: str = "text/plain") -> tuple[int, bytes]:
    """Send one request straight to a model's worker; the kind of the answer's frame, and its payload."""
    reader, writer = await asyncio.open_unix_connection(at.lanes[0].address.removeprefix("unix:"))
    try:
        meta = _encode(RequestMeta(content_type=content_type, target_model=at.model))
        writer.write(pack(Kind.REQUEST, 1, meta, body))
        size, _, meta_size, kind, _ = HEADER.unpack(await reader.readexactly(HEADER_SIZE))
        rest = await reader.readexactly(meta_size + size)
        return kind, rest[meta_size:]
    finally:
        writer.close()


def _send(writer: asyncio.StreamWriter, says: ControlSays) -> None:
    body = _encode(says)
    writer.write(SIZE.pack(len(body)) + body)
