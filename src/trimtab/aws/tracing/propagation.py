"""Trace context of the caller, and for the model: W3C Trace Context, and AWS's X-Amzn-Trace-Id where there is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_XRAY: Final = b"x-amzn-trace-id"
_XRAY_ROOT: Final = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")
_extract: Final = TraceContextTextMapPropagator().extract


def caller_of(fields: Mapping[bytes, bytes]) -> SpanContext | None:
    """The span that the request's headers (names lower case) name; None where they name none that is valid."""
    if traceparent := fields.get(b"traceparent"):
        carrier = {"traceparent": traceparent.decode("latin-1")}
        if tracestate := fields.get(b"tracestate"):
            carrier["tracestate"] = tracestate.decode("latin-1")
        found = get_current_span(_extract(carrier)).get_span_context()
        return found if found.is_valid else None
    if header := fields.get(_XRAY):
        return _xray(header.decode("latin-1"))
    return None


def text_of(context: SpanContext) -> str:
    """`context` as `RequestMeta.trace` carries it: traceparent, and after a space tracestate where there is one."""
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return f"{traceparent} {context.trace_state.to_header()}" if context.trace_state else traceparent


def _xray(header: str) -> SpanContext | None:
    """`Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`."""
    parts = {name.strip(): value.strip() for name, _, value in (part.partition("=") for part in header.split(";"))}
    root, parent = _XRAY_ROOT.fullmatch(parts.get("Root", "")), parts.get("Parent", "")
    if root is None or not _SPAN_ID.fullmatch(parent):
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if parts.get("Sampled") == "1" else TraceFlags.DEFAULT)
    found = SpanContext(int(root[1] + root[2], 16), int(parent, 16), is_remote=True, trace_flags=flags)
    return found if found.is_valid else None
