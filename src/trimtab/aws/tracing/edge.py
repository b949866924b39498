"""The runtime edge with traces: the same edge, whose invocations note what happened to them and when."""

from __future__ import annotations

import time

from trimtab.aws.faults import Where, fault_of
from trimtab.aws.runtime.edge import RuntimeEdge
from trimtab.aws.runtime.invocations import Invocation, StreamInvocation
from trimtab.aws.runtime.requests import Operation
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.sigv4 import Verifier
from trimtab.aws.tracing.propagation import caller_of, text_of
from trimtab.aws.tracing.spans import Attributes, Moment, Outcome, Trace
from trimtab.aws.tracing.tracing import Tracing
from trimtab.errors import ModelFailed, TooLarge, TrimtabError, Unavailable
from trimtab.gateway.gateway import Gateway
from trimtab.queues.store import Queues
from trimtab.wire.frames import AnswerMeta

_STATUS = "http.response.status_code"
_TEXT_CHARS = 256  # of what callers send: spans wait in memory
_PORT_DIGITS = 5


class TracedEdge(RuntimeEdge):
    """`RuntimeEdge` for a gateway whose environment asks for traces; without them, that one serves, unchanged."""

    def __init__(self, gateway: Gateway, verifier: Verifier, tracing: Tracing, queues: Queues | None = None) -> None:
        super().__init__(gateway, verifier, queues)
        self.tracing = tracing
        self.handed = Moment.now()  # when the request in hand was whole
        self.invocation = TracedInvocation
        self.stream_invocation = TracedStreamInvocation

    def handle(self, exchange: Exchange) -> None:
        """Note the time first: checking the signature is part of the request."""
        self.handed = Moment.now()
        super().handle(exchange)

    def refuse(self, exchange: Exchange, error: TooLarge | Unavailable) -> None:
        """As any edge."""
        self.handed = Moment.now()
        super().refuse(exchange, error)

    def fail(
        self,
        exchange: Exchange,
        error: BaseException,
        request_id: bytes,
        *,
        endpoint: str,
        container: str = "primary",
    ) -> None:
        """A request that never became a call has a span of its own; a call makes its own."""
        refused = exchange.on_gone is None
        super().fail(exchange, error, request_id, endpoint=endpoint, container=container)
        if refused and (trace := self.open_trace(exchange)).sampled:
            operation = self._target(exchange.target).operation
            outcome = self.outcome(exchange, operation, endpoint, request_id)
            self.note(outcome, error, endpoint)
            self.tracing.finish(trace, outcome)

    def open_trace(self, exchange: Exchange) -> Trace:
        """The trace of the request in hand: the caller's, or a new one."""
        target = self._target(exchange.target)
        attributes: Attributes = {"http.request.method": exchange.method.decode("latin-1"), "url.path": target.raw_path}
        return self.tracing.begin(_name(target.operation), attributes, caller_of(exchange.fields), self.handed)

    def outcome(self, exchange: Exchange, operation: Operation, endpoint: str, request_id: bytes) -> Outcome:
        """What is known of any request. Names: OpenTelemetry's semantic conventions for HTTP, RPC and AWS."""
        fields = exchange.fields
        host, _, port = fields.get(b"host", b"").decode("latin-1").rpartition(":")
        attributes: dict[str, str | int] = {
            "http.request.method": exchange.method.decode("latin-1"),
            "http.route": _route(operation),
            "http.request.body.size": exchange.size_bytes,
            "url.path": self._target(exchange.target).raw_path[:_TEXT_CHARS],
            "url.scheme": "http",
            "rpc.system": "aws-api",
            "rpc.service": "SageMaker Runtime",
            "rpc.method": operation.value,
            "aws.request_id": request_id.decode(),
            "trimtab.endpoint": endpoint[:_TEXT_CHARS],
        }
        if host and port.isdecimal() and len(port) <= _PORT_DIGITS:
            attributes |= {"server.address": host[:_TEXT_CHARS], "server.port": int(port)}
        if agent := fields.get(b"user-agent"):
            attributes["user_agent.original"] = agent[:_TEXT_CHARS].decode("latin-1")
        return Outcome(name=_name(operation), attributes=attributes)

    def note(self, outcome: Outcome, error: BaseException, endpoint: str) -> None:
        """An error in `outcome`. By convention a server's span has failed by 5xx only; a model's failure counts too."""
        where = Where(service="sagemaker-runtime", protocol="rest-json", request_id="", endpoint=endpoint)
        fault = fault_of(error, where)
        outcome.attributes |= {_STATUS: fault.status, "error.type": fault.code or type(error).__name__}
        outcome.error_type, outcome.error_message = type(error).__name__, fault.message
        outcome.ours = fault.status >= 500 or isinstance(error, ModelFailed)


