"""FramesLane: many calls at once over one framed connection to trimtab's own worker."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from math import inf
from typing import cast

import msgspec

from trimtab import logs
from trimtab.errors import Broken, model_answered
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane, LaneOwner, connect
from trimtab.gateway.looker import Looker
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire.decoder import FrameDecoder
from trimtab.wire.frames import HEADER, MAX_STREAMS, AnswerMeta, FailureMeta, Kind, RequestMeta, pack

logger = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode_answer = msgspec.msgpack.Decoder(AnswerMeta).decode
_decode_failure = msgspec.msgpack.Decoder(FailureMeta).decode

_JOINED_BYTES = 1 << 16  # a turn's frames up to this size are joined into one write
_SOCKET_BUFFER_BYTES = 1 << 20  # asked for; the kernel gives what it allows
_UNSENT_BYTES = 1 << 22  # a worker that leaves so much unread gets nothing more for now
_CREDIT_STEP_BYTES = 1 << 18  # credit is given in steps of at least this
_WIRE_S = 50e-6  # what a worker takes for reading and writing an answer, at most
_MAX_STREAM = (1 << 32) - 1

# Plain ints: comparing with an enum member costs more than the rest of the dispatch.
_ANSWER, _HEAD, _CHUNK, _END = int(Kind.ANSWER), int(Kind.HEAD), int(Kind.CHUNK), int(Kind.END)
_FAILURE, _REFUSED = int(Kind.FAILURE), int(Kind.REFUSED)
_REQUEST = int(Kind.REQUEST)


class _SignOfLife(asyncio.Protocol):
    """Asks a worker to describe itself. Whatever it says shows that it lives."""

    def __init__(self) -> None:
        self.seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, which says nothing yet."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(pack(Kind.DESCRIBE, 0))

    def data_received(self, data: bytes) -> None:
        """It lives."""
        if not self.seen.done():
            self.seen.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It does not, or the question was not waited for."""
        if not self.seen.done():
            self.seen.set_exception(ConnectionResetError("it hung up"))


