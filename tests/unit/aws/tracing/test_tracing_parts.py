"""Tracing's pieces: settings, context in and out, spans, and the account of what is lost."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from trimtab.aws.tracing import tracing_of
from trimtab.aws.tracing.exporting import SpanSink
from trimtab.aws.tracing.propagation import caller_of, text_of
from trimtab.aws.tracing.settings import QueueSize, check, exporter_names, queue_of
from trimtab.aws.tracing.spans import Moment, Outcome, Tracer
from trimtab.errors import Invalid
from trimtab.wire.frames import AnswerMeta

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        (ENDPOINT, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp_proto_http"]),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, []),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, []),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
         ["otlp_proto_http"]),
    ],
)  # fmt: skip
def test_traces_are_on_where_opentelemetrys_variables_say_so(environment, names) -> None:
    assert exporter_names(environment) == names


def test_without_the_extra_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "opentel" in name else real(name))
    check({})
    with pytest.raises(Invalid, match=r"OTEL_EXPORTER_OTLP_ENDPOINT turns traces on.*pip install 'trimtab\[otel\]'"):
        check(ENDPOINT)


def test_an_exporter_that_cannot_be_made_is_told_in_its_makers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "console"

        def load(self):
            raise RuntimeError("no such thing as a console")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Point()])
    with pytest.raises(Invalid, match="exporter console cannot be made: no such thing"):
        check({"OTEL_TRACES_EXPORTER": "console"})


def test_nothing_asked_for_nothing_made() -> None:
    assert tracing_of({}) is None


def test_a_gateway_without_traces_does_not_load_opentelemetry() -> None:
    program = (
        "import sys, trimtab.app.__main__, trimtab.aws.dataplane, trimtab.gateway.gateway, trimtab.worker.handlers\n"
        "from trimtab.aws.tracing import check, tracing_of\n"
        "check({}); assert tracing_of({}) is None\n"
        "assert [name for name in sys.modules if name.startswith('opentelemetry')] == []"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("text", ["0", "-1", "1e3", "many", "9" * 30])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="must be a number"):
        queue_of({"OTEL_BSP_MAX_QUEUE_SIZE": text})
    assert queue_of({"OTEL_BSP_MAX_QUEUE_SIZE": "10"}) == (10, 10)


@given(st.dictionaries(st.sampled_from([b"traceparent", b"tracestate", b"x-amzn-trace-id"]), st.binary(max_size=80)))
def test_any_header_is_a_context_or_none(fields: dict[bytes, bytes]) -> None:
    found = caller_of(fields)
    assert found is None or found.is_valid


def test_what_came_in_goes_out() -> None:
    traceparent = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    for state in (b"", b"a=1,b=2"):
        found = caller_of({b"traceparent": traceparent.encode(), b"tracestate": state})
        assert found is not None
        assert text_of(found) == f"{traceparent} {state.decode()}".strip()
    found = caller_of({b"x-amzn-trace-id": b"Root=1-abababab-" + b"ab" * 12 + b";Parent=" + b"cd" * 8 + b";Sampled=1"})
    assert found is not None
    assert text_of(found) == traceparent


def tracer() -> Tracer:
    return Tracer(TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False))


@given(
    times=st.lists(st.floats(0, 10), min_size=5, max_size=5).map(sorted),
    wait_us=st.integers(0, 20_000_000),
    compute_us=st.integers(0, 20_000_000),
)
def test_spans_nest_whatever_a_worker_says_of_its_time(times: list[float], wait_us: int, compute_us: int) -> None:
    began_s, arrived_s, sent_s, answered_s, ended_s = (1 + time for time in times)
    here = tracer()
    trace = here.begin("POST /", {}, None, Moment(began_s, 10**18))
    outcome = Outcome(name="POST /", attributes={}, arrived_s=arrived_s, sent_s=sent_s, answered_s=answered_s)
    outcome.meta = AnswerMeta(compute_us=compute_us, wait_us=wait_us, batch=3)
    spans = {span.name: span for span in here.spans(trace, outcome, ended_s)}
    by_id = {span.context.span_id: span for span in spans.values()}
    for span in spans.values():
        assert span.start_time <= span.end_time
        if span.parent is not None:
            parent = by_id[span.parent.span_id]
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time
    assert ("compute" in spans) is bool(compute_us)
    if "wait" in spans:
        assert spans["wait"].end_time == spans["compute"].start_time
        assert spans["compute"].attributes == {"trimtab.batch_size": 3}


class Collector(SpanExporter):
    def __init__(self, result: SpanExportResult) -> None:
        self.result = result
        self.seen = 0

    def export(self, spans) -> SpanExportResult:
        self.seen += len(spans)
        return self.result


def some_spans(count: int) -> list:
    here = tracer()
    trace = here.begin("POST /", {}, None, Moment.now())
    return [here.spans(trace, Outcome(name="POST /", attributes={}), 1.0)[0] for _ in range(count)]


async def test_what_could_not_be_exported_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(SpanExportResult.FAILURE)
    sink = SpanSink(collector, QueueSize(100, 100))
    sink.put(some_spans(7))
    await sink.close()
    assert collector.seen == 7
    assert "spans lost dropped=0 not_exported=7 of=7" in caplog.messages


async def test_nothing_is_told_where_nothing_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(SpanExportResult.SUCCESS)
    sink = SpanSink(collector, QueueSize(100, 10))
    sink.put(some_spans(30))
    await sink.close()
    assert collector.seen == 30
    assert [message for message in caplog.messages if "lost" in message] == []
