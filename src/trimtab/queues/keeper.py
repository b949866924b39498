"""QueueKeeper: the one process that writes the queues. It commits what came while the disk was busy together.

Leases that found nothing wait here. When something is put into their queue, they are tried again in the transaction
that puts it: from acceptance to work is one commit. The store is used by one thread, and by nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.errors import Unavailable
from trimtab.logs import fields
from trimtab.queues import wire
from trimtab.queues.connection import Connection, Pending
from trimtab.queues.model import Depth, Free, Lease, Leases, Op, QueuesFull, Result, Return
from trimtab.queues.moves import fills
from trimtab.queues.store import QueueStore, StoreLost
from trimtab.queues.watching import Watching

logger = logging.getLogger(__name__)

_GROUP_MOST: Final = 2048  # ops in one transaction
_GROUP_BYTES: Final = 8 * 2**20  # and what they hold, about
_RETURN_GRACE_S: Final = 1.0  # after a start: owners that do not come back in this time are gone
_DUE_LEAST_S: Final = 0.002
_DUE_MOST_S: Final = 1.0  # the clock is looked at so often, in case it has jumped
_JUMP_S: Final = 1.0  # less than this is a clock that is being put right
_EMPTY: Final = Leases(messages=())


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of one transaction."""

    results: Sequence[Result]
    due_s: float  # when time has something to do next
    changed: Sequence[str]
    depths: Mapping[str, Depth | None]  # of those that somebody watches