class FramesLane(Lane, asyncio.Protocol):
    """One connection. Frames of one turn of the event loop leave in one write."""

    def __init__(self, route: LaneRoute, owner: LaneOwner, now_s: Callable[[], float], looker: Looker) -> None:
        super().__init__(route, owner, now_s)
        self._looker = looker
        self._alone_in_a_row = 0  # requests that found no other of the variant in hand
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(self._frame)
        self._calls: dict[int, Call] = {}
        self._beside: set[int] = set()  # streams that have begun: the worker sends them beside its other work
        self._credits: dict[int, int] = {}  # consumed but not yet granted, by stream
        self._last_stream = 0
        self._draining = False  # the worker hands everything back: it is about to end
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flush_due = False
        self._unflushed: list[Call] = []  # handed over in this turn; not one byte of them has left

    # --- calls -------------------------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """Calls in hand, oldest first."""
        return list(self._calls.values())

    def send(self, call: Call, now_s: float) -> None:
        """Queue the request's frame for the end of this turn."""
        stream = self._last_stream = self._last_stream + 1 if self._last_stream < _MAX_STREAM else 1
        call.lane = self
        call.stream_id = stream
        call.sent_s = now_s
        alone = not self.owner.busy()
        self._alone_in_a_row = self._alone_in_a_row + 1 if alone else 0
        self.outstanding += 1
        self._calls[stream] = call
        self._unflushed.append(call)
        meta = _encode(
            RequestMeta(
                call.content_type,
                call.accept,
                call.custom_attributes,
                call.inference_id,
                call.target_model,
                call.session_id,
                call.deadline_s - now_s,
                alone,
                call.trace,
            )
        )
        self._put(HEADER.pack(call.size_bytes, stream, len(meta), _REQUEST, 0) + meta)
        if call.size_bytes:
            self._out.extend(call.body)
            self._out_bytes += call.size_bytes
        if self.outstanding == 1:
            self.busy_since_s = now_s
            self._flush()  # an idle worker starts at once; what comes behind it in this turn leaves together
            if alone and self.pace.gap_s:
                self._looker.expect(call, self.pace.gap_s, self._alone_in_a_row)

    def credit(self, call: Call, size_bytes: int) -> None:
        """Let the worker send more of a stream; small consumptions are added up."""
        stream = call.stream_id
        if self._calls.get(stream) is not call:
            return
        due_bytes = self._credits.get(stream, 0) + size_bytes
        if due_bytes >= _CREDIT_STEP_BYTES:
            self._put(pack(Kind.CREDIT, stream, payload=due_bytes.to_bytes(4, "little")))
            due_bytes = 0
        self._credits[stream] = due_bytes

    def _cancel(self, call: Call) -> None:
        self._calls.pop(call.stream_id, None)
        self._credits.pop(call.stream_id, None)
        self._put(pack(Kind.CANCEL, call.stream_id))

    def _put(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._flush_due = False
        self._flush()

    def _flush(self) -> None:
        transport = self._transport
        if not self._out or transport is None or transport.is_closing():
            return  # what was not flushed is handed back when the loss is noticed
        out, self._out = self._out, []
        if self._out_bytes <= _JOINED_BYTES:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)
        self._out_bytes = 0
        self._unflushed.clear()

    # --- frames ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the worker."""
        try:
            self._decoder.feed(data)
        except (Broken, msgspec.MsgspecError) as error:
            logger.warning("worker breaks the wire %s", logs.fields(address=self.route.address, error=error))
            if self._transport is not None:
                self._transport.abort()

    def _frame(self, kind: int, stream: int, meta: bytes, payload: bytes) -> None:
        call = self._calls.get(stream)
        if call is None:
            if kind != _CHUNK and kind != _HEAD:
                self.free_abandoned(stream)
            return
        if kind == _ANSWER:
            said = _decode_answer(meta)
            compute_us = said.compute_us
            most_s = compute_us * 1e-6 / (said.batch or 1) + _WIRE_S if compute_us else inf
            self._settle(call, stream, now_s := self._now_s(), most_s)
            self.owner.answered(call, said, payload, now_s)
        elif kind == _CHUNK:
            self.owner.received(call, payload)
        elif kind == _HEAD:
            said = _decode_answer(meta)
            if len(self._beside) < MAX_STREAMS:  # more count as work in its hands
                self._set_beside(call, stream)
            self.owner.began(call, said)
        elif kind == _END:
            self._settle(call, stream, now_s := self._now_s())
            self.owner.ended(call, now_s)
        elif kind == _FAILURE:
            failure = _decode_failure(meta)
            self._settle(call, stream, self._now_s())
            self.owner.failed(call, model_answered(failure.status, payload, failure.content_type))
        elif kind == _REFUSED:
            self._refused(call, stream)
        if self.retired:
            self._disconnect_if_idle()

    def _settle(self, call: Call, stream: int, now_s: float, most_s: float = inf) -> None:
        del self._calls[stream]
        if self._credits:
            self._credits.pop(stream, None)
        if stream in self._beside:
            self._end_beside(stream)
            return
        self.observe_answer(call, now_s, most_s)
        if self._beside:
            self.window += len(self._beside)
        if self._abandoned and self.route.concurrency == 1:
            # One at a time: an answer means that what was sent before it is over.
            for earlier in [s for s in self._abandoned if s < stream]:
                self.free_abandoned(earlier)

    def _set_beside(self, call: Call, stream: int) -> None:
        """A stream has begun. It goes at the pace of whoever reads it, and may not keep others waiting meanwhile."""
        self.observe_answer(call, now_s := self._now_s())
        self._beside.add(stream)
        self.outstanding += 1  # it is still work, for routing
        self.busy_since_s = self.busy_since_s or now_s
        self.window += len(self._beside)
        self.owner.has_room()

    def _end_beside(self, stream: int) -> None:
        self._beside.remove(stream)
        self.outstanding -= 1
        self.window -= 1
        self._freed()

    def abandon(self, call: Call, *, overdue: bool) -> None:
        """As any lane; a stream that has begun takes no slot that would have to be waited for."""
        if call.stream_id not in self._beside:
            super().abandon(call, overdue=overdue)
            return
        self._end_beside(call.stream_id)
        self._cancel(call)
        self._disconnect_if_idle()

    def _refused(self, call: Call, stream: int) -> None:
        """The worker drains: nothing more goes there until it is replaced."""
        del self._calls[stream]
        self.outstanding -= 1
        self._freed()
        self.ready = False
        self._draining = True
        self.owner.returned(call)

    # --- connection --------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        await connect(self.route.address, self)

    async def _see_it_live(self) -> None:
        sign = _SignOfLife()
        try:
            await connect(self.route.address, sign)
            await sign.seen
        finally:
            sign.seen.cancel()
            if sign.transport is not None:
                sign.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        sock = transport.get_extra_info("socket")
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        self._transport = transport
        self._draining = False
        self._decoder = FrameDecoder(self._frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker is gone: what it had in hand fails, what had not left yet goes elsewhere."""
        self._transport = None
        self._hangs_up()
        in_hand, self._calls = self._calls, {}
        unflushed = {id(call) for call in self._unflushed}
        self._out, self._out_bytes, self._unflushed = [], 0, []
        self._credits.clear()
        self.window -= len(self._beside)
        self._beside.clear()
        self._abandoned.clear()
        self.outstanding = 0
        self._freed()
        self._last_answer_s = 0.0
        for call in in_hand.values():
            if id(call) in unflushed:
                self.owner.returned(call)
            else:
                self.owner.failed(call, self.lost_error())

    def pause_writing(self) -> None:
        """The worker reads slower than requests come: the queue is the place to wait."""
        self.ready = False

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._transport is not None and not self.retired and not self._draining:
            self.ready = True
            self.owner.has_room()

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
