"""Connection: the keeper's end of one client."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

import msgspec

from trimtab.logs import fields
from trimtab.queues import wire
from trimtab.queues.model import Depth, Lease, Op, QueueSettings
from trimtab.wire.sized import SizedReader

logger = logging.getLogger(__name__)

_UNREAD_MOST_BYTES: Final = 256 * 2**20  # answers that a client does not read


class Pending:
    """An op on its way, and who waits for it (nobody: the keeper's own)."""

    __slots__ = ("connection", "number", "op", "over", "size_bytes", "timer")

    def __init__(self, op: Op, connection: Connection | None = None, number: int = 0, size_bytes: int = 0) -> None:
        self.op, self.connection, self.number, self.size_bytes = op, connection, number, size_bytes
        self.over = False  # of a Lease: it waits no longer
        self.timer: asyncio.TimerHandle | None = None


class Keeps(Protocol):
    """What a connection asks of its keeper."""

    def take(self, pending: Pending) -> None: ...
    def end_wait(self, pending: Pending) -> None: ...
    def is_behind(self) -> bool: ...
    def pause(self, connection: Connection) -> None: ...
    def joined(self, connection: Connection) -> None: ...
    def came(self, owner: str) -> str: ...
    def left(self, owner: str, connection: Connection) -> None: ...
    def watch(self, connection: Connection, prefix: str) -> None: ...


class Connection(asyncio.Protocol):
    """Takes a client's words apart, and puts answers together: those of one commit leave in one write."""

    def __init__(self, keeper: Keeps) -> None:
        self._keeper = keeper
        self._owner = ""
        self._reader = SizedReader(wire.MAX_BYTES)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._leases: dict[int, Pending] = {}  # those that may wait
        self.watches: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether the client is there."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client."""
        self._transport = transport  # type: ignore[assignment]
        self._keeper.joined(self)

    def data_received(self, data: bytes) -> None:
        """What it says."""
        try:
            for message in self._reader.feed(data):
                self._take(wire.decode_say(message), len(message))
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("a client of the queues cannot be understood %s", fields(owner=self._owner, error=error))
            self.drop()
        if self._keeper.is_behind() and self._transport is not None:
            self._transport.pause_reading()
            self._keeper.pause(self)

    def _take(self, said: wire.Say, size_bytes: int) -> None:
        if isinstance(said, wire.Ask):
            pending = Pending(_named(said, self._owner), self, said.number, size_bytes)
            if isinstance(said.op, Lease):
                self._leases[said.number] = pending
            self._keeper.take(pending)
        elif isinstance(said, wire.Hello):
            self._owner = self._keeper.came(said.owner)
        elif isinstance(said, wire.Watch):
            self.watches.append(said.prefix)
            self._keeper.watch(self, said.prefix)
        elif (waiting := self._leases.get(said.number)) is not None:
            self._keeper.end_wait(waiting)

    def answer(self, answer: wire.Answer) -> None:
        """To be written at the next `flush`."""
        self._leases.pop(answer.number, None)
        self._out.append(wire.encode(answer))

    def tell(self, queue: str, depth: Depth | None) -> None:
        """Say how a queue is, to one who wants to know."""
        if any(queue.startswith(prefix) for prefix in self.watches):
            known = depth or Depth(queue=queue, settings=QueueSettings())
            self._out.append(wire.encode(wire.Changed(depth=known, dropped=depth is None)))
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
            if self._transport.get_write_buffer_size() > _UNREAD_MOST_BYTES:
                logger.error("a client of the queues reads no answers: let go %s", fields(owner=self._owner))
                self.drop()
        self._out.clear()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def drop(self) -> None:
        """Let go of the client."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        self._keeper.left(self._owner, self)


def _named(ask: wire.Ask, owner: str) -> Op:
    """A client's op as the store is to see it: whose lease it is, and which asking of it."""
    op = ask.op
    if not isinstance(op, Lease):
        return op
    mine = owner if op.owner else ""
    return msgspec.structs.replace(op, owner=mine, ask=f"{owner}:{ask.number}", again=ask.again)
