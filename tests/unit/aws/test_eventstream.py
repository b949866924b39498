"""Response streams, read by botocore's decoder."""

from __future__ import annotations

import json

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws import eventstream


def decoded(data: bytes) -> list[tuple[dict[str, str], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(dict(event.headers), event.payload) for event in buffer]


@given(st.lists(st.binary(max_size=2000), max_size=5))
def test_botocore_reads_back_every_part_as_it_was_sent(parts: list[bytes]) -> None:
    events = decoded(b"".join(eventstream.payload_part(part) for part in parts))
    assert [payload for _, payload in events] == parts
    for headers, _ in events:
        assert headers == {
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
        }


def test_a_part_beyond_sixteen_megabytes_becomes_several_messages() -> None:
    part = bytes(eventstream.MAX_PAYLOAD_BYTES + 5)
    events = decoded(eventstream.payload_part(part))
    assert [len(payload) for _, payload in events] == [eventstream.MAX_PAYLOAD_BYTES, 5]
    with pytest.raises(ValueError, match="split it"):
        eventstream.encode(b"", part)


def test_a_model_that_fails_in_mid_stream_is_told_with_its_code() -> None:
    [(headers, payload)] = decoded(eventstream.model_stream_error("took too long", "ModelInvocationTimeExceeded"))
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "ModelStreamError"
    assert json.loads(payload) == {"Message": "took too long", "ErrorCode": "ModelInvocationTimeExceeded"}


def test_a_failure_of_trimtab_in_mid_stream_is_told_too() -> None:
    [(headers, payload)] = decoded(eventstream.internal_stream_failure("no"))
    assert headers[":exception-type"] == "InternalStreamFailure"
    assert json.loads(payload) == {"Message": "no"}


@pytest.mark.parametrize("headers", [{"": "x"}, {"a" * 256: "x"}, {"a": "x" * 32_768}])
def test_headers_that_the_format_cannot_hold_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        eventstream.header_block(headers)
