"""HostClient: a model host's end of control's socket. It says what it is told to, and keeps what it hears."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from trimtab.wire.hosting import MAX_BYTES, ControlSays, HostHello, HostSays
from trimtab.wire.sized import SizedReader, sized

T = TypeVar("T", bound=ControlSays)

BOUND_S = 10.0


class HostClient:
    """One connection. Everything heard is in `heard`, in order."""

    def __init__(self, hello: HostHello) -> None:
        self.hello = hello
        self.heard: list[ControlSays] = []
        self._read = 0  # of `heard`, by `hears`
        self._news = asyncio.Event()
        self._over = False

    @classmethod
    async def connected(cls, socket: Path, hello: HostHello) -> Self:
        """Connect and say who it is."""
        host = cls(hello)
        reader, host._writer = await asyncio.open_unix_connection(str(socket))
        host._task = asyncio.create_task(host._listen(reader))
        host.say(hello)
        return host

    _writer: asyncio.StreamWriter
    _task: asyncio.Task[None]

    def say(self, *messages: HostSays) -> None:
        """Send these."""
        self.send(b"".join(sized(msgspec.msgpack.encode(message)) for message in messages))

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self._writer.write(data)

    async def hears(self, kind: type[T]) -> T:
        """The next message of that kind; those before it are passed over."""
        async with asyncio.timeout(BOUND_S):
            while True:
                while self._read < len(self.heard):
                    self._read += 1
                    if isinstance(found := self.heard[self._read - 1], kind):
                        return found
                if self._over:
                    raise ConnectionResetError("control has let go")
                self._news.clear()
                await self._news.wait()

    async def is_dropped(self) -> bool:
        """Wait until control lets go."""
        async with asyncio.timeout(BOUND_S):
            while not self._over:
                self._news.clear()
                await self._news.wait()
        return True

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        messages, decode = SizedReader(MAX_BYTES), msgspec.msgpack.Decoder(ControlSays).decode
        try:
            while data := await reader.read(1 << 16):
                self.heard += [decode(message) for message in messages.feed(data)]
                self._news.set()
        except ConnectionError:
            pass  # control was killed, or dropped us
        finally:
            self._over = True
            self._news.set()
