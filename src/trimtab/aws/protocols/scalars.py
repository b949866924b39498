"""Scalars as text: in headers, query strings, form fields and XML."""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any

from trimtab.aws.protocols import timestamps
from trimtab.aws.protocols.errors import Malformed, Part
from trimtab.aws.services import Member

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_BITS = {"integer": 31, "long": 63}


def read(member: Member, text: str, part: Part = Part.BODY) -> Any:
    """The value of `text` for a member of a scalar type. Raises Malformed."""
    kind = member.shape.type
    if kind in ("string", "character"):
        return text
    text = text.strip()
    try:
        if kind in _BITS:
            return checked_integer(int(_matching(_INTEGER, text)), kind)
        if kind in ("float", "double"):
            return checked_float(float(_matching(_FLOAT, text)))
        if kind == "boolean":
            return {"true": True, "false": False}[text.lower()]
        if kind == "timestamp":
            return timestamps.parse(text)
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except (ValueError, KeyError, binascii.Error):
        raise Malformed(f"The value {text[:200]!r} of {member.wire_name} is not a valid {kind}.", part) from None
    raise Malformed(f"{member.wire_name} must not be plain text: it is a {kind}.", part)


def write(member: Member, value: Any, timestamp_format: str, *, always_millis: bool = False) -> str:
    """The text of a scalar `value`."""
    kind = member.shape.type
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return timestamps.write(value, member.timestamp_format or timestamp_format, always_millis=always_millis)
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return _float_text(value)
    return str(value)


def checked_integer(value: int, kind: str) -> int:
    """`value`, if it fits an `integer` or a `long`. Raises ValueError."""
    if not -(1 << _BITS[kind]) <= value < 1 << _BITS[kind]:
        raise ValueError(f"{value} does not fit a{'n' if kind == 'integer' else ''} {kind}")
    return value


def checked_float(value: float) -> float:
    """`value`, if it is finite. Raises ValueError: no served operation has a use for NaN or infinity."""
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text) or len(text) > 400:
        raise ValueError(text)
    return text
