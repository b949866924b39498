"""CBOR bodies (Smithy RPC v2): what newer AWS SDKs send to CloudWatch. The shapes are those of JSON bodies."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import cbor2

from trimtab.aws.protocols import jsonbody, timestamps
from trimtab.aws.protocols.errors import Malformed
from trimtab.aws.services import Member, Shape

CONTENT_TYPE: Final = "application/cbor"
_DATE_TAG: Final = 0
_EPOCH_TAG: Final = 1


def _date(text: Any, _immutable: bool) -> datetime:
    if not isinstance(text, str):
        raise ValueError("a tagged date must be a text")
    return timestamps.parse(text)


def _epoch(seconds: Any, _immutable: bool) -> datetime:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError("a tagged time must be a number of seconds")
    return timestamps.from_epoch(seconds)


class _Tags(dict[int, cbor2.SemanticDecoderCallback]):
    """Times have tags, and nothing else has: CBOR's shared values make a terabyte of 20 KB, its regular expressions
    are compiled, its decimals have any exponent."""

    def __missing__(self, tag: int) -> cbor2.SemanticDecoderCallback:
        raise ValueError(f"tag {tag} means nothing here")


_TAGS: Final = _Tags({_DATE_TAG: _date, _EPOCH_TAG: _epoch})


def parse(shape: Shape, body: bytes) -> dict[str, Any]:
    """The params in `body` (an empty body is an empty map). Raises Malformed."""
    if not body:
        return {}
    stream = io.BytesIO(body)
    try:
        document = cbor2.load(
            stream,
            semantic_decoders=_TAGS,
            max_depth=jsonbody.MAX_DEPTH,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, RecursionError) as error:
        why = error.__cause__ or error
        raise Malformed(f"The request's body is not valid CBOR: {why}") from None
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
