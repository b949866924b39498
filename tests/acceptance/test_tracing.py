"""One trace from the edge to the model, as an OpenTelemetry collector sees it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError
from otlp_receiver import Receiver

from trimtab.testing.artifacts import script
from trimtab.testing.server import PROGRAM, Trimtab

INVOKE = "POST /endpoints/{EndpointName}/invocations"
STREAM = "POST /endpoints/{EndpointName}/invocations-response-stream"

MODEL = """
import json
from opentelemetry import trace

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept, context):
    here = trace.get_current_span().get_span_context()
    seen = {
        "traceparent": context.get_request_header(0, "traceparent"),
        "tracestate": context.get_request_header(0, "tracestate"),
        "current": f"{here.span_id:016x}",
    }
    if body == b"fail":
        raise ValueError("the model broke")
    if body == b"stream":
        def parts():
            yield json.dumps(seen)
            yield f"{trace.get_current_span().get_span_context().span_id:016x}"
        return parts(), "text/plain"
    if body == b"endless":
        def endless():
            while True:
                yield b"x" * 1000
        return endless(), "text/plain"
    if body == b"break":
        def broken():
            yield b"one"
            raise ValueError("half-way")
        return broken(), "text/plain"
    return json.dumps(seen), "application/json"
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector of the test's own."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[Trimtab]:
    """A trimtab that exports to `collector`, with an endpoint `traced`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        patch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        server = Trimtab(tmp_path_factory.mktemp("traced") / "data")
    server.deploy("traced", script(MODEL))
    yield server
    assert server.stop() == 0


def caller(*, sampled: bool = True) -> tuple[str, str, str]:
    """A trace id, a span id, and the traceparent of the two."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-0{int(sampled)}"


def sending(trimtab: Trimtab, headers: dict[str, str], **config: Any) -> Any:
    """boto3's runtime client, whose requests carry `headers` as an instrumented program's do."""
    client = trimtab.client("sagemaker-runtime", **config)

    def add(params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(headers)

    client.meta.events.register("before-call.sagemaker-runtime", add)
    return client


def test_a_request_is_one_trace_with_times_that_nest(traced: Trimtab, collector: Receiver) -> None:
    trace_id, span_id, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent, "tracestate": "vendor=1"})
    answer = client.invoke_endpoint(EndpointName="traced", Body=b"hello", ContentType="text/plain")
    body = answer["Body"].read()
    seen = json.loads(body)
    spans = collector.trace(trace_id, 4)
    server, queue, model, compute = (spans[name] for name in (INVOKE, "queue", "model", "compute"))
    assert server.parent == span_id
    assert queue.parent == model.parent == server.id
    assert compute.parent == model.id
    assert (server.kind, queue.kind, model.kind, compute.kind) == (2, 1, 3, 1)
    assert server.start_ns <= queue.start_ns <= queue.end_ns == model.start_ns
    assert model.start_ns <= compute.start_ns < compute.end_ns <= model.end_ns <= server.end_ns
    assert seen == {
        "traceparent": f"00-{trace_id}-{model.id}-01",
        "tracestate": "vendor=1",
        "current": model.id,
    }
    replica = traced.cli("describe", "traced", "--json")
    assert model.attributes.pop("trimtab.replica") in replica
    assert model.attributes == {
        "trimtab.endpoint": "traced",
        "trimtab.variant": "blue",
        "trimtab.version": server.attributes["trimtab.version"],
    }
    assert (
        server.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/endpoints/{EndpointName}/invocations",
            "http.response.status_code": 200,
            "http.request.body.size": 5,
            "http.response.body.size": len(body),
            "url.path": "/endpoints/traced/invocations",
            "server.address": "127.0.0.1",
            "rpc.system": "aws-api",
            "rpc.method": "InvokeEndpoint",
            "aws.request_id": answer["ResponseMetadata"]["RequestId"],
            "trimtab.variant": "blue",
        }.items()
    )
    assert all(span.state == "vendor=1" and not span.failed for span in spans.values())
    assert server.resource["service.name"] == "trimtab"


