"""The load test's requests are AWS's: signed as botocore signs them, and answers are understood."""

from __future__ import annotations

import pickle

import msgspec
import pytest
from botocore.auth import SigV4Auth
from hypothesis import given
from hypothesis import strategies as st
from sigv4_oracle import HOST, KEY, NOW_S, credentials, sign

from trimtab.aws.eventstream import internal_stream_failure, model_stream_error, payload_part
from trimtab.aws.eventstream_reader import EventReader
from trimtab.aws.invoker import Invoker
from trimtab.aws.sigv4.signer import Credentials, Signer
from trimtab.aws.sigv4.verifier import Verifier
from trimtab.errors import Invalid
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.sender import Address

REGION = "eu-west-1"
CREDENTIALS = Credentials(KEY.id, KEY.secret)

values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(
    st.dictionaries(st.sampled_from(["Accept", "Content-Type", "X-Amzn-SageMaker-Target-Variant"]), values),
    st.binary(max_size=50),
    st.sampled_from(["/endpoints/a/invocations", "/endpoints/a%20b/invocations"]),
    st.sampled_from([None, "token/+="]),
)
def test_signatures_are_botocores(headers, body, path, token) -> None:
    signer = SigV4Auth(credentials(token=token), "sagemaker", REGION)
    theirs = dict(sign(signer, path=path, headers=list(headers.items()), body=body).headers)
    mine = Signer(Credentials(KEY.id, KEY.secret, token or ""), REGION).prepare(
        "POST", path, [("Host", HOST), *headers.items()], body
    )(int(NOW_S))
    found = {name.lower(): value for name, value in mine}
    assert found["authorization"] == theirs["authorization"]
    assert found["x-amz-date"] == theirs["x-amz-date"]
    assert found.get("x-amz-security-token") == token


def request_of(wire: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = wire.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_a_request_says_all_of_its_payload_and_is_verified() -> None:
    invoker = Invoker("http://127.0.0.1:7070/", "my-endpoint", CREDENTIALS, REGION)
    payload = Payload(
        b"1,2", "text/csv", accept="a/b", target_variant="blue", custom_attributes="c=1", target_model="m/a"
    )
    first, headers, body = request_of(invoker.wire(payload)(int(NOW_S)))
    assert first == "POST /endpoints/my-endpoint/invocations HTTP/1.1"
    assert (body, headers["Content-Length"], headers["Host"]) == (b"1,2", "3", HOST)
    assert headers["Content-Type"] == "text/csv"
    assert headers["Accept"] == "a/b"
    assert headers["X-Amzn-SageMaker-Target-Model"] == "m/a"
    assert headers["X-Amzn-SageMaker-Target-Variant"] == "blue"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "c=1"
    sent = [(name.lower(), value) for name, value in headers.items()]
    verifier = Verifier(lambda: {KEY.id: KEY}, region=REGION)
    assert verifier.verify("POST", "/endpoints/my-endpoint/invocations", "", sent, body, NOW_S) == KEY


def test_a_request_is_signed_once_a_second() -> None:
    wire = Invoker("http://127.0.0.1:7070", "e", CREDENTIALS, REGION).wire(Payload(b""))
    assert wire(100) is wire(100)
    assert wire(100) != wire(101)


def test_streams_go_to_the_streaming_operation() -> None:
    invoker = Invoker("http://127.0.0.1:7070", "e", CREDENTIALS, REGION, streams=True)
    first, headers, _ = request_of(invoker.wire(Payload(b"", accept="text/plain"))(0))
    assert first == "POST /endpoints/e/invocations-response-stream HTTP/1.1"
    assert headers["X-Amzn-SageMaker-Accept"] == "text/plain"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:7070", Address("localhost", 7070)),
        ("https://runtime.example.com", Address("runtime.example.com", 443, True)),
        ("http://[::1]:80/x", Address("::1", 80)),
    ],
)
def test_the_address_is_the_urls(url, address, monkeypatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert Invoker(url, "e", CREDENTIALS, REGION).address == address


@pytest.mark.parametrize("url", ["ftp://x", "localhost:7070", "http://", "http://x:99999", "http://[x"])
def test_what_is_no_url_is_refused(url) -> None:
    with pytest.raises(Invalid, match=r"is no .*URL"):
        Invoker(url, "e", CREDENTIALS, REGION).address  # noqa: B018


def test_it_can_be_sent_to_another_process() -> None:
    invoker = Invoker("http://127.0.0.1:7070", "e", CREDENTIALS, REGION)
    assert pickle.loads(pickle.dumps(invoker)) == invoker


@pytest.mark.parametrize(
    ("status", "error_type", "body", "kind", "message", "hopeless"),
    [
        (424, b"ModelError", {"Message": "Received", "OriginalMessage": "no"}, "ModelError", "no", False),
        (429, b"ThrottlingException:http://x", {"message": "slow"}, "ThrottlingException", "slow", False),
        (400, b"ValidationError", {"Message": "Endpoint e of account 1 not found."}, "ValidationError",
         "Endpoint e of account 1 not found.", True),
        (502, b"", b"<html>", "HTTP 502", "<html>", False),
        (500, b"", b'"x"', "HTTP 500", "x", False),
    ],
)  # fmt: skip
def test_errors_have_awss_code_and_message(status, error_type, body, kind, message, hopeless) -> None:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    failure = Invoker("http://x", "e", CREDENTIALS, REGION).failure(status, error_type, raw)
    assert (failure.kind, failure.message, failure.hopeless) == (kind, message, hopeless)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 50))
def test_a_stream_is_read_in_whatever_pieces_it_comes(chunks, piece) -> None:
    reader = EventReader()
    data = b"".join(map(payload_part, chunks))
    parts = sum(reader.feed(data[at : at + piece]) for at in range(0, len(data), piece))
    assert (parts, reader.payload_bytes) == (len(chunks), sum(map(len, chunks)))
    assert not reader.within_message
    assert reader.exception == ""


def test_the_end_of_a_stream_may_be_an_error() -> None:
    answer = Invoker("http://x", "e", CREDENTIALS, REGION, streams=True).stream_reader()
    assert answer.feed(payload_part(b"a") + model_stream_error("it broke", "StreamBroken")) == 1
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.message) == ("ModelStreamError", "it broke")
    reader = EventReader()
    reader.feed(internal_stream_failure("ours"))
    assert (reader.exception, reader.message) == ("InternalStreamFailure", "ours")


def test_what_is_no_event_stream_or_ends_within_an_event_is_a_bad_answer() -> None:
    invoker = Invoker("http://x", "e", CREDENTIALS, REGION, streams=True)
    cut, wrong = invoker.stream_reader(), invoker.stream_reader()
    cut.feed(payload_part(b"abc")[:-1])
    wrong.feed(b"this is no event stream")
    for answer in (cut, wrong):
        assert answer.failure is not None
        assert answer.failure.kind == "BadAnswer"
