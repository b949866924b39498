"""The traces of one gateway process: tracer and exporters, put together as OpenTelemetry's variables say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext

import trimtab
from trimtab.aws.tracing.exporting import SpanSink
from trimtab.aws.tracing.settings import make_exporters, queue_of
from trimtab.aws.tracing.spans import Attributes, Moment, Outcome, Trace, Tracer


class Tracing:
    """Begins traces and finishes them."""

    def __init__(self, tracer: Tracer, sinks: Sequence[SpanSink]) -> None:
        self._tracer = tracer
        self._sinks = sinks

    def begin(self, name: str, attributes: Attributes, parent: SpanContext | None, began: Moment) -> Trace:
        """See Tracer."""
        return self._tracer.begin(name, attributes, parent, began)

    def finish(self, trace: Trace, outcome: Outcome) -> None:
        """The request is over now: its spans leave."""
        spans = self._tracer.spans(trace, outcome, time.monotonic())
        for sink in self._sinks:
            sink.put(spans)

    async def close(self) -> None:
        """Export what is left, within `exporting.FLUSH_LIMIT_S`."""
        await asyncio.gather(*(sink.close() for sink in self._sinks))


def made_by(environment: Mapping[str, str]) -> Tracing:
    """Traces by an environment that asks for some. Raises Invalid (see `settings`)."""
    made, queue = make_exporters(environment), queue_of(environment)
    provider = TracerProvider(resource=_resource(environment), shutdown_on_exit=False)
    return Tracing(Tracer(provider), [SpanSink(exporter, queue) for exporter in made])


def _resource(environment: Mapping[str, str]) -> Resource:
    """What says that trimtab made the spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({"service.version": trimtab.__version__, **({} if named else {"service.name": "trimtab"})})
