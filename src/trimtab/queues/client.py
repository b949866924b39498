"""QueueClient: asks the keeper of the queues, across its deaths."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from trimtab.errors import Broken, Unavailable
from trimtab.logs import fields
from trimtab.queues import wire
from trimtab.queues.model import Depth, Lease, Leases, Op, QueuesFull, Result, Return
from trimtab.wire.dialing import until_connected
from trimtab.wire.sized import SizedReader

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 30.0


class QueueClient(asyncio.Protocol):
    """See `store.Queues`. One connection, kept up while it is open; used on one event loop."""

    def __init__(self, socket: Path, *, owner: str = "", patience_s: float = PATIENCE_S) -> None:
        """`patience_s`: for how long an op waits for a keeper that is not there."""
        self.owner = owner or secrets.token_hex(12)
        self._socket = socket
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[Op, asyncio.Future[Result]]] = {}
        self._abandoned: dict[int, Lease] = {}  # not waited for any more, not answered yet
        self._watches: list[tuple[str, Callable[[Depth], None]]] = []
        self._transport: asyncio.Transport | None = None
        self._reader = SizedReader(wire.MAX_BYTES)
        self._out: list[bytes] = []
        self._flush_due = False
        self._lost = asyncio.Event()
        self._closed = False
        self._connecting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to connect; returns at once."""
        self._connecting = asyncio.get_running_loop().create_task(self._keep_connected(), name="queue client")

    async def close(self) -> None:
        """Let go: leases that are held are free for others. What is not answered yet raises Unavailable."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._transport is not None:
            self._flush()
            self._transport.close()
            await self._lost.wait()
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(Unavailable("The client of the queues was closed."))

    async def ask(self, op: Op) -> Result:
        """See Queues. Cancelled, a Lease leaves nothing leased; another op is done, or is not."""
        if self._closed:
            raise Unavailable("The client of the queues was closed.")
        number = next(self._numbers)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._asked[number] = (op, future)
        self._send(wire.encode(wire.Ask(number=number, op=op)))
        wait_s = op.wait_s if isinstance(op, Lease) else 0.0
        handed = False
        try:
            async with asyncio.timeout(self._patience_s + wait_s):
                result = await future
            handed = True
            return result
        except TimeoutError:
            raise Unavailable(
                f"The process that keeps the queues did not answer within {self._patience_s:g} s."
            ) from None
        finally:
            del self._asked[number]
            if not handed and isinstance(op, Lease):
                self._abandon(number, op, future)

    def _abandon(self, number: int, op: Lease, future: asyncio.Future[Result]) -> None:
        """Nobody waits for this lease any more: what it leased, or leases yet, is given back."""
        if not future.done() or future.cancelled():
            self._abandoned[number] = op
            self._send(wire.encode(wire.Cancel(number=number)))
        elif future.exception() is None:
            self._give_back(op, future.result())

    def _give_back(self, op: Lease, result: Result) -> None:
        if not isinstance(result, Leases):
            return
        for message in result.messages:
            back = Return(queue=op.queue, id=message.id, token=message.token, reason="nobody took it", counts=False)
            self._send(wire.encode(wire.Ask(number=next(self._numbers), op=back)))

    def watch(self, prefix: str, told: Callable[[Depth], None]) -> None:
        """See Queues."""
        self._watches.append((prefix, told))
        self._send(wire.encode(wire.Watch(prefix=prefix)))

    # --- connection --------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await until_connected(lambda: loop.create_unix_connection(lambda: self, str(self._socket)))
            await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who it is, and ask again what was not answered."""
        self._transport = transport  # type: ignore[assignment]
        self._lost.clear()
        self._reader = SizedReader(wire.MAX_BYTES)
        self._out = [wire.encode(wire.Hello(owner=self.owner))]
        self._out += [wire.encode(wire.Watch(prefix=prefix)) for prefix, _ in self._watches]
        asked: dict[int, Op] = {number: op for number, (op, future) in self._asked.items() if not future.done()}
        for number, lease in self._abandoned.items():  # it may have leased; it is not to lease now
            asked[number] = msgspec.structs.replace(lease, most=0, wait_s=0.0)
        self._out += [wire.encode(wire.Ask(number=number, op=asked[number], again=True)) for number in sorted(asked)]
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone; what was not answered is asked again."""
        self._transport = None
        self._out = []
        self._lost.set()

    def _send(self, message: bytes) -> None:
        """Asks of one turn of the event loop leave in one write."""
        if self._transport is None:
            return  # sent when it is there
        self._out.append(message)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out = []

    def data_received(self, data: bytes) -> None:
        """Answers."""
        try:
            for message in self._reader.feed(data):
                self._take(wire.decode_reply(message))
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("the queues answer what cannot be read %s", fields(error=error))
            if self._transport is not None:
                self._transport.abort()

    def _take(self, reply: wire.Reply) -> None:
        if isinstance(reply, wire.Changed):
            for prefix, told in self._watches:
                if reply.depth.queue.startswith(prefix):
                    told(reply.depth)
            return
        if (lease := self._abandoned.pop(reply.number, None)) is not None:
            if reply.result is not None:
                self._give_back(lease, reply.result)
            return
        _, future = self._asked.get(reply.number, (None, None))
        if future is None or future.done():
            return
        if reply.result is not None:
            future.set_result(reply.result)
        else:
            future.set_exception(_FAILURES.get(reply.failure, Broken)(reply.error))


_FAILURES: Final[dict[str, Callable[[str], Exception]]] = {"full": QueuesFull, "unavailable": Unavailable}
