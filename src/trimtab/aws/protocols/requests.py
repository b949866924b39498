"""A request of any protocol to the params of its operation: read, parsed, typed; not yet validated."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.aws.http import Body, BytesBody, Headers
from trimtab.aws.protocols import cborbody, jsonbody, query, xmlbody
from trimtab.aws.protocols.bindings import has_body_members, read_located
from trimtab.aws.protocols.errors import Malformed
from trimtab.aws.services import Operation, Service, Shape
from trimtab.errors import TooLarge

DOCUMENTS = ("json", "cbor", "query")  # protocols whose requests are one document
MAX_DOCUMENT_BYTES = 8 * 2**20  # JSON, XML and forms; AWS's largest is CompleteMultipartUpload with 10,000 parts
MAX_BLOB_BYTES = 26_214_400  # a payload that the model does not stream; AWS: 25 MB per invocation


async def unpacked(body: Body, headers: Headers) -> Body:
    """`body` without its gzip (SDKs compress large calls of PutMetricData). Raises Malformed, and TooLarge for more
    than `MAX_DOCUMENT_BYTES` either way."""
    if headers.get("content-encoding").strip().lower() != "gzip":
        return body
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(await body.read(MAX_DOCUMENT_BYTES), MAX_DOCUMENT_BYTES + 1)
    except zlib.error:
        raise Malformed("The request's body is not gzip, which its Content-Encoding says that it is.") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"The body is over {MAX_DOCUMENT_BYTES} bytes unpacked.", limit_bytes=MAX_DOCUMENT_BYTES)
    if not unpacker.eof:
        raise Malformed("The request's gzip body ends too early.")
    if unpacker.unused_data:
        raise Malformed("The request's body goes on behind its gzip.")
    return BytesBody(data)


def parse_document(
    service: Service, operation: Operation, protocol: str, document: bytes, query_pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The params of `operation`, in one of the protocols whose body is all there is. Raises Malformed.

    For query requests, `query_pairs` holds the form's fields.
    """
    shape = operation.input
    if shape is None:
        return {}
    if protocol == "query":
        old_names_of = operation.name if service.query_compatible and service.protocol == "json" else ""
        return query.parse(shape, query_pairs, old_names_of)
    return cborbody.parse(shape, document) if protocol == "cbor" else jsonbody.parse(shape, document)


async def parse(
    operation: Operation,
    protocol: str,
    *,
    body: Body,
    labels: Mapping[str, str],
    query_pairs: Sequence[tuple[str, str]],
    headers: Headers,
) -> dict[str, Any]:
    """The params of `operation`, in a REST protocol. Raises Malformed, TooLarge, and what reading `body` raises."""
    shape = operation.input
    if shape is None:
        return {}
    params = read_located(shape, labels, query_pairs, headers)
    if shape.payload:
        payload = await _payload(shape, protocol, body)
        if payload is not None:
            params[shape.payload] = payload
    elif has_body_members(shape):
        params.update(_document(shape, protocol, await body.read(MAX_DOCUMENT_BYTES)))
    return params


async def _payload(shape: Shape, protocol: str, body: Body) -> Any:
    member = shape.members[shape.payload]
    if member.streaming:
        return body
    if member.shape.type == "blob":
        return await body.read(MAX_BLOB_BYTES)
    data = await body.read(MAX_DOCUMENT_BYTES)
    if member.shape.type == "string":
        try:
            return data.decode() if data else None
        except UnicodeDecodeError:
            raise Malformed("The request's body is not valid UTF-8.") from None
    return _document(member.shape, protocol, data) if data.strip() else None


def _document(shape: Shape, protocol: str, data: bytes) -> dict[str, Any]:
    if not data.strip():
        return {}
    return xmlbody.parse(shape, data) if protocol == "rest-xml" else jsonbody.parse(shape, data)
