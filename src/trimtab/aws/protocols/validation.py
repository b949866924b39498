"""The model's constraints: required members, enums, lengths, ranges, patterns; failures in AWS's words.

Source of the texts: AWS's answers, e.g. "1 validation error detected: Value 'v' at 'path' failed to satisfy
constraint: Member must satisfy enum value set: [A, B]". Paths are lower camel case; a list's items are `.1.member`,
a map's values `.KEY.member`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from trimtab.aws.protocols.errors import ConstraintsFailed, Part
from trimtab.aws.protocols.patterns import compiled
from trimtab.aws.services import Shape

MAX_FAILURES = 50  # listed in one answer
MAX_VALUE_CHARS = 1024  # of a bad value in an answer

# Enums that depend on the region of the caller or of the server; handlers check them.
_OPEN_ENUMS = frozenset({"BucketLocationConstraint"})


def validate(shape: Shape, params: Mapping[str, Any]) -> None:
    """Raises ConstraintsFailed naming every constraint that `params` break."""
    failures: list[str] = []
    in_body = False
    for failure, body in _located(shape, params):
        failures.append(failure)
        in_body = in_body or body
        if len(failures) == MAX_FAILURES:
            break
    if failures:
        raise ConstraintsFailed(failures, Part.BODY if in_body else Part.ARGUMENT)


def _located(shape: Shape, params: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name in shape.required:
        if params.get(name) is None:
            yield _failed(None, _segment(name), "Member must not be null"), not shape.members[name].location
    for name, value in params.items():
        member = shape.members[name]
        if member.streaming or (name == shape.payload and member.shape.type == "blob"):
            continue  # the body: its limits are the handler's
        for failure in _failures(member.shape, value, _segment(name)):
            yield failure, not member.location


def _failures(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if value is None:
        yield _failed(None, path, "Member must not be null")
    elif shape.type == "structure":
        if not shape.document:
            yield from _structure(shape, value, path)
    elif shape.type == "list":
        yield from _length(shape, value, path, len(value))
        assert shape.element is not None
        for index, item in enumerate(value, 1):
            yield from _failures(shape.element.shape, item, f"{path}.{index}.member")
    elif shape.type == "map":
        yield from _map(shape, value, path)
    elif isinstance(value, str):
        yield from _string(shape, value, path)
    elif isinstance(value, bytes):
        yield from _length(shape, value, path, len(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _range(shape, value, path)


def _structure(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required:
        if value.get(name) is None:
            yield _failed(None, f"{path}.{_segment(name)}", "Member must not be null")
    if shape.union and len(value) != 1:
        yield _failed(value, path, f"Member must have exactly one of: [{', '.join(shape.members)}]")
    for name, inner in value.items():
        yield from _failures(shape.members[name].shape, inner, f"{path}.{_segment(name)}")


def _map(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path, len(value))
    assert shape.key is not None
    assert shape.value is not None
    for key, inner in value.items():
        if any(True for _ in _string(shape.key.shape, key, path)):
            yield _failed(value, path, _key_constraint(shape.key.shape))
        yield from _failures(shape.value.shape, inner, f"{path}.{key}.member")


def _string(shape: Shape, value: str, path: str) -> Iterator[str]:
    shown = "[sensitive]" if shape.sensitive else value
    if shape.enum:
        if value not in shape.enum and shape.name not in _OPEN_ENUMS:
            yield _failed(shown, path, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        return
    too_long = list(_length(shape, shown, path, len(value)))
    yield from too_long
    # A pattern may take time that grows with the text: never on more than the model allows.
    if shape.pattern and not too_long and not compiled(shape.pattern).match(value):
        yield _failed(shown, path, f"Member must satisfy regular expression pattern: {shape.pattern}")


def _length(shape: Shape, value: Any, path: str, length: int) -> Iterator[str]:
    if shape.max is not None and length > shape.max:
        yield _failed(value, path, f"Member must have length less than or equal to {shape.max:.0f}")
    if shape.min is not None and length < shape.min:
        yield _failed(value, path, f"Member must have length greater than or equal to {shape.min:.0f}")


def _range(shape: Shape, value: float, path: str) -> Iterator[str]:
    if shape.max is not None and value > shape.max:
        yield _failed(value, path, f"Member must have value less than or equal to {_number(shape.max)}")
    if shape.min is not None and value < shape.min:
        yield _failed(value, path, f"Member must have value greater than or equal to {_number(shape.min)}")


def _key_constraint(shape: Shape) -> str:
    inner = []
    if shape.enum:
        inner.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    if shape.max is not None:
        inner.append(f"Member must have length less than or equal to {shape.max:.0f}")
    if shape.min is not None:
        inner.append(f"Member must have length greater than or equal to {shape.min:.0f}")
    if shape.pattern:
        inner.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    return f"Map keys must satisfy constraint: [{', '.join(inner)}]"


def _failed(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{_java(value)}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _java(value: Any) -> str:
    """`value` as Java's toString prints it, cut to a readable length."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k}={_java(v)}" for k, v in list(value.items())[:20]) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(_java(v) for v in value[:20]) + "]"
    elif isinstance(value, bytes):
        text = f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    elif isinstance(value, datetime):
        text = value.isoformat()
    else:
        text = "null" if value is None else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "..."


def _number(limit: float) -> str:
    return str(int(limit)) if limit.is_integer() else str(limit)


def _segment(name: str) -> str:
    return name[:1].lower() + name[1:]
