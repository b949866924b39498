"""CBOR bodies (Smithy RPC v2): what newer AWS SDKs send to CloudWatch. The shapes are those of JSON bodies."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import cbor2

from trimtab.aws.protocols import jsonbody, timestamps
from trimtab.aws.protocols.errors import Malformed
from trimtab.aws.services import Member, Shape

CONTENT_TYPE: Final = "application/cbor"
_EPOCH_TAG: Final = 1


def parse(shape: Shape, body: bytes) -> dict[str, Any]:
    """The params in `body` (an empty body is an empty map). Raises Malformed."""
    if not body:
        return {}
    stream = io.BytesIO(body)
    try:
        document = cbor2.load(stream)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"The request's body is not valid CBOR: {error}") from None
    if stream.tell() != len(body) or not isinstance(document, dict):
        raise Malformed("The request's body must be one CBOR map.")
    return jsonbody.structured(shape, document)


def dump(shape: Shape, result: Mapping[str, Any]) -> bytes:
    """The CBOR of `result`; members that are None are left out. Raises ValueError for what the model does not know."""
    return cbor2.dumps(_structure(shape, result))


def _structure(shape: Shape, result: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in result.items():
        member = shape.members.get(name)
        if member is None:
            raise ValueError(f"{shape.name} has no member {name!r}")
        if value is not None:
            plain[name] = _value(member, value)
    return plain


def _value(member: Member, value: Any) -> Any:
    shape = member.shape
    if shape.type == "structure":
        return _structure(shape, value)
    if shape.type == "list":
        assert shape.element is not None
        return [_value(shape.element, item) for item in value]
    if shape.type == "map":
        assert shape.value is not None
        return {str(key): _value(shape.value, item) for key, item in value.items() if item is not None}
    if shape.type == "timestamp":
        return cbor2.CBORTag(_EPOCH_TAG, timestamps.epoch(value))
    if shape.type in ("float", "double"):
        return float(value)
    return value
