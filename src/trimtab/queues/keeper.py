"""QueueKeeper: the one process that writes the queues. It commits what came while the disk was busy together.

Leases that found nothing wait here. When something is put into their queue, they are tried again in the transaction
that puts it: from acceptance to work is one commit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from trimtab.logs import fields
from trimtab.queues import wire
from trimtab.queues.model import (
    Ack,
    Bury,
    Drop,
    Extend,
    Free,
    Lease,
    Leases,
    Op,
    Put,
    QueuesFull,
    Redrive,
    Result,
    Return,
)
from trimtab.queues.store import QueueStore

logger = logging.getLogger(__name__)

_GROUP_MOST = 4096  # ops in one transaction
_TELL_EVERY_S = 0.05  # how often watchers hear of a queue that goes on changing
_RETURN_GRACE_S = 2.0  # after a start: owners that do not come back in this time are gone
_DUE_LEAST_S = 0.002


class _Pending:
    """An op on its way, and who waits for it."""

    __slots__ = ("answer", "op", "owner", "until_s")

    def __init__(self, op: Op, answer: Callable[[Result | None, str, bool], None], owner: str, until_s: float) -> None:
        self.op, self.answer, self.owner, self.until_s = op, answer, owner, until_s


class QueueKeeper:
    """Serves a `QueueStore` on a Unix socket. `run` until cancelled."""

    def __init__(self, store: QueueStore, socket: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._socket = socket
        self._now_s = now_s
        self._thread = ThreadPoolExecutor(1, "queues")
        self._incoming: deque[_Pending] = deque()
        self._parked: dict[str, list[_Pending]] = {}
        self._wake = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._owners: dict[str, int] = {}  # connections of each
        self._changed: dict[str, float] = {}  # queues that watchers have not heard of since, and when to tell
        self._told_empty: dict[str, bool] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, owner only."""
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), str(self._socket))
        self._socket.chmod(0o600)

    async def run(self) -> None:
        """Carry out what comes, for ever."""
        loop = asyncio.get_running_loop()
        strangers = loop.call_later(_RETURN_GRACE_S, self._free_strangers)
        timer: asyncio.TimerHandle | None = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch = self._gather()
                if batch:
                    await self._commit(batch)
                if timer is not None:
                    timer.cancel()
                timer = self._set_alarm()
                if self._incoming:
                    self._wake.set()
        finally:
            strangers.cancel()
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        """Take nothing more; what was not answered is asked again, of the next keeper."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()
        self._thread.shutdown()
        self._store.close()

    # --- ops ---------------------------------------------------------------------------------------------------

    def take(self, op: Op, owner: str, answer: Callable[[Result | None, str, bool], None]) -> None:
        """An op has come."""
        until_s = self._now_s() + op.wait_s if isinstance(op, Lease) else 0.0
        self._incoming.append(_Pending(op, answer, owner, until_s))
        self._wake.set()

    def _gather(self) -> list[_Pending]:
        """What goes into the next transaction: what has come, and the waiting leases that it may satisfy."""
        batch = [self._incoming.popleft() for _ in range(min(len(self._incoming), _GROUP_MOST))]
        concerned = {queue for pending in batch for queue in _fills(pending.op)}
        now_s = self._now_s()
        for queue in [q for q, parked in self._parked.items() if q in concerned or self._is_due(q, parked, now_s)]:
            batch += self._parked.pop(queue)
        return batch

    def _is_due(self, queue: str, parked: list[_Pending], now_s: float) -> bool:
        return self._due_s <= now_s or any(pending.until_s <= now_s for pending in parked)

    _due_s = float("inf")

    async def _commit(self, batch: list[_Pending]) -> None:
        now_s = self._now_s()
        ops = [pending.op for pending in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: (self._store.apply(ops, now_s), self._store.due(now_s))
            )
        except QueuesFull as error:
            for pending in batch:
                pending.answer(None, str(error), True)
            return
        except Exception as error:
            logger.exception("ops failed")
            if len(batch) > 1:  # one bad op must not take the others with it
                for pending in batch:
                    await self._commit([pending])
            else:
                batch[0].answer(None, f"The queues could not do it: {error!r}. See trimtab's log.", False)
            return
        done, self._due_s = results
        for pending, result in zip(batch, done, strict=True):
            empty = isinstance(result, Leases) and not result.messages
            if empty and pending.until_s > self._now_s() and pending.owner in self._owners:
                self._parked.setdefault(getattr(pending.op, "queue", ""), []).append(pending)
                continue
            pending.answer(result, "", False)
        self._note_changes(ops)

    def _set_alarm(self) -> asyncio.TimerHandle | None:
        """Wake when something becomes visible or ends, or when a lease has waited long enough."""
        due_s = min([self._due_s, *(p.until_s for parked in self._parked.values() for p in parked)])
        if due_s == float("inf"):
            return None
        delay_s = max(_DUE_LEAST_S, due_s - self._now_s())
        return asyncio.get_running_loop().call_later(min(delay_s, 3600.0), self._ring)

    def _ring(self) -> None:
        if not self._incoming:
            self._incoming.append(_Pending(Free(owner=""), lambda *_: None, "", 0.0))  # lets time take its course
        self._wake.set()

    # --- owners ------------------------------------------------------------------------------------------------

    def came(self, owner: str) -> None:
        """A client has connected."""
        self._owners[owner] = self._owners.get(owner, 0) + 1

    def left(self, owner: str, connection: _Connection) -> None:
        """A connection is over; with its last one an owner is gone."""
        self._connections.discard(connection)
        if not owner:
            return
        self._owners[owner] -= 1
        if self._owners[owner]:
            return
        del self._owners[owner]
        for queue, parked in list(self._parked.items()):
            self._parked[queue] = [pending for pending in parked if pending.owner != owner]
        self.take(Free(owner=owner), owner, lambda *_: None)

    def _free_strangers(self) -> None:
        """Leases of owners that have not come back since this keeper began."""
        for owner in self._store.owners():
            if owner not in self._owners:
                self.take(Free(owner=owner), owner, lambda *_: None)

    # --- watchers ----------------------------------------------------------------------------------------------

    def joined(self, connection: _Connection) -> None:
        """A connection is there."""
        self._connections.add(connection)

    def _note_changes(self, ops: list[Op]) -> None:
        if not any(connection.watches for connection in self._connections):
            return
        for queue in {queue for op in ops for queue in _touches(op)}:
            depth = self._store.depth(queue)
            empty = depth is None or not (depth.waiting + depth.leased)
            if self._told_empty.get(queue) != empty:
                self._tell(queue)
            elif queue not in self._changed:
                self._changed[queue] = 0.0
                asyncio.get_running_loop().call_later(_TELL_EVERY_S, self._tell, queue)

    def _tell(self, queue: str) -> None:
        self._changed.pop(queue, None)
        depth = self._store.depth(queue)
        self._told_empty[queue] = depth is None or not (depth.waiting + depth.leased)
        for connection in self._connections:
            connection.tell(queue, depth)

    def tell_all(self, connection: _Connection, prefix: str) -> None:
        """A client begins to watch."""
        for queue in self._store.names(prefix):
            connection.tell(queue, self._store.depth(queue))


class _Connection(asyncio.Protocol):
    def __init__(self, keeper: QueueKeeper) -> None:
        self._keeper = keeper
        self._owner = ""
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.watches: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._keeper.joined(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for message in wire.split(self._buffer):
                self._take(wire.decode_say(message))
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("a client of the queues cannot be understood %s", fields(owner=self._owner, error=error))
            self.drop()

    def _take(self, said: wire.Say) -> None:
        if isinstance(said, wire.Hello):
            self._owner = said.owner
            self._keeper.came(said.owner)
        elif isinstance(said, wire.Watch):
            self.watches.append(said.prefix)
            self._keeper.tell_all(self, said.prefix)
        else:
            number = said.number

            def answer(result: Result | None, error: str, full: bool) -> None:
                self._write(wire.Answer(number=number, result=result, error=error, full=full))

            self._keeper.take(said.op, self._owner, answer)

    def tell(self, queue: str, depth: object) -> None:
        """Say how a queue is, to one who wants to know."""
        if not any(queue.startswith(prefix) for prefix in self.watches):
            return
        from trimtab.queues.model import Depth, QueueSettings

        known = depth if isinstance(depth, Depth) else Depth(queue=queue, settings=QueueSettings())
        self._write(wire.Changed(depth=known, dropped=depth is None))

    def _write(self, reply: wire.Reply) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.encode(reply))

    def drop(self) -> None:
        """Let go of the client."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._keeper.left(self._owner, self)


def _fills(op: Op) -> list[str]:
    """Queues that an op may put something leasable into."""
    if isinstance(op, Put | Extend | Return):
        return [op.queue]
    if isinstance(op, Ack | Bury):
        return [op.queue, *(put.queue for put in op.puts)]
    if isinstance(op, Redrive):
        return [op.queue, op.into]
    return []


def _touches(op: Op) -> list[str]:
    if isinstance(op, Lease | Drop):
        return [op.queue]
    queue = getattr(op, "queue", "")
    return [*_fills(op), *([queue] if queue else [])]
