"""One invocation as spans, made when it is over: what a span's times are is known to the call anyway.

    POST /endpoints/{EndpointName}/invocations   SERVER    request whole .. answer handed to the kernel
      queue                                      INTERNAL  arrival .. sent to a replica
      model                                      CLIENT    sent .. answered; its id is the model's parent
        wait                                     INTERNAL  in the worker, until it was worked on
        compute                                  INTERNAL  in the model's handlers

Only the gateway makes spans; a worker sends its durations back. The two inner ones end with the answer: when exactly
the worker began is not known to the gateway, how long it took is.

Spans are built as the SDK's ReadableSpan rather than through its Tracer: the model's id must be known before the model
span begins, and an unsampled request must cost no more than a look at the sampler.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import trimtab
from trimtab.wire.frames import AnswerMeta

Attributes = Mapping[str, str | int]

_MESSAGE_CHARS: Final = 1024
_FIRST: Final = "first chunk"


class Moment(Struct, frozen=True):
    """Now on both clocks: durations are told by the monotonic one, and put on the wall's once."""

    monotonic_s: float
    wall_ns: int

    @classmethod
    def now(cls) -> Moment:
        """Reads both."""
        return cls(time.monotonic(), time.time_ns())

    def ns(self, monotonic_s: float) -> int:
        """A monotonic time as ns since the epoch."""
        return self.wall_ns + int((monotonic_s - self.monotonic_s) * 1e9)


class Trace(Struct):
    """A request's place in its trace. `model` is what the model is told is its parent."""

    began: Moment
    parent: SpanContext | None
    server: SpanContext
    model: SpanContext

    @property
    def sampled(self) -> bool:
        """Whether anybody will see it."""
        return self.server.trace_flags.sampled


class Outcome(Struct, kw_only=True):
    """What became of a call; times monotonic, 0 where it did not come so far."""

    name: str
    attributes: dict[str, str | int]
    inner: Attributes = {}  # of the queue and model spans: endpoint, variant, replica, version
    arrived_s: float = 0.0
    sent_s: float = 0.0
    answered_s: float = 0.0
    first_chunk_s: float = 0.0
    meta: AnswerMeta | None = None
    error_type: str = ""
    error_message: str = ""
    ours: bool = False  # the error is the server's, not the caller's


class Tracer:
    """Decides by the sampler of the environment (OTEL_TRACES_SAMPLER), and makes spans."""

    def __init__(self, provider: TracerProvider) -> None:
        """`provider` gives sampler, resource and ids."""
        self._sampler = provider.sampler
        self._resource = provider.resource
        self._ids = provider.id_generator
        self._scope = InstrumentationScope("trimtab", trimtab.__version__)

    def begin(self, name: str, attributes: Attributes, parent: SpanContext | None, began: Moment) -> Trace:
        """A trace goes on, or begins."""
        trace_id = parent.trace_id if parent is not None else self._ids.generate_trace_id()
        context = set_span_in_context(NonRecordingSpan(parent)) if parent is not None else None
        result = self._sampler.should_sample(context, trace_id, name, SpanKind.SERVER, attributes)
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        state = result.trace_state
        server = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
        model = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state) if sampled else server
        return Trace(began, parent, server, model)

    def spans(self, trace: Trace, outcome: Outcome, ended_s: float) -> list[ReadableSpan]:
        """The spans of a request that is over."""
        at = trace.began.ns
        end_ns = at(ended_s)
        status = _status(outcome) if outcome.ours else None
        events = [_exception(outcome, end_ns)] if outcome.error_type else []
        first = [Event(_FIRST, timestamp=at(outcome.first_chunk_s))] if outcome.first_chunk_s else []
        made = [
            self._span(
                outcome.name,
                trace.server,
                trace.parent,
                (trace.began.wall_ns, end_ns),
                outcome.attributes,
                kind=SpanKind.SERVER,
                events=[*first, *events],
                status=status,
            )
        ]
        if outcome.arrived_s:
            queued_ns = (at(outcome.arrived_s), at(outcome.sent_s) if outcome.sent_s else end_ns)
            made.append(self._child("queue", trace.server, queued_ns, outcome.inner))
        if outcome.sent_s:
            model_ns = (at(outcome.sent_s), at(outcome.answered_s) if outcome.answered_s else end_ns)
            made.append(
                self._span(
                    "model",
                    trace.model,
                    trace.server,
                    model_ns,
                    outcome.inner,
                    kind=SpanKind.CLIENT,
                    events=[*first, *events],
                    status=_status(outcome) if outcome.error_type else None,
                )
            )
            made += self._inside(trace.model, model_ns, outcome.meta)
        return made

    def _inside(self, model: SpanContext, model_ns: tuple[int, int], meta: AnswerMeta | None) -> list[ReadableSpan]:
        if meta is None or not meta.compute_us:
            return []
        begin_ns, end_ns = model_ns
        computed_ns = max(begin_ns, end_ns - meta.compute_us * 1000)
        batch: Attributes = {"trimtab.batch_size": meta.batch} if meta.batch else {}
        made = [self._child("compute", model, (computed_ns, end_ns), batch)]
        if meta.wait_us:
            waited_ns = max(begin_ns, computed_ns - meta.wait_us * 1000)
            made.append(self._child("wait", model, (waited_ns, computed_ns), {}))
        return made

    def _child(self, name: str, parent: SpanContext, times_ns: tuple[int, int], attributes: Attributes) -> ReadableSpan:
        span_id = self._ids.generate_span_id()
        context = SpanContext(parent.trace_id, span_id, False, parent.trace_flags, parent.trace_state)
        return self._span(name, context, parent, times_ns, attributes, kind=SpanKind.INTERNAL)

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        times_ns: tuple[int, int],
        attributes: Attributes,
        *,
        kind: SpanKind,
        events: Sequence[Event] = (),
        status: Status | None = None,
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            kind=kind,
            status=status or Status(StatusCode.UNSET),
            start_time=times_ns[0],
            end_time=max(times_ns),
            instrumentation_scope=self._scope,
        )


def _status(outcome: Outcome) -> Status:
    return Status(StatusCode.ERROR, outcome.error_message[:_MESSAGE_CHARS])


def _exception(outcome: Outcome, at_ns: int) -> Event:
    said = {"exception.type": outcome.error_type, "exception.message": outcome.error_message[:_MESSAGE_CHARS]}
    return Event("exception", said, timestamp=at_ns)
