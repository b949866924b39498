"""The engine's side of the nursery's socket: orders that survive the nursery's death, and news of exits."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trimtab.engines.local.orders import (
    Bear,
    Born,
    Exited,
    Learn,
    Learned,
    Refused,
    Reply,
    Spawn,
    decode_reply,
    encode,
    split,
)
from trimtab.errors import Unavailable
from trimtab.logs import fields
from trimtab.wire.dialing import dial

logger = logging.getLogger(__name__)

_EXITS_KEPT = 512
_AGAIN_S = 0.01


class NurseryClient:
    """One connection, kept up for as long as the engine is open."""

    def __init__(self, socket_path: Path, *, patience_s: float = 30.0) -> None:
        """`patience_s`: how long an order waits for a nursery that is not there."""
        self._socket_path = socket_path
        self._patience_s = patience_s
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Born | Refused]] = {}
        self._lessons: dict[int, asyncio.Future[None]] = {}  # what somebody waits for to be learned
        self._writer: asyncio.StreamWriter | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._exits: OrderedDict[int, Exited] = OrderedDict()
        self._exit_waiters: dict[int, asyncio.Future[Exited]] = {}
        self._learned: set[str] = set()

    def open(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._keep_connected(), name="nursery client")

    async def close(self) -> None:
        """Let go of the connection. Orders under way fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def order(self, order: Bear | Spawn) -> Born:
        """Have a process made. Lost connections are retried: the same order twice makes one process.

        Raises FileNotFoundError when the program does not exist, OSError when it cannot be started, Unavailable
        when no nursery came within the patience.
        """
        deadline_s = time.monotonic() + self._patience_s
        while True:
            reply = await self._ask(order, deadline_s)
            if isinstance(reply, Born):
                return reply
            if reply is not None and not reply.again:
                raise (FileNotFoundError if reply.missing else OSError)(reply.message)
            if time.monotonic() > deadline_s:
                raise Unavailable(f"The nursery did not take an order within {self._patience_s:g} s.")
            if reply is not None:
                await asyncio.sleep(_AGAIN_S)

    def learn(self, modules: Sequence[str]) -> None:
        """Suggest imports. Nothing when there is no nursery at the moment: the next birth suggests them again."""
        if self._writer is None or self._learned.issuperset(modules):
            return
        self._learned.update(modules)
        self._writer.write(encode(Learn(modules=tuple(modules))))

    async def learned(self, modules: Sequence[str], *, within_s: float) -> None:
        """Wait until it has imported what it can of these, at most so long; at once when it did that before."""
        try:
            async with asyncio.timeout(within_s):
                await self._up.wait()
                if self._writer is not None and not self._learned.issuperset(modules):
                    self._learned.update(modules)
                    number = next(self._ids)
                    self._lessons[number] = asyncio.get_running_loop().create_future()
                    self._writer.write(encode(Learn(id=number, modules=tuple(modules))))
                if self._lessons:  # what others wait for comes first
                    await asyncio.wait(list(self._lessons.values()))
        except TimeoutError:
            logger.info("not learned in time %s", fields(modules=" ".join(modules), waited_s=within_s))

    async def exit_of(self, pid: int, *, within_s: float) -> Exited | None:
        """How `pid` ended; None when the nursery (which only knows its own children) does not say in time."""
        if pid in self._exits:
            return self._exits.pop(pid)
        if self._writer is None:
            return None
        waiter = self._exit_waiters.setdefault(pid, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(waiter)
        except TimeoutError:
            return None
        finally:
            self._exit_waiters.pop(pid, None)
            self._exits.pop(pid, None)

    async def _ask(self, order: Bear | Spawn, deadline_s: float) -> Born | Refused | None:
        """One attempt; None when the connection was lost or did not come in time."""
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline_s - time.monotonic()):
                await self._up.wait()
                number = next(self._ids)
                future: asyncio.Future[Born | Refused] = asyncio.get_running_loop().create_future()
                self._waiting[number] = future
                try:
                    assert self._writer is not None
                    if self._writer.is_closing():  # lost, and its reader has not been told yet
                        self._up.clear()
                        raise ConnectionResetError("the nursery has gone")
                    self._writer.write(encode(msgspec.structs.replace(order, id=number)))
                    return await future
                finally:
                    self._waiting.pop(number, None)
        except (ConnectionError, TimeoutError):
            return None

    async def _keep_connected(self) -> None:
        while True:
            reader, writer = await dial(self._socket_path)
            self._writer = writer
            known, self._learned = sorted(self._learned), set()
            self.learn(known)  # a new nursery knows nothing
            self._up.set()
            try:
                await self._read(reader)
            except (OSError, ValueError, msgspec.DecodeError) as error:
                logger.warning("nursery connection broke %s", fields(error=error))
            finally:
                self._lost(writer)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        buffer = bytearray()
        while data := await reader.read(1 << 16):
            buffer += data
            for message in split(buffer):
                self._take(decode_reply(message))

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, Exited):
            waiter = self._exit_waiters.get(reply.pid)
            if waiter is not None and not waiter.done():
                waiter.set_result(reply)
            self._exits[reply.pid] = reply
            while len(self._exits) > _EXITS_KEPT:
                self._exits.popitem(last=False)
            return
        if isinstance(reply, Learned):
            if (lesson := self._lessons.pop(reply.id, None)) is not None:
                lesson.set_result(None)
            return
        if isinstance(reply, Born):
            self._exits.pop(reply.pid, None)  # that was another process, which had the same id
        future = self._waiting.get(reply.id)
        if future is not None and not future.done():
            future.set_result(reply)

    def _lost(self, writer: asyncio.StreamWriter) -> None:
        self._writer = None
        self._up.clear()
        writer.close()
        for lesson in self._lessons.values():
            lesson.set_result(None)
        self._lessons.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the nursery has gone"))
