"""Bytes of response heads."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

from trimtab.aws.http import HttpResponse

NO_BODY_STATUSES = frozenset({204, 304})
_UNSAFE = {code: None for code in (*range(32), 127) if code != 9}


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` and its line end; a status without a standard phrase gets none."""
    line = _STATUS_LINES.get(status)
    return line if line is not None else b"HTTP/1.1 %d \r\n" % status


_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def header_value(text: str) -> bytes:
    """`text` as a header value: latin-1, without the control characters that would split a response."""
    return (text if text.isprintable() else text.translate(_UNSAFE)).encode("latin-1", "replace")


def header_lines(headers: list[tuple[str, str]]) -> bytes:
    """`name: value` lines, each with its line end."""
    return b"".join(b"%b: %b\r\n" % (name.encode("latin-1"), header_value(value)) for name, value in headers)


def head_of(response: HttpResponse, date: bytes) -> bytes:
    """Status line and headers of `response` without its framing (length, chunked, connection)."""
    return status_line(response.status) + date + header_lines(response.headers)


def date_line(now_s: float) -> bytes:
    """The `Date` header for wall time `now_s`."""
    return f"Date: {formatdate(now_s, usegmt=True)}\r\n".encode()
