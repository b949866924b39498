"""A member that is trimtab's own worker: followed over its control connection (wire/frames.py)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from trimtab.engines.local import failures
from trimtab.engines.local.client import NurseryClient
from trimtab.engines.local.members import Member
from trimtab.engines.local.orders import BirthRecord
from trimtab.logs import fields
from trimtab.resources.replica import Failure, ReplicaState
from trimtab.wire.frames import HEADER, HEADER_SIZE, Kind, WorkerDescription, pack

logger = logging.getLogger(__name__)

_decode_description = msgspec.msgpack.Decoder(WorkerDescription).decode
_CONNECT_PAUSE_S = (0.0005, 0.02)  # first, longest; growing by a tenth it is below 3 ms for the first 30 ms
_EXIT_AFTER_EOF_S = 2.0
_EXIT_AFTER_STOP_S = 1.0


class WorkerMember(Member):
    """Follows one worker. `description` is the last that it said of itself."""

    what = "A worker"

    def __init__(self, record: BirthRecord, path: Path, nursery: NurseryClient, on_change: Callable[[], None]) -> None:
        """Watch the process and begin to connect to it."""
        super().__init__(record, path, nursery, on_change)
        self.description: WorkerDescription | None = None
        self.heard_s = time.monotonic()
        self.socket_path = record.address.removeprefix("unix:")
        self._link: _Link | None = None
        self._task = asyncio.create_task(self._connect(), name=f"connect to {record.replica_id}-{record.index}")

    def ask(self) -> None:
        """Ask for a description; nothing when there is no connection yet."""
        self._send(Kind.DESCRIBE)

    def check_hung(self, limit_s: float, now_s: float) -> None:
        """Fail it when one request has been in hand for longer than `limit_s`, or it has been silent for so long."""
        if self.description is None or self.state not in (ReplicaState.READY, ReplicaState.DRAINING):
            return
        busy_since_s = self.description.busy_since_monotonic_s
        busy_s = now_s - busy_since_s if busy_since_s else 0.0
        worst_s = max(busy_s, now_s - self.heard_s)
        if worst_s > limit_s and not self.dead.is_set():
            self.fail(failures.hung(worst_s, self.log_tail()))
            self.kill()

    async def drain(self, grace_s: float) -> None:
        """DRAIN; SIGKILL for the group when the grace is over."""
        self._send(Kind.DRAIN)
        if not await self.died_within(grace_s):
            logger.warning("drain took too long %s", fields(replica=self.record.replica_id, pid=self.record.pid))
            await self.stop()

    async def stop(self) -> None:
        """STOP, so that it can flush its log; SIGKILL for the group soon after."""
        self._send(Kind.STOP)
        if self._link is None or not await self.died_within(_EXIT_AFTER_STOP_S):
            self.kill()
            await self.dead.wait()

    async def close(self) -> None:
        """Close the connection; the worker lives on."""
        self._task.cancel()
        if self._link is not None:
            self._link.close()
        await super().close()

    def _send(self, kind: Kind) -> None:
        if self._link is not None:
            self._link.send(kind)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = _CONNECT_PAUSE_S[0]
        while not self.dead.is_set():
            try:
                _, self._link = await loop.create_unix_connection(
                    lambda: _Link(self._described, self._hung_up), self.socket_path
                )
            except (FileNotFoundError, ConnectionRefusedError):  # not bound yet; its death ends this loop
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.1, _CONNECT_PAUSE_S[1])
                continue
            self.ask()
            return

    def _described(self, description: WorkerDescription) -> None:
        self.heard_s = time.monotonic()
        self.description = description
        self.in_flight = description.in_flight
        self.family = description.family
        batching = (description.batch_size, description.batching)
        changed = batching != (self.batch_size, self.batching)
        self.batch_size, self.batching = batching
        self.known.set()
        state = ReplicaState(description.state)
        if state is ReplicaState.FAILED:
            reason = description.failure_reason or "ModelLoadFailed"
            self.fail(Failure(reason=reason, message=description.failure_message, tail=description.failure_tail))
        elif self.failure is None:
            changed = changed and state is self.state
            self.set_state(state)
            if changed:
                self._on_change()

    def _hung_up(self) -> None:
        """End of file: the worker is dying. One that closes its connection and stays cannot be driven any more."""
        self._link = None
        if not self.dead.is_set():
            self._task = asyncio.create_task(self._end_silent(), name=f"end {self.record.replica_id}")

    async def _end_silent(self) -> None:
        if not await self.died_within(_EXIT_AFTER_EOF_S):
            self.kill()

    def _forget(self) -> None:
        super()._forget()
        try:
            os.unlink(self.socket_path)
        except FileNotFoundError:
            pass


class _Link(asyncio.Protocol):
    """The control connection: sends bare frames, takes descriptions."""

    def __init__(self, on_description: Callable[[WorkerDescription], None], on_eof: Callable[[], None]) -> None:
        self._on_description = on_description
        self._on_eof = on_eof
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def send(self, kind: Kind) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(kind, 0))

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            payload_size, _, meta_size, kind, _ = HEADER.unpack_from(self._buffer)
            size = HEADER_SIZE + meta_size + payload_size
            if len(self._buffer) < size:
                return
            payload = bytes(self._buffer[HEADER_SIZE + meta_size : size])
            del self._buffer[:size]
            if kind == Kind.DESCRIPTION:
                self._describe(payload)

    def _describe(self, payload: bytes) -> None:
        try:
            description = _decode_description(payload)
        except msgspec.DecodeError as error:
            logger.error("a worker sent what is no description %s", fields(error=error))
            self.close()
            self._on_eof()
            return
        self._on_description(description)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            self._closed = True
            self._on_eof()