class QueueKeeper:
    """Serves a `QueueStore` on a Unix socket: `open`, then `run` until cancelled, then `close`.

    `house` names this keeper among those that share one store: it stands before the owners of the clients here.
    """

    def __init__(
        self,
        store: QueueStore,
        socket: Path,
        *,
        now_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
        house: str = "",
    ) -> None:
        """`now_s` is the wall clock; `steady_s` goes as fast and never jumps."""
        self._store = store
        self._socket = socket
        self._now_s = now_s
        self._steady_s = steady_s
        self._ahead_s = now_s() - steady_s()
        self._house = house
        self._thread = ThreadPoolExecutor(1, "queues")
        self._incoming: deque[Pending] = deque()
        self._parked: dict[str, list[Pending]] = {}  # leases that wait, by queue
        self._stirred: set[str] = set()  # queues whose waiting leases are to be tried
        self._wake = asyncio.Event()
        self._connections: set[Connection] = set()
        self._paused: set[Connection] = set()
        self._owners: dict[str, int] = {}  # connections of each
        self._due_s = 0.0
        self._heard: set[str] = set()  # changed by other keepers, not told to those who watch yet
        self._server: asyncio.Server | None = None
        self._watching = Watching(self._connections)

    async def open(self) -> None:
        """Listen, owner only."""
        loop = asyncio.get_running_loop()

        def others(queues: Sequence[str]) -> None:
            loop.call_soon_threadsafe(self._others, queues)

        self._store.hear(others)
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._socket.unlink(missing_ok=True)
        self._server = await loop.create_unix_server(lambda: Connection(self), str(self._socket))
        self._socket.chmod(0o600)

    async def run(self) -> None:
        """Carry out what comes, for ever."""
        loop = asyncio.get_running_loop()
        strangers = loop.create_task(self._free_strangers(), name="owners that have not come back")
        alarm: asyncio.TimerHandle | None = loop.call_soon(self._wake.set)  # type: ignore[assignment]
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._follow_clock()
                batch = self._gather()
                if batch or self._due_s <= self._now_s():
                    await self._commit(batch)
                if alarm is not None:
                    alarm.cancel()
                delay_s = min(max(self._due_s - self._now_s(), _DUE_LEAST_S), _DUE_MOST_S)
                alarm = loop.call_later(delay_s, self._wake.set)
                if self._incoming or self._stirred:
                    self._wake.set()
        finally:
            strangers.cancel()
            if alarm is not None:
                alarm.cancel()

    async def close(self) -> None:
        """Take nothing more; what was not answered is asked again, of the next keeper."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drop()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown()

    async def _follow_clock(self) -> None:
        """When the wall clock has jumped, what is kept follows it."""
        jump_s = self._now_s() - self._steady_s() - self._ahead_s
        if abs(jump_s) >= _JUMP_S:
            logger.warning("the clock has jumped: the queues follow it %s", fields(by_s=jump_s))
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.shift, jump_s)
            self._ahead_s += jump_s
            self._due_s = 0.0

    # --- ops ---------------------------------------------------------------------------------------------------

    def take(self, pending: Pending) -> None:
        """An op has come."""
        self._incoming.append(pending)
        self._wake.set()

    def is_behind(self) -> bool:
        """More has come than goes into the next transactions: clients must wait."""
        return len(self._incoming) > 4 * _GROUP_MOST

    def pause(self, connection: Connection) -> None:
        """`connection` reads no more until there is room."""
        self._paused.add(connection)

    def _gather(self) -> list[Pending]:
        """What goes into the next transaction: what has come, then the leases that it may satisfy."""
        changes: list[Pending] = []
        leases: list[Pending] = []
        size_bytes = 0
        while self._incoming and len(changes) + len(leases) < _GROUP_MOST and size_bytes < _GROUP_BYTES:
            pending = self._incoming.popleft()
            size_bytes += pending.size_bytes
            if not isinstance(pending.op, Lease):
                changes.append(pending)
            elif pending.connection is not None and pending.connection.is_open:
                leases.append(pending)
        if not self.is_behind():
            for connection in self._paused:
                connection.resume()
            self._paused.clear()
        concerned = self._stirred
        if self._parked:
            for pending in changes:
                concerned.update(fills(pending.op))
        self._stirred = set()
        for queue in concerned:
            changes += self._parked.pop(queue, ())
        return changes + leases

    def _transact(self, ops: Sequence[Op], now_s: float, watched: tuple[str, ...], heard: Collection[str]) -> _Outcome:
        """On the store's thread."""
        results = self._store.apply(ops, now_s)
        changed = self._store.changed()
        heard = [queue for queue in {*changed, *heard} if queue.startswith(watched)] if watched else []
        depths = dict(zip(heard, self._store.depths(heard), strict=True))
        return _Outcome(results, self._store.due(now_s), changed, depths)

    async def _commit(self, batch: list[Pending]) -> None:
        ops = [pending.op for pending in batch]
        loop = asyncio.get_running_loop()
        heard, self._heard = self._heard, set()
        try:
            outcome = await loop.run_in_executor(
                self._thread, self._transact, ops, self._now_s(), self._watching.prefixes, heard
            )
        except Unavailable as error:
            self._refuse(batch, "full" if isinstance(error, QueuesFull) else "unavailable", str(error))
            return
        except StoreLost:
            raise
        except Exception as error:
            if len(batch) > 1:  # one bad op must not take the others with it
                for pending in batch:
                    await self._commit([pending])
                return
            logger.exception("an op on the queues failed")
            self._refuse(batch, "broken", f"The queues could not do it: {error!r}. See trimtab's log.")
            return
        self._due_s = outcome.due_s
        for pending, result in zip(batch, outcome.results, strict=True):
            self._answer(pending, result)
        for connection in self._connections:
            connection.flush()
        self._stirred.update(queue for queue in outcome.changed if queue in self._parked)
        self._stirred -= _exhausted(batch, outcome.results)
        self._watching.note(outcome.depths)

    def _refuse(self, batch: Iterable[Pending], failure: str, error: str) -> None:
        """Nothing of a transaction was done. It is tried again no sooner than a pause later."""
        self._due_s = self._now_s() + _DUE_MOST_S
        for pending in batch:
            if pending.timer is not None and not pending.over:
                self._park(pending)  # it waits for something else now
            elif pending.connection is not None:
                pending.connection.answer(wire.Answer(number=pending.number, failure=failure, error=error))
        for connection in self._connections:
            connection.flush()

    def _answer(self, pending: Pending, result: Result) -> None:
        op, connection = pending.op, pending.connection
        if isinstance(op, Lease) and isinstance(result, Leases):
            if connection is None or not connection.is_open:
                self._give_back(op, result)
                return
            if not result.messages and op.wait_s > 0 and not pending.over:
                self._park(pending)
                return
        if pending.timer is not None:
            pending.timer.cancel()
        if connection is not None:
            connection.answer(wire.Answer(number=pending.number, result=result))

    def _give_back(self, op: Lease, leases: Leases) -> None:
        """Nobody is there any more to take what was leased."""
        for message in leases.messages:
            back = Return(queue=op.queue, id=message.id, token=message.token, reason="nobody took it", counts=False)
            self.take(Pending(back))

    # --- leases that wait --------------------------------------------------------------------------------------

    def _park(self, pending: Pending) -> None:
        assert isinstance(pending.op, Lease)
        if pending.timer is None:
            pending.timer = asyncio.get_running_loop().call_later(pending.op.wait_s, self.end_wait, pending)
        self._parked.setdefault(pending.op.queue, []).append(pending)

    def end_wait(self, pending: Pending) -> None:
        """A lease has waited long enough, or is not wanted any more."""
        pending.over = True
        assert isinstance(pending.op, Lease)
        if self._unpark(pending.op.queue, pending) and pending.connection is not None:
            pending.connection.answer(wire.Answer(number=pending.number, result=_EMPTY))
            pending.connection.flush()

    def _unpark(self, queue: str, pending: Pending) -> bool:
        """False when it is in a transaction just now."""
        parked = self._parked.get(queue, [])
        if pending not in parked:
            return False
        parked.remove(pending)
        if not parked:
            del self._parked[queue]
        if pending.timer is not None:
            pending.timer.cancel()
        return True

    def _others(self, queues: Sequence[str]) -> None:
        """Another keeper of the same store has changed these."""
        self._heard.update(queues)
        self._stirred.update(queue for queue in queues if queue in self._parked)
        self._due_s = 0.0
        self._wake.set()

    def watch(self, connection: Connection, prefix: str) -> None:
        """A client begins to watch."""
        self._watching.add(prefix)
        look = asyncio.get_running_loop().run_in_executor(self._thread, self._depths_below, prefix)
        look.add_done_callback(functools.partial(self._begin_watch, connection, prefix))

    def _begin_watch(self, connection: Connection, prefix: str, look: asyncio.Future[list[Depth]]) -> None:
        if look.cancelled() or not connection.is_open:
            return
        if isinstance(look.exception(), Unavailable):
            asyncio.get_running_loop().call_later(_DUE_MOST_S, self.watch, connection, prefix)
        else:
            self._watching.begin(connection, look.result())

    # --- owners ------------------------------------------------------------------------------------------------

    def joined(self, connection: Connection) -> None:
        """A connection is there."""
        self._connections.add(connection)

    def came(self, owner: str) -> str:
        """A client has said who it is: its name in the store."""
        owner = self._house + owner
        self._owners[owner] = self._owners.get(owner, 0) + 1
        return owner

    def left(self, owner: str, connection: Connection) -> None:
        """A connection is over; with its last one an owner is gone, and its leases are free at once.

        A Unix socket ends when its client dies or lets go, and for no other cause. Should a client live all the same,
        its leases are fenced: it is told Lost."""
        self._connections.discard(connection)
        self._paused.discard(connection)
        for pending in [p for parked in self._parked.values() for p in parked if p.connection is connection]:
            self._unpark(pending.op.queue, pending)  # type: ignore[union-attr]
        if not owner:
            return
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
            self.take(Pending(Free(owner=owner)))

    async def _free_strangers(self) -> None:
        """Leases of owners that have not come back since this keeper began."""
        while True:
            await asyncio.sleep(_RETURN_GRACE_S)
            try:
                owners = await asyncio.get_running_loop().run_in_executor(self._thread, self._store.owners)
                break
            except Unavailable as error:
                logger.warning("the queues cannot be read yet %s", fields(error=error))
        for owner in owners:
            if owner.startswith(self._house) and owner not in self._owners:
                self.take(Pending(Free(owner=owner)))

    def _depths_below(self, prefix: str) -> list[Depth]:
        return [depth for depth in self._store.depths(self._store.names(prefix)) if depth is not None]


def _exhausted(batch: Iterable[Pending], results: Iterable[Result]) -> set[str]:
    """Queues of which a transaction's last lease found nothing: there is nothing for those that wait either."""
    found: dict[str, bool] = {}
    for pending, result in zip(batch, results, strict=True):
        op = pending.op
        if isinstance(op, Lease) and isinstance(result, Leases) and op.most > 0 and not op.only_expired:
            found[op.queue] = bool(result.messages)
    return {queue for queue, any_found in found.items() if not any_found}
