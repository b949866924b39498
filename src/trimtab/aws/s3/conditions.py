"""Which bytes a read is about, and whether the caller wants them: ranges and preconditions (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re
from typing import NamedTuple

from trimtab.aws.registry import AwsError
from trimtab.aws.s3.calls import Params, precondition_failed
from trimtab.aws.s3.members import moment, quoted, unquoted
from trimtab.objects.model import Layout, ObjectInfo

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Span(NamedTuple):
    """Bytes `start` to `stop` (not included) of an object of `size` bytes. `partial`: asked for as a part or range."""

    start: int
    stop: int
    size: int
    partial: bool = False

    @property
    def content_range(self) -> str:
        """The Content-Range header."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def check_read(params: Params, info: ObjectInfo) -> None:
    """Raise 412 or 304 where a GET's or HEAD's preconditions say so."""
    modified = moment(info.modified_s)
    if (match := params.get("IfMatch")) is not None:
        if not _names(match, info.etag):
            raise precondition_failed("If-Match")
    elif (since := params.get("IfUnmodifiedSince")) is not None and modified > since:
        raise precondition_failed("If-Unmodified-Since")
    if (none_match := params.get("IfNoneMatch")) is not None:
        if _names(none_match, info.etag):
            raise _not_modified(info)
    elif (since := params.get("IfModifiedSince")) is not None and modified <= since:
        raise _not_modified(info)


def check_copy_source(params: Params, info: ObjectInfo) -> None:
    """Raise 412 where a copy's preconditions on its source do not hold."""
    modified = moment(info.modified_s)
    match, none_match = params.get("CopySourceIfMatch"), params.get("CopySourceIfNoneMatch")
    if match is not None:
        if not _names(match, info.etag):
            raise precondition_failed("x-amz-copy-source-If-Match")
    elif (since := params.get("CopySourceIfUnmodifiedSince")) is not None and modified > since:
        raise precondition_failed("x-amz-copy-source-If-Unmodified-Since")
    if none_match is not None:
        if _names(none_match, info.etag):
            raise precondition_failed("x-amz-copy-source-If-None-Match")
    elif (since := params.get("CopySourceIfModifiedSince")) is not None and modified <= since:
        raise precondition_failed("x-amz-copy-source-If-Modified-Since")


def span_of(params: Params, info: ObjectInfo, layout: Layout) -> Span:
    """The bytes that a read is about. Raises InvalidRange, InvalidPartNumber: 416."""
    number = params.get("PartNumber")
    header = params.get("Range")
    if number is not None and header is not None:
        raise AwsError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter.", 400)
    if number is not None:
        return _part_span(number, info, layout)
    return range_span(header, info.size_bytes) if header is not None else Span(0, info.size_bytes, info.size_bytes)


def range_span(header: str, size: int) -> Span:
    """A Range header's bytes. As S3 does, what is no single byte range is ignored."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return Span(0, size, size)
    if first and last and int(last) < int(first):
        return Span(0, size, size)
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise AwsError(
            "InvalidRange",
            "The requested range is not satisfiable",
            416,
            extra={"RangeRequested": header, "ActualObjectSize": size},
            headers=[("Content-Range", f"bytes */{size}")],
        )
    return Span(start, stop, size, partial=True)


def _part_span(number: int, info: ObjectInfo, layout: Layout) -> Span:
    start = 0
    sizes = [part.size_bytes for part in layout.parts] or [info.size_bytes]
    if not 1 <= number <= len(sizes):
        raise AwsError(
            "InvalidPartNumber",
            "The requested partnumber is not satisfiable",
            416,
            extra={"PartNumberRequested": number, "ActualPartCount": len(sizes)},
        )
    start = sum(sizes[: number - 1])
    return Span(start, start + sizes[number - 1], info.size_bytes, partial=info.size_bytes > 0)


def _names(header: str, etag: str) -> bool:
    return any(unquoted(one) in ("*", etag) for one in header.split(","))


def _not_modified(info: ObjectInfo) -> AwsError:
    modified = moment(info.modified_s).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = [("ETag", quoted(info.etag)), ("Last-Modified", modified)]
    return AwsError("NotModified", "Not Modified", 304, headers=headers)
