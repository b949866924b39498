"""The host's link to control: artifacts, settings, and what is told to it. Lost without harm, and made again.

What was asked is asked again of the next control; events are kept until one says that it has written them down.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.logs import fields
from trimtab.wire.dialing import dial
from trimtab.wire.hosting import (
    MAX_BYTES,
    Changed,
    ControlSays,
    Events,
    Fetch,
    Files,
    Holding,
    HostHello,
    HostSays,
    ModelEvent,
    NoFiles,
    Noted,
    Release,
    Settings,
)
from trimtab.wire.sized import SizedReader, sized

logger = logging.getLogger(__name__)

_RECONNECT_S = (0.01, 0.5)  # first pause, longest pause
_EVENTS_KEPT = 10_000  # the oldest are lost when control is away for longer than it takes to make so many
_EVENTS_SENT = 500  # in one message
UNREAD_BYTES = 16 * 2**20  # a control that leaves so much unread is let go, and told anew when it is back
_decode = msgspec.msgpack.Decoder(ControlSays).decode
_encode = msgspec.msgpack.Encoder().encode


class ControlLink:
    """One connection, kept up for as long as the host lives."""

    def __init__(
        self,
        socket_path: Path,
        hello: HostHello,
        *,
        on_changed: Callable[[Changed], None],
        on_settings: Callable[[Settings], None],
        unread_bytes: int = UNREAD_BYTES,
    ) -> None:
        """`hello.holds` is filled in with what is held when a connection is made."""
        self._socket_path = socket_path
        self._hello = hello
        self._on_changed = on_changed
        self._on_settings = on_settings
        self._unread_bytes = unread_bytes
        self._ids = itertools.count(1)
        self._asked: dict[int, tuple[Fetch, asyncio.Future[Files | NoFiles]]] = {}
        self._held: Counter[str] = Counter()  # leases, by path
        self._events: deque[ModelEvent] = deque(maxlen=_EVENTS_KEPT)
        self._last_seq = 0
        self._told_seq = 0  # the last event that this connection was told
        self._holding: Holding | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._tell_due = False
        self._written = asyncio.Event()  # nothing is left to be acknowledged
        self._written.set()

    def open(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._keep_connected(), name="link to control")

    async def close(self) -> None:
        """Let go; control takes back all leases."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def is_connected(self) -> bool:
        """Whether anybody is there to fetch anything."""
        return self._writer is not None

    async def fetch(self, model: str) -> Files | NoFiles:
        """Have an artifact brought here and leased, for as long as it takes: without a control, until there is one."""
        fetch = Fetch(id=next(self._ids), model=model)
        future: asyncio.Future[Files | NoFiles] = asyncio.get_running_loop().create_future()
        self._asked[fetch.id] = fetch, future
        self._send(fetch)
        try:
            return await future
        finally:
            self._asked.pop(fetch.id, None)

    def release(self, path: str) -> None:
        """One lease less on an artifact."""
        if self._held[path] > 1:
            self._held[path] -= 1
        else:
            del self._held[path]
        self._send(Release(path=path))

    def note(self, event: ModelEvent) -> None:
        """Tell of something that happened; numbered here."""
        self._last_seq += 1
        self._events.append(msgspec.structs.replace(event, seq=self._last_seq))
        self._written.clear()
        if not self._tell_due:
            self._tell_due = True
            asyncio.get_running_loop().call_soon(self._tell)

    def hold(self, holding: Holding) -> None:
        """Tell what is held now, if that is news."""
        if holding != self._holding:
            self._holding = holding
            self._send(holding)

    async def settled(self, within_s: float) -> None:
        """Wait until control has written down what it was told, for a while."""
        try:
            async with asyncio.timeout(within_s):
                await self._written.wait()
        except TimeoutError:
            logger.warning("control was not told all %s", fields(events=len(self._events)))

    def _tell(self) -> None:
        self._tell_due = False
        if self._writer is None:
            return
        new = [event for event in self._events if event.seq > self._told_seq]
        for start in range(0, len(new), _EVENTS_SENT):
            self._send(Events(events=tuple(new[start : start + _EVENTS_SENT])))
        self._told_seq = self._last_seq

    def _send(self, message: HostSays) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        self._writer.write(sized(_encode(message)))
        if self._writer.transport.get_write_buffer_size() > self._unread_bytes:
            logger.warning("control does not read what it is told; left")
            self._writer.transport.abort()

    async def _keep_connected(self) -> None:
        while True:
            reader, writer = await dial(self._socket_path, _RECONNECT_S)
            self._writer = writer
            try:
                self._greet()
                await self._read(reader)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                logger.warning("link to control broke %s", fields(error=error or type(error).__name__))
            finally:
                self._writer = None
                writer.close()
            await asyncio.sleep(_RECONNECT_S[0])

    def _greet(self) -> None:
        """Say who speaks, and once more whatever the last control may not have heard or done."""
        self._send(msgspec.structs.replace(self._hello, holds=tuple(self._held.elements())))
        for fetch, _ in self._asked.values():
            self._send(fetch)
        self._told_seq = 0
        self._tell()
        if self._holding is not None:
            self._send(self._holding)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        messages = SizedReader(MAX_BYTES)
        while data := await reader.read(1 << 16):
            for message in messages.feed(data):
                self._take(_decode(message))

    def _take(self, said: ControlSays) -> None:
        if isinstance(said, Files | NoFiles):
            self._fetched(said)
        elif isinstance(said, Changed):
            self._on_changed(said)
        elif isinstance(said, Settings):
            self._on_settings(said)
        elif isinstance(said, Noted):
            while self._events and self._events[0].seq <= said.seq:
                self._events.popleft()
            if not self._events:
                self._written.set()

    def _fetched(self, said: Files | NoFiles) -> None:
        _, future = self._asked.get(said.id, (None, None))
        wanted = future is not None and not future.done()
        if isinstance(said, Files):
            self._held[said.path] += 1
            if not wanted:
                self.release(said.path)
        if future is not None and wanted:
            future.set_result(said)
