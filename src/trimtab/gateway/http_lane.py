"""HttpLane: the SageMaker container contract: `POST /invocations` over a pool of kept-alive connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools

from trimtab.errors import ModelFailed, model_answered
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane, LaneOwner
from trimtab.policies.routing import Pace
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire import http
from trimtab.wire.decoder import MAX_PAYLOAD_BYTES
from trimtab.wire.frames import INITIAL_CREDIT_BYTES, AnswerMeta

CONNECT_TIMEOUT_S = 0.25  # AWS: "your container must accept a connection within 250 ms"
# The contract has no word for how many requests a container works on at once, and AWS sends them as they come.
UNSTATED_CONCURRENCY = 64
INVOCATIONS = "/invocations"
_REUSE_S = 1.5  # idle connections older than this are not used: common servers close theirs after 2 s
_CUSTOM_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"


class HttpLane(Lane):
    """One model server that speaks HTTP. Each call has a connection to itself while it lasts."""

    def __init__(self, route: LaneRoute, owner: LaneOwner, now_s: Callable[[], float]) -> None:
        super().__init__(route, owner, now_s)
        self.pace = Pace(route.concurrency if route.concurrency > 1 else UNSTATED_CONCURRENCY)
        self.window = self.pace.window
        self._loop = asyncio.get_running_loop()
        host, _, port = route.address.removeprefix("tcp:").rpartition(":")
        self._host, self._port = host, int(port)
        self.start_line = f"POST {route.path or INVOCATIONS} HTTP/1.1\r\nHost: {host}:{port}\r\n".encode()
        self._calls: dict[int, tuple[Call, _Connection | None]] = {}
        self._idle: list[_Connection] = []
        self._last_id = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- calls -------------------------------------------------------------------------------------------------

    def calls(self) -> list[Call]:
        """Calls in hand, oldest first."""
        return [call for call, _ in self._calls.values()]

    def send(self, call: Call, now_s: float) -> None:
        """Send on an idle connection, or on a new one."""
        self._last_id += 1
        call.lane = self
        call.stream_id = self._last_id
        call.sent_s = now_s
        self.outstanding += 1
        if self.outstanding == 1:
            self.busy_since_s = now_s
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now_s):
                self._calls[call.stream_id] = (call, connection)
                connection.request(call)
                return
            connection.close()
        self._calls[call.stream_id] = (call, None)
        task = self._loop.create_task(self._send_on_new(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_on_new(self, call: Call) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._dial()
        except (OSError, TimeoutError):
            self._connection_lost()
            if self._calls.pop(call.stream_id, None) is not None:
                self.outstanding -= 1
                self._freed()
                self.owner.returned(call)
            return
        if call.stream_id not in self._calls:  # cancelled meanwhile
            self.idle(connection)
            return
        self._calls[call.stream_id] = (call, connection)
        connection.request(call)

    def credit(self, call: Call, size_bytes: int) -> None:
        """Let the container send more."""
        _, connection = self._calls.get(call.stream_id, (None, None))
        if connection is not None:
            connection.consumed(size_bytes)

    def _cancel(self, call: Call) -> None:
        _, connection = self._calls.pop(call.stream_id, (None, None))
        if connection is not None:
            connection.abandon()

    # --- what connections report -------------------------------------------------------------------------------

    def settle(self, call: Call) -> float:
        """The call is out of the lane's hands; the time of that."""
        del self._calls[call.stream_id]
        now_s = self._now_s()
        self.observe_answer(call, now_s)
        return now_s

    def refused(self, call: Call, status: int, body: bytes, content_type: str) -> None:
        """The container's answer is an error; the call is out of the lane's hands."""
        self.owner.failed(call, model_answered(status, body, content_type))

    def idle(self, connection: _Connection) -> None:
        """A connection can be used again."""
        if self.retired:
            connection.close()
            self._disconnect_if_idle()
        else:
            connection.idle_since_s = self._now_s()
            self._idle.append(connection)

    def dropped(self, connection: _Connection) -> None:
        """A connection is gone; if it had a call in hand, that is lost.

        Servers let connections go that were idle for long. Any other is closed by a process that ends.
        """
        if connection in self._idle:
            self._idle.remove(connection)
            if not self.retired and connection.is_young(self._now_s()):
                self._hangs_up()
        call = connection.call
        if call is not None and self._calls.pop(call.stream_id, None) is not None:
            self._hangs_up()
            self.outstanding -= 1
            self._freed()
            self.owner.failed(call, self.lost_error())
        if self.retired:
            self._disconnect_if_idle()

    # --- connection --------------------------------------------------------------------------------------------

    async def _dial(self) -> _Connection:
        _, connection = await self._loop.create_connection(lambda: _Connection(self), self._host, self._port)
        return connection

    async def _connect(self) -> None:
        self.idle(await self._dial())

    async def _see_it_live(self) -> None:
        with suppress(ValueError):  # what is no HTTP is an answer, too
            await http.ask(self.route.address, "GET", "/ping", timeout_s=None, connect_s=CONNECT_TIMEOUT_S)

    def _disconnect(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        for _, busy in list(self._calls.values()):
            if busy is not None:
                busy.close()
        for task in self._tasks:
            task.cancel()


class _Connection(asyncio.Protocol):
    """One connection to the container; at most one call at a time."""

    def __init__(self, lane: HttpLane) -> None:
        self.call: Call | None = None
        self.idle_since_s = 0.0
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._status = 0
        self._keep_alive = False
        self._framed = False  # the answer's end is known by its length or its last chunk
        self._unconsumed_bytes = 0
        self._paused = False

    def usable(self, now_s: float) -> bool:
        """Whether the container surely still listens to it."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self.is_young(now_s)

    def is_young(self, now_s: float) -> bool:
        """Whether it has not been idle for so long that a server may let go of it."""
        return now_s - self.idle_since_s < _REUSE_S

    def request(self, call: Call) -> None:
        """Send the call."""
        self.call = call
        self._parts = []
        self._parts_bytes = 0
        self._unconsumed_bytes = 0
        transport = self._transport
        if transport is None or transport.is_closing():
            return  # connection_lost will report it
        fields: tuple[tuple[bytes, str], ...] = (
            (b"Content-Type", call.content_type),
            (b"Accept", call.accept),
            (b"X-Amzn-SageMaker-Custom-Attributes", call.custom_attributes),
            (b"X-Amzn-SageMaker-Inference-Id", call.inference_id),
            (b"X-Amzn-SageMaker-Target-Model", call.target_model),
            (b"X-Amzn-SageMaker-Session-Id", call.session_id),
        )
        if call.trace:
            traceparent, _, tracestate = call.trace.partition(" ")
            fields += ((b"traceparent", traceparent), (b"tracestate", tracestate))
        head = b"%bContent-Length: %d\r\n" % (self._lane.start_line, call.size_bytes)
        lines = b"".join(b"%b: %b\r\n" % (name, value.encode("latin-1")) for name, value in fields if value)
        transport.writelines([head + lines + b"\r\n", *call.body])

    def consumed(self, size_bytes: int) -> None:
        """The caller took so much of a streamed answer."""
        self._unconsumed_bytes -= size_bytes
        if self._paused and self._unconsumed_bytes < INITIAL_CREDIT_BYTES // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def abandon(self) -> None:
        """Nobody wants the answer: closing is the only way to tell a container."""
        self.call = None
        self.close()

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    # --- transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        """Bytes from the container."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            call, self.call = self.call, None
            if call is not None:
                self._lane.settle(call)
                text = f"The container's answer is not well-formed HTTP/1.1: {error}."
                self._lane.owner.failed(call, ModelFailed(text, status=0, body=text.encode()))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone. An answer without a length ends so."""
        self._transport = None
        if self.call is not None and self._status and not self._framed and exc is None:
            self._complete(keep_alive=False)
        self._lane.dropped(self)

    # --- parser ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer's first byte."""
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Status and headers are known."""
        self._status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()
        headers = self._headers
        self._framed = b"content-length" in headers or b"transfer-encoding" in headers
        call = self.call
        if call is not None and 200 <= self._status < 300 and b"content-length" not in headers:
            self._lane.owner.began(call, self._meta())

    def on_body(self, data: bytes) -> None:
        """A piece of the answer."""
        call = self.call
        if call is None or not call.streamed:
            self._parts.append(data)
            self._parts_bytes += len(data)
            if self._parts_bytes > MAX_PAYLOAD_BYTES:
                self._overlong(call)
            return
        self._unconsumed_bytes += len(data)
        self._lane.owner.received(call, data)
        transport = self._transport
        if transport is None or transport.is_closing() or self._paused:
            return
        if self._unconsumed_bytes >= INITIAL_CREDIT_BYTES:
            self._paused = True
            transport.pause_reading()

    def _overlong(self, call: Call | None) -> None:
        self._parts, self.call = [], None
        self.close()
        if call is not None:
            self._lane.settle(call)
            text = f"The container's answer is over {MAX_PAYLOAD_BYTES} bytes."
            self._lane.owner.failed(call, ModelFailed(text, status=500, body=text.encode()))

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._status >= 200:  # 1xx: the answer proper is still to come
            self._complete(keep_alive=self._keep_alive)

    def _complete(self, *, keep_alive: bool) -> None:
        call, self.call = self.call, None
        status, self._status = self._status, 0
        parts, self._parts = self._parts, []
        if call is None:
            self.close()
            return
        now_s = self._lane.settle(call)
        if keep_alive:
            self._lane.idle(self)
        else:
            self.close()
        owner = self._lane.owner
        if call.streamed:
            owner.ended(call, now_s)
        elif 200 <= status < 300:
            owner.answered(call, self._meta(), b"".join(parts), now_s)
        else:
            body = b"".join(parts)
            kind = self._headers.get(b"content-type", b"").decode("latin-1")
            self._lane.refused(call, status, body, kind)

    def _meta(self) -> AnswerMeta:
        headers = self._headers
        return AnswerMeta(
            content_type=headers.get(b"content-type", b"").decode("latin-1"),
            custom_attributes=headers.get(_CUSTOM_ATTRIBUTES, b"").decode("latin-1"),
        )
