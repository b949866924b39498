"""RuntimeEdge: the fast path of the public port. Called from the parser; answers by callback, without a task."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from trimtab.aws.fault_shapes import runtime_error_response
from trimtab.aws.registry import AwsError
from trimtab.aws.runtime.asynchronous import Acceptor, not_asynchronous, only_asynchronous
from trimtab.aws.runtime.callers import Callers
from trimtab.aws.runtime.invocations import Invocation, StreamInvocation
from trimtab.aws.runtime.requests import (
    CUSTOM_ATTRIBUTES,
    INFERENCE_ID,
    PREFIX,
    STREAM_ACCEPT,
    TARGET_MODEL,
    TARGET_VARIANT,
    Operation,
    Target,
    check_contradictions,
    common_text,
    model_name,
    read_target,
    text,
    variant_name,
)
from trimtab.aws.server.exchange import Exchange
from trimtab.aws.server.rendering import head_of
from trimtab.aws.sigv4 import Verifier
from trimtab.errors import NotFound, QueueFull, TooLarge, TrimtabError, Unavailable
from trimtab.gateway.gateway import Gateway
from trimtab.policies.admission import Refusals
from trimtab.queues.store import Queues
from trimtab.resources.asynchronous import MAX_INLINE_BYTES

logger = logging.getLogger(__name__)

NewInvocation = Callable[[Any, Exchange, str, bytes], Invocation]
"""This edge, exchange, endpoint, request id -> the call."""

_TARGETS_KEPT: Final = 4096
_ANY_ENDPOINT_BYTES: Final = 26_214_400  # an unknown endpoint's body is read before the answer says so


class RuntimeEdge:
    """`aws.server.FastPath` for everything below `/endpoints/`."""

    def __init__(
        self,
        gateway: Gateway,
        verifier: Verifier,
        queues: Queues | None = None,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`queues` take what asynchronous endpoints are asked."""
        self._gateway = gateway
        self._refusals = Refusals()
        self._monotonic_s = monotonic_s
        self._callers = Callers(verifier)
        self._acceptor = Acceptor(queues)
        self.invocation: NewInvocation = Invocation
        self.stream_invocation: NewInvocation = StreamInvocation
        self._targets: dict[bytes, Target] = {}
        self._request_prefix = _uuid_prefix()
        self._requests = secrets.randbits(40)

    # --- FastPath ----------------------------------------------------------------------------------------------

    def wants(self, target: bytes) -> bool:
        """Invocations."""
        return target.startswith(PREFIX)

    def begin(self, exchange: Exchange) -> int:
        """The largest body that any variant of the endpoint takes; of asynchronous ones, input beside an object."""
        target = self._target(exchange.target)
        if target.operation is Operation.ASYNC:
            return MAX_INLINE_BYTES
        entry = self._gateway.endpoints.get(target.endpoint)
        if entry is None or entry.route.asynchronous is not None:
            return _ANY_ENDPOINT_BYTES
        return entry.max_payload_bytes

    def handle(self, exchange: Exchange) -> None:
        """Check the request and hand it to the gateway."""
        request_id = self._next_request_id()
        target = self._target(exchange.target)
        try:
            if self._gateway.table.require_auth:
                self._callers.admit(exchange, target, self._gateway.table)
            if target.operation is Operation.INVOKE or target.operation is Operation.STREAM:
                self._invoke(exchange, target, request_id)
            elif target.operation is Operation.ASYNC and exchange.method == b"POST":
                self._enqueue(exchange, target, request_id)
            else:
                raise self._not_an_invocation(target)
        except Exception as error:  # noqa: BLE001 one request's bug ends that request, not the connection's parser
            self.failed(exchange, error, request_id, target)

    def failed(self, exchange: Exchange, error: Exception, request_id: bytes, target: Target) -> None:
        """Answer what has become of a request that is no call of the gateway; log what nobody named."""
        if not isinstance(error, TrimtabError):
            logger.error("invocation failed path=%s", target.raw_path, exc_info=error)
        self.fail(exchange, error, request_id, endpoint=target.endpoint)

    def refuse(self, exchange: Exchange, error: TooLarge | Unavailable) -> None:
        """The body will not be read."""
        self.fail(exchange, error, self._next_request_id(), endpoint=self._target(exchange.target).endpoint)

    # --- steps -------------------------------------------------------------------------------------------------

    def _invoke(self, exchange: Exchange, target: Target, request_id: bytes) -> None:
        if exchange.method != b"POST":
            raise AwsError("UnknownOperationException", "Invocations are POST requests.", 404)
        fields = exchange.fields
        check_contradictions(fields, target.endpoint)
        entry = self._gateway.endpoints.get(target.endpoint)
        if entry is not None and entry.route.asynchronous is not None:
            raise only_asynchronous(target.endpoint)
        get = fields.get
        call: Invocation
        if target.operation is Operation.INVOKE:
            call = self.invocation(self, exchange, target.endpoint, request_id)
            accept = get(b"accept")
        else:
            call = self.stream_invocation(self, exchange, target.endpoint, request_id)
            accept = get(STREAM_ACCEPT)
        if accept:
            call.accept = common_text(accept, "accept")
        if content_type := get(b"content-type"):
            call.content_type = common_text(content_type, "contentType")
        if attributes := get(CUSTOM_ATTRIBUTES):
            call.custom_attributes = text(attributes, "customAttributes")
        if inference_id := get(INFERENCE_ID):
            call.inference_id = text(inference_id, "inferenceId", most=64)
        if variant := get(TARGET_VARIANT):
            call.target_variant = variant_name(variant)
        if model := get(TARGET_MODEL):
            call.target_model = model_name(model)
        exchange.on_gone = call.cancel
        self._gateway.submit(call)

    def _enqueue(self, exchange: Exchange, target: Target, request_id: bytes) -> None:
        check_contradictions(exchange.fields, target.endpoint)
        entry = self._gateway.endpoints.get(target.endpoint)
        if entry is None:
            raise NotFound("endpoint", target.endpoint)
        if entry.route.asynchronous is None:
            raise not_asynchronous(target.endpoint)
        self._acceptor.take(self, exchange, target, entry.route, request_id)

    def _not_an_invocation(self, target: Target) -> AwsError:
        return AwsError(
            "UnknownOperationException",
            f"{target.raw_path} is no operation of sagemaker-runtime that trimtab supports. It supports "
            "POST /endpoints/NAME/invocations, .../invocations-response-stream and .../async-invocations; "
            "docs/operations.md is the list.",
            404,
        )

    # --- answers -----------------------------------------------------------------------------------------------

    def fail(
        self,
        exchange: Exchange,
        error: BaseException,
        request_id: bytes,
        *,
        endpoint: str,
        container: str = "primary",
    ) -> None:
        """Answer an error."""
        if isinstance(error, QueueFull):
            self._restrain(exchange)
        table = self._gateway.table
        response = runtime_error_response(
            error,
            endpoint=endpoint,
            region=table.region,
            account=table.account,
            request_id=request_id.decode(),
            container=container,
        )
        body = response.body
        assert isinstance(body, bytes)
        exchange.respond(head_of(response, exchange.date), body)

    def _restrain(self, exchange: Exchange) -> None:
        """A request was refused for want of room: where refusals crowd, whoever asks again at once is read later."""
        now_s = self._monotonic_s()
        if self._refusals.crowd(now_s):
            exchange.hold_connection(now_s)

    def _target(self, raw: bytes) -> Target:
        target = self._targets.get(raw)
        if target is None:
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            target = self._targets[raw] = read_target(raw)
        return target

    def _next_request_id(self) -> bytes:
        """Unique, shaped like a UUID, a tenth of the cost of one."""
        self._requests = number = (self._requests + 1) & 0xFFFFFFFFFFFF
        return b"%b%012x" % (self._request_prefix, number)


def _uuid_prefix() -> bytes:
    digits = secrets.token_hex(10)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-".encode()