class TracedInvocation(Invocation):
    """InvokeEndpoint, traced where the sampler says so; the model is told of the trace in any case."""

    edge: TracedEdge
    _trace: Trace | None = None  # None: not sampled, or over
    _answered_s = 0.0
    _first_chunk_s = 0.0
    _sent_bytes = 0
    _said: AnswerMeta | None = None

    def __init__(self, edge: TracedEdge, exchange: Exchange, endpoint: str, request_id: bytes) -> None:
        super().__init__(edge, exchange, endpoint, request_id)
        trace = edge.open_trace(exchange)
        self.trace = text_of(trace.model)
        if trace.sampled:
            self._trace = trace

    def answered(self, meta: AnswerMeta, body: bytes) -> None:
        """Note it once the answer is on its way."""
        self._answered_s = time.monotonic()
        super().answered(meta, body)
        self._said, self._sent_bytes = meta, len(body)
        self._finish(None)

    def began(self, meta: AnswerMeta) -> None:
        """A stream opens."""
        self._said = meta
        super().began(meta)

    def received(self, data: bytes) -> None:
        """Of the pieces, the first is told."""
        if not self._first_chunk_s:
            self._first_chunk_s = time.monotonic()
        self._sent_bytes += len(data)
        super().received(data)

    def ended(self) -> None:
        """The stream's last piece has gone out."""
        self._answered_s = time.monotonic()
        super().ended()
        self._finish(None)

    def failed(self, error: TrimtabError) -> None:
        """The error is told on the spans too."""
        self._answered_s = time.monotonic()
        super().failed(error)
        self._finish(error)

    def cancel(self) -> None:
        """The client has gone: so ends the trace."""
        over = self.done
        super().cancel()
        if not over:
            self._finish(None, gone=True)

    def _finish(self, error: TrimtabError | None, *, gone: bool = False) -> None:
        trace, self._trace = self._trace, None
        if trace is None:
            return
        operation = Operation.STREAM if self.wants_stream else Operation.INVOKE
        outcome = self.edge.outcome(self.exchange, operation, self.endpoint, self.request_id)
        outcome.inner = self._inner()
        outcome.attributes |= {**outcome.inner, "http.response.body.size": self._sent_bytes}
        if error is not None:
            self.edge.note(outcome, error, self.endpoint)
        if gone:
            outcome.attributes["error.type"] = outcome.error_type = "ClientGone"
            outcome.error_message = "The client left before its answer was complete."
        if self._first_chunk_s or not (error or gone):
            outcome.attributes[_STATUS] = 200  # a stream that has begun has said so, whatever came later
        outcome.arrived_s, outcome.sent_s = self.arrived_s, self.sent_s
        outcome.answered_s, outcome.first_chunk_s = self._answered_s, self._first_chunk_s
        outcome.meta = self._said
        self.edge.tracing.finish(trace, outcome)

    def _inner(self) -> dict[str, str]:
        """Who worked on it, as far as it came."""
        found = {"trimtab.endpoint": self.endpoint[:_TEXT_CHARS]}
        if self.variant is not None:
            found |= {"trimtab.variant": self.variant.route.name, "trimtab.version": self.variant.route.version}
            if self.target_model:
                found |= {
                    "trimtab.model": self.target_model[:_TEXT_CHARS],
                    "trimtab.model_cache": "miss" if self.missed else "hit",
                }
        if self.lane is not None:
            found["trimtab.replica"] = self.lane.route.replica_id
        return found


class TracedStreamInvocation(TracedInvocation, StreamInvocation):
    """InvokeEndpointWithResponseStream, traced."""


def _route(operation: Operation) -> str:
    return "/endpoints/{EndpointName}/" + _PATHS.get(operation, "")


def _name(operation: Operation) -> str:
    return f"POST {_route(operation)}"


_PATHS = {
    Operation.INVOKE: "invocations",
    Operation.STREAM: "invocations-response-stream",
    Operation.ASYNC: "async-invocations",
}
