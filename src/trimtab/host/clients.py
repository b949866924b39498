"""The host's own socket: gateways ask for models and are told where they are, control asks how the host is.

Whoever connects is told of all that is here, and then of every change; control, whose first frame says that it is that,
is told no more of it and skips what it was told.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol, cast

import msgspec

from trimtab.errors import Broken
from trimtab.logs import fields
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import Kind, WorkerDescription, pack
from trimtab.wire.hosting import MAX_BYTES, ModelAt, Used, Want

logger = logging.getLogger(__name__)

_UNREAD_BYTES = 16 * 2**20  # a gateway that leaves so much unread is dropped: it connects again and is told anew
_CONTROL_KINDS = frozenset({Kind.DESCRIBE, Kind.DRAIN, Kind.STOP})
_encode = msgspec.msgpack.Encoder().encode
_decode_want = msgspec.msgpack.Decoder(Want).decode
_decode_used = msgspec.msgpack.Decoder(Used).decode

Tell = Callable[[ModelAt], None]


class Takes(Protocol):
    """Who is told what clients say."""

    def known(self) -> Iterable[ModelAt]:
        """All that is here, for a gateway that has just connected."""
        ...

    def wanted(self, want: Want, answer: Tell) -> None:
        """Requests wait for a model in the gateway that `answer` goes to."""
        ...

    def used(self, gateway: int, used: Used) -> None:
        """What a gateway, by the number of its connection, did."""
        ...

    def lost(self, gateway: int) -> None:
        """It has nothing in hand here any more."""
        ...

    def describe(self) -> WorkerDescription:
        """Control asks."""
        ...

    def drain(self) -> None:
        """Control wants the host to finish what is in hand, and end."""
        ...

    def stop(self) -> None:
        """Control wants it to end now."""
        ...


class Clients:
    """All connections. Made on a socket that listens already."""

    def __init__(self, listener: socket.socket, takes: Takes) -> None:
        self.takes = takes
        self._listener = listener
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._numbers = 0

    async def open(self) -> None:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=self._listener)

    async def close(self) -> None:
        """Hang up on all."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()

    def tell_gateways(self, at: ModelAt) -> list[int]:
        """Of a change. Written to every socket when this returns, as far as they take it. The numbers of all told."""
        frame = pack(Kind.MODEL, 0, payload=_encode(at))
        gateways = [connection for connection in list(self._connections) if not connection.is_control]
        for connection in gateways:
            connection.write(frame)
        return [connection.number for connection in gateways]

    def tell_control(self) -> None:
        """Of a new state."""
        frame = pack(Kind.DESCRIPTION, 0, payload=_encode(self.takes.describe()))
        for connection in list(self._connections):
            if connection.is_control:
                connection.write(frame)

    def joined(self, connection: _Connection) -> int:
        """A connection is there; its number."""
        self._connections.add(connection)
        self._numbers += 1
        return self._numbers

    def left(self, connection: _Connection) -> None:
        """A connection is over."""
        self._connections.discard(connection)
        if not connection.is_control:
            self.takes.lost(connection.number)


class _Connection(asyncio.Protocol):
    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._decoder = FrameDecoder(self._frame, max_payload_bytes=MAX_BYTES)
        self._transport: asyncio.Transport | None = None
        self.is_control = False
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        # uvloop keeps what is below the limit until the turn of the event loop ends: LEAVING must be out before DRAIN.
        self._transport.set_write_buffer_limits(high=0)
        self.number = self._clients.joined(self)
        frames = b"".join(pack(Kind.MODEL, 0, payload=_encode(at)) for at in self._clients.takes.known())
        if frames:
            self.write(frames)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._clients.left(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._decoder.feed(data)
        except (Broken, msgspec.MsgspecError) as error:
            logger.warning("a client breaks the wire %s", fields(error=error))
            self.close()

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > _UNREAD_BYTES:
            logger.warning("a gateway does not read; dropped %s", fields(connection=self.number))
            transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            with suppress(RuntimeError):  # the loop may be closing
                self._transport.abort()

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        takes = self._clients.takes
        if kind == Kind.WANT:
            takes.wanted(_decode_want(payload), self._answer)
        elif kind == Kind.USED:
            takes.used(self.number, _decode_used(payload))
        elif kind in _CONTROL_KINDS:
            if not self.is_control:
                self.is_control = True
                takes.lost(self.number)  # as a gateway
            if kind == Kind.DRAIN:
                takes.drain()
            elif kind == Kind.STOP:
                takes.stop()
            self.write(pack(Kind.DESCRIPTION, 0, payload=_encode(takes.describe())))
        else:
            raise Broken(f"A frame of kind {kind} is not for a model host.")

    def _answer(self, at: ModelAt) -> None:
        self.write(pack(Kind.MODEL, 0, payload=_encode(at)))