def test_a_stream_ends_with_its_last_chunk_and_tells_of_its_first(traced: Trimtab, collector: Receiver) -> None:
    trace_id, _, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent})
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="traced", Body=b"stream", ContentType="text/plain"
    )
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    answer["Body"].close()
    spans = collector.trace(trace_id, 3)
    model = spans["model"]
    text = b"".join(parts).decode()
    assert text.endswith(model.id), "what the generator's own thread sees"
    assert [name for name, _ in spans[STREAM].events] == [name for name, _ in model.events] == ["first chunk"]
    assert spans[STREAM].attributes["http.response.body.size"] == len(text)


def test_errors_stand_on_the_spans(traced: Trimtab, collector: Receiver) -> None:
    trace_id, _, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent})
    with pytest.raises(ClientError, match="the model broke"):
        client.invoke_endpoint(EndpointName="traced", Body=b"fail", ContentType="text/plain")
    spans = collector.trace(trace_id, 3)
    assert spans[INVOKE].failed
    assert spans["model"].failed
    assert "the model broke" in spans["model"].said
    [(name, exception)] = spans["model"].events
    assert (name, exception["exception.type"]) == ("exception", "ModelFailed")
    assert spans[INVOKE].attributes["http.response.status_code"] == 424
    assert spans[INVOKE].attributes["error.type"] == "ModelError"


def test_a_stream_that_breaks_has_said_200(traced: Trimtab, collector: Receiver) -> None:
    trace_id, _, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent})
    answer = client.invoke_endpoint_with_response_stream(EndpointName="traced", Body=b"break", ContentType="text/plain")
    with pytest.raises(EventStreamError):
        list(answer["Body"])
    answer["Body"].close()
    server = collector.trace(trace_id, 3)[STREAM]
    assert server.failed
    assert server.attributes["http.response.status_code"] == 200
    assert [name for name, _ in server.events] == ["first chunk", "exception"]


def test_a_client_that_leaves_ends_the_trace(traced: Trimtab, collector: Receiver) -> None:
    trace_id, _, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent})
    answer = client.invoke_endpoint_with_response_stream(
        EndpointName="traced", Body=b"endless", ContentType="text/plain"
    )
    next(iter(answer["Body"]))
    answer["Body"].close()
    spans = collector.trace(trace_id, 3)
    assert spans[STREAM].attributes["error.type"] == "ClientGone"
    assert not spans[STREAM].failed
    assert [name for name, _ in spans[STREAM].events] == ["first chunk", "exception"]


def test_headers_of_any_length_make_spans_of_bounded_size(traced: Trimtab, collector: Receiver) -> None:
    trace_id, _, traceparent = caller()
    client = sending(traced, {"traceparent": traceparent}, user_agent_extra="a" * 20_000)
    client.invoke_endpoint(EndpointName="traced", Body=b"x", ContentType="text/plain")["Body"].read()
    server = collector.trace(trace_id, 4)[INVOKE]
    assert len(server.attributes["user_agent.original"]) == 256


@pytest.mark.parametrize(
    ("call", "status", "kind"),
    [
        ({"EndpointName": "nope", "Body": b"x"}, 400, "ValidationError"),
        ({"EndpointName": "traced", "Body": b"x", "TargetVariant": "nope"}, 400, "ValidationError"),
        ({"EndpointName": "traced", "Body": b"x", "TargetModel": "m.tar.gz"}, 400, "ValidationError"),
    ],
)
def test_refused_requests_are_traced_and_are_no_failure_of_the_server(
    traced: Trimtab, collector: Receiver, call: dict[str, Any], status: int, kind: str
) -> None:
    trace_id, span_id, traceparent = caller()
    with pytest.raises(ClientError):
        sending(traced, {"traceparent": traceparent}).invoke_endpoint(**call)
    later_id, _, later = caller()
    sending(traced, {"traceparent": later}).invoke_endpoint(EndpointName="traced", Body=b"x")
    collector.trace(later_id, 4)
    [server] = [span for span in collector.spans if span.trace_id == trace_id]
    assert (server.name, server.parent, server.failed) == (INVOKE, span_id, False)
    assert server.attributes["http.response.status_code"] == status
    assert server.attributes["error.type"] == kind


