"""Read response streams: the other side of `eventstream.py`, for clients of our own. CRCs are not checked again."""

from __future__ import annotations

import msgspec

from trimtab.errors import Invalid

_MAX_MESSAGE_BYTES = 24 * 2**20  # botocore's limit


class EventReader:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._pending = b""
        self.parts = 0
        self.payload_bytes = 0
        self.exception = ""  # the kind of the exception that ended the stream
        self.message = ""

    @property
    def within_message(self) -> bool:
        """Whether the last message is not whole."""
        return bool(self._pending)

    def feed(self, data: bytes) -> int:
        """Take more bytes; how many `PayloadPart` events they completed. Raises Invalid for what is no event stream."""
        data = self._pending + data if self._pending else data
        at, parts = 0, 0
        while len(data) - at >= 12:
            total = int.from_bytes(data[at : at + 4], "big")
            headers_length = int.from_bytes(data[at + 4 : at + 8], "big")
            if not 16 + headers_length <= total <= _MAX_MESSAGE_BYTES:
                raise Invalid("The answer is no event stream.")
            if len(data) - at < total:
                break
            headers = data[at + 12 : at + 12 + headers_length]
            payload = data[at + 12 + headers_length : at + total - 4]
            parts += self._message(headers, payload)
            at += total
        self._pending = data[at:]
        self.parts += parts
        return parts

    def _message(self, headers: bytes, payload: bytes) -> bool:
        fields = _headers(headers)
        if fields.get(b":message-type") == b"event":
            self.payload_bytes += len(payload)
            return fields.get(b":event-type") == b"PayloadPart"
        kind = fields.get(b":exception-type") or fields.get(b":error-code") or b"UnknownStreamError"
        self.exception = kind.decode("utf-8", "replace")
        self.message = _message_of(payload)
        return False


def _headers(block: bytes) -> dict[bytes, bytes]:
    """Headers of type string; AWS sends no others here."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        if block[name_end : name_end + 1] != b"\x07":
            raise Invalid("The answer's event stream has a header that is no text.")
        value_at = name_end + 3
        size = int.from_bytes(block[name_end + 1 : value_at], "big")
        found[block[at + 1 : name_end]] = block[value_at : value_at + size]
        at = value_at + size
    return found


def _message_of(payload: bytes) -> str:
    try:
        said = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return payload.decode("utf-8", "replace")
    return str(said.get("Message", said.get("message", ""))) if isinstance(said, dict) else str(said)
