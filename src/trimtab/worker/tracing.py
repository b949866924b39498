"""The gateway's trace, for a model's code that makes spans of its own with OpenTelemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def headers(trace: str) -> dict[str, str]:
    """`RequestMeta.trace` as W3C's headers; empty when the request is not traced."""
    traceparent, _, tracestate = trace.partition(" ")
    return {name: value for name, value in (("traceparent", traceparent), ("tracestate", tracestate)) if value}


@contextmanager
def current(trace: str) -> Iterator[None]:
    """Make the gateway's span the current one for this thread; nothing where the code did not import OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        yield
        return
    from opentelemetry.context import attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = attach(TraceContextTextMapPropagator().extract(headers(trace)))
    try:
        yield
    finally:
        detach(token)


def within(trace: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A stream's chunks, each made with the gateway's span as the current one. One thread must take them all."""
    with current(trace):
        yield from chunks
