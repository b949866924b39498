"""JSON bodies: bytes to params, results to bytes."""

from __future__ import annotations

import base64
import binascii
import enum
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from trimtab.aws.protocols import scalars, timestamps
from trimtab.aws.protocols.errors import Malformed
from trimtab.aws.services import Member, Shape

MAX_DEPTH = 100  # of nested structures, lists and maps; AWS's own limit is about as deep
_TOKENS = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE"}
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")  # as SDKs write them
_JAVA = {
    "string": "a String",
    "character": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "timestamp": "a Timestamp",
    "blob": "a Blob",
}


def parse(shape: Shape, body: bytes) -> dict[str, Any]:
    """The params in `body` (an empty body is an empty object). Raises Malformed."""
    if not body.strip():
        return {}
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"The request's body is not valid JSON: {error}") from None
    except RecursionError:
        raise Malformed("The request's JSON is nested too deeply.") from None
    if not isinstance(document, dict):
        raise Malformed("The request's body must be a JSON object.")
    return structured(shape, document)


def structured(shape: Shape, document: dict[str, Any]) -> dict[str, Any]:
    """The params in a decoded body. Raises Malformed."""
    return _structure(shape, document, "", 0)


def dump(shape: Shape, result: Mapping[str, Any], skip_located: bool = False) -> bytes:
    """The JSON of `result`; members that are None are left out. Raises ValueError for what the model does not know."""
    return msgspec.json.encode(_plain_structure(shape, result, skip_located))


def _structure(shape: Shape, document: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, member in shape.members.items():
        if member.location:
            continue
        value = document.get(member.wire_name)
        if value is not None:
            params[name] = _value(member, value, f"{path}.{name}" if path else name, depth)
    return params


def _value(member: Member, value: Any, path: str, depth: int) -> Any:
    shape = member.shape
    kind = shape.type
    if kind == "string" and type(value) is str:
        return value
    if kind in ("structure", "list", "map"):
        return _container(shape, value, path, depth + 1)
    return _scalar(kind, value, path)


def _container(shape: Shape, value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Malformed(f"The request is nested more than {MAX_DEPTH} levels deep (at {path[:200]!r}).")
    if shape.type == "list":
        if not isinstance(value, list):
            raise Malformed(f"Expected list or null (at {path!r}).")
        assert shape.element is not None
        element = shape.element
        # A null in a list stays for validation to name.
        return [
            None if item is None else _value(element, item, f"{path}.{index}", depth)
            for index, item in enumerate(value, 1)
        ]
    if not isinstance(value, dict):
        raise Malformed(f"Expected a structure, a map or null (at {path!r}).")
    if shape.type == "map":
        assert shape.value is not None
        return {k: None if v is None else _value(shape.value, v, f"{path}.{k}", depth) for k, v in value.items()}
    return value if shape.document else _structure(shape, value, path, depth)


def _scalar(kind: str, value: Any, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if kind in ("integer", "long") and number and (isinstance(value, int) or value.is_integer()):
            return scalars.checked_integer(int(value), kind)
        if kind in ("float", "double") and number:
            return scalars.checked_float(float(value))
        if kind in ("float", "double") and value in _NOT_FINITE:
            raise ValueError(f"{value} is not a finite number")
        if kind == "boolean" and isinstance(value, bool):
            return value
        if kind in ("string", "character") and isinstance(value, str):
            return value
        if kind == "timestamp" and isinstance(value, datetime):
            return timestamps.in_utc(value)
        if kind == "timestamp" and (number or isinstance(value, str)):
            return timestamps.parse(value) if isinstance(value, str) else timestamps.from_epoch(value)
        if kind == "blob" and isinstance(value, bytes):
            return value
        if kind == "blob" and isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise Malformed(f"The value at {path!r} can not be converted to {_JAVA[kind]}: {error}.") from None
    if isinstance(value, list | dict):
        raise Malformed(f"Start of {'list' if isinstance(value, list) else 'structure or map'} found where not"
                        f" expected (at {path!r}).")  # fmt: skip
    token = f"{value}_VALUE".upper() if isinstance(value, bool) else _TOKENS.get(type(value), "A value")
    raise Malformed(f"{token} can not be converted to {_JAVA[kind]} (at {path!r}).")


def _plain_structure(shape: Shape, result: Mapping[str, Any], skip_located: bool = False) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in result.items():
        member = shape.members.get(name)
        if member is None:
            raise ValueError(f"{shape.name} has no member {name!r}")
        if value is not None and not (skip_located and member.location):
            plain[member.wire_name] = _plain(member, value)
    return plain


def _plain(member: Member, value: Any) -> Any:
    shape = member.shape
    kind = shape.type
    if kind == "structure":
        return value if shape.document else _plain_structure(shape, value)
    if kind == "list":
        assert shape.element is not None
        return [_plain(shape.element, item) for item in value]
    if kind == "map":
        assert shape.value is not None
        return {str(k): _plain(shape.value, v) for k, v in value.items() if v is not None}
    if kind == "timestamp":
        return timestamps.epoch(value) if not member.timestamp_format else _formatted(member, value)
    if kind in ("float", "double"):
        return value if math.isfinite(value) else scalars.write(member, value, "")
    if kind == "blob":
        return base64.b64encode(value).decode()
    return value.value if isinstance(value, enum.Enum) else value


def _formatted(member: Member, value: Any) -> Any:
    if member.timestamp_format == "unixTimestamp":
        return timestamps.epoch(value)
    return timestamps.write(value, member.timestamp_format)
