"""A collector of OpenTelemetry traces: a real OTLP/HTTP receiver, as small as can be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

BOUND_S = 20.0


class Span:
    """A span as it came over the wire."""

    def __init__(self, span: Any, resource: dict[str, Any]) -> None:
        self.name: str = span.name
        self.trace_id: str = span.trace_id.hex()
        self.id: str = span.span_id.hex()
        self.parent: str = span.parent_span_id.hex()
        self.kind: int = span.kind  # 1 INTERNAL, 2 SERVER, 3 CLIENT
        self.start_ns: int = span.start_time_unix_nano
        self.end_ns: int = span.end_time_unix_nano
        self.attributes = values(span.attributes)
        self.events = [(event.name, values(event.attributes)) for event in span.events]
        self.failed: bool = span.status.code == 2
        self.said: str = span.status.message
        self.state: str = span.trace_state
        self.resource = resource


def values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Receiver:
    """Listens on a free port. `refuse` makes it answer 503, and `answering.clear()` not at all for the time being."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.refuse = False
        self.answering = threading.Event()
        self.answering.set()
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.answering.wait()
                ok = self.path == "/v1/traces" and not receiver.refuse
                self.send_response(200 if ok else 503)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                if ok:
                    receiver.take(ExportTraceServiceRequest.FromString(body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, request: Any) -> None:
        with self._arrived:
            for of_resource in request.resource_spans:
                resource = values(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    self.spans += [Span(span, resource) for span in of_scope.spans]
            self._arrived.notify_all()

    def wait(self, enough: Callable[[list[Span]], bool]) -> list[Span]:
        """What has come, once it is enough."""
        deadline_s = time.monotonic() + BOUND_S
        with self._arrived:
            while not enough(self.spans):
                assert self._arrived.wait(deadline_s - time.monotonic()), [span.name for span in self.spans]
            return list(self.spans)

    def trace(self, trace_id: str, count: int) -> dict[str, Span]:
        """The spans of a trace by name, once there are `count`."""
        found = self.wait(lambda spans: sum(span.trace_id == trace_id for span in spans) >= count)
        return {span.name: span for span in found if span.trace_id == trace_id}

    def close(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
