"""Response streams: messages of AWS's event stream format (`application/vnd.amazon.eventstream`).

    u32 total length | u32 headers length | u32 CRC of the first 8 bytes | headers | payload | u32 CRC of all before
    header: u8 name length, name, u8 type (7: string), u16 value length, value

All integers are big endian, CRC is zlib's CRC-32. Source: AWS's event stream encoding; checked with botocore's decoder.
"""

from __future__ import annotations

import struct
from typing import Final
from zlib import crc32

import msgspec

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"
MAX_PAYLOAD_BYTES: Final = 16 * 2**20  # AWS: of one message; botocore refuses more than 24 MB

_PRELUDE = struct.Struct(">III")
_LENGTHS = struct.Struct(">II")
_CRC = struct.Struct(">I")


def encode(headers: bytes, payload: bytes) -> bytes:
    """One message of headers from `header_block` and a payload of at most `MAX_PAYLOAD_BYTES`."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"an event's payload may have {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}; split it")
    total = 16 + len(headers) + len(payload)
    lengths = _LENGTHS.pack(total, len(headers))
    head = _PRELUDE.pack(total, len(headers), crc32(lengths)) + headers
    return b"".join((head, payload, _CRC.pack(crc32(payload, crc32(head)))))


def header_block(headers: dict[str, str]) -> bytes:
    """String headers, encoded."""
    parts = []
    for name, value in headers.items():
        raw_name, raw_value = name.encode(), value.encode()
        if not 0 < len(raw_name) < 256 or len(raw_value) > 32_767:
            raise ValueError(f"the event header {name[:50]!r} is too long, or has no name")
        parts.append(bytes((len(raw_name),)) + raw_name + b"\x07" + len(raw_value).to_bytes(2, "big") + raw_value)
    return b"".join(parts)


def payload_part(chunk: bytes) -> bytes:
    """A `PayloadPart` event: bytes of the container's answer as they came. Several messages beyond 16 MB."""
    if len(chunk) <= MAX_PAYLOAD_BYTES:
        return encode(_PAYLOAD_PART, chunk)
    pieces = (chunk[at : at + MAX_PAYLOAD_BYTES] for at in range(0, len(chunk), MAX_PAYLOAD_BYTES))
    return b"".join(encode(_PAYLOAD_PART, piece) for piece in pieces)


def model_stream_error(message: str, error_code: str) -> bytes:
    """The container failed after the answer had begun. `error_code`: ModelInvocationTimeExceeded, StreamBroken."""
    return encode(_MODEL_STREAM_ERROR, msgspec.json.encode({"Message": message, "ErrorCode": error_code}))


def internal_stream_failure(message: str) -> bytes:
    """trimtab failed after the answer had begun."""
    return encode(_INTERNAL_STREAM_FAILURE, msgspec.json.encode({"Message": message}))


def _exception_headers(kind: str) -> bytes:
    return header_block({":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"})


_PAYLOAD_PART = header_block(
    {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
)
_MODEL_STREAM_ERROR = _exception_headers("ModelStreamError")
_INTERNAL_STREAM_FAILURE = _exception_headers("InternalStreamFailure")
