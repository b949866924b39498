"""Invocations: gateway calls whose answer goes to an exchange, whole or as an event stream."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from trimtab.aws import eventstream
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.rendering import header_value
from trimtab.errors import ModelFailed, ReplicaLost, TrimtabError
from trimtab.gateway.calls import Call
from trimtab.wire.frames import AnswerMeta

if TYPE_CHECKING:
    from trimtab.aws.runtime.edge import RuntimeEdge


class Invocation(Call):
    """InvokeEndpoint."""

    def __init__(self, edge: RuntimeEdge, exchange: Exchange, endpoint: str, request_id: bytes) -> None:
        super().__init__(endpoint, exchange.chunks, exchange.size_bytes)
        self.edge = edge
        self.exchange = exchange
        self.request_id = request_id

    def answered(self, meta: AnswerMeta, body: bytes) -> None:
        """200 with the model's bytes as they are."""
        exchange = self.exchange
        head = b"HTTP/1.1 200 OK\r\n%bx-amzn-RequestId: %b\r\n%b" % (
            exchange.date,
            self.request_id,
            _origin(self.variant_name(), "Content-Type", meta.content_type),
        )
        if meta.custom_attributes:
            head += b"X-Amzn-SageMaker-Custom-Attributes: %b\r\n" % header_value(meta.custom_attributes)
        exchange.respond(head, body)

    def failed(self, error: TrimtabError) -> None:
        """The error in AWS's shape."""
        container = self.variant.route.container if self.variant is not None else "primary"
        self.edge.fail(self.exchange, error, self.request_id, endpoint=self.endpoint, container=container)

    def variant_name(self) -> str:
        """The variant that answered."""
        return self.variant.route.name if self.variant is not None else ""


@lru_cache(maxsize=1024)
def _origin(variant: str, field: str, content_type: str) -> bytes:
    """The header lines that say where an answer comes from and what it is (in `field`); few differ."""
    lines = b"x-Amzn-Invoked-Production-Variant: %b\r\n" % variant.encode()
    return lines + (f"{field}: ".encode() + header_value(content_type) + b"\r\n" if content_type else b"")


class StreamInvocation(Invocation):
    """InvokeEndpointWithResponseStream: each piece of the model's answer becomes a PayloadPart event."""

    wants_stream = True
    _unsent_bytes = 0

    def began(self, meta: AnswerMeta) -> None:
        """The stream opens: from here on, failures are events."""
        exchange = self.exchange
        head = (
            b"HTTP/1.1 200 OK\r\n%bx-amzn-RequestId: %b\r\nContent-Type: application/vnd.amazon.eventstream\r\n%b"
        ) % (
            exchange.date,
            self.request_id,
            _origin(self.variant_name(), "X-Amzn-SageMaker-Content-Type", meta.content_type),
        )
        if meta.custom_attributes:
            head += b"X-Amzn-SageMaker-Custom-Attributes: %b\r\n" % header_value(meta.custom_attributes)
        exchange.on_writable = self._caught_up
        exchange.start(head)

    def received(self, data: bytes) -> None:
        """A piece goes out at once; credit for more is given when the client has taken it."""
        if not data:
            return
        if self.exchange.write(eventstream.payload_part(data)):
            self.consumed(len(data))
        else:
            self._unsent_bytes += len(data)

    def _caught_up(self) -> None:
        unsent_bytes, self._unsent_bytes = self._unsent_bytes, 0
        if unsent_bytes:
            self.consumed(unsent_bytes)

    def ended(self) -> None:
        """The stream just ends: there is no closing event."""
        self.exchange.finish()

    def answered(self, meta: AnswerMeta, body: bytes) -> None:
        """A model that does not stream: one part."""
        self.began(meta)
        if body:
            self.exchange.write(eventstream.payload_part(body))
        self.exchange.finish()

    def failed(self, error: TrimtabError) -> None:
        """Before the first byte an ordinary error; after it an exception event."""
        if not self.exchange.answering:
            super().failed(error)
            return
        if isinstance(error, ModelFailed):
            code = "ModelInvocationTimeExceeded" if error.status == 0 else "StreamBroken"
            event = eventstream.model_stream_error(str(error), code)
        elif isinstance(error, ReplicaLost):
            event = eventstream.model_stream_error(str(error), "StreamBroken")
        else:
            event = eventstream.internal_stream_failure(str(error))
        self.exchange.write(event)
        self.exchange.finish()