def test_xrays_header_is_continued_where_there_is_no_other(traced: Trimtab, collector: Receiver) -> None:
    trace_id, span_id, _ = caller()
    header = f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={span_id};Sampled=1"
    client = sending(traced, {"X-Amzn-Trace-Id": header})
    client.invoke_endpoint(EndpointName="traced", Body=b"x", ContentType="text/plain")["Body"].read()
    assert collector.trace(trace_id, 4)[INVOKE].parent == span_id


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00"},
        {"traceparent": "junk", "tracestate": "=,;"},
        {"traceparent": "00-" + "0" * 32 + "-" + "2" * 16 + "-01"},
        {"traceparent": "ff-" + "1" * 32 + "-" + "2" * 16 + "-01"},
        {"X-Amzn-Trace-Id": "Root=1-1-1;Parent=x;Sampled=1"},
        {"X-Amzn-Trace-Id": ";;=;"},
    ],
)
def test_what_is_not_sampled_leaves_no_span_and_the_model_is_told(
    traced: Trimtab, collector: Receiver, headers: dict[str, str]
) -> None:
    before = len(collector.spans)
    answer = sending(traced, headers).invoke_endpoint(EndpointName="traced", Body=b"x", ContentType="text/plain")
    seen = json.loads(answer["Body"].read())
    assert seen["traceparent"].endswith("-00")
    if headers.get("traceparent", "").endswith("-00"):
        assert headers["traceparent"].split("-")[1] in seen["traceparent"]
    trace_id, _, traceparent = caller()  # whose spans come after those that must not come
    sending(traced, {"traceparent": traceparent}).invoke_endpoint(EndpointName="traced", Body=b"x")
    collector.trace(trace_id, 4)
    assert {span.trace_id for span in collector.spans[before:]} == {trace_id}


@pytest.mark.slow
def test_a_collector_that_hangs_delays_nobody_and_bounds_the_end(
    serve: Callable[..., Trimtab], name: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answering.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    server = serve()
    server.deploy(name, script(MODEL))
    for _ in range(50):  # many times the queue; no export has ended yet
        server.invoke(name, b"x", "text/plain")
    assert server.stop() == 0
    assert receiver.spans == []
    assert "spans not exported in time" in server.log_path.read_text()


def test_what_a_collector_refuses_is_counted_as_lost(
    serve: Callable[..., Trimtab], name: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.refuse = True
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/v1/traces")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    server = serve()
    server.deploy(name, script(MODEL))
    for _ in range(50):
        server.invoke(name, b"x", "text/plain")
    assert server.stop() == 0
    told = [line for line in server.log_path.read_text().splitlines() if "spans lost" in line]
    assert "of=250" in told[-1]
    dropped, failed = (
        int(word.partition("=")[2]) for word in told[-1].split() if word.startswith(("dropped=", "not_"))
    )
    assert dropped + failed == 250
    assert dropped > 0


def test_spans_of_the_last_requests_are_flushed_at_the_end(
    serve: Callable[..., Trimtab], name: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "scoring")
    server = serve()
    server.deploy(name, script(MODEL))
    server.invoke(name, b"x", "text/plain")
    assert server.stop() == 0
    assert sorted(span.name for span in receiver.spans) == [INVOKE, "compute", "model", "queue", "wait"]
    assert receiver.spans[0].resource["service.name"] == "scoring"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "'zipkin', which is not installed"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "'http/json' is not supported"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "trimtab[otel]"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "must be a number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999", "must not be over"),
    ],
)
def test_serve_says_what_is_wrong_with_the_settings(tmp_path: Path, variable: str, value: str, words: str) -> None:
    env = dict(os.environ, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") | {variable: value}
    argv = [PROGRAM, "serve", "--port", "0", "--data-dir", tmp_path / "data"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
